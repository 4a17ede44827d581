"""Rings of new messages through three to eight mailboxes: each hop writes a message of its own to the next.

Where a hop is not in our logs, the ring shows as relays that the next message comes back to in step: an open ring.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import polars as pl

from maillog_forensics import people, phase, relays, rhythm, subjects
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.mail import Mail
from maillog_forensics.relays import Relays
from maillog_forensics.runs import Run, common, evidence


@dataclass(frozen=True)
class CycleParameters:
    """Thresholds of `find_cycles`; evidence is in nats, see `people`."""

    window_s: float = 4 * 3600
    min_turns: int = 3
    max_length: int = 8
    max_cycles: int = 5_000
    """Budget of cycles looked at in one component; its exhaustion is reported."""
    ring_nats: float = 16.0
    """For a ring of which every hop is seen."""
    relay_nats: float = 12.0
    """For a relay, of which alone an open ring shows."""
    return_nats: float = 6.0
    """For what comes back to it, outside our logs: an honest forwarder is a relay too, and people may write to it quickly."""
    own_pace_nats: float = -2.5
    """Against a program that writes to a forwarder at a pace of its own."""
    uneven_nats: float = 3.0
    """What messages of as uneven sizes as people's take off at most: a machine may quote what it likes …"""
    length_alone_nats: float = 10.0
    """… and what is needed more where they also come as unevenly as people's, so that only their number would tell."""
    min_open_turns: int = 8
    marked_share: float = 0.6


@dataclass
class CycleSearch:
    """What `find_cycles` looked at."""

    candidates: int = 0
    truncated: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def find_cycles(
    graph: Graph, parameters: CycleParameters = CycleParameters(), mail: Mail | None = None
) -> tuple[list[Loop], CycleSearch]:
    """Find rings of new messages.

    Parameters
    ----------
    graph
        The mail graph; its edges are sorted by `sent`.
    parameters
        Thresholds.
    mail
        For the sizes and subjects of the few messages that are examined; without it, they tell nothing.

    Returns
    -------
    loops, search

    Notes
    -----
    `relays` narrows the graph to runs of arrows that keep step. What is left is a small graph of runs, whose cycles networkx
    enumerates in each strongly connected component with a length bound and a budget; a ring must be more than chance:
    its hops answer at times of their own, and keep step. Cost: that of `relays`, plus the budget. Known false positives:
    schedulers that happen to be chained; they keep their phase and are set aside.

    References
    ----------
    Gupta & Suzumura, Finding all bounded-length simple cycles in a directed graph (2021); networkx.simple_cycles.
    """
    search = CycleSearch()
    found = relays.find_relays(graph, parameters.window_s, parameters.min_turns)
    loops: list[Loop] = []
    used: set[int] = set()
    for cycle in _cycles(found, parameters, search):
        if used.isdisjoint(cycle):
            loop = _closed(cycle, found, graph, parameters, search)
            if loop:
                used |= set(cycle)
                loops.append(loop)
    rings = _joined(_open_rings(found, used, graph, parameters, search))
    looks = _looks([row for ring in rings for run in ring.runs for row in run.rows], graph, mail)
    for ring in rings:
        coming = ring.coming - _of_own_accord(ring, looks, parameters)
        if coming >= parameters.return_nats:
            loops.append(_opened(ring, coming, graph, parameters, search))
    return loops, search


def _cycles(found: Relays, parameters: CycleParameters, search: CycleSearch) -> list[list[int]]:
    """Cycles of runs through three to `max_length` different mailboxes; the longest first, so that a ring is found as a whole."""
    if not found.pairs:
        return []
    import networkx as nx  # a tenth of a start, and most logs need no graph

    links = nx.DiGraph(found.pairs)
    out = []
    for component in sorted(nx.strongly_connected_components(links), key=min):
        if len(component) < 3:
            continue
        budget = parameters.max_cycles
        for cycle in nx.simple_cycles(links.subgraph(sorted(component)), length_bound=parameters.max_length):
            budget -= 1
            if budget < 0:
                search.truncated += 1
                break
            boxes = [found.runs[run].origin for run in cycle]
            if len(boxes) >= 3 and len(set(boxes)) == len(boxes):
                out.append(cycle)
    search.candidates += len(out)
    return sorted(out, key=lambda c: (-sum(len(found.runs[r].times) for r in c) / len(c), -len(c), min(c)))


