"""What the page says about an incident in words and figures: state, course, harm, and the letter to the other side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from maillog_forensics.figures import bytes_text, clock, plural, seconds_text, share_text
from maillog_forensics.findings import Ending, Incident, Kind, LoopType, Severity
from maillog_forensics.language import day, mark, number, say, say_n, told, translated
from maillog_forensics.remedies import CauseWords
from maillog_forensics.text import visible
from maillog_forensics.wording import headline_of

SHAPES = {"info": "○", "low": "▽", "medium": "◆", "high": "▲", "critical": "✕"}

SEVERITIES = {
    "info": mark("Info"),
    "low": mark("Low"),
    "medium": mark("Medium"),
    "high": mark("High"),
    "critical": mark("Critical"),
}

TYPES = {
    "auto_response": mark("automatic answers"),
    "forwarding": mark("forwarding ring"),
    "notification": mark("answered notifications"),
    "list": mark("answers through a list"),
    "backscatter": mark("backscatter"),
    "outbound_bounces": mark("bounces of own mail"),
    "double_bounces": mark("double bounces"),
    "delay_notices": mark("delay notices"),
}

SURENESS = {"proven": mark("proven"), "likely": mark("likely"), "possible": mark("possible")}

ENDINGS = {
    Ending.MAILBOX_FULL: mark("mailbox full"),
    Ending.SENDING_LIMIT: mark("sending limit"),
    Ending.HOP_LIMIT: mark("loop guard"),
    Ending.BLOCKED: mark("refused"),
    Ending.OPERATOR: mark("by hand"),
    Ending.QUIET: mark("not seen again"),
    Ending.ONGOING: mark("still running"),
}

SIDES = {
    "ours": mark("ours"),
    "theirs": mark("theirs"),
    "both": mark("both, ours first"),
    "unknown": mark("not known"),
}


@dataclass(frozen=True)
class Figure:
    """One of the five numbers."""

    value: str
    words: str


@dataclass(frozen=True)
class Part:
    """A piece of a sentence; `strong` for what matters, `inferred` for what no line says."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Letter:
    """A text for the other side's postmaster."""

    subject: str
    lines: tuple[str, ...]


def parts(message: str, **values: str) -> Iterator[Part]:
    """A sentence with its stressed pieces between asterisks, and a space behind it; what fills the holes stresses nothing."""
    for n, piece in enumerate(translated(message).split("*")):
        if piece:
            yield Part(piece % values, "strong" if n % 2 else "")
    yield Part(" ")


def state(i: Incident) -> str:
    """Whether it still runs, or when and by what it ended."""
    end = i.ended_by
    if end.reason is Ending.ONGOING:
        if end.text.startswith("the logs of its hosts end"):
            return say("Running: %(told)s", told=visible(told(end.text).partition(":")[0], 120))
        return say("Running: no line shows an end")
    if end.reason is Ending.QUIET:
        return say("Last seen %(time)s, end not logged", time=clock(i.ended, i.started))
    return say(_STATES[end.reason, end.side], time=clock(ended_at(i), i.started))


_STATES = {
    (Ending.MAILBOX_FULL, "ours"): mark("Ended %(time)s by a full mailbox of ours"),
    (Ending.MAILBOX_FULL, "theirs"): mark("Ended %(time)s by a full mailbox of theirs"),
    (Ending.MAILBOX_FULL, "unknown"): mark("Ended %(time)s by a full mailbox"),
    (Ending.SENDING_LIMIT, "ours"): mark("Ended %(time)s by our sending limit"),
    (Ending.SENDING_LIMIT, "theirs"): mark("Ended %(time)s by their sending limit"),
    (Ending.SENDING_LIMIT, "unknown"): mark("Ended %(time)s by a sending limit"),
    (Ending.HOP_LIMIT, "ours"): mark("Ended %(time)s by our loop guard"),
    (Ending.HOP_LIMIT, "theirs"): mark("Ended %(time)s by their loop guard"),
    (Ending.HOP_LIMIT, "unknown"): mark("Ended %(time)s by a loop guard"),
    (Ending.BLOCKED, "ours"): mark("Ended %(time)s by our refusal"),
    (Ending.BLOCKED, "theirs"): mark("Ended %(time)s by their refusal"),
    (Ending.BLOCKED, "unknown"): mark("Ended %(time)s by a refusal"),
    **{(Ending.OPERATOR, side): mark("Ended %(time)s by a person") for side in ("ours", "theirs", "unknown")},
}


def ended_at(i: Incident) -> dt.datetime:
    """When the ending was logged, where the timeline has it; else the last turn."""
    return next((m.time for m in reversed(i.moments) if m.words.startswith("ended")), i.ended)


