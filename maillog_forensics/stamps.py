"""What a stamp says: the time on the wall, whether that is UTC, whether the year is missing."""

from __future__ import annotations

import datetime as dt

import polars as pl

EARLIEST, LATEST = dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1)  # noqa: DTZ001  (no mail log is older or younger)

WALL: dict[str, pl.DataType | type[pl.DataType]] = {"_wall": pl.Datetime("us"), "_utc": pl.Boolean, "_yearless": pl.Boolean}
"""What a stamp says, until the clock of its file is settled: the time on the wall, whether it is UTC, whether the year is missing."""


def naive(events: pl.DataFrame) -> pl.DataFrame:
    """Turn the columns stamp, stamp_kind and zone into those of `WALL`; the rows keep their order.

    BSD stamps fall into the leap year 2000 and are `_yearless`; the year comes in with `settle`.
    """
    kinds = events["stamp_kind"].unique(maintain_order=True).to_list()
    if len(kinds) <= 1:
        walls = [_walls(events, kinds[0] if kinds else "")]
        return events.drop("stamp", "stamp_kind", "zone", strict=False).hstack(walls[0])
    rows = events.with_row_index("_n")
    parts = [(part["_n"], _walls(part, part["stamp_kind"][0])) for part in rows.partition_by("stamp_kind")]
    order = pl.concat([n for n, _ in parts]).arg_sort()
    walls = [pl.concat([wall for _, wall in parts])[order]]
    return events.drop("stamp", "stamp_kind", "zone", strict=False).hstack(walls[0])


def _walls(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The columns of `WALL` for stamps of one kind. Many lines share a stamp: each run of equal ones is read once."""
    zones = rows["zone"].unique() if "zone" in rows.columns else pl.Series("zone", [None], dtype=pl.String)
    zone = pl.col("zone") if zones.len() > 1 else pl.lit(zones[0] if zones.len() else None, dtype=pl.String)
    given = rows.select("stamp", *(["zone"] if zones.len() > 1 else []))
    if kind == "":
        nothing = pl.Series("_wall", [None], dtype=pl.Datetime("us")).new_from_index(0, rows.height)
        return pl.DataFrame([nothing]).with_columns(_utc=pl.lit(False), _yearless=pl.lit(False))
    runs = given.select(run=pl.struct(pl.all()).rle_id() if given.width > 1 else pl.col("stamp").rle_id())["run"]
    starts = runs.is_first_distinct() if rows.height else pl.Series([], dtype=pl.Boolean)
    few = _read_stamps(given.filter(starts), kind, zone)
    return few.with_columns(_wall=sane(pl.col("_wall")))[runs]


def _read_stamps(few: pl.DataFrame, kind: str, zone: pl.Expr) -> pl.DataFrame:
    """The columns of `WALL` from the column stamp, and from the zone where the stamp has none."""
    stamp = pl.col("stamp")
    utc, yearless = pl.lit(True), pl.lit(False)
    if kind == "bsd":
        text = pl.concat_str(pl.lit("2000 "), stamp.str.slice(0, 4), stamp.str.extract(r"^.{3} +([0-9]+) ", 1).str.pad_start(2, "0"),
                             pl.lit(" "), stamp.str.extract(r"([0-9]{2}:[0-9]{2}:[0-9]{2})", 1))  # fmt: skip
        few = few.select(_text=text, _fraction=stamp.str.extract(r"[.,]([0-9]{1,6})", 1), _shift=pl.lit(None, dtype=pl.Int64))
        wall, utc, yearless = _clock("%Y %b %d %H:%M:%S"), pl.lit(False), pl.lit(True)
    elif kind == "epoch_us":
        wall = stamp.cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
    elif kind == "epoch_s":
        wall = (stamp.cast(pl.Float64, strict=False) * 1e6).round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
    else:  # expressions that occur in others would be worked out again and again: step by step
        tail = stamp.str.slice(19)
        few = few.with_columns(_tail=pl.when(tail.str.len_bytes() > 0).then(tail))  # NULL costs an expression nothing
        few = few.with_columns(_written=pl.col("_tail").str.extract(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", 1))
        few = few.select(
            _text=stamp.str.slice(0, 19).str.replace("T", " ", literal=True),
            _fraction=pl.col("_tail").str.extract(r"^[.,]([0-9]{1,6})", 1),
            _shift=pl.coalesce(_offset(pl.col("_written")), _offset(zone)),
        )
        wall, utc = _clock("%Y-%m-%d %H:%M:%S"), pl.col("_shift").is_not_null()
    return few.select(_wall=wall, _utc=utc, _yearless=yearless)


def _clock(layout: str) -> pl.Expr:
    """The wall time of _text, _fraction (digits behind the point) and _shift (seconds east of Greenwich)."""
    fraction = pl.col("_fraction").str.pad_end(6, "0").cast(pl.Int64, strict=False).fill_null(0)
    wall = _leapless(pl.col("_text")).str.strptime(pl.Datetime("us"), layout, strict=False)
    return wall + pl.duration(microseconds=fraction) - pl.duration(seconds=pl.col("_shift").fill_null(0))


def _leapless(text: pl.Expr) -> pl.Expr:
    """A leap second counts as the one before it."""
    late = pl.when(text.str.ends_with(":60")).then(text)  # NULL costs an expression nothing
    return pl.coalesce(late.str.replace(r":60$", ":59"), text)


def sane(time: pl.Expr) -> pl.Expr:
    """NULL for a time at which no mail log was written: a forged or broken stamp."""
    return pl.when((time >= EARLIEST) & (time < LATEST)).then(time)


def _offset(text: pl.Expr) -> pl.Expr:
    """Seconds east of Greenwich in Z, UTC, +01:00, +0100."""
    digits = text.str.replace(":", "", literal=True)
    seconds = (
        digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 3600 + digits.str.slice(3, 2).cast(pl.Int64, strict=False) * 60
    )
    return pl.when(text.is_in(["Z", "UTC", "GMT"])).then(0).when(text.str.starts_with("-")).then(-seconds).otherwise(seconds)
