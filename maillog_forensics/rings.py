"""Rings of new messages through three to eight mailboxes: each hop writes a message of its own to the next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import networkx as nx
import polars as pl

from maillog_forensics import rhythm
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step


@dataclass(frozen=True)
class CycleParameters:
    """Thresholds of `find_cycles`."""

    window_s: float = 4 * 3600
    min_turns: int = 3
    max_length: int = 8
    max_cycles: int = 20_000
    """Budget of cycles looked at in one component; its exhaustion is reported."""
    min_cover: float = 0.85
    """A chain of six turns and more that leaves hardly a message of its arrows out is no chance, however uneven its lags."""
    slowest_s: float = 3600.0
    """… as long as the slowest mailbox passes on within this."""
    max_imbalance: float = 3.0
    """In a ring every arrow is used about as often; arrows whose numbers differ more don't belong together."""


@dataclass
class CycleSearch:
    """What `find_cycles` looked at."""

    candidates: int = 0
    truncated: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def find_cycles(edges: pl.DataFrame, parameters: CycleParameters = CycleParameters()) -> tuple[list[Loop], CycleSearch]:
    """Find rings of new messages.

    Parameters
    ----------
    edges
        Table of `graph.EDGES`.

    Returns
    -------
    loops, search

    Notes
    -----
    Narrowed down in polars: arrows used at least `min_turns` times; mailboxes with a way in and a way out; pairs of
    arrows u>v, v>w in which a message on the first is followed on the second with a steady or short lag. What is left
    is a small graph of arrows, whose cycles networkx enumerates with a length bound and a budget. Cost: as-of joins,
    n log n. Known false positives: schedulers that happen to be chained; they keep their phase and are set aside.

    References
    ----------
    Gupta & Suzumura, Finding all bounded-length simple cycles in a directed graph (2021); networkx.simple_cycles.
    """
    search = CycleSearch()
    numbered = (
        edges.with_row_index("row")
        .filter(pl.col("sender") != pl.col("recipient"))
        .with_columns(second=pl.col("sent").dt.epoch("us") / 1e6)
    )
    arrows = numbered.group_by("sender", "recipient").agg(n=pl.len()).filter(pl.col("n") >= parameters.min_turns)
    arrows = _trim(arrows)
    if arrows.is_empty():
        return [], search
    numbered = numbered.join(arrows.select("sender", "recipient"), on=["sender", "recipient"], how="semi")
    following = _followed(numbered, arrows, parameters)
    graph = nx.DiGraph()
    for u, v, w in following.select("u", "v", "w").iter_rows():
        graph.add_edge((u, v), (v, w))
    loops: list[Loop] = []
    seen: set[frozenset[str]] = set()
    for component in sorted(nx.strongly_connected_components(graph), key=lambda c: sorted(c)):
        if len(component) < 3:
            continue
        budget = parameters.max_cycles
        for cycle in nx.simple_cycles(graph.subgraph(component), length_bound=parameters.max_length):
            budget -= 1
            if budget < 0:
                search.truncated += 1
                break
            members = [arrow[0] for arrow in cycle]
            if len(members) < 3 or len(set(members)) != len(members) or frozenset(members) in seen:
                continue
            search.candidates += 1
            loop = _examine(members, numbered, parameters, search)
            if loop:
                seen.add(frozenset(members))
                loops.append(loop)
    return loops, search


def _trim(arrows: pl.DataFrame) -> pl.DataFrame:
    """Drop arrows from mailboxes without a way in, and to mailboxes without a way out, until none is left."""
    while True:
        kept = arrows.filter(
            pl.col("sender").is_in(arrows["recipient"].implode()) & pl.col("recipient").is_in(arrows["sender"].implode())
        )
        if kept.height == arrows.height:
            return kept
        arrows = kept


