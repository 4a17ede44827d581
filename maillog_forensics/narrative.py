"""What the page says about an incident in words and figures: state, course, harm, and the letter to the other side."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from maillog_forensics.figures import bytes_text, clock, day, number, plural, seconds_text, share_text
from maillog_forensics.findings import Ending, Incident, Kind, LoopType, Severity
from maillog_forensics.remedies import CauseWords
from maillog_forensics.text import visible

SHAPES = {"info": "○", "low": "▽", "medium": "◆", "high": "▲", "critical": "✕"}

TYPES = {
    "auto_response": "automatic answers",
    "forwarding": "forwarding ring",
    "notification": "answered notifications",
    "list": "answers through a list",
    "backscatter": "backscatter",
    "outbound_bounces": "bounces of own mail",
    "double_bounces": "double bounces",
    "delay_notices": "delay notices",
}

LEVELS = {
    "proven": "Proven: logged links or the same message",
    "likely": "Likely: the pattern is clear, a link is missing",
    "possible": "Possible: too little for an alarm",
}

ENDINGS = {
    Ending.MAILBOX_FULL: "mailbox full",
    Ending.SENDING_LIMIT: "sending limit",
    Ending.HOP_LIMIT: "loop guard",
    Ending.BLOCKED: "refused",
    Ending.OPERATOR: "by hand",
    Ending.QUIET: "not seen again",
    Ending.ONGOING: "still running",
}

SIDES = {"ours": "ours", "theirs": "theirs", "both": "both, ours first", "unknown": "not known"}


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


def state(i: Incident) -> str:
    """Whether it still runs, or when and by what it ended."""
    end = i.ended_by
    if end.reason is Ending.ONGOING:
        told = visible(end.text.partition(":")[0], 120) if end.text.startswith("the logs end") else "no line shows an end"
        return f"Running: {told}"
    if end.reason is Ending.QUIET:
        return f"Last seen {clock(i.ended, i.started)}, end not logged"
    return f"Ended {clock(ended_at(i), i.started)} by {_by(i)}"


def _by(i: Incident) -> str:
    whose = {"ours": "our", "theirs": "their"}.get(i.ended_by.side, "a")
    return {
        Ending.MAILBOX_FULL: "a full mailbox",
        Ending.SENDING_LIMIT: f"{whose} sending limit",
        Ending.HOP_LIMIT: f"{whose} loop guard",
        Ending.BLOCKED: f"{whose} refusal",
        Ending.OPERATOR: "a person",
    }.get(i.ended_by.reason, "")


def ended_at(i: Incident) -> dt.datetime:
    """When the ending was logged, where the timeline has it; else the last turn."""
    return next((m.time for m in reversed(i.moments) if m.words.startswith("ended")), i.ended)


def lede(i: Incident) -> Iterable[Part]:
    t = i.trigger
    storm = i.kind is Kind.NDR_STORM
    if t:
        yield Part("The first notification came at " if storm else "It began with ")
        if storm:
            yield Part(f"{clock(t.time, i.started)} UTC", "strong")
            yield Part(f" from {brief(t.host)}" if t.host else "")
        else:
            yield Part(
                f"one message from {_short(t.sender, i)} to {_short(t.recipient, i)} at {clock(t.time, i.started)} UTC", "strong"
            )
            yield Part(f", handed in by {brief(t.client)}" if t.client else "")
    else:
        yield Part(f"It was first seen at {clock(i.started, i.started)} UTC")
    end = i.ended_by
    at = clock(ended_at(i), i.started)
    if end.reason is Ending.ONGOING:
        yield Part("; ")
        yield Part("it was still running when the logs end", "strong")
        yield Part(". ")
    elif end.reason is Ending.QUIET:
        yield Part(f"; the last one was seen at {clock(i.ended, i.started)}, and no line tells why it stopped. ")
    else:
        where = f" on {brief(end.host)}" if end.host else ""
        yield Part(", and ended when " if t and t.client and not storm else " and ended when ")
        yield Part(
            {
                Ending.MAILBOX_FULL: f"a mailbox was full{where}",
                Ending.SENDING_LIMIT: f"a sending limit{where} refused the next message",
                Ending.HOP_LIMIT: f"the loop guard{where} stopped it",
                Ending.BLOCKED: f"the next message was refused{where}",
                Ending.OPERATOR: f"somebody took it out of the queue{where}",
            }[end.reason],
            "strong",
        )
        yield Part(f" at {at}. ")
    yield Part(visible(i.cause.sentence, 300), "inferred" if i.cause.inferred else "")


def brief(name: str) -> str:
    return visible(name, 60)


def _short(address: str, i: Incident) -> str:
    """The local part of a member, where the headline has just named the whole address and it can't be mistaken."""
    if address in ("", "<>"):
        return "the null sender <>"
    local = address.rpartition("@")[0]
    once = [m for m in i.members if m.rpartition("@")[0] == local]
    return brief(local if len(once) == 1 and address in i.members[:4] else address)


