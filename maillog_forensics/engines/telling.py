"""What one part of a log tells of the whole log's clock, in a few hundred rows."""

from __future__ import annotations

import polars as pl

from maillog_forensics import proofs

_STRETCH_DAYS = 50
_PROOFS = 80
"""As many proving lines of one chunk as `watches.Watch` keeps at most."""


def telling(tables: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """The rows of one chunk's raw events from which `watches.Watch.see` learns the same as from all of them.

    Notes
    -----
    New Years are counted by steps of more than half a year from one stamp to the next, so none lies between two stamps of one
    stretch of 50 days: what stays is where such stretches begin and end, of each its earliest and latest stamp and a
    29 February, and the lines that prove the clock.
    """
    filled = [t for t in tables if t.height]
    if not filled:
        return []
    rows = pl.concat(
        t.select("line", "_wall", "_utc", "_yearless", _table=pl.lit(n, dtype=pl.UInt32), _row=pl.int_range(pl.len()))
        for n, t in enumerate(filled)
    )
    rows = rows.sort("line", maintain_order=True).with_row_index("_n")
    counted = rows.filter(pl.col("_yearless"), pl.col("_wall").is_not_null())
    stretches = counted.select("_n", _stretch=(pl.col("_wall").dt.epoch("d") // _STRETCH_DAYS).rle_id())
    rows = rows.join(stretches, on="_n", how="left", maintain_order="left")
    wall, at = pl.col("_wall"), pl.col("_n")
    leap = (wall.dt.month() == 2) & (wall.dt.day() == 29)
    kept = rows.group_by("_utc", "_yearless", "_stretch").agg(
        at.first().alias("first"),
        at.last().alias("last"),
        at.gather(wall.arg_min()).first().alias("earliest"),
        at.gather(wall.arg_max()).first().alias("latest"),
        at.filter(leap).first().alias("leap"),
    )
    proving = pl.concat(proofs.proving(t).select("line") for t in filled)["line"].unique().sort()
    ends = pl.concat([proving.head(_PROOFS), proving.tail(_PROOFS)])
    wanted = pl.concat([kept[c] for c in ("first", "last", "earliest", "latest", "leap")]).drop_nulls().unique()
    chosen = rows.filter(pl.col("_n").is_in(wanted.implode()) | pl.col("line").is_in(ends.implode()))
    few = (t[chosen.filter(pl.col("_table") == n)["_row"].sort()] for n, t in enumerate(filled))
    return [t for t in few if t.height]
