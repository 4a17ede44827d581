"""Sample findings for everything that renders: no logs needed, the same on every run.

`DOCUMENTS` names them all; the gold pages, the tests and design work in a browser use the same ones:
`python -m tests.documents DIR` writes each as DIR/NAME.json, .html and .print.html.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maillog_forensics import masking, remedies
from maillog_forensics.findings import (
    Arrow,
    Bin,
    Cause,
    Confidence,
    EndedBy,
    Ending,
    Evidence,
    Factor,
    Findings,
    Harm,
    Incident,
    InputFile,
    Kind,
    LookAlike,
    LoopType,
    Moment,
    Run,
    Search,
    Series,
    Severity,
    StormType,
    Traffic,
    Trigger,
    UnknownShape,
)
from maillog_forensics.language import said

HOSTILE = (
    "<script>alert(1)</script>@evil.example",
    '"><img src=x onerror=alert(1)>@evil.example',
    "a'b\"c@evil.example",
    "{{ 7*7 }}{% raw %}@evil.example",
    "]]>--><!--@evil.example",
    "\x1b[31mred\x07@evil.example",
    "\u202egnp.exe\u2066@evil.example",
    "$(touch /tmp/x)`id`;|&\\@evil.example",
    "nul\x00tail@evil.example",
    "line\nbreak\r\nsecond@evil.example",
    "javascript:alert(1)@evil.example",
    "x" * 5000 + "@evil.example",
    "zero\u200bwidth\ufeff@evil.example",
    "-Rf@evil.example",
    "ünï–cødé@xn--bcher-kva.example",
    "tag\U000e0041s@evil.example",
    "quote\u2019s$env:x@evil.example",
)
"""What an attacker puts into a sender, a subject, a HELO or a file name."""

_DAY = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
_MTAS = {"mx1.alpha.example": "postfix", "mx.beta.example": "exim", "EX01": "exchange", "lists.gamma.example": "postfix"}


def at(seconds: float) -> dt.datetime:
    """A moment of the sample day, from noon on."""
    return _DAY + dt.timedelta(seconds=seconds)


def evidence(line: int, text: str, note: str = "", source: str = "/var/log/mail.log") -> Evidence:
    """A line of a log."""
    return Evidence(source=source, line=line, offset=line * 137, text=text, note=note)


def input_file(path: str = "/var/log/mail.log", lines: int = 9946, **changes: Any) -> InputFile:
    """A whole, fully understood file."""
    values: dict[str, Any] = {
        "path": path,
        "sha256": hashlib.sha256(path.encode("utf-8", "backslashreplace")).hexdigest(),
        "decompressed_sha256": hashlib.sha256(path.encode("utf-8", "backslashreplace")).hexdigest(),
        "bytes": lines * 137,
        "lines": lines,
        "parsed": lines - 35,
        "ignored": 35,
        "unrecognised": 0,
        "damaged": 0,
        "first": at(0),
        "last": at(12600),
        "format": "postfix",
        "zone": "in the stamps",
        "zone_basis": "every stamp carries its zone",
        "year_basis": "in the stamps",
    }
    return InputFile(**(values | changes))


def series(
    started: float, ended: float, per_step: int, step: int = 60, others: int = 8, detail: dict[str, int] | None = None
) -> Series:
    """A rate with an incident in it; the other mail goes up and down through the afternoon."""
    bins = []
    for n in range(0, 12600, step):
        own = per_step + round(math.sin(n / 300)) if started <= n + step / 2 and n <= ended else 0
        own = max(0, own)
        rest = others and max(0, round(others * (1 + 0.4 * math.sin(n / 1900)) + 1.5 * math.sin(n / 77)))
        bins.append(
            Bin(
                time=at(n),
                messages=own,
                others=rest,
                detail={k: own * v // 100 for k, v in (detail or {}).items()} if own else {},
            )
        )
    return Series(step_s=step, bins=tuple(bins), baseline=0.0, peak_at=at(started))


def traffic(messages: int = 1420, **changes: Any) -> Traffic:
    """The mail of the sample afternoon."""
    values: dict[str, Any] = {
        "messages": messages,
        "deliveries": messages * 2,
        "bounced": 6,
        "deferred": 3,
        "rejected": 9,
        "notifications": 6,
        "mailboxes": 71,
        "hosts": ("mx.beta.example", "mx1.alpha.example"),
        "mtas": ("exim", "postfix"),
        "first": at(0),
        "last": at(12600),
        "series": series(0, -1, 0),
    }
    return Traffic(**(values | changes))


def searches(found: int = 0) -> tuple[Search, ...]:
    """What the detectors looked at."""
    return (
        Search(
            detector="pairs that answer each other",
            candidates=20,
            found=found,
            set_aside={"regular sender and its answers": 2, "people writing quickly": 3},
            words="pairs of mailboxes in which both wrote at least twice",
        ),
        Search(detector="rings of new messages", candidates=1, found=0, words="cycles of three to eight mailboxes"),
        Search(
            detector="messages that come round again",
            candidates=4,
            found=0,
            set_aside={"greylisting and retries": 4},
            words="Message-IDs seen three times at one mailbox of one host",
        ),
        Search(
            detector="lists and groups",
            candidates=2,
            found=0,
            set_aside={"newsletter": 2},
            words="lists to which a member posted at least five times",
        ),
        Search(detector="bursts of notifications", candidates=3, found=0, words="mailboxes with at least thirty notifications"),
    )


def document(*incidents: Incident, possible: tuple[Incident, ...] = (), **changes: Any) -> Findings:
    """A findings document around some incidents."""
    values: dict[str, Any] = {
        "run": Run(
            version="1.0.0",
            command="maillog-forensics analyze /var/log --report report.html",
            started_at=at(86400),
            elapsed_s=0.67,
            parameters={"tz": None, "window_s": 14400},
            libraries={"polars": "2.1.0"},
        ),
        "inputs": (
            input_file(),
            input_file(
                "/var/log/exim4/mainlog",
                2688,
                format="exim",
                zone="UTC",
                zone_basis="read from the lines: 80 message ids carry the UTC second",
            ),
        ),
        "traffic": traffic(),
        "incidents": incidents,
        "possible": possible,
        "searches": searches(len(incidents)),
        "limits": (
            "Postfix logs neither subjects nor Auto-Submitted: whether a message was marked "
            "is told by its reverse-path and by who carried it.",
        ),
    }
    return Findings(**(values | changes))


def with_remedies(incident: Incident, queued: dict[str, tuple[str, ...]] | None = None) -> Incident:
    """The incident with the remedies that its facts ask for."""
    facts = remedies.RemedyFacts(
        kind=incident.kind,
        type=incident.type,
        cause=incident.cause.id,
        members=incident.members,
        date=incident.started.date(),
        running=incident.ended_by.reason is Ending.ONGOING,
        mtas=tuple(remedies.Mta(_MTAS.get(h, "postfix"), h, (queued or {}).get(h, ())) for h in incident.hosts[:3]),
        ours=incident.ours,
        aliases=tuple(a for raws in incident.aliases.values() for a in raws),
        null_sender_share=0.5,
    )
    return incident.model_copy(update={"remedies": remedies.remedies(facts)})


def two_parties(**changes: Any) -> Incident:
    """Two responders, proved on both sides, ended by a sending limit."""
    first = evidence(
        46,
        "2026-03-05T13:43:24.561882+00:00 mx1 postfix/smtpd[23850]: 884C030005: client=ws7.alpha.example[192.0.2.77]",
        "the first message",
    )
    last = evidence(
        2059,
        "2026-03-05 14:13:52 1vy9SO-0004jK-1q ** anna@alpha.example R=remote T=remote_smtp: "
        "SMTP error from remote mail server after RCPT TO:<anna@alpha.example>: "
        "550 5.7.1 <anna@alpha.example>: Recipient address rejected: Sending limit exceeded for this sender",
        "what ended it",
        "/var/log/exim4/mainlog",
    )
    values: dict[str, Any] = {
        "id": "loop-d80c18ad9f",
        "kind": Kind.MAIL_LOOP,
        "type": LoopType.AUTO_RESPONSE,
        "severity": Severity.HIGH,
        "confidence": Confidence(
            level="proven",
            score=0.99,
            factors=(
                Factor(
                    name=said("independent senders"),
                    value=98.4,
                    threshold=">= 4",
                    supports=True,
                    words=said("in %(n)s messages neither got more than %(ahead)s ahead of the other", n=152, ahead=1),
                ),
                Factor(
                    name=said("ticket acknowledgement"),
                    value=141.2,
                    threshold=">= 6",
                    supports=True,
                    words=said(
                        "%(who)s wrote %(n)s times, in the median %(s)s s after what it received: steadier than by chance",
                        who="bob@beta.example",
                        n=76,
                        s=18,
                    ),
                ),
                Factor(name="second half silent", value="no", supports=False, words="nothing speaks against it"),
            ),
        ),
        "headline": "anna@alpha.example and bob@beta.example answered each other automatically, 152 messages in 30 minutes.",
        "members": ("anna@alpha.example", "bob@beta.example"),
        "aliases": {"anna@alpha.example": ("anna#alpha.example@autoreply.alpha.example",)},
        "hosts": ("mx1.alpha.example", "mx.beta.example"),
        "ours": ("anna@alpha.example",),
        "host_mtas": {"mx1.alpha.example": "postfix", "mx.beta.example": "exim"},
        "started": at(6204),
        "ended": at(8031),
        "messages": 152,
        "transfers": 454,
        "bytes": 71230,
        "turns": 76,
        "period_s": 12.1,
        "peak_per_minute": 6.0,
        "growth_bytes_per_turn": 0.0,
        "arrows": (
            Arrow(
                origin="anna@alpha.example",
                target="bob@beta.example",
                messages=76,
                median_lag_s=5.9,
                spread=0.129,
                proof="logged_link",
                program="vacation",
                host="mx1.alpha.example",
            ),
            Arrow(
                origin="bob@beta.example",
                target="anna@alpha.example",
                messages=76,
                median_lag_s=6.2,
                spread=0.16,
                proof="logged_link",
                program="T=userautoreply",
                host="mx.beta.example",
                null_sender=3,
            ),
        ),
        "trigger": Trigger(
            time=at(6204),
            sender="anna@alpha.example",
            recipient="bob@beta.example",
            message_id="19cbe3ccc3b.869f07aca69@alpha.example",
            queue_id="884C030005",
            host="mx1.alpha.example",
            client="ws7.alpha.example",
            evidence=(first,),
        ),
        "ended_by": EndedBy(
            reason=Ending.SENDING_LIMIT,
            side="ours",
            host="mx1.alpha.example",
            text="550 5.7.1 <anna@alpha.example>: Recipient address rejected: Sending limit exceeded for this sender",
            signature="R040",
            evidence=(last,),
        ),
        "cause": Cause(
            id="responder_pair", side="both", sentence="Neither side marks its answers, or declines to answer automatic mail."
        ),
        "harm": Harm(
            share_of_traffic=0.11,
            bytes=71230,
            ndrs_sent=1,
            queue_delay_before_s=4.2,
            queue_delay_during_s=1.5,
            queue_delay_p95_before_s=11.0,
            queue_delay_p95_during_s=6.7,
        ),
        "look_alikes": (
            LookAlike(name="ticket acknowledgement", ruled_out=True, reason="both sides answer every time: 76 and 76 messages"),
            LookAlike(name="people writing quickly", ruled_out=True, reason="more regular than people are"),
        ),
        "moments": (
            Moment(time=at(6204), words="first message of the chain: anna@alpha.example to bob@beta.example", evidence=(first,)),
            Moment(time=at(7300), words="peak: 6 messages within a minute"),
            Moment(time=at(8031), words="last turn"),
            Moment(time=at(8032), words="ended: sending limit", evidence=(last,)),
        ),
        "series": series(6204, 8031, 5),
        "message_ids": ("19cbe3ccc3b.869f07aca69@alpha.example", "20260305141340.18177.7134@beta.example"),
        "evidence": (first, last),
        "evidence_total": 2192,
    }
    return with_remedies(Incident(**(values | changes)))


def ring(size: int = 3, **changes: Any) -> Incident:
    """A forwarding ring: the same messages come round again until the hop limit."""
    names = (
        "sales@alpha.example",
        "verkauf@beta.example",
        "info@gamma.example",
        "office@delta.example",
        "buero@epsilon.example",
        "post@zeta.example",
        "mail@eta.example",
        "all@theta.example",
        "nine@iota.example",
        "ten@kappa.example",
    )[:size]
    values: dict[str, Any] = {
        "id": f"loop-ring{size}",
        "type": LoopType.FORWARDING,
        "severity": Severity.MEDIUM,
        "members": names,
        "ours": (names[0],),
        "aliases": {},
        "headline": f"{', '.join(names[:-1])} and {names[-1]} forward to each other in a ring: "
        f"12 messages went round, 588 transfers in 12 minutes."
        if size < 5
        else f"{', '.join(names[:4])} and {size - 4} more forward to each other in a ring: "
        f"12 messages went round, 588 transfers in 12 minutes.",
        "messages": 12,
        "transfers": 588,
        "turns": 17,
        "period_s": 0.0,
        "growth_bytes_per_turn": 212.0,
        "peak_per_minute": 58.0,
        "started": at(7200),
        "ended": at(7890),
        "arrows": tuple(
            Arrow(
                origin=a,
                target=b,
                messages=204 if n == 0 else 192,
                median_lag_s=0.08,
                spread=0.05,
                proof="same_message_id",
                program="forward",
                host="mx1.alpha.example" if n == 0 else "",
            )
            for n, (a, b) in enumerate(zip(names, (*names[1:], names[0])))
        ),
        "ended_by": EndedBy(
            reason=Ending.HOP_LIMIT,
            side="theirs",
            host="mx.beta.example",
            text="554 5.4.0 Error: too many hops",
            signature="L003",
        ),
        "cause": Cause(
            id="forward_ring", side="both", sentence="Each mailbox forwards to the next, and the last one forwards to the first."
        ),
        "series": series(7200, 7890, 49, others=2),
        "harm": Harm(share_of_traffic=0.5, bytes=115750, ndrs_sent=12, innocent_recipients=2),
        "look_alikes": (),
        "bytes": 115750,
    }
    return two_parties(**(values | changes))


def list_loop(**changes: Any) -> Incident:
    """Two responders on a list, still running."""
    values: dict[str, Any] = {
        "id": "loop-list",
        "type": LoopType.LIST,
        "severity": Severity.CRITICAL,
        "members": ("team@gamma.example", "anna@alpha.example", "bob@beta.example"),
        "headline": "anna@alpha.example and bob@beta.example answered the list team@gamma.example automatically, "
        "131 posts and 786 copies in 22 minutes.",
        "messages": 131,
        "transfers": 655,
        "copies": 786,
        "turns": 101,
        "period_s": 5.0,
        "peak_per_minute": 14.0,
        "started": at(11280),
        "ended": at(12590),
        "aliases": {},
        "ours": ("anna@alpha.example",),
        "arrows": (
            Arrow(origin="team@gamma.example", target="anna@alpha.example", messages=786, proof="time_pattern", program="list"),
            Arrow(
                origin="anna@alpha.example",
                target="team@gamma.example",
                messages=101,
                median_lag_s=5.0,
                spread=0.3,
                proof="logged_link",
                host="mx1.alpha.example",
            ),
            Arrow(
                origin="bob@beta.example",
                target="team@gamma.example",
                messages=29,
                median_lag_s=19.5,
                spread=0.4,
                proof="time_pattern",
            ),
        ),
        "ended_by": EndedBy(reason=Ending.ONGOING, text="the logs end 10 s after the last turn: nothing shows an end"),
        "still_queued": ("4F1A2C0D31", "4F1A2C0D32"),
        "cause": Cause(
            id="responder_list", side="both", sentence="A responder answers mail that came through a list, to the list."
        ),
        "moments": (Moment(time=at(11280), words="first message of the chain"),),
        "series": series(11280, 12600, 7, others=3),
        "harm": Harm(share_of_traffic=0.93, bytes=134901, mailboxes_filled=("carla@alpha.example",), ndrs_sent=4),
    }
    found = two_parties(**(values | changes))
    return with_remedies(found, {"mx1.alpha.example": found.still_queued})


def notification(**changes: Any) -> Incident:
    """A responder that answers MAILER-DAEMON."""
    values: dict[str, Any] = {
        "id": "loop-ndr",
        "type": LoopType.NOTIFICATION,
        "severity": Severity.MEDIUM,
        "members": ("robot@alpha.example", "mailer-daemon@mx.beta.example"),
        "aliases": {},
        "ours": ("robot@alpha.example",),
        "headline": "robot@alpha.example and mailer-daemon@mx.beta.example answered "
        "each other's notifications, 88 messages in 15 minutes.",
        "messages": 88,
        "turns": 44,
        "arrows": (
            Arrow(
                origin="robot@alpha.example",
                target="mailer-daemon@mx.beta.example",
                messages=44,
                median_lag_s=9.0,
                spread=0.2,
                proof="time_pattern",
                program="vacation",
                host="mx1.alpha.example",
            ),
            Arrow(
                origin="mailer-daemon@mx.beta.example",
                target="robot@alpha.example",
                messages=44,
                median_lag_s=0.4,
                spread=0.1,
                proof="logged_link",
                program="bounce",
                null_sender=44,
            ),
        ),
        "ended_by": EndedBy(reason=Ending.QUIET, text="no further turn in the 940 s until the logs end; no line tells why"),
        "cause": Cause(
            id="responder_mailer_daemon",
            side="ours",
            sentence="A responder answers bounces; its answers go to an address that does not exist, and bounce.",
            inferred=False,
        ),
    }
    return two_parties(**(values | changes))


def storm(**changes: Any) -> Incident:
    """Backscatter of several servers against one mailbox."""
    origins = {
        "mx.beta.example": 512,
        "mail.delta.example": 204,
        "smtp.epsilon.example": 61,
        "mx0.zeta.example": 14,
        "mx.eta.example": 6,
        "a.theta.example": 3,
    }
    values: dict[str, Any] = {
        "id": "storm-830713a556",
        "kind": Kind.NDR_STORM,
        "type": StormType.BACKSCATTER,
        "members": ("victim@alpha.example",),
        "aliases": {},
        "ours": ("victim@alpha.example",),
        "arrows": (),
        "headline": "victim@alpha.example was hit by 800 bounces of mail that it had not sent in 32 minutes.",
        "messages": 800,
        "transfers": 1600,
        "turns": 800,
        "period_s": 2.4,
        "peak_per_minute": 40.0,
        "bytes": 2280570,
        "growth_bytes_per_turn": None,
        "origins": origins,
        "codes": {"5.1.1": 640, "5.2.2": 120, "5.7.1": 40},
        "started": at(5000),
        "ended": at(6900),
        "ended_by": EndedBy(reason=Ending.QUIET, text="no further notification in the 5700 s until the logs end"),
        "look_alikes": (),
        "trigger": Trigger(
            time=at(5000), sender="<>", recipient="victim@alpha.example", queue_id="7F9EE2EFFC", host="mx.beta.example"
        ),
        "cause": Cause(
            id="backscatter",
            side="theirs",
            sentence="Mail with a forged sender was accepted for recipients that don't exist, "
            "and returned to the forged address.",
        ),
        "series": series(5000, 6900, 25, detail={"5.1.1": 80, "5.2.2": 15, "5.7.1": 5}).model_copy(update={"baseline": 0.4}),
        "harm": Harm(share_of_traffic=0.41, bytes=2280570, overload_signs=(evidence(3000, "451 4.3.0 queue file write error"),)),
        "moments": (
            Moment(time=at(5000), words="first notification: <> to victim@alpha.example"),
            Moment(time=at(5600), words="peak: 40 messages within a minute"),
            Moment(time=at(6900), words="last turn"),
        ),
    }
    return two_parties(**(values | changes))


def guarded(**changes: Any) -> Incident:
    """What a guard stopped at the first hop: one line, no alarm."""
    members = tuple(f"x{n}@delta.example" for n in range(8))
    values: dict[str, Any] = {
        "id": "loop-guard",
        "type": LoopType.FORWARDING,
        "severity": Severity.INFO,
        "members": members,
        "ours": (),
        "arrows": (),
        "aliases": {},
        "turns": 0,
        "period_s": None,
        "messages": 15,
        "transfers": 15,
        "headline": "A loop guard stopped 15 messages to x0@delta.example, x1@delta.example, "
        "x2@delta.example, x3@delta.example and 4 more at the first hop.",
        "hosts": ("mx1.alpha.example",),
        "ended_by": EndedBy(
            reason=Ending.HOP_LIMIT,
            side="ours",
            host="mx1.alpha.example",
            text="mail for delta.example loops back to myself",
            signature="L004",
        ),
        "cause": Cause(
            id="self_routing",
            side="ours",
            sentence="The server is named as the next hop for a domain that it does not recognise as its own.",
            inferred=False,
        ),
        "growth_bytes_per_turn": None,
    }
    return two_parties(**(values | changes))


def between_servers(**changes: Any) -> Incident:
    """One mailbox's mail, handed back and forth between two servers."""
    values: dict[str, Any] = {
        "id": "loop-route",
        "members": ("new@alpha.example",),
        "arrows": (),
        "headline": "3 messages to new@alpha.example went round between servers, 84 transfers in 30 minutes.",
        "messages": 3,
        "transfers": 84,
        "cause": Cause(
            id="routing_loop", side="unknown", sentence="Two servers each hold the other responsible for the address."
        ),
    }
    return ring(3, **(values | changes))


