"""What is claimed of one loop or storm, with all that proves it: the part of the findings for each incident.

Times are UTC (RFC 3339); durations are seconds; sizes are bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

from maillog_forensics.language import Said

Words = Annotated[str, WrapValidator(lambda value, usual: value if type(value) is Said else usual(value))]
"""An English sentence of ours; in memory it may still know the message that it was made from (`language.said`)."""


class Document(BaseModel):
    """A part of the document: it never changes, and has nothing that its schema does not name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """What an incident is."""

    MAIL_LOOP = "mail_loop"
    NDR_STORM = "ndr_storm"


class LoopType(StrEnum):
    """What goes round: new answers, the same message, notifications, or answers through a list."""

    AUTO_RESPONSE = "auto_response"
    FORWARDING = "forwarding"
    NOTIFICATION = "notification"
    LIST = "list"


class StormType(StrEnum):
    """Where the notifications of a storm come from."""

    BACKSCATTER = "backscatter"
    OUTBOUND_BOUNCES = "outbound_bounces"
    DOUBLE_BOUNCES = "double_bounces"
    DELAY_NOTICES = "delay_notices"


class Severity(StrEnum):
    """info is worth one line and no alarm."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


SEVERITIES = tuple(Severity)


class Ending(StrEnum):
    """What ended an incident. A log that stops is not an end: that is ONGOING."""

    MAILBOX_FULL = "mailbox_full"
    SENDING_LIMIT = "sending_limit"
    HOP_LIMIT = "hop_limit"
    BLOCKED = "blocked"
    OPERATOR = "operator"
    QUIET = "quiet"
    ONGOING = "ongoing"


class Evidence(Document):
    """A line of a log: everything claimed leads to some of these."""

    source: str
    line: int
    offset: int
    text: str
    """The line as it stands in the log (broken bytes as escapes), cut at 2,000 characters."""
    note: Words = ""
    """What the line shows: first turn, last turn, the guard that ended it …"""


class Arrow(Document):
    """One step of a loop: mail that `origin` sends when it has received, to `target`."""

    origin: str
    target: str
    messages: int
    median_lag_s: float | None = None
    """From the arrival at `origin` to the answer, NULL where only one side's log is there."""
    spread: float | None = None
    """Robust standard deviation of the natural logarithm of the lag; people: above 0.5, machines: below 0.35."""
    proof: Literal["logged_link", "same_message_id", "time_pattern"]
    program: str = ""
    """What wrote or carried the mail as far as the log tells: vacation, T=userautoreply, bounce …"""
    host: str = ""
    null_sender: int = 0
    """How many of the messages had the null reverse-path."""


class Factor(Document):
    """One reason for or against, with the value measured and the threshold it was held against."""

    name: Words
    value: float | str
    threshold: Words = ""
    supports: bool
    words: Words


class Confidence(Document):
    """How sure: proven (logged links or the same message), likely, or possible."""

    level: Literal["proven", "likely", "possible"]
    score: float = Field(ge=0, le=1)
    factors: tuple[Factor, ...] = ()


class LookAlike(Document):
    """Honest traffic that looks similar, and why this is not it (or, where `ruled_out` is false, that it may be)."""

    name: Words
    ruled_out: bool
    reason: Words


class EndedBy(Document):
    """What ended it, by whose guard, with the line that says so."""

    reason: Ending
    side: Literal["ours", "theirs", "unknown"] = "unknown"
    host: str = ""
    text: Words = ""
    """The guard's own words; ours where no line tells."""
    signature: str = ""
    """Id of the signature that recognised them."""
    evidence: tuple[Evidence, ...] = ()


class Trigger(Document):
    """The first message of the chain."""

    time: dt.datetime
    sender: str
    recipient: str
    message_id: str | None = None
    queue_id: str | None = None
    host: str = ""
    client: str = ""
    subject: str | None = None
    evidence: tuple[Evidence, ...] = ()


class FromOutside(Document):
    """A mailbox here of which nearly all messages were handed in from another network without a login."""

    sender: str
    client: str
    """The client that handed in most of them: name[address], or its address."""


