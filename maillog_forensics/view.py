"""From the findings to what the page shows: sentences, figures and pictures; the templates only place them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import charts, diagram, remedies
from maillog_forensics.figures import bytes_text, clock, day, number, plural, seconds_text, share_text, span
from maillog_forensics.findings import Ending, Findings, Incident, Kind, LoopType, Moment, Remedy, Severity, UnknownShape
from maillog_forensics.remedies import CauseWords
from maillog_forensics.text import visible

SHAPES = {"info": "○", "low": "◔", "medium": "◆", "high": "▲", "critical": "✖"}
TYPES = {
    "auto_response": "automatic answers", "forwarding": "forwarding ring", "notification": "answered notifications", "list": "answers through a list",
    "backscatter": "backscatter", "outbound_bounces": "bounces of own mail", "double_bounces": "double bounces", "delay_notices": "delay notices",
}  # fmt: skip
LEVELS = {
    "proven": "Proven: logged links or the same message", "likely": "Likely: the pattern is clear, a link is missing", "possible": "Possible: too little for an alarm",
}  # fmt: skip
ENDINGS = {
    Ending.MAILBOX_FULL: "mailbox full", Ending.SENDING_LIMIT: "sending limit", Ending.HOP_LIMIT: "loop guard", Ending.BLOCKED: "refused",
    Ending.OPERATOR: "by hand", Ending.QUIET: "not seen again", Ending.ONGOING: "still running",
}  # fmt: skip
SIDES = {"ours": "ours", "theirs": "theirs", "both": "both, ours first", "unknown": "not known"}


@dataclass(frozen=True)
class Caps:
    """How much is shown, so that the page stays below a megabyte; what is left out is counted on the page."""

    cards: int = 12
    rows: int = 200
    members: int = 24
    evidence: int = 24
    text: int = 600
    moments: int = 40
    inputs: int = 200
    shapes: int = 25
    twins: bool = True


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


@dataclass(frozen=True)
class Card:
    """All about one incident."""

    incident: Incident
    anchor: str
    ordinal: int
    is_open: bool
    state: str
    state_words: str
    severity: str
    shape: str
    type_words: str
    confidence: str
    lede: tuple[Part, ...]
    figures: tuple[Figure, ...]
    diagram: Markup
    rate: charts.Chart | None
    codes: charts.Chart | None
    origins: Markup | None
    cause: CauseWords
    side: str
    now: tuple[Remedy, ...]
    lasting: tuple[Remedy, ...]
    first: Remedy | None
    harm: tuple[tuple[str, str], ...]
    phases: tuple[tuple[str, str, str], ...]
    letter: Letter | None


@dataclass(frozen=True)
class Turning:
    """A row of the merged timeline."""

    moment: Moment
    anchor: str
    ordinal: int


@dataclass(frozen=True)
class Page:
    """What the template gets, besides the document itself."""

    findings: Findings
    caps: Caps
    title: str
    site: str
    period: str
    lead: Card | None
    cards: tuple[Card, ...]
    others: tuple[Incident, ...]
    listed: tuple[tuple[Incident, str], ...]
    possible: tuple[Incident, ...]
    trust: tuple[Part, ...]
    timeline: tuple[Turning, ...]
    timeline_left_out: int
    traffic: charts.Chart | None
    actions: tuple[tuple[str, str], ...]
    totals: dict[str, int]
    shapes: tuple[tuple[str, UnknownShape], ...]
    """Kinds of lines that nothing knows, the most frequent first, with the file of their sample."""
    shapes_left_out: int
    print_variant: bool


def page(findings: Findings, caps: Caps, *, print_variant: bool) -> Page:
    """The page of a document."""
    ranked = sorted(findings.incidents, key=_rank)
    shown = ranked[: caps.cards]
    cards = tuple(_card(i, findings, n, caps, is_open=print_variant or n <= 3) for n, i in enumerate(shown, 1))
    alarms = [i for i in ranked if i.severity is not Severity.INFO]
    t = findings.traffic
    hosts = ", ".join(_brief(h) for h in t.hosts[:4]) + (f" and {len(t.hosts) - 4} more" if len(t.hosts) > 4 else "")
    turnings = sorted((Turning(m, c.anchor, c.ordinal) for c in cards for m in c.incident.moments), key=lambda r: (r.moment.time, r.ordinal))
    totals = {name: sum(getattr(i, name) for i in findings.inputs) for name in ("lines", "parsed", "ignored", "unrecognised", "damaged", "duplicates", "bytes")}
    lead = cards[0] if cards and alarms else None
    shapes = sorted(((f.path, s) for f in findings.inputs for s in f.unrecognised_shapes), key=lambda r: (-r[1].count, r[0], r[1].line))
    return Page(
        findings=findings, caps=caps, title=lead.incident.headline if lead else nothing_sentence(findings), site=hosts,
        period=f"{span(t.first, t.last)} UTC" if t.first and t.last else "no dated line", lead=lead, cards=cards, others=tuple(ranked[caps.cards :]),
        listed=tuple((i, cards[n].anchor if n < len(cards) else "") for n, i in enumerate(ranked[: caps.rows])), possible=findings.possible,
        trust=_trust(findings, totals, lead), timeline=tuple(turnings[: caps.moments]), timeline_left_out=max(0, len(turnings) - caps.moments),
        traffic=_traffic(findings), actions=tuple(_actions(cards[:3])), totals=totals, shapes=tuple(shapes[: caps.shapes]), shapes_left_out=max(0, len(shapes) - caps.shapes), print_variant=print_variant,
    )  # fmt: skip


def nothing_sentence(findings: Findings) -> str:
    """The verdict when there is no alarm."""
    if not findings.traffic.messages:
        return "No mail was found in these logs, so nothing can be said about loops."
    return f"No mail loop and no NDR storm in {plural(findings.traffic.messages, 'message')}."


def _rank(incident: Incident) -> tuple[int, bool, dt.datetime, str]:
    return -list(Severity).index(incident.severity), incident.ended_by.reason is not Ending.ONGOING, incident.started, incident.id


def _card(i: Incident, findings: Findings, ordinal: int, caps: Caps, *, is_open: bool) -> Card:
    anchor = f"incident-{ordinal}"
    words = remedies.cause_words(i.cause.id)
    now = tuple(r for r in i.remedies if r.when == "now")
    running = i.ended_by.reason is Ending.ONGOING
    return Card(
        incident=i, anchor=anchor, ordinal=ordinal, is_open=is_open, state="running" if running else "ended" if i.ended_by.reason is not Ending.QUIET else "quiet",
        state_words=_state(i, findings), severity=i.severity.value, shape=SHAPES[i.severity.value], type_words=TYPES[i.type.value], confidence=LEVELS[i.confidence.level],
        lede=tuple(_lede(i)), figures=_figures(i), diagram=diagram.draw(i, f"{anchor}-ring"), rate=_rate(i, anchor), codes=_codes(i, anchor), origins=_origins(i, anchor),
        cause=words, side=SIDES[i.cause.side], now=now, lasting=tuple(r for r in i.remedies if r.when == "lasting"), first=now[0] if now else None,
        harm=tuple(_harm(i)), phases=tuple(_phases(i)), letter=_letter(i, words),
    )  # fmt: skip


def _state(i: Incident, findings: Findings) -> str:
    end = i.ended_by
    if end.reason is Ending.ONGOING:
        last = findings.traffic.last
        since = f", last turn {seconds_text(max(0.0, (last - i.ended).total_seconds()))} before the logs end" if last else ""
        return f"Running{since}"
    if end.reason is Ending.QUIET:
        return f"Last seen {clock(i.ended, i.started)}, end not logged"
    return f"Ended {clock(_ended_at(i), i.started)} by {_by(i)}"


def _by(i: Incident) -> str:
    whose = {"ours": "our", "theirs": "their"}.get(i.ended_by.side, "a")
    return {
        Ending.MAILBOX_FULL: "a full mailbox", Ending.SENDING_LIMIT: f"{whose} sending limit", Ending.HOP_LIMIT: f"{whose} loop guard",
        Ending.BLOCKED: f"{whose} refusal", Ending.OPERATOR: "a person",
    }.get(i.ended_by.reason, "")  # fmt: skip


def _ended_at(i: Incident) -> dt.datetime:
    """When the ending was logged, where the timeline has it; else the last turn."""
    return next((m.time for m in reversed(i.moments) if m.words.startswith("ended")), i.ended)


def _lede(i: Incident) -> Iterable[Part]:
    t = i.trigger
    storm = i.kind is Kind.NDR_STORM
    if t:
        yield Part("The first notification came at " if storm else "It began with ")
        if storm:
            yield Part(f"{clock(t.time, i.started)} UTC", "strong")
            yield Part(f" from {_brief(t.host)}" if t.host else "")
        else:
            yield Part(f"one message from {_short(t.sender, i)} to {_short(t.recipient, i)} at {clock(t.time, i.started)} UTC", "strong")
            yield Part(f", handed in by {_brief(t.client)}" if t.client else "")
    else:
        yield Part(f"It was first seen at {clock(i.started, i.started)} UTC")
    end = i.ended_by
    at = clock(_ended_at(i), i.started)
    if end.reason is Ending.ONGOING:
        yield Part("; ")
        yield Part("it was still running when the logs end", "strong")
        yield Part(". ")
    elif end.reason is Ending.QUIET:
        yield Part(f"; the last one was seen at {clock(i.ended, i.started)}, and no line tells why it stopped. ")
    else:
        where = f" on {_brief(end.host)}" if end.host else ""
        yield Part(", and ended when " if t and t.client and not storm else " and ended when ")
        yield Part({
            Ending.MAILBOX_FULL: f"a mailbox was full{where}", Ending.SENDING_LIMIT: f"a sending limit{where} refused the next message",
            Ending.HOP_LIMIT: f"the loop guard{where} stopped it", Ending.BLOCKED: f"the next message was refused{where}", Ending.OPERATOR: f"somebody took it out of the queue{where}",
        }[end.reason], "strong")  # fmt: skip
        yield Part(f" at {at}. ")
    yield Part(visible(i.cause.sentence, 300), "inferred" if i.cause.inferred else "")


def _brief(name: str) -> str:
    return visible(name, 60)


def _short(address: str, i: Incident) -> str:
    """The local part of a member, where the headline has just named the whole address and it can't be mistaken."""
    if address in ("", "<>"):
        return "the null sender <>"
    local = address.rpartition("@")[0]
    once = [m for m in i.members if m.rpartition("@")[0] == local]
    return _brief(local if len(once) == 1 and address in i.members[:4] else address)