def weak() -> Incident:
    """A pattern that is too weak for an alarm."""
    return two_parties(
        id="loop-weak",
        severity=Severity.INFO,
        confidence=Confidence(level="possible", score=0.4),
        look_alikes=(LookAlike(name="regular sender and its answers", ruled_out=False, reason="one side writes on its own"),),
        headline="emil@alpha.example and support@beta.example wrote to each other in a steady rhythm, "
        "14 messages in 39 minutes; it may be regular sender and its answers.",
    )


def nothing() -> Findings:
    """Nothing found, and the proof of having looked."""
    return document()


def degraded() -> Findings:
    """Damaged and half-understood input, guessed clock, one incident seen from one side only."""
    broken = input_file(
        "/var/log/mail.log.2.gz",
        1000,
        compression="gzip",
        decompressed_sha256="0" * 64,
        parsed=700,
        ignored=20,
        unrecognised=240,
        damaged=40,
        first=None,
        last=None,
        zone="UTC",
        zone_basis="nothing in the file tells: taken as UTC (say --tz to change)",
        year_basis="inferred from the modification time",
        problems=("the compressed stream ends in the middle; what came before was read",),
        unrecognised_shapes=(
            UnknownShape(
                shape="<date> <host> weird[<n>]: *", count=200, line=17, sample="Mar  5 12:00:01 mx1 weird[77]: something new"
            ),
            UnknownShape(shape="*", count=40, line=91, sample="\x00\x00\x00"),
        ),
    )
    one_side = two_parties(
        ours=(),
        host_mtas={},
        harm=Harm(),
        ended_by=EndedBy(reason=Ending.QUIET),
        trigger=None,
        period_s=None,
        growth_bytes_per_turn=None,
        series=None,
        moments=(),
        remedies=(),
        evidence=(),
        message_ids=(),
        confidence=Confidence(level="likely", score=0.7),
        arrows=(Arrow(origin="anna@alpha.example", target="bob@beta.example", messages=76, proof="time_pattern"),),
        look_alikes=(LookAlike(name="people writing quickly", ruled_out=False, reason="only one side's log is here"),),
        hosts=(),
    )
    return document(
        one_side.model_copy(update={"remedies": ()}), inputs=(input_file(), broken), traffic=Traffic(), searches=(), limits=()
    )