def _closed(cycle: list[int], found: Relays, graph: Graph, parameters: CycleParameters, search: CycleSearch) -> Loop | None:
    """A ring of which every hop is seen, if it is one."""
    runs = [found.runs[r] for r in cycle]
    begin, end = common(runs)
    k = len(runs)
    n = sum(sum(begin <= t <= end for t in r.times) for r in runs)
    if n < max(2 * k, parameters.min_turns * k - 1):
        return None
    told = [evidence(a, b, begin, end) for a, b in zip(runs, runs[1:] + runs[:1])]
    answering = sum(nats for nats, _, _ in told)
    stepping = sum(nats for _, nats, _ in told) * (k - 1) / k  # the last step follows from the others
    steps = _steps(runs, [lags for *_, lags in told[-1:] + told[:-1]], begin, end, graph)
    all_marked = all(s.marked >= parameters.marked_share * len(s.times) for s in steps)
    if not all_marked and answering + stepping < parameters.ring_nats:
        return None
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (
            said("keeping step"), round(stepping, 1), "", stepping > 0,
            said("%(n)s messages on %(k)s arrows, none of which gets ahead of the next", n=n, k=k),
        ),
        (
            said("answering"), round(answering, 1), "", answering > 0,
            said("each of the %(k)s mailboxes writes at a time of its own after what it got", k=k),
        ),
        (
            said("evidence"), round(answering + stepping, 1), f">= {parameters.ring_nats:g}", answering + stepping >= parameters.ring_nats,
            said("%(nats)s nats of evidence against chance and people in a circle", nats=round(answering + stepping, 1)),
        ),
    ]  # fmt: skip
    return _loop(runs, steps, begin, end, factors, all_marked, search)


def _open_rings(found: Relays, used: set[int], graph: Graph, parameters: CycleParameters, search: CycleSearch) -> list[_Open]:
    """Relays to which the next message comes back in step, by a way that our logs do not show."""
    kept: list[_Open] = []
    back_times = _times_of_ways_back(found, graph)
    tried = Counter(found.runs[came].target for came, _ in found.pairs)
    for came, went in found.pairs:
        runs = [found.runs[came], found.runs[went]]
        if came in used or went in used or min(len(r.times) for r in runs) < parameters.min_open_turns:
            continue
        if 2 * graph.edges[runs[0].rows]["is_notification"].sum() > len(runs[0].rows):
            continue  # what failed has made it come, and he whom it comes to has written that
        search.candidates += 1
        begin, end = common(runs)
        asked, passed = ([t for t in r.times if begin <= t <= end] for r in runs)
        if min(len(asked), len(passed)) < parameters.min_open_turns:
            continue
        if any(_often(back_times.get(way, []), begin, end, passed) for way in _ways_back(runs)):
            continue
        there, stepping, lags = evidence(runs[0], runs[1], begin, end)
        if there < 0 or there + stepping < parameters.relay_nats:
            continue
        back, _, returns = evidence(runs[1], runs[0], begin, end)
        coming = back + people.rarity(asked, None, people.ONE_WAY)
        coming -= math.log(tried[runs[0].target])  # a hub has as many chances
        if back < 0 or coming < 0.5 * parameters.return_nats:
            continue
        if people.against_own_pace(asked, passed) >= parameters.own_pace_nats and not _is_sent_on(runs, graph):
            kept.append(_Open(begin, end, runs, [returns, lags], there + stepping, coming))
    return kept


