"""Relays: a mailbox that gets mail on one arrow and soon after writes on another, again and again, in step.

The building block of rings: narrowed down in polars from all arrows of the mail graph, each to the runs in which it was
used without a long pause, each such run to those that keep step with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from maillog_forensics import people, rhythm, runs
from maillog_forensics.graph import Graph
from maillog_forensics.runs import Run


@dataclass(frozen=True)
class Relays:
    """Runs by number, and the pairs of them, coming in and going out at one mailbox, that keep step."""

    runs: dict[int, Run]
    pairs: list[tuple[int, int]]


def find_relays(graph: Graph, window_s: float, min_turns: int) -> Relays:
    """Find the relays.

    Notes
    -----
    A hop writes to the next mailbox and hardly to others: messages to three and more are left out. Then runs of fewer
    messages than `min_turns`, and those of arrows that no other one leads to or from. Two runs are a relay when they
    overlap, are about as long, and each message that came in is followed by one of its own that goes out. Cost: two sorts
    and an as-of join, n log n.
    """
    table = runs.cut(runs.arrows(graph.edges.lazy().with_row_index("row")), window_s, min_turns)
    if table.is_empty():
        return Relays({}, [])
    pairs = _in_step(table, _overlapping(runs.shapes(table), window_s), window_s, min_turns)
    kept = runs.collected(table, pl.concat([pairs["came"], pairs["went"]]).unique())
    return Relays(kept, sorted(pairs.select("came", "went").iter_rows()))


def _overlapping(shapes: pl.DataFrame, window_s: float) -> pl.DataFrame:
    """came, went: runs into and out of one mailbox that share a good part of their time; met in buckets, hubs included."""
    bucket = int(runs.MAX_TURN * window_s * 1e6)
    buckets = pl.int_ranges(pl.col("begin") // bucket, pl.col("end") // bucket + 1)
    cut = shapes.with_columns(bucket=buckets).explode("bucket")
    came = cut.select("bucket", box="recipient", came="run", u="sender", n1="n", b1="begin", e1="end")
    went = cut.select("bucket", box="sender", went="run", w="recipient", n2="n", b2="begin", e2="end")
    shared = pl.min_horizontal("e1", "e2") - pl.max_horizontal("b1", "b2")
    shorter = pl.min_horizontal(pl.col("e1") - pl.col("b1"), pl.col("e2") - pl.col("b2"))
    return (
        came.lazy()
        .join(went.lazy(), on=["box", "bucket"])
        .filter(
            pl.col("u") != pl.col("w"),
            pl.max_horizontal("n1", "n2") <= 3 * pl.min_horizontal("n1", "n2") + 2,
            shared >= 0.3 * shorter,
        )
        .select("came", "went", "n1", "n2")
        .unique()
        .collect()
    )


def _in_step(table: pl.DataFrame, pairs: pl.DataFrame, window_s: float, min_turns: int) -> pl.DataFrame:
    """Those of `pairs` where nearly each message in has a message out of its own."""
    came = table.select("us", came="run").join(pairs, on="came").sort("us")
    went = table.select("us", went="run", at="us", answer="row").sort("us")
    matched = came.join_asof(
        went, on="us", by="went", strategy="forward", tolerance=int(window_s * 1e6), check_sortedness=False
    ).drop_nulls("at")
    lag = ((pl.col("at") - pl.col("us")) / 1e6 + 1).log()
    return (
        matched.group_by("came", "went", "n1", "n2")
        .agg(own=pl.col("answer").n_unique(), spread=lag.quantile(0.75) - lag.quantile(0.25), middle=lag.median())
        .filter(
            pl.col("own") >= min_turns,
            pl.col("own") >= 0.4 * pl.max_horizontal("n1", "n2"),
            (pl.col("spread") <= 1.6) | (pl.col("middle") <= 4.1),
        )
    )


def evidence(came: Run, went: Run, begin: float, end: float) -> tuple[float, float, list[float]]:
    """How surely the one follows from the other between two times.

    Returns
    -------
    nats for answering at a time of its own against chance, nats for keeping step, the lags
    """
    asked = [t for t in came.times if begin <= t <= end]
    answered = [t for t in went.times if begin <= t <= end]
    merged = sorted([(t, False) for t in asked] + [(t, True) for t in answered])
    following = [b - a for (a, x), (b, y) in pairwise(merged) if y and not x]
    lags = max((following, rhythm.in_turn(asked, answered) or following), key=people.against_chance)
    return people.against_chance(lags), people.kept_in_step([y for _, y in merged]) if merged else 0.0, lags
