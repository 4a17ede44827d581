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


@dataclass(frozen=True)
class Order:
    """How the dates of one input are read; kept from chunk to chunk."""

    is_day_first: bool = False
    basis: TimeBasis | None = None
    is_proved: bool = False


def _pieces(column: str) -> pl.DataFrame | pl.Expr:
    return pl.col(column).str.extract_groups(
        r"([0-9]{1,4})[^0-9]{1,2}([0-9]{1,2})[^0-9]{1,2}([0-9]{1,4})[^0-9]{1,4}([0-9]{1,2})[^0-9]([0-9]{2})(?:[^0-9]([0-9]{2}))?"
    )


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
    part = rows.select(_pieces(column).alias("g")).to_series().struct.unnest()
    part.columns = ["a", "b", "c", "h", "m", "s"]
    part = part.with_columns(pl.all().cast(pl.Int32, strict=False))
    marks = rows.select(
        pm=pl.col(column).str.contains(_PM), am=pl.col(column).str.contains(_AM),
        point=pl.col(column).str.contains(r"^[0-9]{1,2}[.-]"), iso=pl.col(column).str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T.*Z$"),
        seen=proof.str.extract_all(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}").list.eval(
            pl.element().str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)
        ).list.max(),
    )  # fmt: skip
    part = part.hstack(marks)
    hour = pl.when(pl.col("pm") & (pl.col("h") < 12)).then(pl.col("h") + 12).when(pl.col("am") & (pl.col("h") == 12)).then(0).otherwise("h")
    year_first = pl.col("a") > 31

    def wall(day: str, month: str) -> pl.Expr:
        year = pl.when(year_first).then("a").otherwise("c")
        d, m = pl.when(year_first).then("c").otherwise(day), pl.when(year_first).then("b").otherwise(month)
        real = m.is_between(1, 12) & d.is_between(1, 31) & year.is_between(1980, 2199)
        text = pl.concat_str(year.cast(pl.String), m.cast(pl.String).str.pad_start(2, "0"), d.cast(pl.String).str.pad_start(2, "0"), separator="-")
        clock = pl.concat_str(*(x.cast(pl.String).str.pad_start(2, "0") for x in (hour, pl.col("m"), pl.col("s").fill_null(0))), separator=":")
        return pl.when(real).then(pl.concat_str(text, clock, separator="T").str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False))

    part = part.with_columns(day=wall("a", "b"), month=wall("b", "a"))
    order, sentence = (known, None) if known else _order(part)
    part = part.with_columns(wall=pl.when(order.is_day_first).then("day").otherwise("month"))
    stamp = part["wall"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    if is_utc or part["iso"].fill_null(False).all():
        zones = pl.Series("zone", ["Z"] * part.height, dtype=pl.String)
    else:
        zones, basis = _zones(part)
        order = Order(order.is_day_first, order.basis or basis, order.is_proved)
    return rows.with_columns(stamp=stamp, stamp_kind=pl.lit("iso"), zone=zones), order, sentence


def _order(part: pl.DataFrame) -> tuple[Order, str | None]:
    """Day first or month first: by the records' own UTC stamps, else by a day over 12, else by the way it is written."""
    open_ones = part.filter(pl.col("a") <= 31)
    if open_ones.is_empty():
        return Order(), None
    gap = {k: (pl.col(k) - pl.col("seen")).dt.total_seconds().abs() < _FARTHEST_S for k in ("day", "month")}
    near = open_ones.select(day=gap["day"].sum(), month=gap["month"].sum()).row(0)
    if near[0] != near[1]:
        return Order(near[0] > near[1], is_proved=True), None
    over = open_ones.select((pl.col("a") > 12).sum(), (pl.col("b") > 12).sum()).row(0)
    if over[0] != over[1]:
        return Order(over[0] > over[1], is_proved=True), None
    if open_ones["point"].any():  # 11.08.2026, 22-12-2020: no culture writes the month first with these
        return Order(True), None
    same = open_ones.filter(pl.col("a") != pl.col("b"))
    if same.is_empty():
        return Order(), None
    return Order(False), "nothing tells whether its dates have the day or the month first: read as month/day/year; export again with -Culture or ISO dates"


def _zones(part: pl.DataFrame) -> tuple[pl.Series, TimeBasis | None]:
    """The offset of each record: proved by itself, else that of the nearest record that proves one."""
    gap = (pl.col("wall") - pl.col("seen")).dt.total_seconds()
    offset = ((gap + 1).cast(pl.Float64) / _GRID_S).floor() * _GRID_S  # the stamp of the arrival is a moment earlier, never later
    table = part.select(offset=pl.when((gap - offset <= _LATENCY_S) & (offset.abs() < _FARTHEST_S)).then(offset).cast(pl.Int64))
    votes = table.drop_nulls().group_by("offset").len().sort(["len", "offset"], descending=[True, False])
    if votes.is_empty():
        return pl.Series("zone", [None] * part.height, dtype=pl.String), None
    best, most = votes.row(0)
    total = int(votes["len"].sum())
    summer = [o for o, n in votes.rows() if abs(o - best) == 3600 and n >= max(3, total // 10)]
    zone = {o: _offset_name(o) if o else "Z" for o in (best, *summer)}
    zones = table.select(pl.col("offset").replace_strict(zone, default=None, return_dtype=pl.String).forward_fill().backward_fill().alias("zone"))
    said = " and ".join(_offset_name(o) for o in sorted(zone))
    return zones["zone"], TimeBasis(said, f"read from the records: {most} of them carry a UTC stamp of a moment earlier", None)