def _ways_back(runs: list[Run]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The relay's own answers to whom it hears, and the answers of whom it writes to: where they are logged, nothing goes a hidden way."""
    return (runs[1].origin, runs[0].origin), (runs[1].target, runs[1].origin)


def _times_of_ways_back(found: Relays, graph: Graph) -> dict[tuple[int, int], list[float]]:
    """Seconds of the messages on all ways back that a candidate for an open ring may have, by sender and recipient."""
    ways = {way for came, went in found.pairs for way in _ways_back([found.runs[came], found.runs[went]])}
    if not ways:
        return {}
    wanted = pl.DataFrame(sorted(ways), schema={"sender": pl.UInt32, "recipient": pl.UInt32}, orient="row")
    times = graph.edges.lazy().join(wanted.lazy(), on=["sender", "recipient"], how="semi").select(
        "sender", "recipient", second=pl.col("sent").dt.epoch("us") / 1e6
    )  # fmt: skip
    rows = times.group_by("sender", "recipient").agg("second").collect().iter_rows()
    return {(sender, recipient): sorted(seconds) for sender, recipient, seconds in rows}


def _often(times: list[float], begin: float, end: float, passed: list[float]) -> bool:
    return 2 * (bisect_right(times, end) - bisect_left(times, begin)) >= len(passed)


def _is_sent_on(runs: list[Run], graph: Graph) -> bool:
    """Whether what goes out is what came in, not answers to it: a forward of which the envelope is rewritten."""
    came, went = (graph.edges[run.rows]["logical"] for run in runs)
    return 2 * went.is_in(came.implode()).sum() > went.len()


_Looks = dict[int, tuple[int | None, str | None]]
"""Size (bytes) and subject of messages, by their rows in the table of edges; NULL where not logged."""


def _looks(rows: list[int], graph: Graph, mail: Mail | None) -> _Looks:
    if mail is None or not rows:
        return {}
    wanted = graph.edges[rows].select("mid", row=pl.Series(rows))
    looks = wanted.lazy().join(mail.messages.select("mid", "size", "subject"), on="mid")
    return {row: (size, subject) for row, size, subject in looks.select("row", "size", "subject").collect().iter_rows()}


def _of_own_accord(ring: _Open, looks: _Looks, parameters: CycleParameters) -> float:
    """Nats for a first member that writes because it likes to, by subjects that have nothing to do with what goes round, and by uneven sizes."""
    first, *others = ring.runs
    own = [row for t, row in zip(first.times, first.rows) if ring.begin <= t <= ring.end]
    passed = [row for run in others for t, row in zip(run.times, run.rows) if ring.begin <= t <= ring.end]
    turns = sorted([(row, True) for row in own] + [(row, False) for row in passed])  # the edges are in the order of time
    unknown = (None, None)
    passed_on = people.passed_on_sizes((is_own, looks.get(row, unknown)[0]) for row, is_own in turns)
    uneven = 0.0 if passed_on > 0 else -people.even_sizes([looks.get(row, unknown)[0] for row in own])
    nats = subjects.fresh((is_own, looks.get(row, unknown)[1]) for row, is_own in turns)
    if uneven >= parameters.uneven_nats and people.against_people(ring.waits[0]) < 0:
        nats += parameters.length_alone_nats
    return nats + min(max(0.0, uneven), parameters.uneven_nats)


def _opened(ring: _Open, coming: float, graph: Graph, parameters: CycleParameters, search: CycleSearch) -> Loop:
    runs = ring.runs
    words = said(
        "what %(last)s gets is followed by the next message of %(first)s at a time of its own, by a way outside these logs",
        last=graph.name(runs[-1].target),
        first=graph.name(runs[0].origin),
    )
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (
            said("passing on"), round(ring.passing, 1), f">= {parameters.relay_nats:g}", True,
            said("each message in has one of its own that goes out, in step"),
        ),
        (said("coming back"), round(coming, 1), f">= {parameters.return_nats:g}", True, words),
    ]  # fmt: skip
    return _loop(runs, _steps(runs, ring.waits, ring.begin, ring.end, graph), ring.begin, ring.end, factors, False, search)