def hostile() -> Findings:
    """An attacker wrote every text in it."""
    text = " ".join(HOSTILE)
    some = HOSTILE[:6]
    ev = evidence(1, text, text, text)
    arrows = tuple(
        Arrow(origin=a, target=b, messages=9, median_lag_s=1.0, proof="time_pattern", program=text, host=text)
        for a, b in zip(some, (*some[1:], some[0]))
    )
    bad = {
        "headline": text,
        "members": some,
        "aliases": {some[0]: HOSTILE},
        "hosts": HOSTILE,
        "ours": some[:1],
        "host_mtas": dict.fromkeys(HOSTILE, "postfix"),
        "id": text,
        "arrows": arrows,
        "still_queued": HOSTILE,
        "trigger": Trigger(
            time=at(0),
            sender=HOSTILE[0],
            recipient=HOSTILE[1],
            message_id=text,
            queue_id=text,
            host=text,
            client=text,
            subject=text,
            evidence=(ev,),
        ),
        "ended_by": EndedBy(reason=Ending.BLOCKED, host=text, text=text, signature=text, evidence=(ev,)),
        "cause": Cause(id="../../etc/passwd", side="theirs", sentence=text),
        "harm": Harm(mailboxes_filled=HOSTILE, overload_signs=(ev,), reputation_signs=(ev,)),
        "look_alikes": (LookAlike(name=text, ruled_out=False, reason=text),),
        "message_ids": HOSTILE,
        "evidence": (ev,) * 3,
        "moments": (Moment(time=at(0), words=text, evidence=(ev,)),),
        "confidence": Confidence(
            level="likely", score=0.5, factors=(Factor(name=text, value=text, threshold=text, supports=True, words=text),)
        ),
    }
    loop = two_parties(**bad)
    listed = two_parties(**(bad | {"type": LoopType.LIST, "copies": 9}))
    pair = two_parties(**(bad | {"members": some[:2], "arrows": arrows[:2]}))
    burst = storm(
        **(
            bad
            | {
                "members": some[:1],
                "arrows": (),
                "origins": dict.fromkeys(HOSTILE, 3),
                "codes": dict.fromkeys(HOSTILE, 3),
                "series": series(100, 900, 30, detail=dict.fromkeys(HOSTILE, 5)),
            }
        )
    )
    shape = UnknownShape(shape=text, count=3, line=1, sample=text)
    return document(
        loop,
        listed,
        pair,
        burst,
        possible=(loop,),
        inputs=(
            input_file(
                text,
                problems=(text,),
                unrecognised=1,
                unrecognised_shapes=(shape,),
                format=text,
                zone=text,
                zone_basis=text,
                year_basis=text,
            ),
        ),
        traffic=traffic(hosts=HOSTILE, mtas=HOSTILE),
        limits=HOSTILE,
        searches=(Search(detector=text, candidates=1, found=1, set_aside={text: 1}, words=text),),
        run=Run(
            version=text, command=text, parameters={text: text}, libraries={text: text}, redacted=HOSTILE, pseudonymized=True
        ),
    )