def _figures(i: Incident) -> tuple[Figure, ...]:
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
        turn = Figure(plural(i.turns, "turn"), "of one message at most") if i.turns else Figure("0 turns", "stopped at the first hop")
        return Figure(number(i.transfers), f"transfers, {number(round(each, 1))} for each message"), pace, turn, volume, hit
    spreads = [a.spread for a in i.arrows if a.spread is not None]
    regular = f" ± {share_text(max(spreads))}" if spreads and max(spreads) < 1 else ""
    turn = Figure(seconds_text(i.period_s), f"a turn{regular}, {plural(i.turns, 'turn')}") if i.period_s is not None else Figure(plural(i.turns, "turn"), "their length is not known")
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


def _rate(i: Incident, anchor: str) -> charts.Chart | None:
    if not i.series or not i.series.bins:
        return None
    what = "storm" if i.kind is Kind.NDR_STORM else "loop"
    lasts = f"{clock(i.started)[11:16]} – {clock(i.ended)[11:16]}"
    mark = charts.Mark(i.started, i.ended, f"{what} {lasts}", "" if i.ended_by.reason in (Ending.ONGOING, Ending.QUIET) else ENDINGS[i.ended_by.reason], _ended_at(i))
    conclusion = f"{number(i.messages)} messages between {clock(i.started)} and {clock(i.ended, i.started)} UTC, at most {number(i.peak_per_minute)} within a minute; {ENDINGS[i.ended_by.reason]}."
    return charts.rate(f"{anchor}-rate", "Messages over time", conclusion, i.series, mark, noun="transfers" if i.type is LoopType.FORWARDING else "messages")


