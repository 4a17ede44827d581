"""How a loop ended: by whose guard, with the line that says so; or whether it still runs."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from maillog_forensics import signatures
from maillog_forensics.evidence import Place
from maillog_forensics.figures import clock
from maillog_forensics.findings import Ending
from maillog_forensics.language import said
from maillog_forensics.mail import Mail

_REASONS = {"loop_guard": Ending.HOP_LIMIT, "mailbox_full": Ending.MAILBOX_FULL, "rate_limit": Ending.SENDING_LIMIT}
_LIMIT_WORDS = re.compile(
    r"(?i)\b(rate|limit|quota|too (?:many|much)|exceed|throttl|flood|per (?:hour|day|minute)|policyd?|try again later)\b"
)
_FULL_WORDS = re.compile(
    r"(?i)mailbox (?:is )?full|over ?quota|quota exceeded|(?<![\d.])5\.2\.2(?![\d.])|insufficient (?:system )?storage|disk quota"
)
_LOOP_WORDS = re.compile(r"(?i)mail loop|forwarding loop|loops? back|too many (?:hops|.received)|hop ?count|routing loop")
_SIZE_WORDS = re.compile(
    r"(?i)(?<![\d.])5\.(?:2\.3|3\.4)(?![\d.])|message (?:size|length|(?:is )?too (?:big|large))|message exceeds .{0,40}\bsize"
)
"""One message is too large (RFC 3463, X.2.3 and X.3.4): no limit of how many are sent."""
_ACCESS_RULE = re.compile(
    r"(?i)(?<![\d.])5\.7\.\d+\b.{0,400}\b(?:address|host|command|helo|ehlo|header|body|content|data) rejected: "
)
"""A refusal by a rule that the server's administrator wrote; what follows the colon are his words."""
_OPERATOR = re.compile(r"(?i)\b(?:cancelled|removed|frozen|deleted) by\b|^(?:removed|deleted|held|placed on hold)|postsuper")


@dataclass(frozen=True)
class End:
    """How it ended, before the lines are fetched."""

    reason: Ending
    side: Literal["ours", "theirs", "unknown"]
    host: str = ""
    text: str = ""
    signature: str = ""
    place: Place | None = None
    at: dt.datetime | None = None
    retried: bool = False
    """Whether it was tried again after `at`; `place` is the last time."""

    @property
    def note(self) -> str:
        """What the line of `place` is said to be."""
        if not self.retried or self.at is None:
            return said("what ended it")
        return said("what ended it, tried first at %(time)s and here for the last time", time=clock(self.at))


def how_ended(
    mail: Mail,
    mids: list[int],
    members: tuple[str, ...],
    last: dt.datetime,
    period_s: float | None,
    log_end: dt.datetime,
    *,
    forwarding: bool = False,
    log_ends: dict[str, dt.datetime] | None = None,
) -> End:
    """Tell what ended a loop.

    Parameters
    ----------
    mids
        Messages of the loop, in time order.
    last
        Its last turn; the guard's line stands near it.
    log_end
        Last event of the logs in which the loop is seen.

    Notes
    -----
    What befell the last messages decides: a text known by `signatures` first, else plain words. Of the refusals without
    a message of their own (NOQUEUE) those count that name two members, or one of them with a null sender.
    """
    period = period_s or 60.0
    grace = dt.timedelta(seconds=max(120.0, 6 * period))
    end = _by_last_messages(mail, mids, last, grace, forwarding)
    if end is None or end.reason is Ending.BLOCKED:
        end = _by_refusals(mail, members, last, grace) or end
    if end is None and forwarding:
        end = _by_headers(mail, mids, last, grace)
    if end is None:
        end = _by_hand(mail, mids, last, grace)
    if end:
        is_here = end.host.lower() in mail.hosts or end.host.split(".")[0].lower() in mail.hosts
        return replace(end, side="ours") if end.side == "theirs" and is_here else end
    waiting = (log_end - last).total_seconds()
    if waiting <= max(2.5 * period, 3.0):
        return End(
            Ending.ONGOING,
            "unknown",
            at=last,
            text=said("the logs of its hosts end %(s)s s after the last turn: nothing shows an end", s=round(waiting)),
        )
    return End(
        Ending.QUIET,
        "unknown",
        at=last,
        text=said("no further turn in the %(s)s s until the logs end; no line tells why", s=round(waiting)),
    )


def _by_last_messages(mail: Mail, mids: list[int], last: dt.datetime, grace: dt.timedelta, forwarding: bool) -> End | None:
    """What befell the messages of the last turns that were not simply delivered."""
    tail = mids if forwarding else mids[-12:]
    rows = (
        mail.told(tail)
        .filter(pl.col("event").is_in(["bounce", "defer", "expire", "discard"]))
        .join(mail.stays(tail).select("mid", "host", "host_key"), on="mid", how="left")
        .filter(pl.col("first") >= (last - grace if not forwarding else dt.datetime(1970, 1, 1, tzinfo=dt.UTC)))
        .sort("mid", "last")
    )
    usual = _usual_failures(mail, mids) > 0.25  # where every turn fails (an answer to MAILER-DAEMON), a failure is no ending
    ends = []
    for row in rows.tail(60).to_dicts():
        reason, signature = classify(row["diagnostic"] or "")
        stood = row["event"] == "defer"  # from the first deferral on
        if row["waited_for"] and not stood:  # "retry timeout exceeded": the deferrals before it say why
            why, known = classify(row["waited_for"])
            if why and reason in (None, why):
                reason, signature, stood = why, known, True
                row |= {
                    "diagnostic": row["waited_for"],
                    "source": row["waited_source"],
                    "line": row["waited_line"],
                    "offset": row["waited_offset"],
                }
        if reason is None and row["event"] in ("bounce", "expire", "discard") and not usual:
            reason = Ending.BLOCKED
        if reason is None:
            continue
        theirs = is_theirs(row["diagnostic"] or "", row["relay_ip"])
        place = (row["source"], row["line"], row["offset"])
        ends.append(
            End(
                reason,
                "theirs" if theirs else "ours",
                (row["relay_host"] if theirs else row["host"]) or "",
                row["diagnostic"] or "",
                signature,
                place,
                row["first"] if stood else row["last"],
                stood and row["attempts"] > 1 + (row["event"] != "defer"),
            )
        )
    if not ends:
        return None
    order = [Ending.HOP_LIMIT, Ending.MAILBOX_FULL, Ending.SENDING_LIMIT, Ending.BLOCKED]
    return min(reversed(ends), key=lambda e: order.index(e.reason))


