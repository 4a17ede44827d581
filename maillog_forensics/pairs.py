"""Loops of new messages between two mailboxes: each answer is a message of its own, and nothing links the turns.

The pairs that wrote to each other are narrowed down in polars; the few that remain are examined one by one, and
`pair_verdicts` judges what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import polars as pl

from maillog_forensics import rhythm
from maillog_forensics.loops import Loop
from maillog_forensics.pair_verdicts import PairParameters, judge


@dataclass
class PairSearch:
    """What `find_pairs` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    truncated: int = 0


def find_pairs(edges: pl.DataFrame, parameters: PairParameters = PairParameters()) -> tuple[list[Loop], PairSearch]:
    """Find two-party loops of new messages.

    Parameters
    ----------
    edges
        Table of `graph.EDGES`, sorted by `sent`.
    parameters
        Thresholds.

    Returns
    -------
    loops, search
        Loops with `verdict` "loop" are alarms; others are possible ones, with the look-alike that they may be.

    Notes
    -----
    Pairs are kept when both wrote at least twice; each pair's history is cut where a gap exceeds a scale, coarse scales
    first, and each stretch is tested: do both sides answer like machines (marked as such by the log, or more regular or
    quicker and longer than people), alternating, and without following a clock? Cost: one sort, then linear in the
    messages of the pairs that are left. Known false positives: two schedulers of one period in opposite directions, and
    echo probes, are told from loops by their phase only and are reported as possible where fewer than 12 turns are there.

    References
    ----------
    J. P. Eckmann et al., Entropy of dialogues (PNAS 2004), on human reply times; Sanna Passino & Heard (2020), on the
    phase of automated events.
    """
    search = PairSearch()
    table = edges.with_row_index("row").filter(pl.col("sender") != pl.col("recipient"))
    table = table.with_columns(
        low=pl.min_horizontal("sender", "recipient"), high=pl.max_horizontal("sender", "recipient")
    ).with_columns(up=pl.col("sender") == pl.col("low"))
    counts = table.group_by("low", "high").agg(ups=pl.col("up").sum(), downs=(~pl.col("up")).sum())
    kept = counts.filter(pl.min_horizontal("ups", "downs") >= 2, pl.col("ups") + pl.col("downs") >= parameters.min_marked)
    table = table.join(kept.select("low", "high"), on=["low", "high"], how="semi")
    table = table.with_columns(second=pl.col("sent").dt.epoch("us") / 1e6).sort("low", "high", "sent", "order")
    search.candidates = kept.height
    table = _lively(table, parameters)
    busy = table.group_by("low", "high").len()
    if busy.height > parameters.max_pairs:
        search.truncated = busy.height - parameters.max_pairs
        busy = busy.sort("len", "low", "high", descending=[True, False, False]).head(parameters.max_pairs)
        table = table.join(busy, on=["low", "high"], how="semi", maintain_order="left")
    loops: list[Loop] = []
    columns = ["row", "second", "up", "is_null", "is_automatic", "is_linked", "size", "transport", "host", "is_notification"]
    for (low, high), part in table.partition_by("low", "high", as_dict=True, maintain_order=True).items():
        found = _examine_pair(str(low), str(high), part.select(columns).to_dict(as_series=False), parameters, search)
        loops += found
    return loops, search


def _lively(table: pl.DataFrame, parameters: PairParameters) -> pl.DataFrame:
    """The runs of each pair (no gap above the window) that are long enough for any test: most pairs have none."""
    second = pl.col("second")
    border = (
        (pl.col("low") != pl.col("low").shift())
        | (pl.col("high") != pl.col("high").shift())
        | (second - second.shift() > parameters.window_s)
    )
    runs = table.with_columns(_run=border.fill_null(True).cum_sum())
    signs = (pl.col("is_automatic") | pl.col("is_linked")).sum()
    long_enough = (
        runs.group_by("_run")
        .agg(n=pl.len(), ups=pl.col("up").sum(), signs=signs)
        .filter(
            pl.min_horizontal(pl.col("ups"), pl.col("n") - pl.col("ups")) >= 2,
            (pl.col("n") >= parameters.min_messages)
            | ((pl.col("n") >= parameters.min_marked) & (pl.col("signs") >= 0.5 * pl.col("n"))),
        )
    )
    return runs.join(long_enough.select("_run"), on="_run", how="semi", maintain_order="left").drop("_run")


def _examine_pair(low: str, high: str, data: dict[str, list[Any]], parameters: PairParameters, search: PairSearch) -> list[Loop]:
    times: list[float] = data["second"]
    taken = [False] * len(times)
    found: list[Loop] = []
    for scale in parameters.scales_s:
        if scale > parameters.window_s:
            continue
        start = 0
        for i in range(1, len(times) + 1):
            if i < len(times) and times[i] - times[i - 1] <= scale:
                continue
            stretch = [k for k in range(start, i) if not taken[k]]
            start = i
            if len(stretch) < parameters.min_marked:
                continue
            loop = examine(low, high, data, stretch, parameters)
            if loop is None:
                continue
            at = {r: k for k, r in enumerate(data["row"])}
            first, last = at[loop.rows[0]], at[loop.rows[-1]]
            if loop.verdict == "loop":
                first, last = _with_the_rest(first, last, times, taken)
                loop.rows = data["row"][first : last + 1]
            taken[first : last + 1] = [True] * (last + 1 - first)
            if loop.verdict != "loop":
                search.set_aside[loop.verdict] = search.set_aside.get(loop.verdict, 0) + 1
            found.append(loop)
    return found