def five_figures(i: Incident) -> tuple[Figure, ...]:
    minutes = max((i.ended - i.started).total_seconds() / 60, 1 / 60)
    rate = (i.transfers if i.type is LoopType.FORWARDING else i.messages) / max(minutes, 1)
    share = f", {share_text(i.harm.share_of_traffic)} of all mail" if i.harm.share_of_traffic else ""
    usual = i.series.baseline * 60 / i.series.step_s if i.series else 0.0
    lasting = seconds_text((i.ended - i.started).total_seconds())
    pace = Figure(f"{number(round(rate, 1))} / min", f"for {lasting}, peak {number(i.peak_per_minute)}")
    volume = Figure(bytes_text(i.bytes), _growth(i))
    hit = _hit(i)
    if i.kind is Kind.NDR_STORM:
        origins = len(i.origins)
        return (
            Figure(number(i.messages), f"notifications{share}"),
            Figure(f"{number(i.peak_per_minute)} / min", f"at the peak; usually {number(round(usual, 2))}"),
            Figure(lasting, f"{clock(i.started)[11:16]} to {clock(i.ended, i.started)[-8:-3]} UTC"),
            Figure(plural(origins, "server") if origins else "?", "made them" if origins else "origin not logged"),
            hit if hit.value != "0" else Figure(bytes_text(i.bytes), "of notifications"),
        )
    if i.type is LoopType.FORWARDING:
        each = i.transfers / i.messages if i.messages else 0
        turn = (
            Figure(plural(i.turns, "turn"), "of one message at most")
            if i.turns
            else Figure("0 turns", "stopped at the first hop")
        )
        return Figure(number(i.transfers), f"transfers, {number(round(each, 1))} for each message"), pace, turn, volume, hit
    spreads = [a.spread for a in i.arrows if a.spread is not None]
    regular = f" ± {share_text(max(spreads))}" if spreads and max(spreads) < 1 else ""
    turn = (
        Figure(seconds_text(i.period_s), f"a turn{regular}, {plural(i.turns, 'turn')}")
        if i.period_s is not None
        else Figure(plural(i.turns, "turn"), "their length is not known")
    )
    if i.type is LoopType.LIST:
        return Figure(number(i.messages), f"posts, {number(i.copies)} copies delivered"), pace, turn, volume, hit
    return Figure(number(i.messages), f"messages{share}"), pace, turn, volume, hit


def _growth(i: Incident) -> str:
    g = i.growth_bytes_per_turn
    if g is None:
        return "altogether"
    return "in messages of constant size" if abs(g) < 1 else f"{'growing' if g > 0 else 'shrinking'} {bytes_text(abs(g))} a turn"


def _hit(i: Incident) -> Figure:
    h = i.harm
    if h.mailboxes_filled:
        return Figure(plural(len(h.mailboxes_filled), "mailbox", "mailboxes"), f"filled; {plural(h.ndrs_sent, 'NDR')} sent")
    if h.innocent_recipients:
        return Figure(plural(h.innocent_recipients, "outsider"), f"got notifications; {plural(h.ndrs_sent, 'NDR')} sent")
    if h.ndrs_sent:
        return Figure(plural(h.ndrs_sent, "NDR"), "no outsider, no mailbox filled")
    return Figure("0", "NDRs, outsiders, full mailboxes")


