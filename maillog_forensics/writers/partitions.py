"""A folder of files by day and host, in the way that Hive began and Spark, DuckDB and polars read: day=2026-03-02/….

The keys are in the names of the folders only; the files hold the whole table. All files are written under a hidden folder
first and moved one by one when the last is complete; files of other runs stay.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from maillog_forensics import objects
from maillog_forensics.writers.places import settle, unwritable

if TYPE_CHECKING:
    from maillog_forensics.writers.tables import Output

KEYS: dict[str, tuple[str, pl.Expr]] = {
    "day": ("day", pl.col("time").dt.strftime("%Y-%m-%d")),
    "host": ("log_host", pl.col("host")),
}
"""What one can partition by: the key's name in the folders, and its value; `log_host`, since `host` is a column."""

Sink = Callable[[pl.LazyFrame, pl.PartitionBy, "Output", Sequence[pl.Expr]], None]


def write(events: pl.LazyFrame, output: Output, sink: Sink, finish: Callable[[], str]) -> list[str]:
    """Write the table below a folder or a prefix of an object store, and tell the files in a stable order."""
    keys = [KEYS[k] for k in output.partition_by]
    ending = output.decided_kind()
    remote = objects.is_url(output.target)
    try:
        if not remote:
            os.makedirs(output.target, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=".maillog-forensics-", dir=None if remote else output.target)
        try:
            where = pl.PartitionBy(
                scratch, key=[key for key, _ in keys], include_key=False, approximate_bytes_per_file=None
            )  # one file for each partition
            sink(events, where, output, [value.alias(key) for key, value in keys])
            name = finish()
            return [_move(path, scratch, output.target, name, ending) for path in _files(scratch)]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise unwritable(output.target, error) from error


def _files(folder: str) -> list[str]:
    return sorted(os.path.join(place, n) for place, _, names in os.walk(folder) for n in names)


def _move(path: str, scratch: str, target: str, name: str, ending: str) -> str:
    partition = os.path.relpath(os.path.dirname(path), scratch)
    final = "/".join([target.rstrip("/"), *partition.split(os.sep), f"{name}.{ending}"])
    if objects.is_url(target):
        objects.put(path, final)
    else:
        os.makedirs(os.path.dirname(final), exist_ok=True)
        settle(path, final)
    return final
