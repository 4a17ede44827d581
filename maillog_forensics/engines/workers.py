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
from maillog_forensics.spool import Spool

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark import Broadcast

_BATCH_ROWS = 50_000
_PIECE_ROWS = 200_000

GATHERED = "bucket int, found binary, events binary"
_GATHERED = {"bucket": pl.Int32, "found": pl.Binary, "events": pl.Binary}

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
    keep_events: bool


def survey(settings: parts.Settings, file: tuple[int, parts.Log]) -> parts.Surveyed | None:
    """How a large input (its number and the log) can be read in parts."""
    return parts.survey(*file, settings)


def read(settings: parts.Settings, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The raw events of the parts in the first column (pickled `parts.Part`), and what each part tells of its input."""
    for batch in batches:
        for part in batch.column(0).to_pylist():
            for table in parts.read(pickle.loads(part), settings):
                yield from table.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(max_chunksize=_BATCH_ROWS)


def gather(shared: Broadcast[Context], table: pa.Table) -> pa.Table:
    """What becomes of one bucket: rows of `GATHERED`.

    The first has the pickled `buckets.Bucket` and its lines without a time in `found`; where the events are wanted, each
    further one has some of those that count, as Arrow IPC.
    """
    context = shared.value
    raw = wire.unpack(pl.DataFrame(pl.from_arrow(table)))
    if context.turns.is_empty():
        raw = raw.with_columns(_turn=pl.lit(0, dtype=pl.Int32))
    else:
        raw = raw.join_asof(context.turns, on="line", by="_input", strategy="backward", check_sortedness=False)
        raw = raw.with_columns(pl.col("_turn").fill_null(0))
    undated: dict[int, int] = {}
    settled = settlements.settled([raw], context.settlements, undated)
    kept = Spool() if context.keep_events else None
    bucket = buckets.fill(settled, context.copies, context.since, context.until, kept)
    rows = [{"found": wire.dumps((bucket, undated))}]
    if kept is not None:
        rows += [{"events": wire.ipc(piece)} for (t,) in kept.batches() for piece in t.iter_slices(_PIECE_ROWS)]
    number = table.column(wire.BUCKET)[0].as_py()
    return pl.DataFrame([{"bucket": number, **row} for row in rows], schema=_GATHERED).to_arrow()
