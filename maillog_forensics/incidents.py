"""From drafts to incidents of the findings: how bad they are, by what they are proved, what they are called."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import polars as pl

from maillog_forensics import harm
from maillog_forensics.claims import may_be_mended
from maillog_forensics.drafts import Draft
from maillog_forensics.evidence import Lines, Place
from maillog_forensics.findings import (
    Arrow,
    Confidence,
    EndedBy,
    Ending,
    Factor,
    FromOutside,
    Harm,
    Incident,
    Kind,
    LoopType,
    Moment,
    Remedy,
    Severity,
    Trigger,
)
from maillog_forensics.graph import Graph
from maillog_forensics.language import mark, said
from maillog_forensics.loops import Step
from maillog_forensics.mail import Mail
from maillog_forensics.outside import from_outside
from maillog_forensics.quoting import lowered
from maillog_forensics.remedies import MTAS, Mta, RemedyFacts, remedies
from maillog_forensics.wording import cause_of, headline

_TICKETS = re.compile(
    r"(?i)^(support|help-?desk|service-?desk|tickets?|otrs|rt|zammad|hotline|servicedesk|request|kundenservice)"
)


def severity(draft: Draft) -> Severity:
    """How bad: number, rate, harm, and whether it still runs; what a guard stopped at once is info."""
    if draft.verdict != "loop":
        return Severity.INFO
    minutes = max(1.0, (draft.ended - draft.started).total_seconds() / 60)
    volume = max(draft.messages, draft.transfers / 3, draft.copies)
    points = (volume >= 20) + (volume >= 100) + (volume >= 5000) + (volume / minutes >= 60)
    points += (
        bool(draft.measured.mailboxes_filled)
        + (draft.measured.innocent_recipients >= 20)
        + (draft.end.reason is Ending.ONGOING and volume >= 100)
    )
    points += draft.measured.share_of_traffic >= 0.5 and volume >= 100
    return (Severity.LOW, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.HIGH, Severity.CRITICAL)[min(points + 1, 5)]


def want_lines(drafts: list[Draft], lines: Lines) -> None:
    """Note every line that the incidents will show."""
    for d in drafts:
        lines.want(p for p, _ in d.places)
        lines.want(d.measured.overload)
        lines.want(d.measured.reputation)


def first_lines(drafts: list[Draft], mail: Mail) -> list[Place]:
    """The line of the first message of each incident."""
    out = []
    for d in drafts:
        head = _entry(mail.stays(d.mids).sort("first", "mid"), mail)
        out.append((head["source"], head["line"], head["offset"]))
    return out


def _entry(stays: pl.DataFrame, mail: Mail) -> dict[str, Any]:
    """The stay in which the first of some messages entered: of its stays the one that no other handed on, whatever the clocks say."""
    first = stays.filter(pl.col("logical") == stays["logical"][0])
    handed_on = mail.told(first["mid"])["next_queue_id"].drop_nulls()
    own = first.filter(~pl.col("queue_id").is_in(handed_on.implode()).fill_null(False))
    return (first if own.is_empty() else own).row(0, named=True)


def local_mailboxes(drafts: list[Draft], mail: Mail) -> frozenset[str]:
    """Members whose mailboxes lie on hosts of these logs: something was delivered to them without a relay."""
    members = {m for d in drafts for m in d.members}
    put = mail.deliveries.filter(
        pl.col("to_box").is_in(list(members)), pl.col("event") == "deliver", pl.col("relay_ip").is_null()
    )
    return frozenset(put.select(pl.col("to_box").unique()).collect()["to_box"].to_list())


def finish(draft: Draft, graph: Graph, mail: Mail, lines: Lines, local: frozenset[str]) -> Incident:
    """Make the incident of a draft, once its lines are fetched; `local` are those members of all that have their mailboxes here."""
    stays = mail.stays(draft.mids).sort("first", "mid")
    hosts = tuple(stays["host"].drop_nulls().unique(maintain_order=True).to_list())
    ours = [m for m in draft.members if m in local]
    outside = from_outside(stays, mail, ours) if draft.kind is Kind.MAIL_LOOP else ()
    cause_id = _cause(draft)
    aliases = _aliases(draft, mail)
    codes = draft.storm.code_of if draft.storm else [None] * len(draft.times)
    own = pl.DataFrame({"sent": pl.Series(draft.times, dtype=pl.Float64), "code": pl.Series(codes, dtype=pl.String)}).select(
        "code",
        sent=(pl.col("sent") * 1e6).cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )
    first, last = mail.span
    evidence = tuple(lines.evidence(p, note) for p, note in draft.places)
    ended_by = EndedBy(
        reason=draft.end.reason,
        side=draft.end.side,
        host=draft.end.host or "",
        text=draft.end.text if len(draft.end.text) <= 1000 else draft.end.text[:1000],
        signature=draft.end.signature,
        evidence=(lines.evidence(draft.end.place, draft.end.note),) if draft.end.place else (),
    )
    head = _entry(stays, mail)
    trigger = Trigger(
        time=draft.started,
        sender=_box(head["from_box"], draft),
        recipient=draft.members[-1] if draft.kind is Kind.NDR_STORM else _first_recipient(head["mid"], mail),
        message_id=head["message_id"],
        queue_id=head["queue_id"],
        host=head["host"] or "",
        client=head["client_host"] or head["client_ip"] or "",
        subject=head["subject"],
        evidence=(lines.evidence((head["source"], head["line"], head["offset"]), said("the first message")),),
    )
    waiting = stays.filter(~pl.col("removed"))["queue_id"].drop_nulls().unique(maintain_order=True).head(200).to_list()
    m = draft.measured
    ids = stays["message_id"].drop_nulls().unique(maintain_order=True).to_list()
    storm = draft.storm
    moments = _moments(draft, trigger, ended_by)
    side = "both" if len(ours) != 1 else ("ours" if _answers_marked(draft, ours[0]) else "both")
    return Incident(
        id=_identity(draft),
        kind=draft.kind,
        type=draft.type,
        severity=severity(draft),
        confidence=Confidence(
            level="likely" if outside and draft.level == "proven" else draft.level,
            score=round(draft.score, 3),
            factors=tuple(
                Factor(name=a, value=b, threshold=c, supports=d, words=e)
                for a, b, c, d, e in [*draft.factors, *_perhaps_forged(outside)]
            ),
        ),
        headline=headline(
            draft.kind,
            draft.type,
            draft.members,
            draft.messages,
            draft.transfers,
            draft.copies,
            draft.started,
            draft.ended,
            draft.verdict,
            (draft.storm.by_origin, len(set(draft.storm.recipients))) if draft.storm and draft.storm.by_origin else None,
        ),
        members=draft.members,
        aliases=aliases,
        hosts=hosts,
        started=draft.started,
        ended=draft.ended,
        messages=draft.messages,
        transfers=draft.transfers,
        copies=draft.copies,
        bytes=m.bytes,
        turns=draft.turns,
        period_s=round(draft.period_s, 3) if draft.period_s is not None else None,
        peak_per_minute=harm.peak_per_minute(sorted(draft.times)),
        growth_bytes_per_turn=draft.growth,
        arrows=tuple(_arrow(s, draft) for s in draft.steps),
        trigger=trigger,
        ended_by=ended_by,
        still_queued=tuple(waiting),
        cause=cause_of(cause_id, side, draft.members),
        harm=Harm(
            share_of_traffic=round(m.share_of_traffic, 4),
            bytes=m.bytes,
            ndrs_sent=m.ndrs_sent,
            innocent_recipients=m.innocent_recipients,
            mailboxes_filled=m.mailboxes_filled,
            queue_delay_before_s=m.before_s,
            queue_delay_during_s=m.during_s,
            queue_delay_p95_before_s=m.p95_before_s,
            queue_delay_p95_during_s=m.p95_during_s,
            deferrals_during=m.deferrals,
            overload_signs=tuple(lines.evidence(p) for p in m.overload),
            reputation_signs=tuple(lines.evidence(p) for p in m.reputation),
        ),
        ours=tuple(ours),
        from_outside=outside,
        host_mtas=dict(stays.filter(pl.col("host").is_not_null()).select("host", "mta").unique(maintain_order=True).iter_rows()),
        remedies=_remedies(draft, cause_id, may_be_mended(ours, outside), stays, aliases),
        look_alikes=tuple(draft.look_alikes),
        moments=moments,
        series=harm.series(
            own,
            graph.edges.unique("logical", maintain_order=True),
            first,
            last,
            draft.started,
            draft.ended,
            "code" if storm else None,
        ),
        origins=storm.origins if storm else {},
        notified=len(set(storm.recipients)) if storm and storm.by_origin else 0,
        codes=storm.codes if storm else {},
        message_ids=tuple(dict.fromkeys([*ids[:5], *ids[-5:]])),
        evidence=evidence,
        evidence_total=int(stays["lines"].sum() or 0),
    )


def _perhaps_forged(outside: tuple[FromOutside, ...]) -> Iterator[tuple[str, str, str, bool, str]]:
    for o in outside:
        words = said(
            "nearly all messages of %(who)s, whose mailbox is here, were handed in from outside by %(client)s without a login: it may not have written them",
            who=o.sender,
            client=o.client,
        )
        yield said("perhaps forged"), o.client, "", False, words


def _remedies(
    draft: Draft, cause_id: str, ours: list[str], stays: pl.DataFrame, aliases: dict[str, tuple[str, ...]]
) -> tuple[Remedy, ...]:
    """What to type, for each of our servers that had the incident's messages."""
    mtas = []
    for (mta, host), part in stays.drop_nulls("host").partition_by("mta", "host", as_dict=True, maintain_order=True).items():
        queued = part.filter(~pl.col("removed"))["queue_id"].drop_nulls().unique(maintain_order=True).head(200).to_list()
        mtas.append(Mta(str(mta), str(host), tuple(queued)))
    null = sum(s.null_sender for s in draft.steps) / max(1, sum(len(s.times) for s in draft.steps))
    facts = RemedyFacts(
        kind=draft.kind,
        type=draft.type,
        cause=cause_id,
        members=draft.members,
        mtas=tuple(m for m in mtas if m.mta in MTAS),
        date=draft.ended.date(),
        running=draft.end.reason is Ending.ONGOING,
        aliases=tuple(a for names in aliases.values() for a in names),
        ours=tuple(ours),
        null_sender_share=null,
        is_source=draft.storm is None or any(m.host in draft.storm.origins for m in mtas),
    )
    return remedies(facts)


