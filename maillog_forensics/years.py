"""New Years that the yearless stamps of one file cross."""

from __future__ import annotations

import datetime as dt

import polars as pl

from maillog_forensics.stamps import WALL


class Years:
    """Counts the New Years that one file's yearless stamps cross, chunk by chunk.

    Attributes
    ----------
    met
        Whether a yearless stamp was met.
    turns
        New Years so far.
    last_wall
        Newest yearless stamp so far, in year 2000.
    """

    def __init__(self) -> None:
        self.met = False
        self.turns = 0
        self.last_wall: dt.datetime | None = None

    def mark(self, tables: list[pl.DataFrame]) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The tables of one chunk with `_turn`, the New Years before each line; and in front line, `WALL` and `_turn` of all."""
        walls = pl.concat([t.select("line", *WALL) for t in tables])
        began = self.turns
        turns = self._count(walls)
        if isinstance(turns, int):
            marked = [t.with_columns(_turn=pl.lit(turns, dtype=pl.Int32)) for t in (walls, *tables)]
        else:
            joined = (t.join(turns, on="line", how="left", maintain_order="left") for t in (walls, *tables))
            marked = [t.with_columns(pl.col("_turn").fill_null(began)) for t in joined]
        return marked[0], marked[1:]

    def _count(self, walls: pl.DataFrame) -> int | pl.DataFrame:
        """`_turn`: one number, or a table of line and `_turn` where it changes within the chunk."""
        self.met |= bool(walls["_yearless"].any())
        walls = walls.filter(pl.col("_yearless"), pl.col("_wall").is_not_null())
        if walls.is_empty():
            return self.turns
        last: dt.datetime = walls["_wall"].item(walls["line"].arg_max())
        known = self.last_wall or last
        first_wall, last_wall = walls["_wall"].min(), walls["_wall"].max()
        if max(last_wall, known) - min(first_wall, known) < HALF_A_YEAR:  # type: ignore[type-var, operator]
            self.last_wall = last
            return self.turns
        walls = walls.sort("line", maintain_order=True)
        before = walls["_wall"].head(1) if self.last_wall is None else pl.Series("_wall", [known], dtype=pl.Datetime("us"))
        turn = (self.turns + rollovers(pl.concat([before, walls["_wall"]]))[1:]).cast(pl.Int32)
        began, self.turns, self.last_wall = self.turns, int(turn[-1]), walls["_wall"][-1]
        if turn.min() == turn.max() == began:
            return began
        return walls.select("line", _turn=turn).unique("line", keep="last")


HALF_A_YEAR = dt.timedelta(days=183)
"""Stamps of one file that lie closer together cross no New Year."""


def rollovers(wall: pl.Series) -> pl.Series:
    """How many times the year has turned before each yearless stamp, in file order.

    A step back by more than half a year is a New Year. A step forward by nearly a year is a late line of the old year, if the
    new one goes on after it; else the log was silent for so long.
    """
    step = wall.dt.epoch("us").diff().fill_null(0)
    day = 86_400_000_000
    turns = (step < -183 * day).cast(pl.Int32) - (step > 335 * day).cast(pl.Int32)
    turns = turns.cum_sum()
    comes_back = turns.cum_max(reverse=True) >= 0
    return turns.zip_with(comes_back | (turns >= 0), turns.clip(lower_bound=0))
