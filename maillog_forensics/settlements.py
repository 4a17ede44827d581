"""From what a stamp says to the time that it was: how the raw events of an input are settled once all of it was read."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from maillog_forensics import clock, schema
from maillog_forensics.clock import TimeBasis


@dataclass(frozen=True)
class Settlement:
    """How raw events of one input get their time: once it is read completely."""

    source: str
    basis: TimeBasis
    turns: int
    cut: tuple[int, ...]

    def settle(self, table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Raw events with `time` and `source`, without those that have no time; and how many lines are lost by that."""
        events = clock.settle(table, self.basis, self.turns).with_columns(source=pl.lit(self.source))
        timeless = events["time"].is_null()
        if not timeless.any():
            return events, 0
        dated = events.filter(~timeless)
        lines = events.filter(timeless).join(dated.select("line"), on="line", how="anti")["line"].unique()
        return dated, lines.filter(~lines.is_in(list(self.cut))).len()  # those that were cut are counted already


def settled(tables: list[pl.DataFrame], settlements: dict[int, Settlement], undated: dict[int, int]) -> pl.DataFrame:
    """Raw events of several inputs (`_input` tells which) in one table with `time` and `source`, in no order.

    The columns are those of `schema.EVENTS` that a table has, and `_input`.

    Parameters
    ----------
    undated
        The number of lines of each input that are lost because no calendar has their time is added here.
    """
    alike: dict[tuple[str, ...], list[pl.DataFrame]] = {}
    for table in tables:
        columns = tuple(sorted(table.columns))
        alike.setdefault(columns, []).append(table.select(columns))
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, s in settlements.items():
        groups.setdefault((replace(s.basis, zone_basis="", year_basis="", shift=""), s.turns), []).append(number)
    out = []
    for several in alike.values():
        joined = pl.concat(several, how="vertical_relaxed") if len(several) > 1 else several[0]
        for numbers in groups.values():
            mine = joined if len(groups) == 1 else joined.filter(pl.col("_input").is_in(numbers))
            if mine.height:
                settlement = settlements[numbers[0]]
                settled = clock.settle(mine, settlement.basis, settlement.turns)
                out.append(settled.select("_input", *(c for c in settled.columns if c in schema.EVENTS)))
    events = pl.concat(out, how="diagonal_relaxed")
    timeless = events["time"].is_null()
    if timeless.any():
        lost = (
            events.filter(timeless)
            .select("_input", "line")
            .unique()
            .join(events.filter(~timeless), on=["_input", "line"], how="anti")
        )
        for number, lines in lost.group_by("_input").agg("line").iter_rows():
            undated[number] = undated.get(number, 0) + len(set(lines) - set(settlements[number].cut))
        events = events.filter(~timeless)
    names = {number: s.source for number, s in settlements.items()}
    source = pl.lit(names[0]) if len(names) == 1 else pl.col("_input").replace_strict(names, return_dtype=pl.String)
    return events.with_columns(source=source)