def _followed(numbered: pl.DataFrame, arrows: pl.DataFrame, parameters: CycleParameters) -> pl.DataFrame:
    """Pairs of arrows u>v, v>w where the second follows the first like clockwork."""
    first = arrows.select(u="sender", v="recipient", n1="n")
    second = arrows.select(v="sender", w="recipient", n2="n")
    pairs = first.join(second, on="v").filter(pl.col("u") != pl.col("w"))
    pairs = pairs.filter(pl.max_horizontal("n1", "n2") <= parameters.max_imbalance * pl.min_horizontal("n1", "n2") + 2)
    came = (
        numbered.select(u="sender", v="recipient", second="second")
        .join(pairs.select("u", "v", "w"), on=["u", "v"])
        .sort("second")
    )
    went = numbered.select(v="sender", w="recipient", second="second", next="second").sort("second")
    joined = came.join_asof(
        went,
        on="second",
        by=["v", "w"],
        strategy="forward",
        tolerance=parameters.window_s,
        allow_exact_matches=True,
        check_sortedness=False,
    ).drop_nulls("next")
    lag = (pl.col("next") - pl.col("second")).clip(lower_bound=0.7).log()
    return (
        joined.group_by("u", "v", "w")
        .agg(count=pl.len(), middle=lag.median(), deviation=(lag - lag.median()).abs().median() * 1.4826)
        .filter(pl.col("count") >= parameters.min_turns, (pl.col("deviation") <= 1.1) | (pl.col("middle") <= 4.1))
        .sort("u", "v", "w")
    )


def _examine(members: list[str], numbered: pl.DataFrame, parameters: CycleParameters, search: CycleSearch) -> Loop | None:
    """Follow a token round the ring and test the rhythm of every arrow."""
    k = len(members)
    arrows = []
    for i in range(k):
        part = numbered.filter(pl.col("sender") == members[i], pl.col("recipient") == members[(i + 1) % k]).sort(
            "second", "order"
        )
        arrows.append(
            part.select("row", "second", "is_null", "is_automatic", "is_linked", "transport", "host", "logical").to_dict(
                as_series=False
            )
        )
    seconds = [a["second"] for a in arrows]
    chain = _steadiest_piece(_longest_chain(seconds, parameters.window_s), seconds)
    if len(chain) < max(2 * k, parameters.min_turns * k - 1):
        return None
    lag_values: list[list[float]] = [[] for _ in range(k)]
    times: list[list[float]] = [[] for _ in range(k)]
    rows: list[int] = []
    previous: float | None = None
    marked, nulls, linked = [0] * k, [0] * k, [0] * k
    for arrow, index in chain:
        at = arrows[arrow]["second"][index]
        if previous is not None:
            lag_values[arrow].append(at - previous)
        previous = at
        times[arrow].append(at)
        rows.append(arrows[arrow]["row"][index])
        marked[arrow] += bool(arrows[arrow]["is_automatic"][index] or arrows[arrow]["is_linked"][index])
        nulls[arrow] += bool(arrows[arrow]["is_null"][index])
        linked[arrow] += bool(arrows[arrow]["is_linked"][index])
    steps = []
    for i in range(k):
        steps.append(
            Step(
                members[i],
                members[(i + 1) % k],
                times[i],
                rhythm.lags(lag_values[i]),
                nulls[i],
                marked[i],
                linked[i],
                next((t for t in arrows[i - 1]["transport"] if t), "") or "",
                next((h for h in arrows[i]["host"] if h), "") or "",
            )
        )
    n = len(chain)
    if any(s.lags is None for s in steps):
        return None
    limit = rhythm.regularity_limit(n)
    worst = max(s.lags.spread for s in steps if s.lags)
    slowest = max(s.lags.median_s for s in steps if s.lags)
    all_marked = all(s.marked >= 0.6 * len(s.times) for s in steps)
    regular = worst <= limit
    enough = min(len(t) for t in times) >= 6
    quick = n >= 1.35 * rhythm.longest_human_run(slowest * 1.5) + 2 and worst <= (1.2 if enough else 0.6)
    complete = enough and n >= parameters.min_cover * sum(len(a["second"]) for a in arrows) and slowest <= parameters.slowest_s
    if not (all_marked or regular or quick or complete):
        return None
    turning = rhythm.clock(times[0])
    follows = bool(turning and turning.is_clock and turning.is_round) and not all_marked
    if follows:
        search.set_aside["schedulers of one period"] = search.set_aside.get("schedulers of one period", 0) + 1
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (
            said("regularity"),
            round(worst, 3),
            f"<= {limit:.2f}",
            regular,
            said(
                "the least regular of %(k)s mailboxes varies by %(spread)s (standard deviation of the log lag) over %(n)s messages",
                k=k,
                spread=round(worst, 2),
                n=n,
            ),
        ),
        (
            said("length of the chain"),
            n,
            f">= {parameters.min_turns * k}",
            True,
            said(
                "%(n)s messages follow each other round %(k)s mailboxes without a break, the slowest answering in %(s)s s",
                n=n,
                k=k,
                s=round(slowest),
            ),
        ),
    ]
    rows = _all_of_the_run(arrows, rows)
    period = [b - a for a, b in zip(times[0], times[0][1:])]
    known = rhythm.lags(period)
    return Loop(
        LoopType.AUTO_RESPONSE,
        tuple(members),
        rows,
        steps,
        "possible" if follows else "proven" if all_marked else "likely",
        0.4 if follows else 0.95 if all_marked else 0.85,
        factors,
        [
            LookAlike(
                name=said("schedulers of one period"),
                ruled_out=not follows,
                reason=said("the phase of the turns drifts") if not follows else said("the turns keep to a clock"),
            ),
            LookAlike(
                name=said("people writing in a circle"),
                ruled_out=True,
                reason=said("every mailbox passes on within a steady time"),
            ),
        ],
        turns=n // k,
        period_s=known.median_s if known else None,
        verdict="schedulers of one period" if follows else "loop",
    )