def _usual_failures(mail: Mail, mids: list[int]) -> float:
    """Part of the loop's messages that failed."""
    failed = mail.told(mids).filter(pl.col("event").is_in(["bounce", "expire"]))["mid"].n_unique()
    return failed / max(1, len(mids))


def _by_refusals(mail: Mail, members: tuple[str, ...], last: dt.datetime, grace: dt.timedelta) -> End | None:
    from maillog_forensics.addresses import canonical_of

    rows = mail.attempts.filter(
        pl.col("event").is_in(["reject", "discard"]), pl.col("time").is_between(last - dt.timedelta(seconds=20), last + grace)
    ).collect()
    if rows.is_empty():
        return None
    rows = rows.with_columns(_from=canonical_of(rows["sender"]), _to=canonical_of(rows["recipient"]))
    names = list(members)
    rows = rows.filter(pl.col("_from").is_in(names) & (pl.col("_to").is_in(names) | pl.col("_to").is_null()))
    found = []
    for row in rows.sort("time", "source", "line").head(50).to_dicts():
        text = row["diagnostic"] or ""
        reason, signature = classify(text)
        found.append(
            End(
                reason or Ending.BLOCKED,
                "ours",
                row["host"] or "",
                text,
                signature,
                (row["source"], row["line"], row["offset"]),
                row["time"],
            )
        )
    order = [Ending.HOP_LIMIT, Ending.MAILBOX_FULL, Ending.SENDING_LIMIT, Ending.BLOCKED]
    return min(found, key=lambda e: order.index(e.reason)) if found else None


def _by_headers(mail: Mail, mids: list[int], last: dt.datetime, grace: dt.timedelta) -> End | None:
    """A server's own refusal of too many Received lines, for which it names neither sender nor Message-ID: by the client that handed it in."""
    stays = mail.stays(mids).select("host_key", "client_host", "client_ip")
    rows = mail.attempts.filter(
        pl.col("event") == "notice",
        pl.col("diagnostic").is_not_null(),
        pl.col("queue_id").is_not_null(),
        pl.col("time").is_between(last - dt.timedelta(seconds=20), last + grace),
    ).collect()
    guards = [t for t in rows["diagnostic"].unique().to_list() if classify(t)[0] is Ending.HOP_LIMIT]
    rows = rows.filter(pl.col("diagnostic").is_in(guards))
    if rows.is_empty():
        return None
    came = mail.messages.filter(pl.col("queue_id").is_in(rows["queue_id"].implode())).select(
        "queue_id", "host", "host_key", "client_host", "client_ip"
    )
    alike = came.collect().join(stays, on=["host_key", "client_host", "client_ip"], how="semi", nulls_equal=True)
    found = rows.join(alike.select("queue_id", "host"), on=["queue_id", "host"], how="semi", nulls_equal=True).sort(
        "time", "source", "line"
    )
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    text = row["diagnostic"]
    place = (row["source"], row["line"], row["offset"])
    return End(Ending.HOP_LIMIT, "ours", row["host"] or "", text, classify(text)[1], place, row["time"])


def _by_hand(mail: Mail, mids: list[int], last: dt.datetime, grace: dt.timedelta) -> End | None:
    """An administrator's hand: held, removed or cancelled in the queue near the end."""
    ids = mail.stays(mids[-60:])["queue_id"].drop_nulls()
    rows = mail.attempts.filter(
        pl.col("event").is_in(["hold", "notice"]) | (pl.col("program") == "postsuper"),
        pl.col("queue_id").is_in(ids.implode()),
        pl.col("time").is_between(last - grace, last + grace),
    )
    for row in rows.sort("time", "source", "line").collect().to_dicts():
        text = row["diagnostic"] or row["outcome"] or ""
        if row["program"] == "postsuper" or _OPERATOR.search(text):
            return End(
                Ending.OPERATOR, "ours", row["host"] or "", text, "", (row["source"], row["line"], row["offset"]), row["time"]
            )
    return None


def is_theirs(text: str, relay_ip: str | None) -> bool:
    """Whether a refusal was said by the next server, as far as its text and the delivery tell."""
    return " said: " in text or "remote mail server" in text or relay_ip is not None


def classify(text: str) -> tuple[Ending | None, str]:
    """The ending that a text tells of, and the signature that knew it ("" for plain words)."""
    known = signatures.meaning(text)
    if known and known.kind in _REASONS:
        return _REASONS[known.kind], known.signature
    folded = signatures.fold(text)
    if _SIZE_WORDS.search(folded):
        return Ending.BLOCKED, ""
    if _LOOP_WORDS.search(folded):
        return (Ending.BLOCKED if _ACCESS_RULE.search(folded) else Ending.HOP_LIMIT), ""
    if _FULL_WORDS.search(folded):
        return Ending.MAILBOX_FULL, ""
    if _LIMIT_WORDS.search(folded):
        return Ending.SENDING_LIMIT, ""
    return None, ""
