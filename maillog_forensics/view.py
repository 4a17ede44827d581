"""From the findings to what the page shows: sentences, figures and pictures; the templates only place them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import charts, diagram, narrative, remedies
from maillog_forensics.figures import clock, number, plural, share_text, span
from maillog_forensics.findings import Ending, Findings, Incident, Kind, LoopType, Moment, Remedy, Severity, UnknownShape
from maillog_forensics.narrative import Figure, Letter, Part
from maillog_forensics.remedies import CauseWords


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
    first_where: str
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
    hosts = ", ".join(narrative.brief(h) for h in t.hosts[:4]) + (f" and {len(t.hosts) - 4} more" if len(t.hosts) > 4 else "")
    turnings = sorted(
        (Turning(m, c.anchor, c.ordinal) for c in cards for m in c.incident.moments), key=lambda r: (r.moment.time, r.ordinal)
    )
    totals = {
        name: sum(getattr(i, name) for i in findings.inputs)
        for name in ("lines", "parsed", "ignored", "unrecognised", "damaged", "duplicates", "bytes")
    }
    lead = cards[0] if cards and alarms else None
    shapes = sorted(
        ((f.path, s) for f in findings.inputs for s in f.unrecognised_shapes), key=lambda r: (-r[1].count, r[0], r[1].line)
    )
    return Page(
        findings=findings,
        caps=caps,
        title=lead.incident.headline if lead else nothing_sentence(findings),
        site=hosts,
        period=f"{span(t.first, t.last)} UTC" if t.first and t.last else "no dated line",
        lead=lead,
        cards=cards,
        others=tuple(ranked[caps.cards :]),
        listed=tuple((i, cards[n].anchor if n < len(cards) else "") for n, i in enumerate(ranked[: caps.rows])),
        possible=findings.possible,
        trust=tuple(_trust(findings, totals, lead)),
        timeline=tuple(turnings[: caps.moments]),
        timeline_left_out=max(0, len(turnings) - caps.moments),
        traffic=_traffic(findings),
        actions=tuple(_actions(cards[:3])),
        totals=totals,
        shapes=tuple(shapes[: caps.shapes]),
        shapes_left_out=max(0, len(shapes) - caps.shapes),
        print_variant=print_variant,
    )


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
        incident=i,
        anchor=anchor,
        ordinal=ordinal,
        is_open=is_open,
        state="running" if running else "ended" if i.ended_by.reason is not Ending.QUIET else "quiet",
        state_words=narrative.state(i),
        severity=i.severity.value,
        shape=narrative.SHAPES[i.severity.value],
        type_words=narrative.TYPES[i.type.value],
        confidence=narrative.LEVELS[i.confidence.level],
        lede=tuple(narrative.lede(i)),
        figures=narrative.five_figures(i),
        diagram=diagram.draw(i, f"{anchor}-ring"),
        rate=_rate(i, anchor),
        codes=_codes(i, anchor),
        origins=_origins(i, anchor),
        cause=words,
        side=narrative.side(i),
        now=now,
        lasting=tuple(r for r in i.remedies if r.when == "lasting"),
        first=now[0] if now else None,
        first_where=_first_where(i, now[0]) if now else "",
        harm=tuple(narrative.harm(i)),
        phases=tuple(narrative.phases(i)),
        letter=narrative.letter(i, words),
    )


def _first_where(i: Incident, remedy: Remedy) -> str:
    """The servers on which the first command is typed."""
    hosts = [h for h, mta in i.host_mtas.items() if diagram.MTAS.get(mta) == remedy.mta]
    return (
        f" on {narrative.brief(hosts[0])}{' and others' if len(hosts) > 1 else ''} ({remedy.mta})"
        if hosts and not remedy.title.startswith("on ")
        else f" ({remedy.mta})"
    )


def _rate(i: Incident, anchor: str) -> charts.Chart | None:
    if not i.series or not i.series.bins:
        return None
    what = "storm" if i.kind is Kind.NDR_STORM else "loop"
    lasts = f"{clock(i.started)[11:16]} – {clock(i.ended)[11:16]}"
    mark = charts.Mark(
        i.started,
        i.ended,
        f"{what} {lasts}",
        "" if i.ended_by.reason in (Ending.ONGOING, Ending.QUIET) else narrative.ENDINGS[i.ended_by.reason],
        narrative.ended_at(i),
    )
    conclusion = (
        f"{number(i.messages)} messages between {clock(i.started)} and {clock(i.ended, i.started)} UTC, "
        f"at most {number(i.peak_per_minute)} within a minute; {narrative.ENDINGS[i.ended_by.reason]}."
    )
    return charts.rate(
        f"{anchor}-rate",
        "Messages over time",
        conclusion,
        i.series,
        mark,
        noun="transfers" if i.type is LoopType.FORWARDING else "messages",
    )


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
    return charts.bars(
        f"{anchor}-origins", "Servers that made the notifications", f"{plural(len(i.origins), 'server')}.", i.origins
    )


def _trust(findings: Findings, totals: dict[str, int], lead: Card | None) -> list[Part]:
    lines = totals["lines"]
    understood = totals["parsed"] + totals["ignored"]
    whole = sum(not i.damaged and not i.problems for i in findings.inputs)
    out = [
        Part(
            f"{number(understood)} of {number(lines)} lines understood"
            + (f" ({share_text(understood / lines)})" if lines and understood < lines else "")
        ),
        Part(f"{whole} of {plural(len(findings.inputs), 'file')} whole"),
        Part(f"clock: {clock_basis(findings)}"),
    ]
    if totals["damaged"]:
        out.append(Part(plural(totals["damaged"], "damaged line"), "strong"))
    if lead:
        doubts = [a.name for a in lead.incident.look_alikes if not a.ruled_out]
        dispelled = sorted((a.name for a in lead.incident.look_alikes if a.ruled_out), key=len)
        out += [Part(f"not ruled out: {doubts[0]}", "strong")] if doubts else []
        out += (
            [Part(f"ruled out: {dispelled[0]}" + (f", {number(len(dispelled) - 1)} more" if len(dispelled) > 1 else ""))]
            if dispelled
            else []
        )
    elif findings.searches:
        out.append(
            Part(
                f"{plural(len(findings.searches), 'search', 'searches')}, "
                f"{plural(sum(s.candidates for s in findings.searches), 'candidate')} looked at closely"
            )
        )
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
    return charts.rate(
        "traffic-rate", "All mail over time", f"{plural(findings.traffic.messages, 'message')} in the logs.", s, height=170
    )


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