def huge() -> Findings:
    """Hundreds of incidents with long addresses and much evidence: what is left out must be counted."""
    lines = tuple(
        evidence(n, f"2026-03-05T13:43:24 mx1 postfix/smtp[{n}]: " + "very long text " * 130, "in the middle")
        for n in range(1, 60)
    )
    one = two_parties(
        members=tuple(f"{'long-local-part-' * 3}{m}@{'sub.' * 20}example" for m in range(60)),
        evidence=lines,
        message_ids=tuple(f"{m}@x.example" for m in range(200)),
        moments=tuple(Moment(time=at(m), words="turning point " * 10) for m in range(10)),
        origins={f"mx{m}.example": m for m in range(900)},
    )
    many = tuple(
        one.model_copy(update={"id": f"loop-{n:04}", "started": at(n), "severity": list(Severity)[n % 5]}) for n in range(400)
    )
    files = tuple(
        input_file(
            f"/var/log/mail.log.{n}",
            100000,
            unrecognised_shapes=tuple(UnknownShape(shape="x", count=1, line=1, sample="y" * 2000) for _ in range(30)),
        )
        for n in range(500)
    )
    return document(*many, possible=(weak(),) * 300, inputs=files)


def several() -> Findings:
    """A bad day: five incidents of all kinds, one note without alarm, one weak pattern."""
    return document(two_parties(), ring(), list_loop(), notification(), storm(), guarded(), possible=(weak(),))


