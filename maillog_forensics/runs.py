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


def arrows(edges: pl.LazyFrame) -> pl.DataFrame:
    """key, row, us: the messages of each arrow in time order, those to three and more mailboxes left out.

    `edges` has the columns of the graph's, in their order, and `row`, their index there.
    """
    same = {n: pl.col("logical") == pl.col("logical").shift(n) for n in (-2, -1, 1, 2)}
    to_many = ((same[1] & same[2]) | (same[1] & same[-1]) | (same[-1] & same[-2])).fill_null(False)
    table = edges.filter(~to_many, pl.col("sender") != pl.col("recipient")).select(
        "row", us=pl.col("sent").dt.epoch("us"), key=pl.col("sender").cast(pl.UInt64) * (1 << 32) + pl.col("recipient")
    )
    return table.collect().sort("key", maintain_order=True)


def numbered(table: pl.DataFrame, border: pl.Expr) -> pl.DataFrame:
    """The table with `run`, from 0: a new one begins where `border` holds."""
    return table.with_columns(run=border.cum_sum().cast(pl.UInt32) - border.first().cast(pl.UInt32))


def sizes(table: pl.DataFrame, *counted: str) -> pl.DataFrame:
    """n, and how often each of some columns holds, in each run of a table of `numbered`, by number."""
    ends = pl.col("run") != pl.col("run").shift(-1)
    sums = table.select(pl.int_range(1, pl.len() + 1).alias("n"), *(pl.col(c).cum_sum().cast(pl.Int64) for c in counted), _=ends)
    return sums.filter(pl.col("_").fill_null(True)).select(pl.exclude("_") - pl.exclude("_").shift(fill_value=0))


def only(table: pl.DataFrame, wanted: pl.Series) -> pl.DataFrame:
    """The runs of a table of `numbered` for which `wanted`, by number, holds."""
    return table.filter(wanted.gather(table["run"]))


def ends() -> dict[str, pl.Expr]:
    """Sender and recipient of a key."""
    return {"sender": (pl.col("key") // (1 << 32)).cast(pl.UInt32), "recipient": (pl.col("key") % (1 << 32)).cast(pl.UInt32)}


def cut(table: pl.DataFrame, window_s: float, min_turns: int) -> pl.DataFrame:
    """key, row, us, run, sender, recipient: the runs of at least `min_turns` messages in a table of `arrows`.

    Only of arrows that follow, or are followed by, another one: the others are part of no chain.
    """
    table = numbered(
        table, (pl.col("key") != pl.col("key").shift()).fill_null(True) | (pl.col("us").diff() > MAX_TURN * window_s * 1e6)
    )
    table = _chained(only(table, sizes(table)["n"] >= min_turns))
    # a message of people, hours before or after, is not of the run
    gap = pl.when(pl.col("run") == pl.col("run").shift()).then(pl.col("us").diff())
    usual = table.group_by("run").agg(usual=pl.col("us").diff().median())
    table = table.with_columns(gap=gap).join(usual, on="run", how="left", maintain_order="left")
    border = pl.col("gap").is_null() | (pl.col("gap") > pl.max_horizontal(PAUSE * pl.col("usual"), PAUSE_S * 1e6))
    table = numbered(table, border).drop("gap", "usual")
    return only(table, sizes(table)["n"] >= min_turns).with_columns(**ends())


def _chained(table: pl.DataFrame) -> pl.DataFrame:
    keys = table.select("key").unique().with_columns(**ends())
    back = pl.col("sender").is_in(keys["recipient"].implode())
    on = pl.col("recipient").is_in(keys["sender"].implode())
    return table.join(keys.filter(back | on), on="key", how="semi", maintain_order="left")


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