def harm(i: Incident) -> Iterable[tuple[str, str]]:
    h = i.harm
    yield "Share of all mail while it ran", share_text(h.share_of_traffic)
    yield "Volume", bytes_text(h.bytes or i.bytes)
    yield "Non-delivery reports that it caused", number(h.ndrs_sent)
    yield "Outsiders who got notifications", number(h.innocent_recipients)
    yield "Mailboxes filled", ", ".join(h.mailboxes_filled) or "none seen"
    if h.queue_delay_during_s is None:
        yield "Delay of everybody else's mail", "not measurable: no other delivery with a delay in that time"
    else:
        before = (
            f"{seconds_text(h.queue_delay_before_s)} before"
            if h.queue_delay_before_s is not None
            else "before: nothing to compare with"
        )
        yield "Delay of everybody else's mail (median)", f"{seconds_text(h.queue_delay_during_s)} while it ran; {before}"
        if h.queue_delay_p95_during_s is not None:
            before = f"; {seconds_text(h.queue_delay_p95_before_s)} before" if h.queue_delay_p95_before_s is not None else ""
            yield "The slowest twentieth of it", f"{seconds_text(h.queue_delay_p95_during_s)} or more while it ran{before}"
    yield "Deferrals of other mail", number(h.deferrals_during)
    yield "Signs of overload", plural(len(h.overload_signs), "line") if h.overload_signs else "none seen"
    yield "Replies about reputation or blocklists", plural(len(h.reputation_signs), "line") if h.reputation_signs else "none seen"


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
    step = i.series.step_s
    yield "Onset", clock(i.started), "first notification"
    yield (
        "Half of the peak",
        clock(half.time, i.started),
        f"{seconds_text(max(0.0, (half.time - i.started).total_seconds()))} after the onset",
    )
    yield "Peak", clock(peak.time, i.started), f"{number(top)} in {seconds_text(step)}"
    yield "Last", clock(i.ended, i.started), ENDINGS[i.ended_by.reason]


def all_ours(i: Incident) -> bool:
    """Whether every member of a loop is on our side, so that there is no other side to write to."""
    return i.kind is Kind.MAIL_LOOP and bool(i.ours) and set(i.members) <= set(i.ours)


def side(i: Incident) -> str:
    """The side to mend, in words."""
    return "both are ours" if i.cause.side == "both" and all_ours(i) else SIDES[i.cause.side]


def letter(i: Incident, words: CauseWords) -> Letter | None:
    """What the other side's postmaster needs: times with their zone, ids, the rule, the request; no content of mail."""
    if i.cause.side == "ours" or i.severity is Severity.INFO or all_ours(i):
        return None
    storm = i.kind is Kind.NDR_STORM
    ids = [*i.message_ids[:3], *[m for m in i.message_ids[-2:] if m not in i.message_ids[:3]]]
    ending = i.ended_by
    lines = [
        "Dear postmaster,",
        "",
        i.headline,
        f"From {clock(i.started)} to {clock(i.ended)}, all times UTC.",
        *(
            f"{a.origin} to {a.target}: {plural(a.messages, 'message')}"
            + (f", {seconds_text(a.median_lag_s)} after what it answers" if a.median_lag_s is not None else "")
            for a in i.arrows[:8]
        ),
        *([f"It ended by: {ending.text[:300]}"] if ending.text and ending.reason not in (Ending.ONGOING, Ending.QUIET) else []),
        *(["It was still running when our logs end."] if ending.reason is Ending.ONGOING else []),
        "",
        "Message-IDs, so that you find it in your logs:" if ids else "",
        *(f"  <{m}>" for m in ids),
        "",
        f"What should change: {words.mend}",
        f"The rule: {words.rule}" if words.rule else "",
        "",
        "Please tell us what you find. What we do on our side: ____",
    ]
    kept = [line for n, line in enumerate(lines) if line or (n and lines[n - 1])]
    return Letter(f"{'NDR storm' if storm else 'Mail loop'} of {day(i.started)} between our servers", tuple(kept))