def sureness(i: Incident) -> str:
    """How sure it is, and by what."""
    if i.confidence.level == "possible":
        return say("Possible: too little for an alarm")
    proofs = {a.proof for a in i.arrows}
    if i.confidence.level == "likely":
        return say("Likely: the pattern is clear, a link is missing")
    if i.kind is Kind.NDR_STORM:
        return say("Proven: the notifications themselves are in the log")
    if "same_message_id" in proofs or i.type is LoopType.FORWARDING:
        return say("Proven: the same message comes back")
    if proofs == {"logged_link"}:
        return say("Proven: the log links each answer to what it answers")
    return say("Proven: the log marks the answers as automatic")


def lede(i: Incident) -> Iterable[Part]:
    """How it began, how it ended, and the probable cause."""
    yield from _beginning(i)
    for o in i.from_outside:
        sentence = mark(
            "Nearly all messages of %(who)s came *from outside, handed in by %(client)s without a login*: the name may be forged."
        )
        yield from parts(sentence, who=_short(o.sender, i), client=brief(o.client))
    yield from _ending(i)
    yield Part(visible(told(i.cause.sentence), 400), "inferred" if i.cause.inferred else "")


def _beginning(i: Incident) -> Iterable[Part]:
    t = i.trigger
    if not t:
        return parts("It was first seen at *%(time)s UTC*.", time=clock(i.started, i.started))
    time = clock(t.time)
    if i.kind is Kind.NDR_STORM:
        if t.host:
            return parts("The first notification came at *%(time)s UTC* from %(host)s.", time=time, host=brief(t.host))
        return parts("The first notification came at *%(time)s UTC*.", time=time)
    whom = {"sender": _short(t.sender, i), "recipient": _short(t.recipient, i), "time": time}
    if t.client:
        message = mark("It began with *one message from %(sender)s to %(recipient)s at %(time)s UTC*, handed in by %(client)s.")
        return parts(message, client=brief(t.client), **whom)
    return parts("It began with *one message from %(sender)s to %(recipient)s at %(time)s UTC*.", **whom)


def _ending(i: Incident) -> Iterable[Part]:
    end = i.ended_by
    if end.reason is Ending.ONGOING:
        return parts("*It was still running when the logs end.*")
    if end.reason is Ending.QUIET:
        return parts("The last one was seen at %(time)s, and no line tells why it stopped.", time=clock(i.ended, i.started))
    at = clock(ended_at(i), i.started)
    if end.host:
        return parts(_ENDED_ON[end.reason], time=at, host=brief(end.host))
    return parts(_ENDED[end.reason], time=at)


_ENDED_ON = {
    Ending.MAILBOX_FULL: mark("It ended at %(time)s, when *a mailbox on %(host)s was full*."),
    Ending.SENDING_LIMIT: mark("It ended at %(time)s, when *a sending limit on %(host)s refused the next message*."),
    Ending.HOP_LIMIT: mark("It ended at %(time)s, when *the loop guard on %(host)s stopped it*."),
    Ending.BLOCKED: mark("It ended at %(time)s, when *%(host)s refused the next message*."),
    Ending.OPERATOR: mark("It ended at %(time)s, when *somebody took it out of the queue on %(host)s*."),
}
_ENDED = {
    Ending.MAILBOX_FULL: mark("It ended at %(time)s, when *a mailbox was full*."),
    Ending.SENDING_LIMIT: mark("It ended at %(time)s, when *a sending limit refused the next message*."),
    Ending.HOP_LIMIT: mark("It ended at %(time)s, when *a loop guard stopped it*."),
    Ending.BLOCKED: mark("It ended at %(time)s, when *the next message was refused*."),
    Ending.OPERATOR: mark("It ended at %(time)s, when *somebody took it out of the queue*."),
}


def brief(name: str) -> str:
    """A name in a sentence, with an end."""
    return visible(name, 60)


def _short(address: str, i: Incident) -> str:
    """The local part of a member, where the headline has just named the whole address and it can't be mistaken."""
    if address in ("", "<>"):
        return say("the null sender <>")
    local = address.rpartition("@")[0]
    once = [m for m in i.members if m.rpartition("@")[0] == local]
    return brief(local if len(once) == 1 and address in i.members[:4] else address)


def five_figures(i: Incident) -> tuple[Figure, ...]:
    """The five numbers of the first screen."""
    if i.kind is Kind.NDR_STORM:
        return _storm_figures(i)
    passages = i.transfers if i.type is LoopType.FORWARDING else i.messages
    rate = passages / max((i.ended - i.started).total_seconds() / 60, 1)
    lasting = seconds_text((i.ended - i.started).total_seconds())
    pace = Figure(
        say("%(n)s / min", n=round(rate, 1)), say("for %(time)s, peak %(peak)s", time=lasting, peak=number(i.peak_per_minute))
    )
    return _size(i), pace, _turn(i), Figure(bytes_text(i.bytes), _growth(i)), _hit(i)