def _with_the_rest(first: int, last: int, times: list[float], taken: list[bool]) -> tuple[int, int]:
    """The run around a loop that was proved by a part of it: further messages of the two that follow as closely.

    Where several messages are in flight, only a stretch in which they happen to alternate is proved at first.
    """
    gaps = sorted(b - a for a, b in pairwise(times[first : last + 1]))
    border = max(2 * gaps[int(0.95 * (len(gaps) - 1))], 15.0)
    while first > 0 and not taken[first - 1] and times[first] - times[first - 1] <= border:
        first -= 1
    while last + 1 < len(times) and not taken[last + 1] and times[last + 1] - times[last] <= border:
        last += 1
    return first, last


def examine(low: str, high: str, data: dict[str, list[Any]], stretch: list[int], parameters: PairParameters) -> Loop | None:
    """Test one stretch of a pair's history; None where nothing speaks for a machine on both sides."""
    times, up = data["second"], data["up"]
    ups = [k for k in stretch if up[k]]
    downs = [k for k in stretch if not up[k]]
    if len(ups) < 2 or len(downs) < 2:
        return None
    gaps = [(times[b] - times[a], up[b], j) for j, (a, b) in enumerate(pairwise(stretch), 1) if up[a] != up[b]]
    in_flight = len(gaps) < 0.75 * (len(stretch) - 1)
    mixed = False
    if in_flight:
        stretch = _densest(stretch, times)
        ups, downs = [k for k in stretch if up[k]], [k for k in stretch if not up[k]]
        gaps = [(times[b] - times[a], up[b], j) for j, (a, b) in enumerate(pairwise(stretch), 1) if up[a] != up[b]]
        if len(stretch) < parameters.min_in_flight:
            return None
        forward = rhythm.align([times[k] for k in downs], [times[k] for k in ups])
        backward = rhythm.align([times[k] for k in ups], [times[k] for k in downs])
        aligned = forward and backward and max(forward[1], backward[1]) <= parameters.max_wander
        if aligned and forward and backward:
            lag_up, lag_down = rhythm.lags(forward[0]), rhythm.lags(backward[0])
        else:
            mixed = True  # jitter has mixed them up; only a very long run of quick changes between the two can tell
            lag_up = rhythm.lags([g for g, by_up, _ in gaps if by_up])
            lag_down = rhythm.lags([g for g, by_up, _ in gaps if not by_up])
        span = stretch
    else:
        lag_up = rhythm.lags([g for g, by_up, _ in gaps if by_up])
        lag_down = rhythm.lags([g for g, by_up, _ in gaps if not by_up])
        if lag_up is None or lag_down is None:
            return None
        keep = []
        where = []
        for gap, by_up, j in gaps:
            lag = lag_up if by_up else lag_down
            ratio = abs(_log_ratio(gap, lag.median_s))
            keep.append(ratio <= max(3.0 * min(lag.spread, 0.6), 0.9) or abs(gap - lag.median_s) <= 2)
            where.append(j)
        first, last = rhythm.best_rhythm(keep)
        if last < first:
            return None
        span = stretch[where[first] - 1 : where[last] + 1]
        span = _widened(span, stretch, times, up)
        if len(span) < parameters.min_share * len(stretch) and len(span) < 40:
            return None  # a regular-looking piece picked out of an irregular stretch proves nothing; a finer scale may find it
        inside = [(times[b] - times[a], up[b]) for a, b in pairwise(span) if up[a] != up[b]]
        lag_up = rhythm.lags([g for g, b in inside if b])
        lag_down = rhythm.lags([g for g, b in inside if not b])
    if lag_up is None or lag_down is None or len(span) < parameters.min_marked:
        return None
    return judge(low, high, data, span, lag_up, lag_down, in_flight, mixed, parameters)


def _widened(span: list[int], stretch: list[int], times: list[float], up: list[bool]) -> list[int]:
    """The span with its first and last turns, which jitter or a slow queue may have put out of the rhythm.

    It grows while the two go on in turn, and no gap is longer than nearly all within the span, times three.
    """
    gaps = sorted(times[b] - times[a] for a, b in pairwise(span))
    border = max(3 * gaps[int(0.93 * (len(gaps) - 1))], 30.0)
    first, last = stretch.index(span[0]), stretch.index(span[-1])
    while (
        first > 0 and up[stretch[first - 1]] != up[stretch[first]] and times[stretch[first]] - times[stretch[first - 1]] <= border
    ):
        first -= 1
    while (
        last + 1 < len(stretch)
        and up[stretch[last + 1]] != up[stretch[last]]
        and times[stretch[last + 1]] - times[stretch[last]] <= border
    ):
        last += 1
    return stretch[first : last + 1]


def _densest(stretch: list[int], times: list[float]) -> list[int]:
    """The largest piece of a stretch without a gap far above the usual one."""
    gaps = sorted(times[b] - times[a] for a, b in pairwise(stretch))
    border = max(20 * gaps[len(gaps) // 2], 120.0)
    pieces, piece = [], [stretch[0]]
    for a, b in pairwise(stretch):
        if times[b] - times[a] > border:
            pieces.append(piece)
            piece = []
        piece.append(b)
    return max([*pieces, piece], key=len)


def _log_ratio(a: float, b: float) -> float:
    return math.log(max(a, 0.7) / max(b, 0.7))
