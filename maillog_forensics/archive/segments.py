"""Files of events: one for each log and day, named by their content, whole or not there.

A file is written under a temporary name, flushed to the disk, and renamed; rows are in the order of the lines. Equal rows give
equal bytes, so the name, which ends in the hash, says whether two archives hold the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from maillog_forensics import schema
from maillog_forensics.archive.ledger import Segment
from maillog_forensics.errors import ArchiveError

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {**schema.EVENTS, "text": pl.String}
"""The events table, and the line that each event was read from."""

_ROWS_IN_GROUP = 100_000
_INCOMING = "incoming"
MEND = "'archive verify' names every damaged file, 'archive rebuild --from-logs' makes it again from logs that are still there"
"""What to do about a file of events that is damaged."""


@contextmanager
def full_disk_told(place: Path) -> Iterator[None]:
    """What the file system refuses becomes one sentence; polars wraps such errors in its own."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if isinstance(error, pl.exceptions.PolarsError) and "os error" not in str(error).lower():
            raise
        what = (getattr(error, "strerror", None) or str(error)).split("\n")[0].lower()
        raise ArchiveError(f"{place}: the archive can't be written ({what}); what was in it before is unharmed") from error


def incoming(root: Path) -> Path:
    """The folder for what a run is about to write; what lies there is nobody's once the run is over."""
    folder = root / _INCOMING
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clear(root: Path) -> None:
    """Remove what was to be written: it is, or nobody will."""
    shutil.rmtree(root / _INCOMING, ignore_errors=True)


def write(root: Path, log: int, source: str, day: str, rows: pl.LazyFrame) -> Segment | None:
    """Write the events of one log and day, so that a later transaction can make them part of the archive.

    Returns
    -------
    Segment or None
        None where there are no rows.
    """
    temporary = incoming(root) / f"{os.getpid()}-{log}-{day}.parquet"
    rows.sink_parquet(
        temporary,
        compression="zstd",
        compression_level=1,  # measured: a quarter less time than the default, and no larger
        row_group_size=_ROWS_IN_GROUP,
        metadata={"maillog-forensics/events": str(schema.SCHEMA_VERSION)},
    )
    count, last_line = pl.scan_parquet(temporary, glob=False).select(pl.len(), pl.col("line").max()).collect().row(0)
    if not count:
        temporary.unlink()
        return None
    digest = _flush(temporary)
    name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', source)}.{digest[:16]}.parquet"
    segment = Segment(log, day, name, digest, count, temporary.stat().st_size, last_line)
    target = root / segment.path
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)
    _flush_folder(target.parent)
    _flush_folder(target.parent.parent)
    return segment


def _flush(path: Path) -> str:
    """Bring a file to the disk; its SHA-256."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            sha.update(data)
        os.fsync(file.fileno())
    return sha.hexdigest()


def _flush_folder(path: Path) -> None:
    if os.name == "nt":  # a folder can't be opened there; NTFS writes its journal itself
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def scan(root: Path, segments: Sequence[Segment]) -> pl.LazyFrame:
    """The events of some segments, in their order.

    Raises
    ------
    ArchiveError
        One of the files is gone or was cut.
    """
    if not segments:
        return pl.LazyFrame(schema=SCHEMA)
    for segment in segments:
        path = root / segment.path
        size = path.stat().st_size if path.is_file() else 0
        if size != segment.bytes:
            raise ArchiveError(f"{path}: {size:,} bytes of {segment.bytes:,} are there; {MEND}")
    return pl.concat([pl.scan_parquet(root / s.path, glob=False) for s in segments])


def sweep(root: Path, known: Sequence[Segment]) -> int:
    """Remove what no row of the ledger names: leftovers of killed runs, and files that were replaced. How many."""
    clear(root)
    wanted = {s.path for s in known}
    gone = 0
    for folder in sorted((root / "events").glob("day=*")):
        for file in sorted(folder.iterdir()):
            if f"events/{folder.name}/{file.name}" not in wanted:
                file.unlink(missing_ok=True)
                gone += 1
        if not any(folder.iterdir()):
            folder.rmdir()
    return gone


def faults(root: Path, segment: Segment) -> str:
    """What is wrong with a segment, in words; empty where its bytes are those that were written."""
    path = root / segment.path
    if not path.is_file():
        return f"{segment.path} is missing"
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return "" if sha == segment.sha256 else f"{segment.path} is not what was written (its SHA-256 is {sha[:16]}…)"


def day_of(time: dt.datetime) -> str:
    """The UTC day that a moment belongs to."""
    return time.astimezone(dt.UTC).date().isoformat()
