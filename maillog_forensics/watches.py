"""Watching the clock of a file while its chunks go by: what its lines prove, how far its stamps reach, which New Years it crosses."""

from __future__ import annotations

import datetime as dt

import polars as pl

from maillog_forensics import proofs
from maillog_forensics.clock import Evidence, TimeBasis, moment
from maillog_forensics.stamps import WALL
from maillog_forensics.years import HALF_A_YEAR, Years

_FIRST, _LAST = 2 * proofs.WANTED, proofs.WANTED  # lines kept from the beginning and from the end, to be looked at
_END_LINES = 4096  # of a chunk, where almost always enough of them stand


_Kind = tuple[bool, bool, int]
"""Of a stamp: whether it is UTC, whether it lacks the year, New Years before it."""

_Span = tuple[dt.datetime | None, dt.datetime | None]
_ENDS = (pl.col("_wall").min(), pl.col("_wall").max().alias("_last"))
_LEAP_DAY = pl.col("_yearless") & (pl.col("_wall").dt.month() == 2) & (pl.col("_wall").dt.day() == 29)


class Watch:
    """What one file tells of its clock, gathered chunk by chunk.

    Attributes
    ----------
    turns
        New Years crossed so far.
    """

    def __init__(self) -> None:
        self._years = Years()
        self._zoneless = False
        self._first_looked: list[pl.DataFrame] = []
        self._last_looked: list[pl.DataFrame] = []
        self._leap_turns: set[int] = set()
        self._spans: dict[_Kind, _Span] = {}

    @property
    def turns(self) -> int:
        """New Years crossed so far."""
        return self._years.turns

    def see(self, tables: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """Look at the raw events of the next chunk; they get `_turn`, the New Years before each line."""
        walls, tables = self._years.mark(tables)
        self._zoneless |= not walls["_utc"].all()
        if walls["_yearless"].any() and (walls["_wall"].dt.month() == 2).any():
            self._leap_turns |= set(walls.filter(_LEAP_DAY)["_turn"].unique().to_list())
        for *kind, first, last in walls.group_by("_utc", "_yearless", "_turn").agg(*_ENDS).iter_rows():
            self._widen((kind[0], kind[1], kind[2]), (first, last))
        self._look_for_proofs(tables)
        return tables

    def _widen(self, kind: _Kind, span: _Span) -> None:
        known = self._spans.get(kind, (None, None))
        first = min((t for t in (known[0], span[0]) if t), default=None)
        self._spans[kind] = first, max((t for t in (known[1], span[1]) if t), default=None)

    def _look_for_proofs(self, tables: list[pl.DataFrame]) -> None:
        is_begun = sum(t.height for t in self._first_looked) >= proofs.WANTED
        rows = _last_proving(tables) if is_begun else proving(tables)
        if rows is None:
            return
        if not is_begun:
            self._first_looked.append(proofs.look(rows.head(_FIRST)))
        self._last_looked.append(proofs.look(rows.tail(_LAST)))
        while len(self._last_looked) > 1 and sum(t.height for t in self._last_looked[1:]) >= proofs.WANTED:
            del self._last_looked[0]

    def evidence(self, written: tuple[dt.datetime, str] | None, next_began: dt.datetime | None) -> Evidence | None:
        """Everything seen, or None where no event was."""
        if not self._spans:
            return None
        looked = [*self._first_looked, *self._last_looked]
        seen = proofs.found(pl.concat(looked).unique(maintain_order=True)) if looked else pl.DataFrame(schema=proofs.PROOFS)
        leap_turns = frozenset(self._years.turns - t for t in self._leap_turns)
        return Evidence(
            seen, self._years.met, self._zoneless, self._years.last_wall, self._years.turns, leap_turns, written, next_began
        )

    def span(self, basis: TimeBasis) -> tuple[dt.datetime | None, dt.datetime | None]:
        """First and last time (UTC) of what was seen."""
        known = [(kind, wall) for kind, span in self._spans.items() for wall in span if wall]
        times = [t for kind, wall in known if (t := moment(wall, *kind, basis, self.turns))]
        return min(times, default=None), max(times, default=None)


def watch_each(tables: list[pl.DataFrame]) -> tuple[dict[int, Watch], list[pl.DataFrame]]:
    """What each of many short files tells of its clock, all of whose raw events are in `tables` (`_input` tells whose).

    Returns
    -------
    watches
        As if each had seen its own rows of the tables.
    tables
        With `_turn`.
    """
    if not tables:
        return {}, []
    walls = pl.concat([t.select("_input", "line", *WALL) for t in tables])
    dated = pl.col("_yearless") & pl.col("_wall").is_not_null()
    wall, line = pl.col("_wall").filter(dated), pl.col("line").filter(dated)
    told = walls.group_by("_input").agg(
        pl.col("_yearless").any().alias("met"),
        (~pl.col("_utc")).any().alias("zoneless"),
        wall.gather(line.arg_max()).first().alias("last"),
        (wall.max() - wall.min()).alias("width"),
        _LEAP_DAY.any().alias("leap"),
    )
    watches, long = {}, []
    for number, met, zoneless, last, width, leap in told.iter_rows():
        watches[number] = watch = Watch()
        if width is not None and width >= HALF_A_YEAR:  # a New Year may lie in it
            long.append(number)
            continue
        watch._years.met, watch._years.last_wall, watch._zoneless = met, last, zoneless
        watch._leap_turns = {0} if leap else set()
    short = pl.col("_input").is_in(long).not_()
    out = [t.filter(short) if long else t for t in tables]
    out = [t.with_columns(_turn=pl.lit(0, dtype=pl.Int32)) for t in out if t.height]
    for number, utc, yearless, first, last in walls.filter(short).group_by("_input", "_utc", "_yearless").agg(*_ENDS).iter_rows():
        watches[number]._widen((utc, yearless, 0), (first, last))
    if (rows := proving(out)) is not None:
        place, count = pl.int_range(pl.len()).over("_input"), pl.len().over("_input")
        looked = proofs.look(rows.filter((place < _FIRST) | (place >= count - _LAST)))
        for (number,), mine in looked.partition_by("_input", as_dict=True, include_key=False).items():
            watches[number]._first_looked, watches[number]._last_looked = [mine.head(_FIRST)], [mine.tail(_LAST)]
    for number in long:
        alone = (t.filter(pl.col("_input") == number) for t in tables)
        out += watches[number].see([t for t in alone if t.height])
    return watches, out


def _last_proving(tables: list[pl.DataFrame]) -> pl.DataFrame | None:
    """As `proving`, but of a chunk's end only, where that has enough of them."""
    border = max((int(t["line"].max() or 0) for t in tables), default=0) - _END_LINES  # type: ignore[arg-type]
    rows = proving([t.filter(pl.col("line") > border) for t in tables])
    return rows if rows is not None and rows.height >= _LAST else proving(tables)


def proving(tables: list[pl.DataFrame]) -> pl.DataFrame | None:
    """The lines of several tables that are worth a look (`proofs.look`), in their order; None where there are none."""
    some = [rows for table in tables if (rows := proofs.proving(table)).height]
    if not some:
        return None
    rows = pl.concat(some, how="diagonal_relaxed")
    return rows.sort("_input", "line") if "_input" in rows.columns else rows.sort("line")
