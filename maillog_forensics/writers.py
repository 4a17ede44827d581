"""Writing tables: one function for each file kind, under a temporary name first."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from maillog_forensics import schema
from maillog_forensics.errors import UsageError

_KINDS = (".parquet", ".jsonl", ".ndjson", ".csv")


def write_events(events: pl.DataFrame, target: str) -> None:
    """Write the events table to `target`; "-" is JSON Lines on standard output.

    Raises
    ------
    UsageError
        For a file name whose kind is not known.
    """
    if target == "-":
        _to_pipe(events)
        return
    kind = Path(target).suffix
    if kind not in _KINDS:
        raise UsageError(f"-o {target}: the name must end in one of {', '.join(_KINDS)}")
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        if kind == ".parquet":
            events.write_parquet(temporary, compression="zstd", metadata={"maillog-forensics/events": str(schema.SCHEMA_VERSION)})
        elif kind == ".csv":
            defuse(plain(events)).write_csv(temporary)
        else:
            plain(events).write_ndjson(temporary)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def plain(events: pl.DataFrame) -> pl.DataFrame:
    """Times as ISO 8601 text with Z, enums as text."""
    return events.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), pl.col(pl.Enum).cast(pl.String))


def defuse(table: pl.DataFrame) -> pl.DataFrame:
    """Put a ' before text that a spreadsheet would run as a formula."""
    formula = pl.col(pl.String).str.contains(r"^[=+\-@\t\r]")
    return table.with_columns(pl.when(formula).then(pl.lit("'") + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep())


def write_text(text: str, target: str) -> None:
    """Write `text` as UTF-8 under a temporary name, then rename; "-" is standard output.

    Raises
    ------
    UsageError
        When the place can't be written to.
    """
    data = text.encode("utf-8", "backslashreplace")
    if target == "-":
        sys.stdout.buffer.write(data)
        return
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        Path(temporary).write_bytes(data)
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"{target}: can't be written ({(error.strerror or str(error)).lower()})") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _to_pipe(events: pl.DataFrame) -> None:
    """JSON Lines to standard output; a reader that has enough (head) is no error."""
    try:
        plain(events).write_ndjson(sys.stdout.buffer)
        sys.stdout.flush()
    except OSError as error:  # polars raises a bare OSError without errno here
        if isinstance(error, BrokenPipeError) or "Broken pipe" in str(error):
            raise BrokenPipeError from error
        raise


@contextmanager
def strange_lines(target: Path | None) -> Iterator[Callable[[str, pl.DataFrame], None] | None]:
    """A writer of lines that nothing knows, each with its file and number before it; None where none is wanted."""
    if target is None:
        yield None
        return
    try:
        file = open(target, "wb")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise UsageError(f"{target}: can't be written ({(error.strerror or str(error)).lower()})") from error
    with file:

        def write(path: str, lines: pl.DataFrame) -> None:
            text = lines.select(pl.format("{}:{}: {}", pl.lit(path), "line", "text")).to_series().str.join("\n").item()
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")

        yield write
