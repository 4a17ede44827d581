"""Lines that prove a clock: the UTC second that Postfix and Exim write into the ids they make.

Postfix puts it into its own Message-IDs (`YYYYMMDDhhmmss.QUEUEID@host`; cleanup(8) uses gmtime) and, in base 52, into long queue
ids (enable_long_queue_ids); Exim, in base 62, into every message id.
"""

from __future__ import annotations

import polars as pl

PROOFS: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.UInt64, "_wall": pl.Datetime("us"), "_yearless": pl.Boolean, "_turn": pl.Int32, "epoch": pl.Int64,
}  # fmt: skip
"""What a line says of its clock: the stamp, and the UTC second (NULL where a closer look found none)."""

WANTED = 40
"""As many lines from the beginning, and from the end, are looked at."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_EXIM_ID = r"^([0-9A-Za-z]{6})-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}$"
_LONG_ID = rf"^([{_BASE52}]{{6,7}})[{_BASE52}]{{4}}z[0-9A-Za-z]+$"
_LATEST_S = 4_102_444_800  # 2100: a forged id may claim any second


def proving(events: pl.DataFrame) -> pl.DataFrame:
    """Rows without a zone that may prove the clock, with the columns that `look` needs."""
    known = ("_input", "line", "_wall", "_yearless", "_utc", "_turn", "event", "queue_id", "message_id", "mta")
    need = [c for c in known if c in events.columns]
    if events.is_empty() or "queue_id" not in need or events["_utc"].all():
        return pl.DataFrame(schema={"line": pl.UInt64})
    if "message_id" not in need and not (events["event"] == "receive").any():
        return pl.DataFrame(schema={"line": pl.UInt64})
    rows = events.select(need).filter(~pl.col("_utc"), pl.col("_wall").is_not_null())
    return rows.filter(_telling(rows.columns))


def _telling(columns: list[str]) -> pl.Expr:
    """Rows worth a closer look: with a Message-ID that begins with a time and this queue id, or a queue id that may hold a time."""
    own = pl.lit(False)
    if "message_id" in columns:
        same = pl.col("message_id").str.slice(15, pl.col("queue_id").str.len_chars()) == pl.col("queue_id")
        own = pl.col("message_id").str.contains(r"^[0-9]{14}\.[0-9A-Za-z]+@") & same
    timed = pl.col("queue_id").str.contains(r"^[0-9A-Za-z]{10,11}z|^[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-")
    if "event" in columns:
        timed &= pl.col("event") == "receive"
    return (own | timed).fill_null(False)


def look(rows: pl.DataFrame) -> pl.DataFrame:
    """The UTC second that each of `rows` (of `proving`) carries: columns of `PROOFS`, and `_input` where they have it."""
    missing = [c for c in ("message_id", "queue_id", "mta", "event", *PROOFS) if c not in rows.columns and c != "epoch"]
    rows = rows.with_columns(pl.lit(None, dtype=PROOFS.get(c, pl.String)).alias(c) for c in missing)
    stated = pl.col("message_id").str.extract_groups(r"^<?(?P<at>[0-9]{14})\.(?P<id>[0-9A-Za-z]+)@")
    at = stated.struct.field("at").str.to_datetime("%Y%m%d%H%M%S", strict=False).dt.epoch("s")
    own = pl.when(stated.struct.field("id") == pl.col("queue_id")).then(at)
    made = (pl.col("event").cast(pl.String) == "receive") & (
        (pl.col("mta") == "exim") | pl.col("queue_id").str.slice(8, 4).str.contains("z", literal=True)
    )
    timed = pl.coalesce(
        _number(pl.col("queue_id").str.extract(_EXIM_ID, 1), _BASE62, 6),
        _number(pl.col("queue_id").str.extract(_LONG_ID, 1), _BASE52, 7),
    )
    epoch = pl.coalesce(own, pl.when(made).then(timed))
    sane = pl.when(epoch.is_between(0, _LATEST_S, closed="none")).then(epoch)
    return rows.select(
        *(c for c in ("_input",) if c in rows.columns),
        *(pl.col(c).cast(t) for c, t in PROOFS.items() if c != "epoch"),
        epoch=sane.cast(pl.Int64),
    )


def _number(text: pl.Expr, digits: str, longest: int) -> pl.Expr:
    """The number that `text`, at most `longest` of `digits`, stands for."""
    values = {c: n for n, c in enumerate(digits)}
    padded = text.str.pad_start(longest, digits[0])
    places = (
        padded.str.slice(place, 1).replace_strict(values, default=None, return_dtype=pl.Int64)
        * len(digits) ** (longest - 1 - place)
        for place in range(longest)
    )
    return pl.sum_horizontal(*places, ignore_nulls=False)


def found(looked: pl.DataFrame) -> pl.DataFrame:
    """Of rows that were looked at, those that prove the clock; at most a few dozen, from the beginning and the end."""
    if looked.height > 2 * WANTED:
        looked = pl.concat([looked.head(WANTED), looked.tail(WANTED)])
    return looked.filter(pl.col("epoch").is_not_null()).select(list(PROOFS))