@dataclass(frozen=True)
class _Open:
    """An open ring: its span, runs, the lags of each, and the evidence for passing on and for coming back."""

    begin: float
    end: float
    runs: list[Run]
    waits: list[list[float]]
    passing: float
    coming: float


def _joined(kept: list[_Open]) -> list[_Open]:
    """Open rings that turn together are parts of one ring."""
    out: list[_Open] = []
    for one in sorted(kept, key=lambda x: (x.begin, -x.passing)):
        turn = 2 * _usual_gap(one.runs[0].times) + 60
        for i, other in enumerate(out):
            new = [k for k, r in enumerate(one.runs) if r not in other.runs]
            together = abs(other.begin - one.begin) <= turn and abs(other.end - one.end) <= turn
            if not new or (together and evidence(other.runs[-1], one.runs[0], one.begin, one.end)[1] >= 5):
                out[i] = _Open(
                    min(other.begin, one.begin),
                    max(other.end, one.end),
                    other.runs + [one.runs[k] for k in new],
                    other.waits + [one.waits[k] for k in new],
                    other.passing + one.passing * bool(new),
                    other.coming + one.coming * bool(new),
                )
                break
        else:
            out.append(one)
    return out


def _usual_gap(times: list[float]) -> float:
    gaps = sorted(b - a for a, b in pairwise(times))
    return gaps[int(0.93 * (len(gaps) - 1))] if gaps else 0.0


def _steps(runs: list[Run], lags: list[list[float]], begin: float, end: float, graph: Graph) -> list[Step]:
    """The arrows of a ring, with what the log says of their messages."""
    steps = []
    for run, own in zip(runs, lags):
        rows = [row for t, row in zip(run.times, run.rows) if begin <= t <= end]
        facts = graph.edges[rows].select(
            nulls=pl.col("is_null").sum(), marked=(pl.col("is_automatic") | pl.col("is_linked")).sum(), linked=pl.col("is_linked").sum()
        )  # fmt: skip
        nulls, marked, linked = facts.row(0)
        times = [t for t in run.times if begin <= t <= end]
        names = graph.name(run.origin), graph.name(run.target)
        steps.append(Step(*names, times, rhythm.lags(own), nulls, marked, linked))
    return steps


def _loop(
    runs: list[Run],
    steps: list[Step],
    begin: float,
    end: float,
    factors: list[tuple[str, float | str, str, bool, str]],
    all_marked: bool,
    search: CycleSearch,
) -> Loop:
    clocks = [phase.clock(step.times, before.times) for before, step in zip([steps[-1], *steps[:-1]], steps)]
    follows = phase.all_believed(clocks) and not all_marked
    name = said("schedulers of one period")
    if follows:
        search.set_aside[name] = search.set_aside.get(name, 0) + 1
    members = tuple(dict.fromkeys(m for s in steps for m in (s.origin, s.target)))
    rows = sorted((t, row) for run in runs for t, row in zip(run.times, run.rows) if begin <= t <= end)
    period = rhythm.lags([b - a for a, b in pairwise(steps[0].times)])
    level: Literal["proven", "likely", "possible"] = "possible" if follows else "proven" if all_marked else "likely"
    return Loop(
        LoopType.AUTO_RESPONSE,
        members,
        [row for _, row in rows],
        steps,
        level,
        0.4 if follows else 0.95 if all_marked else 0.85,
        factors,
        [
            LookAlike(name=name, ruled_out=not follows, reason=said("the turns keep to a clock") if follows else said("the phase of the turns drifts")),
            LookAlike(name=said("people writing in a circle"), ruled_out=True, reason=said("every mailbox passes on in step, and at a time of its own")),
        ],
        turns=min(len(s.times) for s in steps),
        period_s=period.median_s if period else None,
        verdict=name if follows else "loop",
    )  # fmt: skip
