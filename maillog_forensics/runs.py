"""Runs: the messages of one arrow of the mail graph, from one mailbox to another, without a long pause; and which of them keep step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from maillog_forensics import people, rhythm

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
    """key, row, us, run, sender, recipient: the runs of at least `min_turns` messages in a table of `arrows`."""
    table = numbered(
        table, (pl.col("key") != pl.col("key").shift()).fill_null(True) | (pl.col("us").diff() > MAX_TURN * window_s * 1e6)
    )
    table = only(table, sizes(table)["n"] >= min_turns)
    # a message of people, hours before or after, is not of the run
    gap = pl.when(pl.col("run") == pl.col("run").shift()).then(pl.col("us").diff())
    usual = table.group_by("run").agg(usual=pl.col("us").diff().median())
    table = table.with_columns(gap=gap).join(usual, on="run", how="left", maintain_order="left")
    border = pl.col("gap").is_null() | (pl.col("gap") > pl.max_horizontal(PAUSE * pl.col("usual"), PAUSE_S * 1e6))
    table = numbered(table, border).drop("gap", "usual")
    return only(table, sizes(table)["n"] >= min_turns).with_columns(**ends())


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


def overlapping(came: pl.DataFrame, went: pl.DataFrame, window_s: float) -> pl.DataFrame:
    """came, went, n1, n2: runs into and out of one place that share a good part of their time; met in buckets, hubs included.

    Both are tables of `shapes` with `place`.
    """
    bucket = int(MAX_TURN * window_s * 1e6)
    buckets = pl.int_ranges(pl.col("begin") // bucket, pl.col("end") // bucket + 1)
    came, went = (shapes.with_columns(bucket=buckets).explode("bucket") for shapes in (came, went))
    came = came.select("bucket", "place", came="run", u="sender", v="recipient", n1="n", b1="begin", e1="end")
    went = went.select("bucket", "place", went="run", w="recipient", n2="n", b2="begin", e2="end")
    shared = pl.min_horizontal("e1", "e2") - pl.max_horizontal("b1", "b2")
    shorter = pl.min_horizontal(pl.col("e1") - pl.col("b1"), pl.col("e2") - pl.col("b2"))
    return (
        came.lazy()
        .join(went.lazy(), on=["place", "bucket"])
        .filter(
            pl.max_horizontal("n1", "n2") <= 3 * pl.min_horizontal("n1", "n2") + 2,
            shared >= 0.3 * shorter,
        )
        .select("came", "went", "u", "v", "w", "n1", "n2")
        .unique()
        .collect()
    )


def in_step(came: pl.DataFrame, went: pl.DataFrame, pairs: pl.DataFrame, window_s: float, min_turns: int) -> pl.DataFrame:
    """Those of some pairs of runs, in two tables of `cut`, where nearly each message in has a message out of its own."""
    came = came.select("us", came="run").join(pairs, on="came").sort("us")
    went = went.select("us", went="run", at="us", answer="row").sort("us")
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
