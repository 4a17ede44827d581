"""What runs on the workers of a cluster: no detector and no report is loaded there."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from maillog_forensics import buckets, settlements
from maillog_forensics.engines import parts, wire
from maillog_forensics.settlements import Settlement

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark import Broadcast

_BATCH_ROWS = 50_000

TURNS: dict[str, pl.DataType | type[pl.DataType]] = {"_input": pl.UInt32, "line": pl.UInt64, "_turn": pl.Int32}


@dataclass(frozen=True)
class Context:
    """What a bucket needs to know of all inputs."""

    settlements: dict[int, Settlement]
    turns: pl.DataFrame
    """_input, line, _turn: the line from which on so many New Years lie behind; without rows where nothing crosses one."""
    copies: dict[str, str] | None
    since: dt.datetime | None
    until: dt.datetime | None


def survey(settings: parts.Settings, file: tuple[int, str]) -> parts.Surveyed | None:
    """How a large input (its number and path) can be read in parts."""
    return parts.survey(*file, settings)


def read(settings: parts.Settings, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The raw events of the parts in the first column (pickled `parts.Part`), and what each part tells of its input."""
    for batch in batches:
        for part in batch.column(0).to_pylist():
            for table in parts.read(pickle.loads(part), settings):
                yield from table.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(max_chunksize=_BATCH_ROWS)


def gather(shared: Broadcast[Context], table: pa.Table) -> pa.Table:
    """The messages of one bucket: a row of its number and of the pickled `buckets.Bucket` with its lines without a time."""
    context = shared.value
    number = table.column(wire.BUCKET)[0].as_py()
    raw = wire.unpack(pl.DataFrame(pl.from_arrow(table)))
    if context.turns.is_empty():
        raw = raw.with_columns(_turn=pl.lit(0, dtype=pl.Int32))
    else:
        raw = raw.join_asof(context.turns, on="line", by="_input", strategy="backward", check_sortedness=False)
        raw = raw.with_columns(pl.col("_turn").fill_null(0))
    undated: dict[int, int] = {}
    settled = settlements.settled([raw], context.settlements, undated)
    found = pickle.dumps((buckets.fill(settled, context.copies, context.since, context.until), undated))
    return pl.DataFrame({"bucket": [number], "found": [found]}, schema={"bucket": pl.Int32, "found": pl.Binary}).to_arrow()