def _size(i: Incident) -> Figure:
    """How many messages it was, and what made them many."""
    if i.type is LoopType.FORWARDING:
        each = i.transfers / i.messages if i.messages else 0
        return Figure(number(i.transfers), say("transfers, %(n)s for each message", n=round(each, 1)))
    if i.type is LoopType.LIST:
        return Figure(number(i.messages), say("posts, %(n)s copies delivered", n=i.copies))
    if i.harm.share_of_traffic:
        return Figure(number(i.messages), say("messages, %(share)s of all mail", share=share_text(i.harm.share_of_traffic)))
    return Figure(number(i.messages), say("messages"))


def _turn(i: Incident) -> Figure:
    turns = plural(i.turns, "turn")
    if i.type is LoopType.FORWARDING:
        return Figure(turns, say("of one message at most") if i.turns else say("stopped at the first hop"))
    if i.period_s is None:
        return Figure(turns, say("their length is not known"))
    spreads = [a.spread for a in i.arrows if a.spread is not None]
    if spreads and max(spreads) < 1:
        words = say("a turn ± %(share)s, %(turns)s", share=share_text(max(spreads)), turns=turns)
    else:
        words = say("a turn, %(turns)s", turns=turns)
    return Figure(seconds_text(i.period_s), words)


def _storm_figures(i: Incident) -> tuple[Figure, ...]:
    usual = i.series.baseline * 60 / i.series.step_s if i.series else 0.0
    share = i.harm.share_of_traffic
    first, last = f"{i.started:%H:%M}", f"{i.ended:%H:%M}"
    return (
        Figure(
            number(i.messages),
            say("notifications, %(share)s of all mail", share=share_text(share)) if share else say("notifications"),
        ),
        Figure(say("%(n)s / min", n=i.peak_per_minute), say("at the peak; usually %(usual)s", usual=round(usual, 2))),
        Figure(seconds_text((i.ended - i.started).total_seconds()), say("%(first)s to %(last)s UTC", first=first, last=last)),
        Figure(plural(len(i.origins), "server"), say("made them")) if i.origins else Figure("?", say("origin not logged")),
        _storm_hit(i),
    )


def _storm_hit(i: Incident) -> Figure:
    if i.harm.mailboxes_filled:
        return Figure(plural(len(i.harm.mailboxes_filled), "mailbox"), say("filled"))
    if i.harm.innocent_recipients:
        return Figure(plural(i.harm.innocent_recipients, "outsider"), say("notified as well"))
    return Figure(bytes_text(i.bytes), say("of notifications"))


def _growth(i: Incident) -> str:
    g = i.growth_bytes_per_turn
    if g is None:
        return say("altogether")
    if abs(g) < 1:
        return say("in messages of constant size")
    size = bytes_text(abs(g))
    return say("growing %(size)s a turn", size=size) if g > 0 else say("shrinking %(size)s a turn", size=size)


def _hit(i: Incident) -> Figure:
    h = i.harm
    sent = plural(h.ndrs_sent, "NDR")
    if h.mailboxes_filled:
        return Figure(plural(len(h.mailboxes_filled), "mailbox"), say("filled; %(ndrs)s sent", ndrs=sent))
    if h.innocent_recipients:
        return Figure(plural(h.innocent_recipients, "outsider"), say("notified; %(ndrs)s sent", ndrs=sent))
    if h.ndrs_sent:
        return Figure(sent, say("no outsider, no mailbox filled"))
    return Figure("0", say("NDRs, outsiders, full mailboxes"))


def harm(i: Incident) -> Iterable[tuple[str, str]]:
    """What it did to the rest, measured; zero is said too."""
    h = i.harm
    yield say("Share of all mail while it ran"), share_text(h.share_of_traffic)
    yield say("Volume"), bytes_text(h.bytes or i.bytes)
    if i.kind is Kind.NDR_STORM:
        yield say("Notifications"), number(i.messages)
        yield say("Others who were sent notifications"), number(h.innocent_recipients)
    else:
        yield say("Non-delivery reports that it caused"), number(h.ndrs_sent)
        yield say("Outsiders who were sent notifications"), number(h.innocent_recipients)
    yield say("Mailboxes filled"), ", ".join(h.mailboxes_filled) or say("none seen")
    yield say("Delay of everybody else's mail (median)"), _delay(h.queue_delay_during_s, h.queue_delay_before_s)
    if h.queue_delay_p95_during_s is not None:
        yield say("The slowest twentieth of it"), _delay(h.queue_delay_p95_during_s, h.queue_delay_p95_before_s)
    yield say("Deferrals of other mail"), number(h.deferrals_during)
    for what, lines in (
        (say("Signs of overload"), h.overload_signs),
        (say("Replies about reputation or blocklists"), h.reputation_signs),
    ):
        yield what, plural(len(lines), "line") if lines else say("none seen")


