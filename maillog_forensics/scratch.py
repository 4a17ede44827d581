"""Files of a run: in the folder for temporary files (TMPDIR), as long as somebody needs them."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from maillog_forensics.errors import MaillogForensicsError


class ScratchError(MaillogForensicsError):
    """The folder for temporary files is full, or can't be written to."""


@contextmanager
def writing() -> Iterator[None]:
    """While temporary files are written.

    Raises
    ------
    ScratchError
        In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        try:
            where = tempfile.gettempdir()
        except OSError:  # there is none at all
            where = "TMPDIR"
        why = error.strerror or str(error)
        raise ScratchError(
            f"temporary files can't be written to {where} ({why}); name a folder with room: TMPDIR=/var/tmp maillog-forensics …"
        ) from error


class Folder:
    """A temporary directory that lasts as long as somebody holds on to it."""

    def __init__(self) -> None:
        with writing():
            self.path = Path(tempfile.mkdtemp(prefix="maillog-forensics-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def holding(table: pl.LazyFrame, folder: Folder | None) -> pl.LazyFrame:
    """A table in files that holds on to their directory."""
    if folder is None:
        return table

    def unchanged(rows: pl.DataFrame) -> pl.DataFrame:
        assert folder is not None
        return rows

    return table.map_batches(unchanged, predicate_pushdown=True, projection_pushdown=True, slice_pushdown=True, streamable=True)
