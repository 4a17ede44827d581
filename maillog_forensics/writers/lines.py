"""Writing the lines that nothing knows, for whoever wants to teach them to the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from maillog_forensics.writers.places import unwritable


@contextmanager
def strange_lines(target: Path | None) -> Iterator[Callable[[str, pl.DataFrame], None] | None]:
    """A writer of lines that nothing knows, each with its file and number before it; None where none is wanted."""
    if target is None:
        yield None
        return
    try:
        file = open(target, "wb")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise unwritable(str(target), error) from error
    with file:

        def write(path: str, lines: pl.DataFrame) -> None:
            text = lines.select(pl.format("{}:{}: {}", pl.lit(path), "line", "text")).to_series().str.join("\n").item()
            file.write(text.encode("utf-8", "backslashreplace") + b"\n")

        yield write