def _delay(during: float | None, before: float | None) -> str:
    if during is None:
        return say("not measurable: too few other deliveries with a delay in that time")
    if before is None:
        return say("%(during)s while it ran; before: too few deliveries to compare with", during=seconds_text(during))
    return say("%(during)s while it ran; %(before)s before", during=seconds_text(during), before=seconds_text(before))


def phases(i: Incident) -> Iterable[tuple[str, str, str]]:
    """Start, growth, peak and end of a storm, from its rate."""
    if i.kind is not Kind.NDR_STORM or not i.series:
        return
    busy = [b for b in i.series.bins if b.messages > 0]
    if not busy:
        return
    top = max(b.messages for b in busy)
    peak = next(b for b in busy if b.messages == top)
    half = next(b for b in busy if b.messages >= top / 2)
    after = seconds_text(max(0.0, (half.time - i.started).total_seconds()))
    yield say("Onset"), clock(i.started), say("first notification")
    yield say("Half of the peak"), clock(half.time, i.started), say("%(time)s after the onset", time=after)
    yield say("Peak"), clock(peak.time, i.started), say("%(n)s in %(time)s", n=top, time=seconds_text(i.series.step_s))
    yield say("Last"), clock(i.ended, i.started), say(ENDINGS[i.ended_by.reason])


def whose(i: Incident, member: str) -> str:
    """ "ours", "theirs", or "" where that is not known: a mailbox of a domain of which another one is ours is ours."""
    if not i.ours:
        return ""
    domains = {m.rpartition("@")[2] for m in i.ours}
    return "ours" if member in i.ours or member.rpartition("@")[2] in domains else "theirs"


def all_ours(i: Incident) -> bool:
    """Whether every member of a loop is on our side, so that there is no other side to write to."""
    return i.kind is Kind.MAIL_LOOP and bool(i.ours) and not i.from_outside and all(whose(i, m) == "ours" for m in i.members)


def side(i: Incident) -> str:
    """The side to mend, in words."""
    return say("both are ours") if i.cause.side == "both" and all_ours(i) else say(SIDES[i.cause.side])


def letter(i: Incident, words: CauseWords) -> Letter | None:
    """What the other side's postmaster needs: times with their zone, ids, the rule, the request; no content of mail."""
    if i.cause.side == "ours" or i.severity is Severity.INFO or all_ours(i):
        return None
    ids = [*i.message_ids[:3], *[m for m in i.message_ids[-2:] if m not in i.message_ids[:3]]]
    ending = i.ended_by
    lines = [
        say("Dear postmaster,"),
        "",
        headline_of(i),
        say("From %(first)s to %(last)s, all times UTC.", first=clock(i.started), last=clock(i.ended)),
        *(_arrow_line(a.origin, a.target, a.messages, a.median_lag_s) for a in i.arrows[:8]),
        *(
            [say("It ended by: %(text)s", text=ending.text[:300])]
            if ending.text and ending.reason not in (Ending.ONGOING, Ending.QUIET)
            else []
        ),
        *([say("It was still running when our logs end.")] if ending.reason is Ending.ONGOING else []),
        "",
        say("Message-IDs, so that you find it in your logs:") if ids else "",
        *(f"  <{m}>" for m in ids),
        "",
        say("What should change: %(mend)s", mend=words.mend),
        say("The rule: %(rule)s", rule=words.rule) if words.rule else "",
        "",
        say("Please tell us what you find. What we do on our side: ____"),
    ]
    kept = [line for n, line in enumerate(lines) if line or (n and lines[n - 1])]
    what = (
        mark("NDR storm of %(day)s between our servers")
        if i.kind is Kind.NDR_STORM
        else mark("Mail loop of %(day)s between our servers")
    )
    return Letter(say(what, day=day(i.started)), tuple(kept))


def _arrow_line(origin: str, target: str, messages: int, lag: float | None) -> str:
    if lag is None:
        return say_n(
            "%(origin)s to %(target)s: %(n)s message",
            "%(origin)s to %(target)s: %(n)s messages",
            messages,
            origin=origin,
            target=target,
        )
    return say_n(
        "%(origin)s to %(target)s: %(n)s message, %(lag)s after what it answers",
        "%(origin)s to %(target)s: %(n)s messages, %(lag)s after what it answers",
        messages,
        origin=origin,
        target=target,
        lag=seconds_text(lag),
    )