def _codes(i: Incident, anchor: str) -> charts.Chart | None:
    """Notifications by status code over time, with the usual rate; drawn where the document has the details."""
    if i.kind is not Kind.NDR_STORM or not i.series or not any(b.detail for b in i.series.bins):
        return None
    mark = charts.Mark(i.started, i.ended, "")
    told = ", ".join(f"{code} {number(n)}" for code, n in sorted(i.codes.items(), key=lambda kv: -kv[1])[:6])
    return charts.rate(f"{anchor}-codes", "Notifications by status code", f"{told}.", i.series, mark, layers=True)


def _origins(i: Incident, anchor: str) -> Markup | None:
    if len(i.origins) < 2:
        return None
    return charts.bars(f"{anchor}-origins", "Servers that made the notifications", f"{plural(len(i.origins), 'server')}.", i.origins)


def _harm(i: Incident) -> Iterable[tuple[str, str]]:
    h = i.harm
    yield "Share of all mail while it ran", share_text(h.share_of_traffic)
    yield "Volume", bytes_text(h.bytes or i.bytes)
    yield "Non-delivery reports that it caused", number(h.ndrs_sent)
    yield "Outsiders who got notifications", number(h.innocent_recipients)
    yield "Mailboxes filled", ", ".join(h.mailboxes_filled) or "none seen"
    if h.queue_delay_during_s is None:
        yield "Delay of everybody else's mail", "not measurable: no other delivery with a delay in that time"
    else:
        before = f"{seconds_text(h.queue_delay_before_s)} before" if h.queue_delay_before_s is not None else "before: nothing to compare with"
        yield "Delay of everybody else's mail (median)", f"{seconds_text(h.queue_delay_during_s)} while it ran; {before}"
        if h.queue_delay_p95_during_s is not None:
            before = f"; {seconds_text(h.queue_delay_p95_before_s)} before" if h.queue_delay_p95_before_s is not None else ""
            yield "The slowest twentieth of it", f"{seconds_text(h.queue_delay_p95_during_s)} or more while it ran{before}"
    yield "Deferrals of other mail", number(h.deferrals_during)
    yield "Signs of overload", plural(len(h.overload_signs), "line") if h.overload_signs else "none seen"
    yield "Replies about reputation or blocklists", plural(len(h.reputation_signs), "line") if h.reputation_signs else "none seen"


