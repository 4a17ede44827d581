"""Relays: a mailbox that gets mail on one arrow and soon after writes on another, again and again, in step.

The building block of rings: narrowed down in polars from all arrows of the mail graph, each to the runs in which it was
used without a long pause, each such run to those that keep step with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from maillog_forensics import runs
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
    table = _chained(runs.cut(runs.arrows(graph.edges.lazy().with_row_index("row")), window_s, min_turns))
    if table.is_empty():
        return Relays({}, [])
    shapes = runs.shapes(table)
    met = runs.overlapping(shapes.with_columns(place="recipient"), shapes.with_columns(place="sender"), window_s)
    pairs = runs.in_step(table, table, met.filter(pl.col("u") != pl.col("w")), window_s, min_turns)
    kept = runs.collected(table, pl.concat([pairs["came"], pairs["went"]]).unique())
    return Relays(kept, sorted(pairs.select("came", "went").iter_rows()))


def _chained(table: pl.DataFrame) -> pl.DataFrame:
    """Leave out arrows that no other one leads to or from: they are part of no chain."""
    keys = table.select("key", "sender", "recipient").unique("key")
    back = pl.col("sender").is_in(keys["recipient"].implode())
    on = pl.col("recipient").is_in(keys["sender"].implode())
    return table.join(keys.filter(back | on), on="key", how="semi", maintain_order="left")