def may_be_mended(ours: Sequence[str], outside: Sequence[FromOutside]) -> list[str]:
    """Those of our mailboxes whose own machines answer, as far as is known: not those that may only lend their names, unless all do."""
    forged = {o.sender for o in outside}
    return [m for m in ours if m not in forged] or list(ours)


class Harm(Document):
    """What it did to the rest. Zero is a finding too."""

    share_of_traffic: float = 0.0
    """Messages of the incident among all messages between its start and its end, 0 to 1."""
    bytes: int = 0
    ndrs_sent: int = 0
    innocent_recipients: int = 0
    """Mailboxes outside the incident that received notifications because of it."""
    mailboxes_filled: tuple[str, ...] = ()
    queue_delay_before_s: float | None = None
    """Median delay of everyone else's deliveries in an equally long time before."""
    queue_delay_during_s: float | None = None
    queue_delay_p95_before_s: float | None = None
    queue_delay_p95_during_s: float | None = None
    deferrals_during: int = 0
    overload_signs: tuple[Evidence, ...] = ()
    reputation_signs: tuple[Evidence, ...] = ()


class Cause(Document):
    """The probable cause: an id that names a file of wording under reports/causes/, and the side that can mend it."""

    id: str
    side: Literal["ours", "theirs", "both", "unknown"]
    sentence: str
    inferred: bool = True


class Remedy(Document):
    """Something to do. `commands` is printed, never run."""

    when: Literal["now", "lasting"]
    mta: str
    host: str = ""
    """Where the commands are for one server only: which."""
    title: str
    commands: str = ""
    touches: int | None = None
    """How many queued messages the commands would touch, as far as the logs tell."""
    warning: str = ""


class Bin(Document):
    """A step of a time series."""

    time: dt.datetime
    messages: int
    """Messages of the incident."""
    others: int
    """All other messages in the logs."""
    detail: dict[str, int] = {}
    """Storms: notifications by enhanced status code or origin."""


class Series(Document):
    """Rate over time, at most some 400 steps."""

    step_s: int
    bins: tuple[Bin, ...]
    baseline: float = 0.0
    """Expected messages of this kind in a step, from the time outside the incident."""
    peak_at: dt.datetime | None = None


class Moment(Document):
    """A turning point for the timeline."""

    time: dt.datetime
    words: Words
    evidence: tuple[Evidence, ...] = ()


class Incident(Document):
    """One loop or one storm."""

    id: str
    kind: Kind
    type: LoopType | StormType
    severity: Severity
    confidence: Confidence
    headline: str
    members: tuple[str, ...]
    """Mailboxes in cycle order (storms: the mailbox that is hit)."""
    aliases: dict[str, tuple[str, ...]] = {}
    """Member to the other addresses under which the logs name it."""
    hosts: tuple[str, ...]
    ours: tuple[str, ...] = ()
    """Members whose mailboxes lie on hosts of these logs; empty where that is not known."""
    from_outside: tuple[FromOutside, ...] = ()
    """Those of them whose names may be forged."""
    host_mtas: dict[str, str] = {}
    """Host to its mail server: postfix, exim, exchange."""
    started: dt.datetime
    ended: dt.datetime
    messages: int
    transfers: int
    copies: int = 0
    bytes: int
    turns: int
    period_s: float | None = None
    """Median time of a whole turn."""
    peak_per_minute: float
    growth_bytes_per_turn: float | None = None
    arrows: tuple[Arrow, ...] = ()
    trigger: Trigger | None = None
    ended_by: EndedBy
    still_queued: tuple[str, ...] = ()
    """Queue ids of its messages that the logs show as not yet gone (at most 200)."""
    cause: Cause
    harm: Harm = Harm()
    look_alikes: tuple[LookAlike, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    moments: tuple[Moment, ...] = ()
    series: Series | None = None
    origins: dict[str, int] = {}
    """Storms: host that made the notifications to their number."""
    notified: int = 0
    """Storms from one host to many: how many mailboxes it notified; zero where one mailbox was hit."""
    codes: dict[str, int] = {}
    """Enhanced status codes seen, with their number."""
    message_ids: tuple[str, ...] = ()
    """Some of the Message-IDs, first and last ones."""
    evidence: tuple[Evidence, ...] = ()
    evidence_total: int = 0
    """How many log lines belong to it altogether."""