def _steadiest_piece(chain: list[tuple[int, int]], times: list[list[float]]) -> list[tuple[int, int]]:
    """The longest piece of a chain without a wait far above the usual one of its arrow: other mail on the arrows may prolong it."""
    waits = [times[b][j] - times[a][i] for (a, i), (b, j) in pairwise(chain)]
    usual = {a: median([w for w, (b, _) in zip(waits, chain[1:]) if b == a] or [0.0]) for a, _ in chain}
    pieces, piece = [], chain[:1]
    for wait, step in zip(waits, chain[1:]):
        if wait > 20 * usual[step[0]] + 60:
            pieces.append(piece)
            piece = []
        piece.append(step)
    return max([*pieces, piece], key=len)


def _all_of_the_run(arrows: list[dict[str, list[Any]]], rows: list[int]) -> list[int]:
    """The rows of the chain, and of other messages on its arrows in the same run (several may be in flight)."""
    everything = sorted((t, row) for a in arrows for t, row in zip(a["second"], a["row"]))
    gaps = sorted(b - a for (a, _), (b, _) in itertools.pairwise(everything))
    border = max(20 * gaps[len(gaps) // 2], 120.0)
    runs: list[list[tuple[float, int]]] = [[everything[0]]]
    for before, at in itertools.pairwise(everything):
        if at[0] - before[0] > border:
            runs.append([])
        runs[-1].append(at)
    mine = set(rows)
    return [row for run in runs if any(r in mine for _, r in run) for _, row in run]


def _longest_chain(times: list[list[float]], window_s: float) -> list[tuple[int, int]]:
    """The longest sequence arrow 0, 1, …, k-1, 0, … in which each message is the first on its arrow after the one before.

    A token that waits longer than `window_s` ends the chain; the next one begins where it ended.
    """
    k = len(times)
    best: list[tuple[int, int]] = []
    starts = sorted((t, arrow, i) for arrow, series in enumerate(times) for i, t in enumerate(series))
    used: set[tuple[int, int]] = set()
    for _, arrow, index in starts:
        if (arrow, index) in used:
            continue
        chain = [(arrow, index)]
        while True:
            a, i = chain[-1]
            following = (a + 1) % k
            j = rhythm.next_after(times[following], times[a][i])
            while j < len(times[following]) and (following, j) in used:
                j += 1
            if j >= len(times[following]) or times[following][j] - times[a][i] > window_s or (following, j) == chain[0]:
                break
            chain.append((following, j))
            used.add((following, j))
        if len(chain) > len(best):
            best = chain
    return best