def _identity(draft: Draft) -> str:
    """Stable for the same input: from what it is, who takes part and when it began."""
    text = "|".join([draft.kind.value, draft.type.value, *sorted(draft.members), draft.started.isoformat(timespec="seconds")])
    prefix = "loop" if draft.kind is Kind.MAIL_LOOP else "storm"
    return f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:10]}"


def _box(address: str | None, draft: Draft) -> str:
    return address if address else "<>" if address == "" else draft.members[0]


def _first_recipient(mid: int, mail: Mail) -> str:
    told = mail.told([mid])["to_box"].to_list()
    return told[0] if told else ""


def _arrow(step: Step, draft: Draft) -> Arrow:
    if draft.type is LoopType.FORWARDING:
        proof: Literal["same_message_id", "logged_link", "time_pattern"] = "same_message_id"
    else:
        proof = "logged_link" if step.times and step.linked >= 0.6 * len(step.times) else "time_pattern"
    return Arrow(
        origin=step.origin,
        target=step.target,
        messages=len(step.times),
        median_lag_s=round(step.lags.median_s, 3) if step.lags else None,
        spread=round(step.lags.spread, 3) if step.lags else None,
        proof=proof,
        program=step.program,
        host=step.host,
        null_sender=step.null_sender,
    )


def _answers_marked(draft: Draft, member: str) -> bool:
    """Whether `member` answers mail that is marked as automatic (or has the null reverse-path)."""
    return any(s.target == member and s.marked >= 0.6 * max(1, len(s.times)) for s in draft.steps)


