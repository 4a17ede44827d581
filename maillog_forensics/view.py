"""From the findings to what the page shows: sentences, figures and pictures; the templates only place them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import charts, diagram, narrative, remedies
from maillog_forensics.figures import clock, plural, share_text, span
from maillog_forensics.findings import Ending, Findings, Incident, Kind, LoopType, Moment, Remedy, Severity, UnknownShape
from maillog_forensics.language import mark, number, say, say_n, told
from maillog_forensics.narrative import Figure, Letter, Part
from maillog_forensics.remedies import CauseWords
from maillog_forensics.wording import headline_of, nothing_sentence


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
    headline: str
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
    first_title: str
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
    further: str
    """That there is more than the first incident, for the first screen."""
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
    hosts = ", ".join(narrative.brief(h) for h in t.hosts[:4])
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
        title=headline_of(lead.incident) if lead else nothing_sentence(findings),
        site=say("%(names)s and %(n)s more", names=hosts, n=len(t.hosts) - 4) if len(t.hosts) > 4 else hosts,
        period=f"{span(t.first, t.last)} UTC" if t.first and t.last else say("no dated line"),
        lead=lead,
        further=_further(alarms[1:]),
        cards=cards,
        others=tuple(ranked[caps.cards :]),
        listed=tuple((i, cards[n].anchor if n < len(cards) else "") for n, i in enumerate(ranked[: caps.rows])),
        possible=findings.possible,
        trust=tuple(_trust(findings, totals, lead)),
        timeline=tuple(turnings[: caps.moments]),
        timeline_left_out=max(0, len(turnings) - caps.moments),
        traffic=traffic_chart(findings),
        actions=tuple(_actions(cards[:3])),
        totals=totals,
        shapes=tuple(shapes[: caps.shapes]),
        shapes_left_out=max(0, len(shapes) - caps.shapes),
        print_variant=print_variant,
    )


def _further(alarms: list[Incident]) -> str:
    """How many alarms there are besides the first, and how many of them still run."""
    if not alarms:
        return ""
    running = sum(i.ended_by.reason is Ending.ONGOING for i in alarms)
    if running:
        return say_n(
            "%(n)s further incident, still running: %(running)s",
            "%(n)s further incidents, still running: %(running)s",
            len(alarms),
            running=running,
        )
    return say_n("%(n)s further incident", "%(n)s further incidents", len(alarms))


def _rank(incident: Incident) -> tuple[int, bool, dt.datetime, str]:
    return -list(Severity).index(incident.severity), incident.ended_by.reason is not Ending.ONGOING, incident.started, incident.id


def _card(i: Incident, findings: Findings, ordinal: int, caps: Caps, *, is_open: bool) -> Card:
    anchor = f"incident-{ordinal}"
    words = remedies.cause_words(i.cause.id).told()
    now = tuple(r for r in i.remedies if r.when == "now")
    running = i.ended_by.reason is Ending.ONGOING
    return Card(
        incident=i,
        anchor=anchor,
        ordinal=ordinal,
        is_open=is_open,
        state="running" if running else "ended" if i.ended_by.reason is not Ending.QUIET else "quiet",
        state_words=narrative.state(i),
        headline=headline_of(i),
        severity=i.severity.value,
        shape=narrative.SHAPES[i.severity.value],
        type_words=say(narrative.TYPES[i.type.value]),
        confidence=narrative.sureness(i),
        lede=tuple(narrative.lede(i)),
        figures=narrative.five_figures(i),
        diagram=diagram.draw(i, f"{anchor}-ring"),
        rate=rate_chart(i, anchor),
        codes=_codes(i, anchor),
        origins=_origins(i, anchor),
        cause=words,
        side=narrative.side(i),
        now=now,
        lasting=tuple(r for r in i.remedies if r.when == "lasting"),
        first=now[0] if now else None,
        first_title=_first_title(i, now[0]) if now else "",
        harm=tuple(narrative.harm(i)),
        phases=tuple(narrative.phases(i)),
        letter=narrative.letter(i, words),
    )


def _first_title(i: Incident, remedy: Remedy) -> str:
    """What the first command does and on which server; queue ids are for now, all else for when it runs."""
    hosts = [remedy.host] if remedy.host else [h for h, mta in i.host_mtas.items() if diagram.MTAS.get(mta) == remedy.mta]
    if not hosts:
        where = remedy.mta
    elif len(hosts) == 1:
        where = f"{narrative.brief(hosts[0])} ({remedy.mta})"
    else:
        where = say("%(host)s and others (%(mta)s)", host=narrative.brief(hosts[0]), mta=remedy.mta)
    is_urgent = i.ended_by.reason is Ending.ONGOING or remedy.touches
    message = mark("Type now on %(where)s: %(what)s") if is_urgent else mark("If it starts again, on %(where)s: %(what)s")
    return say(message, where=where, what=told(remedy.title))


def rate_chart(i: Incident, anchor: str) -> charts.Chart | None:
    """The rate of an incident with its time shaded; None where the document has no rate."""
    if not i.series or not i.series.bins:
        return None
    ending = say(narrative.ENDINGS[i.ended_by.reason])
    shaded = charts.Mark(
        i.started,
        i.ended,
        say(
            mark("storm %(first)s – %(last)s") if i.kind is Kind.NDR_STORM else mark("loop %(first)s – %(last)s"),
            first=f"{i.started:%H:%M}",
            last=f"{i.ended:%H:%M}",
        ),
        "" if i.ended_by.reason in (Ending.ONGOING, Ending.QUIET) else ending,
        narrative.ended_at(i),
    )
    conclusion = say(
        "%(messages)s between %(first)s and %(last)s UTC, at most %(peak)s within a minute; %(ending)s.",
        messages=plural(i.messages, "message"),
        first=clock(i.started),
        last=clock(i.ended, i.started),
        peak=number(i.peak_per_minute),
        ending=ending,
    )
    noun = "transfers" if i.type is LoopType.FORWARDING else "messages"
    return charts.rate(f"{anchor}-rate", say("Messages over time"), conclusion, i.series, shaded, noun=noun)


def _codes(i: Incident, anchor: str) -> charts.Chart | None:
    """Notifications by status code over time, with the usual rate; drawn where the document has the details."""
    if i.kind is not Kind.NDR_STORM or not i.series or not any(b.detail for b in i.series.bins):
        return None
    shaded = charts.Mark(i.started, i.ended, "")
    codes = ", ".join(f"{code} {number(n)}" for code, n in sorted(i.codes.items(), key=lambda kv: -kv[1])[:6])
    return charts.rate(f"{anchor}-codes", say("Notifications by status code"), f"{codes}.", i.series, shaded, layers=True)


def _origins(i: Incident, anchor: str) -> Markup | None:
    if len(i.origins) < 2:
        return None
    return charts.bars(
        f"{anchor}-origins", say("Servers that made the notifications"), f"{plural(len(i.origins), 'server')}.", i.origins
    )


def _trust(findings: Findings, totals: dict[str, int], lead: Card | None) -> Iterator[Part]:
    lines = totals["lines"]
    understood = totals["parsed"] + totals["ignored"]
    if understood < lines:
        yield Part(
            say("%(n)s of %(all)s lines understood (%(share)s)", n=understood, all=lines, share=share_text(understood / lines))
        )
    else:
        yield Part(say("%(n)s of %(all)s lines understood", n=understood, all=lines))
    whole = sum(not i.damaged and not i.problems for i in findings.inputs)
    yield Part(say("%(n)s of %(files)s whole", n=whole, files=plural(len(findings.inputs), "file")))
    yield Part(clock_basis(findings))
    if totals["damaged"]:
        yield Part(plural(totals["damaged"], "damaged line"), "strong")
    if lead:
        doubts = [told(a.name) for a in lead.incident.look_alikes if not a.ruled_out]
        if doubts:
            yield Part(say("not ruled out: %(what)s", what=doubts[0]), "strong")
        dispelled = sorted((told(a.name) for a in lead.incident.look_alikes if a.ruled_out), key=len)
        if len(dispelled) > 1:
            yield Part(say("ruled out: %(what)s, %(n)s more", what=dispelled[0], n=len(dispelled) - 1))
        elif dispelled:
            yield Part(say("ruled out: %(what)s", what=dispelled[0]))
    elif findings.searches:
        yield Part(
            say(
                "%(searches)s, %(candidates)s looked at closely",
                searches=plural(len(findings.searches), "search"),
                candidates=plural(sum(s.candidates for s in findings.searches), "candidate"),
            )
        )


def clock_basis(findings: Findings) -> str:
    """How sure the times are, in a few words."""
    assumed = [i for i in findings.inputs if "taken as UTC" in i.zone_basis or "nothing" in i.zone_basis]
    inferred = [i for i in findings.inputs if "in the stamps" not in i.year_basis]
    zones, years = plural(len(assumed), "file"), plural(len(inferred), "file")
    if assumed and inferred:
        return say("clock: zone assumed for %(zones)s, year inferred for %(years)s", zones=zones, years=years)
    if assumed:
        return say("clock: zone assumed for %(zones)s", zones=zones)
    if inferred:
        return say("clock: zone read from the lines, year inferred for %(years)s", years=years)
    return say("clock: zone read from the lines")


def traffic_chart(findings: Findings) -> charts.Chart | None:
    """The rate of all mail; None where the document has no rate."""
    s = findings.traffic.series
    if not s or not s.bins:
        return None
    return charts.rate(
        "traffic-rate",
        say("All mail over time"),
        say("%(messages)s in the logs.", messages=plural(findings.traffic.messages, "message")),
        s,
        height=170,
    )


def _actions(cards: Iterable[Card]) -> Iterable[tuple[str, str]]:
    """Rows of the worksheet: what, and on which server. Owner, date and tick are left to people."""
    for card in cards:
        if card.severity == "info":
            continue
        hosts = ", ".join(card.incident.hosts[:3]) or say("the mail server")
        if card.state == "running" and card.first:
            yield say("Now: %(what)s", what=told(card.first.title)), f"{card.first.mta}, {hosts}"
        yield card.cause.mend, say("the other side") if card.incident.cause.side == "theirs" else hosts
        if card.letter:
            yield say("Write to the other side's postmaster (text below the incident)"), say("the other side")
        yield say("Keep the log files named under “Chain of custody”"), hosts


def remedies_by_mta(found: Iterable[Remedy]) -> dict[str, list[Remedy]]:
    """Remedies under the server that they are for, in order of appearance."""
    out: dict[str, list[Remedy]] = {}
    for r in found:
        out.setdefault(r.mta, []).append(r)
    return out
