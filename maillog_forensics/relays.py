"""Relays: a mailbox that gets mail on one arrow and soon after writes on another, again and again, in step.

The building block of rings: narrowed down in polars from all arrows of the mail graph, each to the runs in which it was
used without a long pause, each such run to those that keep step with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from maillog_forensics import people, rhythm
from maillog_forensics.graph import Graph

MAX_TURN = 2
"""A turn of a ring takes at most so many windows; an arrow that pauses longer begins a new run."""
PAUSE, PAUSE_S = 30, 600.0
"""… and so does one that pauses so many times longer than usual, and longer than so many seconds."""


@dataclass(frozen=True)
class Run:
    """The messages of one arrow without a long pause."""

    origin: int
    target: int
    times: list[float]
    rows: list[int]


@dataclass(frozen=True)
class Relays:
    """Runs by number, and the pairs of them, coming in and going out at one mailbox, that keep step."""

    runs: dict[int, Run]
    pairs: list[tuple[int, int]]


def find_relays(graph: Graph, window_s: float, min_turns: int) -> Relays:
    """Find the relays.

    Notes
    -----
    A hop writes to the next mailbox and hardly to others: messages to three and more are left out. Then arrows that were
    used less often than `min_turns`, and mailboxes without a way in or a way out, until none is left; of the rest the runs.
    Two runs are a relay when they overlap, are about as long, and each message that came in is followed by one of its own
    that goes out. Cost: two sorts and an as-of join, n log n.
    """
    table = _runs(_arrows(graph.edges, min_turns), window_s, min_turns)
    if table.is_empty():
        return Relays({}, [])
    shapes = table.group_by("run").agg(
        pl.col("sender").first(), pl.col("recipient").first(), n=pl.len(), begin=pl.col("us").min(), end=pl.col("us").max()
    )
    pairs = _in_step(table, _overlapping(shapes, window_s), window_s, min_turns)
    used = pl.concat([pairs["came"], pairs["went"]]).unique()
    kept = (
        table.filter(pl.col("run").is_in(used.implode()))
        .group_by("run", maintain_order=True)
        .agg(pl.col("sender").first(), pl.col("recipient").first(), second=pl.col("us") / 1e6, row=pl.col("row"))
    )
    runs = {run: Run(sender, recipient, times, rows) for run, sender, recipient, times, rows in kept.iter_rows()}
    return Relays(runs, sorted(pairs.select("came", "went").iter_rows()))


def _arrows(edges: pl.DataFrame, min_turns: int) -> pl.DataFrame:
    """key, row, us: the messages of arrows that may be part of a ring, in time order."""
    same = {n: pl.col("logical") == pl.col("logical").shift(n) for n in (-2, -1, 1, 2)}
    to_many = ((same[1] & same[2]) | (same[1] & same[-1]) | (same[-1] & same[-2])).fill_null(False)
    table = (
        edges.lazy()
        .with_row_index("row")
        .filter(~to_many, pl.col("sender") != pl.col("recipient"))
        .select("row", us=pl.col("sent").dt.epoch("us"), key=pl.col("sender").cast(pl.UInt64) * (1 << 32) + pl.col("recipient"))
        .collect()
    )
    arrows = table.group_by("key").len().filter(pl.col("len") >= min_turns).select("key", **_ends())
    arrows = trim(arrows)
    return table.join(arrows.select("key"), on="key", how="semi", maintain_order="left")


def _ends() -> dict[str, pl.Expr]:
    return {"sender": (pl.col("key") // (1 << 32)).cast(pl.UInt32), "recipient": (pl.col("key") % (1 << 32)).cast(pl.UInt32)}


def trim(arrows: pl.DataFrame) -> pl.DataFrame:
    """Drop arrows that neither follow nor are followed by another one: they are part of no chain."""
    back = pl.col("sender").is_in(arrows["recipient"].implode())
    on = pl.col("recipient").is_in(arrows["sender"].implode())
    return arrows.filter(back | on)


def _runs(table: pl.DataFrame, window_s: float, min_turns: int) -> pl.DataFrame:
    """key, row, us, run, sender, recipient: the runs of at least `min_turns` messages."""
    table = table.sort("key", maintain_order=True)
    border = (pl.col("key") != pl.col("key").shift()) | (pl.col("us").diff() > MAX_TURN * window_s * 1e6)
    table = _of_length(table.with_columns(run=border.fill_null(True).cum_sum().cast(pl.UInt32)), min_turns)
    if table.is_empty():
        return table.with_columns(**_ends())
    # a message of people, hours before or after, is not of the run
    gap = pl.when(pl.col("run") == pl.col("run").shift()).then(pl.col("us").diff())
    usual = table.group_by("run").agg(usual=pl.col("us").diff().median())
    table = table.join(usual, on="run", how="left", maintain_order="left").with_columns(gap=gap)
    border = pl.col("gap").is_null() | (pl.col("gap") > pl.max_horizontal(PAUSE * pl.col("usual"), PAUSE_S * 1e6))
    table = table.with_columns(run=border.cum_sum().cast(pl.UInt32)).drop("gap", "usual")
    return _of_length(table, min_turns).with_columns(**_ends())


def _of_length(table: pl.DataFrame, least: int) -> pl.DataFrame:
    long_enough = table.group_by("run").len().filter(pl.col("len") >= least)
    return table.join(long_enough, on="run", how="semi", maintain_order="left")


def _overlapping(shapes: pl.DataFrame, window_s: float) -> pl.DataFrame:
    """came, went: runs into and out of one mailbox that share a good part of their time; met in buckets, hubs included."""
    bucket = int(MAX_TURN * window_s * 1e6)
    cut = shapes.with_columns(bucket=pl.int_ranges(pl.col("begin") // bucket, pl.col("end") // bucket + 1)).explode("bucket")
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
    lags = max((following, rhythm.in_turn(asked, answered)), key=people.against_chance)
    return people.against_chance(lags), people.kept_in_step([y for _, y in merged]) if merged else 0.0, lags
