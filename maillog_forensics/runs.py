"""Runs: the messages of one arrow of the mail graph, from one mailbox to another, without a long pause."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import polars as pl

MAX_TURN = 2
"""A turn of a ring takes at most so many windows; an arrow that pauses longer begins a new run."""
PAUSE, PAUSE_S = 30, 600.0
"""… and so does one that pauses so many times longer than usual, and longer than so many seconds."""

STRAY = 0.15
"""Part of a run's messages, at either end, that need not be of what it is a part of."""


@dataclass(frozen=True)
class Run:
    """The messages of one arrow without a long pause."""

    origin: int
    target: int
    times: list[float]
    rows: list[int]


def arrows(edges: pl.LazyFrame, min_turns: int) -> pl.DataFrame:
    """key, row, us: the messages of arrows that were used often, those to three and more mailboxes left out, in time order.

    `edges` has the columns of the graph's, in their order, and `row`, their index there.
    """
    same = {n: pl.col("logical") == pl.col("logical").shift(n) for n in (-2, -1, 1, 2)}
    to_many = ((same[1] & same[2]) | (same[1] & same[-1]) | (same[-1] & same[-2])).fill_null(False)
    table = (
        edges.filter(~to_many, pl.col("sender") != pl.col("recipient"))
        .select("row", us=pl.col("sent").dt.epoch("us"), key=pl.col("sender").cast(pl.UInt64) * (1 << 32) + pl.col("recipient"))
        .collect()
    )
    often = table.group_by("key").len().filter(pl.col("len") >= min_turns).select("key")
    return table.join(often, on="key", how="semi", maintain_order="left")


def ends() -> dict[str, pl.Expr]:
    """Sender and recipient of a key."""
    return {"sender": (pl.col("key") // (1 << 32)).cast(pl.UInt32), "recipient": (pl.col("key") % (1 << 32)).cast(pl.UInt32)}


def cut(table: pl.DataFrame, window_s: float, min_turns: int) -> pl.DataFrame:
    """key, row, us, run, sender, recipient: the runs of at least `min_turns` messages of the arrows in a table of key, row, us."""
    table = table.sort("key", maintain_order=True)
    border = (pl.col("key") != pl.col("key").shift()) | (pl.col("us").diff() > MAX_TURN * window_s * 1e6)
    table = _of_length(table.with_columns(run=border.fill_null(True).cum_sum().cast(pl.UInt32)), min_turns)
    if table.is_empty():
        return table.with_columns(**ends())
    # a message of people, hours before or after, is not of the run
    gap = pl.when(pl.col("run") == pl.col("run").shift()).then(pl.col("us").diff())
    usual = table.group_by("run").agg(usual=pl.col("us").diff().median())
    table = table.join(usual, on="run", how="left", maintain_order="left").with_columns(gap=gap)
    border = pl.col("gap").is_null() | (pl.col("gap") > pl.max_horizontal(PAUSE * pl.col("usual"), PAUSE_S * 1e6))
    table = table.with_columns(run=border.cum_sum().cast(pl.UInt32)).drop("gap", "usual")
    return _of_length(table, min_turns).with_columns(**ends())


def _of_length(table: pl.DataFrame, least: int) -> pl.DataFrame:
    long_enough = table.group_by("run").len().filter(pl.col("len") >= least)
    return table.join(long_enough, on="run", how="semi", maintain_order="left")


def shapes(table: pl.DataFrame) -> pl.DataFrame:
    """run, sender, recipient, n, begin, end: one row for each run of a table of `cut`; a stray message long before or after makes it no longer."""
    us = pl.col("us")
    return table.group_by("run").agg(
        pl.col("sender").first(),
        pl.col("recipient").first(),
        n=pl.len(),
        begin=us.quantile(STRAY, "nearest").cast(pl.Int64),
        end=us.quantile(1 - STRAY, "nearest").cast(pl.Int64),
    )


def collected(table: pl.DataFrame, wanted: pl.Series) -> dict[int, Run]:
    """Some runs of a table of `cut`, by their numbers."""
    kept = (
        table.filter(pl.col("run").is_in(wanted.implode()))
        .group_by("run", maintain_order=True)
        .agg(pl.col("sender").first(), pl.col("recipient").first(), second=pl.col("us") / 1e6, row=pl.col("row"))
    )
    return {run: Run(sender, recipient, times, rows) for run, sender, recipient, times, rows in kept.iter_rows()}


def common(runs: list[Run]) -> tuple[float, float]:
    """The largest piece of the runs' common history without a pause far above the usual ones.

    A pause (a queue that stood still) is no end where the ring goes on for two turns after it.
    """
    times = sorted(t for r in runs for t in r.times)
    gaps = sorted(b - a for a, b in pairwise(times))
    border = max(20 * gaps[len(gaps) // 2], 3 * gaps[int(0.93 * (len(gaps) - 1))], 120.0)
    pieces, start = [], 0
    for i in range(1, len(times) + 1):
        if i == len(times) or times[i] - times[i - 1] > border:
            pieces.append((i - start, times[start], times[i - 1]))
            start = i
    best = pieces.index(max(pieces))
    _, begin, end = pieces[best]
    for count, first, last in pieces[best + 1 :]:
        if count < 2 * len(runs) or first - end > 10 * border:
            break
        end = last
    for count, first, last in reversed(pieces[:best]):
        if count < 2 * len(runs) or begin - last > 10 * border:
            break
        begin = first
    return begin, end