def _phases(i: Incident) -> Iterable[tuple[str, str, str]]:
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
    yield "Half of the peak", clock(half.time, i.started), f"{seconds_text(max(0.0, (half.time - i.started).total_seconds()))} after the onset"
    yield "Peak", clock(peak.time, i.started), f"{number(top)} in {seconds_text(step)}"
    yield "Last", clock(i.ended, i.started), ENDINGS[i.ended_by.reason]


def _letter(i: Incident, words: CauseWords) -> Letter | None:
    """What the other side's postmaster needs: times with their zone, ids, the rule, the request; no content of mail."""
    if i.cause.side == "ours" or i.severity is Severity.INFO:
        return None
    storm = i.kind is Kind.NDR_STORM
    ids = [*i.message_ids[:3], *[m for m in i.message_ids[-2:] if m not in i.message_ids[:3]]]
    ending = i.ended_by
    lines = [
        "To whom it may concern at your postmaster's desk,",
        "",
        i.headline,
        f"From {clock(i.started)} to {clock(i.ended)}, all times UTC.",
        *(f"{a.origin} to {a.target}: {plural(a.messages, 'message')}" + (f", {seconds_text(a.median_lag_s)} after what it answers" if a.median_lag_s is not None else "") for a in i.arrows[:8]),
        *([f"It ended by: {ending.text[:300]}"] if ending.text and ending.reason not in (Ending.ONGOING, Ending.QUIET) else []),
        *(["It was still running when our logs end."] if ending.reason is Ending.ONGOING else []),
        "",
        "Message-IDs, so that you find it in your logs:" if ids else "",
        *(f"  <{m}>" for m in ids),
        "",
        f"What should change: {words.mend}",
        f"The rule: {words.rule}" if words.rule else "",
        "",
        "Please tell us what you find. On our side we " + ("stop the bounces at the source." if storm else "have held our half and mend it as well." if i.cause.side == "both" else "hold our half meanwhile."),
    ]
    kept = [line for n, line in enumerate(lines) if line or (n and lines[n - 1])]
    return Letter(f"{'NDR storm' if storm else 'Mail loop'} of {day(i.started)} between our servers", tuple(kept))


