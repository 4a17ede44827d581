"""Dates as a server's culture writes them: `12/22/2020 9:28:06 AM`, `22.12.2020 09:28:06`, local and without a zone.

PowerShell shows the local time of the shell. The order of day and month, and the zone, are often proved by the records
themselves: Exchange's message-info and source-context carry UTC stamps of a moment earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from maillog_forensics.clock import TimeBasis, _offset_name

PROOFS = frozenset({"messageinfo", "sourcecontext"})
"""Cells whose UTC stamps lie a moment before the record's own time."""

_GRID_S = 900  # zones lie on quarters of an hour
_LATENCY_S = 120  # a message that took longer proves nothing
_FARTHEST_S = 15 * 3600
_PM = r"(?i)\bp\.? ?m\b|μ\.?μ|午後|下午|오후"
_AM = r"(?i)\ba\.? ?m\b|π\.?μ|午前|上午|오전"
_PARTS = r"([0-9]{1,4})[^0-9]{1,2}([0-9]{1,2})[^0-9]{1,2}([0-9]{1,4})[^0-9]{1,4}([0-9]{1,2})[^0-9]([0-9]{2})(?:[^0-9]([0-9]{2}))?"
_ISO = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)"
_FORM = "%Y-%m-%dT%H:%M:%S"
_UNDECIDED = (
    "nothing tells whether its dates have the day or the month first: read as month/day/year; export again with dates as "
    "$_.Timestamp.ToUniversalTime().ToString('o')"
)


@dataclass(frozen=True)
class Order:
    """How the dates of one input are read; kept from chunk to chunk."""

    is_day_first: bool = False
    basis: TimeBasis | None = None


def read(
    rows: pl.DataFrame, column: str, proof: pl.Expr, is_utc: bool, known: Order | None
) -> tuple[pl.DataFrame, Order, str | None]:
    """Turn local dates into stamps.

    Parameters
    ----------
    rows
        With the text of the date in `column`.
    proof
        Text in which UTC stamps of a moment earlier may stand.
    is_utc
        Whether the format is known to write UTC.
    known
        What an earlier chunk of the same input settled.

    Returns
    -------
    rows
        With stamp, stamp_kind, and zone where it is known.
    order
    sentence
        What a person should know: the order of day and month could not be told.
    """
    part = _parts(rows, column, proof)
    part = part.with_columns(day=_wall("a", "b"), month=_wall("b", "a"))
    order, sentence = (known, None) if known else _order(part)
    part = part.with_columns(wall=pl.when(order.is_day_first).then("day").otherwise("month"))
    zones = pl.Series("zone", ["Z"] * part.height, dtype=pl.String)
    if not is_utc and not part["zulu"].all():
        zones, basis = _zones(part)
        order = Order(order.is_day_first, order.basis or basis)
    stamps = part.select(
        stamp=pl.coalesce("iso", pl.col("wall").dt.strftime(_FORM)),
        stamp_kind=pl.lit("iso"),
        zone=pl.when("zulu").then(pl.lit("Z")).otherwise(pl.coalesce("written", zones)),
    )
    return rows.with_columns(stamps), order, sentence


def _parts(rows: pl.DataFrame, column: str, proof: pl.Expr) -> pl.DataFrame:
    """The numbers of each date, and what else stands in it."""
    text = pl.col(column)
    numbers = rows.select(text.str.extract_groups(_PARTS).alias("g")).to_series().struct.unnest()
    numbers.columns = ["a", "b", "c", "h", "m", "s"]
    stamps = proof.str.extract_all(_ISO.lstrip("^") + "Z").list.eval(
        pl.element().str.slice(0, 19).str.to_datetime(_FORM, strict=False)
    )
    marks = rows.select(
        pm=text.str.contains(_PM),
        am=text.str.contains(_AM),
        has_point=text.str.contains(r"^[0-9]{1,2}[.-]"),
        iso=text.str.extract(_ISO, 1),
        zulu=text.str.contains(_ISO + "Z$").fill_null(False),
        written=text.str.extract(r"T.*([+-][0-9]{2}:[0-9]{2})$", 1),
        seen=stamps.list.max(),
    )
    return numbers.with_columns(pl.all().cast(pl.Int32, strict=False)).hstack(marks)