DOCUMENTS: dict[str, Callable[[], Findings]] = {
    "two_parties": lambda: document(two_parties(), possible=(weak(),)),
    "ring_of_three": lambda: document(ring()),
    "ring_of_four": lambda: document(ring(4)),
    "ring_of_six": lambda: document(ring(6)),
    "ring_of_ten": lambda: document(ring(10)),
    "between_servers": lambda: document(between_servers()),
    "list_loop": lambda: document(list_loop()),
    "notification": lambda: document(notification()),
    "storm": lambda: document(storm()),
    "guarded": lambda: document(guarded()),
    "several": several,
    "nothing": nothing,
    "empty": lambda: document(inputs=(), traffic=Traffic(), searches=(), limits=()),
    "degraded": degraded,
    "hostile": hostile,
    "huge": huge,
    "pseudonymized": lambda: masking.mask(document(two_parties()), masking.Masking(b"the key of the samples", ("subject",))),
}


def main(folder: str) -> None:
    """Write every sample as JSON, page and page for paper."""
    from maillog_forensics.findings import write
    from maillog_forensics.report import render

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, make in DOCUMENTS.items():
        findings = make()
        (target / f"{name}.json").write_text(write(findings), "utf-8", "backslashreplace")
        (target / f"{name}.html").write_text(render(findings), "utf-8", "backslashreplace")
        (target / f"{name}.print.html").write_text(render(findings, print_variant=True), "utf-8", "backslashreplace")


if __name__ == "__main__":
    main(sys.argv[1])
