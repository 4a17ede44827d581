"""Seconds and memory of the mail graph and the detectors, by the number of deliveries.

usage: python -m tests.scale [--millions 1,5,10,50]

Half a year of mail among people who write as people do: some write much, each to few and to those unevenly, in threads of
answers whose times are the measured ones, to many at once now and then, to desks that many write to. Twenty loops and ten rings
are hidden in it, and must be found. The tables lie on disk as Parquet, as an archive has them, and each size runs in a process
of its own.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from maillog_forensics import forwarding, graph, groups, lists, pairs, rings, schema, storms
from maillog_forensics.mail import DELIVERIES, MESSAGES, Mail

SLICE = 2_000_000
"""Deliveries made at a time."""
DAYS = 180
LOOPS, RINGS, TURNS = 20, 10, 100


def _uniform(index: pl.Expr, seed: int) -> pl.Expr:
    """Even between 0 and 1, from a hash of the index: the same each time."""
    return ((index.hash(seed) % (1 << 52)).cast(pl.Float64) + 0.5) / float(1 << 52)


def _normal(index: pl.Expr, seed: int) -> pl.Expr:
    return (-2 * _uniform(index, seed).log()).sqrt() * (2 * math.pi * _uniform(index, seed + 1)).cos()


def people(deliveries: int, slice_at: int, share: float) -> pl.DataFrame:
    """second, a, b, thread: about `deliveries` x `share` rows of ordinary mail, of the threads that begin in one slice of the time."""
    population = max(200, deliveries // 600)
    i = pl.col("thread")
    begin = (slice_at + _uniform(i, 1)) * share * DAYS * 86400
    hour = 3600 * (8 + 10 * _uniform(i, 2))
    contact = (30 * _uniform(i, 4) ** 2).cast(pl.Int64)
    desk = _uniform(i, 5) < 0.05
    threads = (
        pl.select(thread=pl.int_range(int(deliveries * share / 3.2)) + slice_at * deliveries)
        .with_columns(
            start=(begin // 86400) * 86400 + hour,
            a=(population * _uniform(i, 3) ** 2.5).cast(pl.Int64),
            length=(1 - 2.2 * _uniform(i, 6).log()).cast(pl.Int64).clip(1, 60),
            copies=pl.when(_uniform(i, 7) < 0.06).then(2 + (18 * _uniform(i, 8)).cast(pl.Int64)).otherwise(1),
        )
        .with_columns(b=pl.when(desk).then((population * _uniform(i, 9) ** 6).cast(pl.Int64)).otherwise((pl.col("a") * 7919 + contact * 104_729 + 1) % population))
        .with_columns(length=pl.when(pl.col("copies") > 1).then(1).otherwise("length"))
    )  # fmt: skip
    turns = threads.with_columns(turn=pl.int_ranges("length")).explode("turn").with_row_index("n")
    key = pl.col("thread") * 64 + pl.col("turn")
    quick = _uniform(key, 20) < 0.45
    gap = (
        pl.when(quick)
        .then((math.log(1500) + 1.6 * _normal(key, 21)).exp())
        .otherwise((math.log(79_200) + 0.9 * _normal(key, 23)).exp())
    )
    turns = turns.with_columns(
        second=pl.col("start") + pl.when(pl.col("turn") > 0).then(gap).otherwise(0.0).cum_sum().over("thread"),
        back=pl.col("turn") % 2 == 1,
    )
    rows = turns.with_columns(copy=pl.int_ranges("copies")).explode("copy")
    to = (pl.col("b") + pl.col("copy") * 31) % population
    return rows.select(
        "second", "n", a=pl.when("back").then(to).otherwise("a"), b=pl.when("back").then("a").otherwise(to)
    ).filter(pl.col("a") != pl.col("b"))  # fmt: skip


def machines() -> pl.DataFrame:
    """second, a, b, n: the loops and rings, among mailboxes of their own (negative numbers)."""
    rows, n = [], 0
    for loop in range(LOOPS + RINGS):
        size = 2 if loop < LOOPS else 3 + loop % 4
        at = (loop + 1) * DAYS * 86400 / (LOOPS + RINGS + 2)
        for turn in range(TURNS):
            n += 1
            at += 8 * math.exp(0.3 * math.sin(turn * 12.9898 + loop))
            rows.append((at, -(10 * loop + 1 + turn % size), -(10 * loop + 1 + (turn + 1) % size), n))
    return pl.DataFrame(rows, schema={"second": pl.Float64, "a": pl.Int64, "b": pl.Int64, "n": pl.Int64}, orient="row")


def write(folder: Path, deliveries: int) -> int:
    """Messages and deliveries as Parquet; returns the number of deliveries."""
    slices, mid, written = max(1, deliveries // SLICE), 0, 0
    for at in range(slices):
        rows = people(deliveries, at, 1 / slices)
        if at == 0:
            rows = pl.concat([rows.cast({"n": pl.Int64}), machines().select(rows.columns).with_columns(n=-pl.col("n"))])
        rows = rows.sort("second", "n")
        rows = rows.with_columns(
            mid=(pl.col("n").rle_id() + mid).cast(pl.UInt32),
            time=(pl.lit(1_767_225_600_000_000) + pl.col("second") * 1e6)
            .cast(pl.Int64)
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            size=pl.when(pl.col("a") < 0).then(1200).otherwise(700 + (8.5 + 1.1 * _normal(pl.col("n"), 40)).exp()).cast(pl.Int64),
            from_box=_address("a"),
            to_box=_address("b"),
        )
        messages = rows.unique("mid", keep="first", maintain_order=True).select(
            "mid", "from_box", first="time", last=pl.col("time") + pl.duration(seconds=1), host_key=pl.lit("mx1"), host=pl.lit("mx1"),
            instance=pl.lit("postfix"), mta=pl.lit("postfix"), queue_id=pl.col("mid").hash(2).cast(pl.String),
            message_id=pl.col("mid").hash(3).cast(pl.String) + "@mail.sender.example", sender="from_box", size="size",
            client_host=pl.lit("mail.sender.example"), client_ip=pl.lit("192.0.2.1"), removed=pl.lit(True), is_notification=pl.lit(False),
        ).with_columns(logical="message_id")  # fmt: skip
        _conformed(messages, MESSAGES).write_parquet(folder / f"messages-{at:03d}.parquet")
        told = rows.select(
            "mid", "to_box", recipient="to_box", final_box="to_box", first="time", last=pl.col("time") + pl.duration(seconds=1),
            event=pl.lit("deliver"), outcome=pl.lit("sent"), relay_host=pl.lit("mx.far.example"), relay_ip=pl.lit("198.51.100.7"),
            next_queue_id=pl.col("mid").hash(4).cast(pl.String), dsn=pl.lit("2.0.0"), delay_s=pl.lit(0.5),
        )  # fmt: skip
        _conformed(told, DELIVERIES).write_parquet(folder / f"deliveries-{at:03d}.parquet")
        mid, written = mid + messages.height, written + rows.height
    return written


def _address(column: str) -> pl.Expr:
    return "user" + pl.col(column).cast(pl.String) + "@dom" + (pl.col(column).abs() % 500).cast(pl.String) + ".example"


def _conformed(table: pl.DataFrame, columns: dict[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    return schema.conform(table, columns, "made")


def measure(folder: Path) -> None:
    """Graph and detectors over the tables in `folder`; prints one row of figures."""
    messages, deliveries = (pl.scan_parquet(folder / f"{name}-*.parquet") for name in ("messages", "deliveries"))
    mail = Mail(messages, deliveries, pl.LazyFrame())
    marks = [(time.monotonic(), time.process_time())]

    def mark() -> float:
        marks.append((time.monotonic(), time.process_time()))
        return marks[-1][0] - marks[-2][0]

    mails = graph.build(mail)
    built = mark()
    loops, _ = pairs.find_pairs(mails, mail=mail)
    paired = mark()
    ringed, search = rings.find_cycles(mails)
    rung = mark()
    grouped, _ = groups.find_groups(mails, mail)
    shared = mark()
    forwarding.find_rings(mail, mails)
    lists.find_lists(mails, mail)
    storms.find_storms(mail, mails)
    rest = mark()
    right = sum("user-" in m.members[0] for m in (*loops, *ringed) if m.verdict == "loop")
    wrong = sum(m.verdict == "loop" for m in (*loops, *ringed, *grouped)) - right
    wall, cpu = marks[-1][0] - marks[0][0], marks[-1][1] - marks[0][1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {mails.edges.height:,} | {built:.1f} | {paired:.1f} | {rung:.1f} | {shared:.1f} | {rest:.1f} | {wall:.1f} | {cpu:.1f} | {peak:,.0f} "
        f"| {right} of {LOOPS + RINGS}, {wrong} wrong{'; cut short' if search.truncated else ''} |",
        flush=True,
    )


HEAD = """| deliveries | graph s | pairs s | rings s | groups s | others s | all s | processor s | peak MiB | found |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", default="1,5,10,50")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    print(HEAD, flush=True)
    for millions in given.millions.split(","):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), int(float(millions) * 1e6))
            subprocess.run([sys.executable, "-m", "tests.scale", "--measure", folder], check=True, env=os.environ)


if __name__ == "__main__":
    main()