def _wall(day: str, month: str) -> pl.Expr:
    """The date and time when `day` and `month` name the columns of day and month; a year that comes first settles both."""
    year_first = pl.col("a") > 31
    y = pl.when(year_first).then("a").otherwise("c")
    m = pl.when(year_first).then("b").otherwise(month)
    d = pl.when(year_first).then("c").otherwise(day)
    past_noon = pl.col("pm") & (pl.col("h") < 12)
    midnight = pl.col("am") & (pl.col("h") == 12)
    hour = pl.when(past_noon).then(pl.col("h") + 12).when(midnight).then(0).otherwise("h")
    is_real = m.is_between(1, 12) & d.is_between(1, 31) & y.is_between(1980, 2199)

    def two(number: pl.Expr) -> pl.Expr:
        return number.cast(pl.String).str.pad_start(2, "0")

    date = pl.concat_str(y.cast(pl.String), two(m), two(d), separator="-")
    clock = pl.concat_str(two(hour), two(pl.col("m")), two(pl.col("s").fill_null(0)), separator=":")
    return pl.when(is_real).then(pl.concat_str(date, clock, separator="T").str.to_datetime(_FORM, strict=False))


def _order(part: pl.DataFrame) -> tuple[Order, str | None]:
    """Day first or month first: by the records' own UTC stamps, else by a day over 12, else by the way it is written."""
    open_ones = part.filter(pl.col("a") <= 31)
    if open_ones.is_empty():
        return Order(), None
    near = [(pl.col(k) - pl.col("seen")).dt.total_seconds().abs() < _FARTHEST_S for k in ("day", "month")]
    for day, month in (open_ones.select(near[0].sum().alias("d"), near[1].sum().alias("m")).row(0),
                       open_ones.select((pl.col("a") > 12).sum(), (pl.col("b") > 12).sum()).row(0)):  # fmt: skip
        if day != month:
            return Order(day > month), None
    if open_ones["has_point"].any():  # 11.08.2026, 22-12-2020: no culture writes the month first with these
        return Order(True), None
    return Order(False), _UNDECIDED if (open_ones["a"] != open_ones["b"]).any() else None


def _zones(part: pl.DataFrame) -> tuple[pl.Series, TimeBasis | None]:
    """The offset of each record: proved by itself, else that of the record before it.

    One offset, or two that lie an hour apart (summer time), win by the number of records that prove them.
    """
    gap = (pl.col("wall") - pl.col("seen")).dt.total_seconds()
    offset = ((gap + 1).cast(pl.Float64) / _GRID_S).floor() * _GRID_S  # the UTC stamp is a moment earlier, hardly ever later
    is_near = (gap - offset <= _LATENCY_S) & (offset.abs() < _FARTHEST_S)
    table = part.select(offset=pl.when(is_near).then(offset).cast(pl.Int64))
    votes = table.drop_nulls().group_by("offset").len().sort(["len", "offset"], descending=[True, False])
    if votes.is_empty():
        return pl.Series("zone", [None] * part.height, dtype=pl.String), None
    best, most = votes.row(0)
    total = int(votes["len"].sum())
    summer = [o for o, n in votes.rows() if abs(o - best) == 3600 and n >= max(3, total // 10)]
    zone = {o: _offset_name(o) if o else "Z" for o in (best, *summer)}
    zones = table.select(
        pl.col("offset").replace_strict(zone, default=None, return_dtype=pl.String).forward_fill().backward_fill()
    )
    said = " and ".join(_offset_name(o) for o in sorted(zone))
    return zones["offset"], TimeBasis(said, f"read from the records: {most} carry a UTC stamp of a moment earlier", None)
