"""What travels over a cluster: raw events, one row each, and whole objects as bytes.

Every column of an event is of a type that Arrow, Spark and polars agree on. Times go as whole microseconds: a cluster has
ideas of its own about time zones.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import polars as pl

from maillog_forensics import correlate, schema

_DROPPED = ("time", "source")  # known only when the input is settled
_DDL = {
    pl.String: "string",
    pl.UInt64: "long",
    pl.UInt32: "long",
    pl.Int64: "long",
    pl.Int32: "int",
    pl.Int16: "int",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Binary: "binary",
}

RAW: dict[str, pl.DataType | type[pl.DataType]] = {
    **{c: t for c, t in schema.EVENTS.items() if c not in _DROPPED},
    "_wall": pl.Datetime("us"),
    "_utc": pl.Boolean,
    "_yearless": pl.Boolean,
    "_input": pl.UInt32,
    "_nth": pl.UInt32,
}
"""A raw event: what a rule reads, the stamp (`stamps.WALL`), the number of the input, and of the row within its line's part."""

BUCKET, TOLD = "_bucket", "_told"
"""A number that all events of one queue id share; in rows of their own, what a part of a log tells of the whole (pickled)."""


def ddl() -> str:
    """The columns as Spark writes them down."""
    return ", ".join([*(f"`{c}` {_DDL[_carried(t)]}" for c, t in RAW.items()), f"`{BUCKET}` int", f"`{TOLD}` binary"])


def pack(tables: list[pl.DataFrame], number: int) -> pl.DataFrame:
    """The raw events of one part of input `number`, as they travel."""
    if not tables:
        return empty()
    table = pl.concat(tables, how="diagonal_relaxed").with_row_index("_nth")
    table = table.with_columns(_input=pl.lit(number, dtype=pl.UInt32))
    table = table.select((pl.col(c) if c in table.columns else pl.lit(None)).cast(t).alias(c) for c, t in RAW.items())
    where = (correlate.bucket(table) % (1 << 31)).cast(pl.Int32).alias(BUCKET)
    return table.select(*_on_the_way(), where, pl.lit(None, dtype=pl.Binary).alias(TOLD))


def told(number: int, what: bytes) -> pl.DataFrame:
    """A row that tells of the whole input instead of an event."""
    one = pl.DataFrame({"_input": [number], BUCKET: [-1], TOLD: [what]})
    return pl.concat([empty(), one], how="diagonal_relaxed").cast(_travelling())


def empty() -> pl.DataFrame:
    """No row, as they travel."""
    return pl.DataFrame(schema=_travelling())


def _travelling() -> pl.Schema:
    return pl.Schema({c: _arrived(t) for c, t in RAW.items()} | {BUCKET: pl.Int32(), TOLD: pl.Binary()})


def unpack(table: pl.DataFrame) -> pl.DataFrame:
    """Raw events of several inputs, in the order of inputs and lines; `_input` and the stamps are theirs."""
    back = table.select(pl.col(c).cast(t) for c, t in RAW.items())
    return back.sort("_input", "line", "_nth").drop("_nth")


def _carried(kind: pl.DataType | type[pl.DataType]) -> type[pl.DataType]:
    base = kind if isinstance(kind, type) else type(kind)
    return {pl.Enum: pl.String, pl.Datetime: pl.Int64}.get(base, base)


def _arrived(kind: pl.DataType | type[pl.DataType]) -> pl.DataType:
    return {"string": pl.String(), "long": pl.Int64(), "int": pl.Int32(), "double": pl.Float64(), "boolean": pl.Boolean()}[
        _DDL[_carried(kind)]
    ]


def _on_the_way() -> list[pl.Expr]:
    return [pl.col(c).cast(_carried(t)).cast(_arrived(t)) for c, t in RAW.items()]


class _Pickler(pickle.Pickler):
    """Tables go as compressed Arrow IPC: a sixth of their pickled size, and all of it passes through the memory of two JVMs."""

    def reducer_override(self, what: Any) -> Any:
        return (pl.read_ipc, (ipc(what),)) if isinstance(what, pl.DataFrame) else NotImplemented


def dumps(what: object) -> bytes:
    """Something with tables in it, as `pickle.loads` reads it."""
    file = io.BytesIO()
    _Pickler(file).dump(what)
    return file.getvalue()


def ipc(table: pl.DataFrame) -> bytes:
    """A table as compressed Arrow IPC, as `polars.read_ipc` reads it."""
    file = io.BytesIO()
    table.write_ipc(file, compression="zstd")
    return file.getvalue()