def _cause(draft: Draft) -> str:
    if draft.kind is Kind.NDR_STORM:
        return draft.type.value
    if draft.verdict == "guard":
        return "unknown" if draft.end.side == "theirs" else "self_routing"
    if draft.type is LoopType.LIST:
        return "responder_list"
    if draft.type is LoopType.FORWARDING:
        return "forward_ring" if len(draft.members) > 1 else "routing_loop"
    if draft.type is LoopType.NOTIFICATION:
        return (
            "responder_mailer_daemon"
            if any(m.startswith(("mailer-daemon@", "postmaster@")) for m in draft.members)
            else "ndr_loop"
        )
    return "ticket_pair" if any(_TICKETS.match(m) for m in draft.members) else "responder_pair"


def _aliases(draft: Draft, mail: Mail) -> dict[str, tuple[str, ...]]:
    """Other addresses under which the logs name the members, as far as they differ in more than letter case."""
    rows = mail.told(draft.mids).filter(pl.col("to_box").is_in(list(draft.members)))
    pairs = rows.select("to_box", "recipient").unique().sort("to_box", "recipient")
    out: dict[str, list[str]] = {}
    for box, raw in pairs.iter_rows():
        if raw and lowered(raw) != box and lowered(raw) not in draft.members:
            out.setdefault(box, []).append(raw)
    return {box: tuple(raws[:10]) for box, raws in out.items()}


_ENDED = {
    Ending.MAILBOX_FULL: said("ended: mailbox full"),
    Ending.SENDING_LIMIT: said("ended: sending limit"),
    Ending.HOP_LIMIT: said("ended: hop limit"),
    Ending.BLOCKED: said("ended: blocked"),
    Ending.OPERATOR: said("ended: operator"),
    Ending.QUIET: said("ended: quiet"),
    Ending.ONGOING: said("ended: ongoing"),
}


def _moments(draft: Draft, trigger: Trigger, ended_by: EndedBy) -> tuple[Moment, ...]:
    began = said(
        mark("first notification: %(sender)s to %(recipient)s")
        if draft.kind is Kind.NDR_STORM
        else mark("first message of the chain: %(sender)s to %(recipient)s"),
        sender=trigger.sender,
        recipient=trigger.recipient,
    )
    out = [Moment(time=draft.started, words=began, evidence=trigger.evidence)]
    times = sorted(draft.times)
    if len(times) > 20:
        best, start, at = 0, 0, times[0]
        for i, t in enumerate(times):
            while t - times[start] >= 60:
                start += 1
            if i - start + 1 > best:
                best, at = i - start + 1, times[start]
        out.append(Moment(time=dt.datetime.fromtimestamp(at, dt.UTC), words=said("peak: %(n)s messages within a minute", n=best)))
    out.append(Moment(time=draft.ended, words=said("last turn")))
    if draft.end.at and draft.end.place:
        out.append(Moment(time=draft.end.at, words=_ENDED[ended_by.reason], evidence=ended_by.evidence))
    return tuple(sorted(out, key=lambda m: m.time))