def _trust(findings: Findings, totals: dict[str, int], lead: Card | None) -> list[Part]:
    lines = totals["lines"]
    understood = totals["parsed"] + totals["ignored"]
    whole = sum(not i.damaged and not i.problems for i in findings.inputs)
    out = [Part(f"{number(understood)} of {number(lines)} lines understood" + (f" ({share_text(understood / lines)})" if lines and understood < lines else "")),
           Part(f"{whole} of {plural(len(findings.inputs), 'file')} whole"), Part(f"clock: {clock_basis(findings)}")]  # fmt: skip
    if totals["damaged"]:
        out.append(Part(plural(totals["damaged"], "damaged line"), "strong"))
    if lead:
        doubts = [a.name for a in lead.incident.look_alikes if not a.ruled_out]
        dispelled = sorted((a.name for a in lead.incident.look_alikes if a.ruled_out), key=len)
        out += [Part(f"not ruled out: {doubts[0]}", "strong")] if doubts else []
        out += [Part(f"ruled out: {dispelled[0]}" + (f", {number(len(dispelled) - 1)} more" if len(dispelled) > 1 else ""))] if dispelled else []
    elif findings.searches:
        out.append(Part(f"{plural(len(findings.searches), 'search', 'searches')}, {plural(sum(s.candidates for s in findings.searches), 'candidate')} looked at closely"))
    return out


def clock_basis(findings: Findings) -> str:
    """How sure the times are, in a few words."""
    assumed = [i for i in findings.inputs if "taken as UTC" in i.zone_basis or "nothing" in i.zone_basis]
    year = [i for i in findings.inputs if "in the stamps" not in i.year_basis]
    words = "zone read from the lines" if not assumed else f"zone assumed for {plural(len(assumed), 'file')}"
    return words + (f", year inferred for {plural(len(year), 'file')}" if year else "")


def _traffic(findings: Findings) -> charts.Chart | None:
    s = findings.traffic.series
    if not s or not s.bins:
        return None
    return charts.rate("traffic-rate", "All mail over time", f"{plural(findings.traffic.messages, 'message')} in the logs.", s, height=170)


def _actions(cards: Iterable[Card]) -> Iterable[tuple[str, str]]:
    """Rows of the worksheet: what, and on which server. Owner, date and tick are left to people."""
    for card in cards:
        if card.severity == "info":
            continue
        hosts = ", ".join(card.incident.hosts[:3]) or "the mail server"
        if card.state == "running" and card.first:
            yield f"Now: {card.first.title}", f"{card.first.mta}, {hosts}"
        yield card.cause.mend, {"theirs": "the other side"}.get(card.incident.cause.side, hosts)
        if card.letter:
            yield "Write to the other side's postmaster (text below the incident)", "the other side"
        yield "Keep the log files named under “Chain of custody”", hosts


def remedies_by_mta(found: Iterable[Remedy]) -> dict[str, list[Remedy]]:
    """Remedies under the server that they are for, in order of appearance."""
    out: dict[str, list[Remedy]] = {}
    for r in found:
        out.setdefault(r.mta, []).append(r)
    return out
