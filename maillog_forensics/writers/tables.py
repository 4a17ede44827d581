"""The events table as a file: Parquet, Arrow, JSON Lines or CSV, in the native schema or in a dialect of others.

Everything is written by polars' streaming sinks: memory is bounded by some chunks, whatever the length of the table, and
the same events give the same bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import polars as pl

from maillog_forensics import __version__, schema
from maillog_forensics.dialects import NATIVE, dialect, tree
from maillog_forensics.dialects.values import iso
from maillog_forensics.errors import UsageError
from maillog_forensics.writers import partitions
from maillog_forensics.writers.places import check_place, replacing, unwritable

KINDS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
}
"""Ending of a file's name to the kind of the file."""

PARTITIONS = tuple(partitions.KEYS)

Place = str | IO[bytes] | pl.PartitionBy


@dataclass(frozen=True)
class Output:
    """How a table is to be written.

    Attributes
    ----------
    target
        File, folder (with `partition_by`), URL of an object, or "-" for standard output.
    schema
        native, ecs, ocsf or timesketch.
    kind
        parquet, arrow, jsonl or csv; None: as the name's ending says; JSON Lines on standard output, Parquet in folders.
    partition_by
        Any of day, host.
    """

    target: str
    schema: str = NATIVE
    kind: str | None = None
    partition_by: Sequence[str] = ()

    def decided_kind(self) -> str:
        """The kind of file.

        Raises
        ------
        UsageError
            Where neither `kind` nor the name tells.
        """
        if self.kind:
            if self.kind not in _SINKS:
                raise UsageError(f"--to {self.kind}: no such kind of file; write one of {', '.join(_SINKS)}")
            return self.kind
        if self.target == "-":
            return "jsonl"
        if self.partition_by:
            return "parquet"
        kind = KINDS.get(os.path.splitext(self.target)[1])
        if kind is None:
            raise UsageError(f"-o {self.target}: the name must end in one of {', '.join(KINDS)} (or say --to parquet)")
        return kind

    def check(self) -> None:
        """Find out before the work what can't be written after it.

        Raises
        ------
        UsageError
        """
        dialect(self.schema)
        self.decided_kind()
        for key in self.partition_by:
            if key not in partitions.KEYS:
                raise UsageError(f"--partition-by {key}: write day, host or day,host")
        if self.partition_by and self.target == "-":
            raise UsageError("--partition-by needs a folder: write -o FOLDER/")
        if not self.partition_by:
            check_place(self.target)


def write_events(
    events: pl.LazyFrame | pl.DataFrame, output: Output | str, *, finish: Callable[[], str] = lambda: "events"
) -> list[str]:
    """Write the events table.

    Parameters
    ----------
    events
        Table of `schema.EVENTS`; a lazy one is never held as a whole.
    output
        Where to and how; a bare name is the native schema in the kind that its ending says.
    finish
        Called when everything is written and nothing is visible yet: it returns the name of the files in a partitioned
        folder, or raises, and then nothing appears under a final name.

    Returns
    -------
    The files written.

    Raises
    ------
    UsageError
        When the kind is not known, or the place can't be written to.
    """
    output = Output(output) if isinstance(output, str) else output
    output.check()
    sink = _SINKS[output.decided_kind()]
    if output.partition_by:
        return partitions.write(events.lazy(), output, sink, finish)
    if output.target == "-":
        _to_pipe(lambda: sink(events.lazy(), sys.stdout.buffer, output, ()))
        finish()
        return []
    with replacing(output.target) as place:
        sink(events.lazy(), place, output, ())
        finish()
    return [output.target]


def _parquet(events: pl.LazyFrame, place: Place, output: Output, keys: Sequence[pl.Expr]) -> None:
    about = {"maillog-forensics/events": str(schema.SCHEMA_VERSION), "maillog-forensics/schema": output.schema,
             "maillog-forensics/version": __version__}  # fmt: skip
    _columns(events, output, keys).sink_parquet(place, compression="zstd", metadata=about, engine="streaming")


def _arrow(events: pl.LazyFrame, place: Place, output: Output, keys: Sequence[pl.Expr]) -> None:
    _columns(events, output, keys).sink_ipc(
        place,
        compression="zstd",
        compat_level=pl.CompatLevel.oldest(),  # string views are read by few programs yet
        engine="streaming",
    )


def _jsonl(events: pl.LazyFrame, place: Place, output: Output, keys: Sequence[pl.Expr]) -> None:
    words = dialect(output.schema)
    if words is None:
        _plain(_columns(events, output, keys)).sink_ndjson(place, engine="streaming", check_extension=False)
        return
    text = events.select(tree.json(words, events.collect_schema()).alias("json"), *keys)
    text.sink_csv(place, include_header=False, quote_style="never", engine="streaming", check_extension=False)


def _csv(events: pl.LazyFrame, place: Place, output: Output, keys: Sequence[pl.Expr]) -> None:
    words = dialect(output.schema)
    table = events.select(*(pl.all() if words is None else tree.flat(words),), *keys)
    table = _plain(table.with_columns(pl.col(pl.List(pl.String)).list.join(" ")))
    _defused(table).sink_csv(place, engine="streaming", check_extension=False)


_SINKS: dict[str, Callable[[pl.LazyFrame, Place, Output, Sequence[pl.Expr]], None]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "jsonl": _jsonl,
    "csv": _csv,
}


def _columns(events: pl.LazyFrame, output: Output, keys: Sequence[pl.Expr]) -> pl.LazyFrame:
    words = dialect(output.schema)
    return events.select(*([pl.all()] if words is None else tree.columns(words)), *keys)


def _plain(table: pl.LazyFrame) -> pl.LazyFrame:
    """Times as RFC 3339 text, enums as text."""
    return table.with_columns(iso(pl.col(schema.TIME)), pl.col(pl.Enum).cast(pl.String))


def _defused(table: pl.LazyFrame) -> pl.LazyFrame:
    """Put a ' before text that a spreadsheet would run as a formula."""
    formula = pl.col(pl.String).str.contains(r"^[=+\-@\t\r]")
    return table.with_columns(pl.when(formula).then(pl.lit("'") + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep())


def _to_pipe(write: Callable[[], None]) -> None:
    """A reader that has enough (head) is no error: it becomes the BrokenPipeError that the command line knows."""
    try:
        write()
        sys.stdout.flush()
    except OSError as error:  # polars raises a bare OSError without errno here
        if isinstance(error, BrokenPipeError) or "Broken pipe" in str(error):
            raise BrokenPipeError from error
        raise unwritable("standard output", error) from error
