"""Tables on their way to the next stage: in memory up to a budget, beyond it in files of a temporary directory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import polars as pl

BUDGET_BYTES = 384 << 20
"""What one spool holds in memory before it goes to files."""

BUCKETS = 32
"""Parts by key once a spool is in files; one of them must fit into memory."""


class Spool:
    """Tables in the order of their arrival, or by bucket.

    Parameters
    ----------
    budget_bytes
        Estimated size of what is kept in memory.
    bucket
        An expression of unsigned integers; rows with the same value modulo `BUCKETS` come out together. Without it a spool has
        one bucket, which keeps the order of arrival.

    Notes
    -----
    Files are Arrow IPC with LZ4 in a temporary directory (TMPDIR), which goes when the spool goes.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES, bucket: pl.Expr | None = None) -> None:
        self._budget, self._bucket = budget_bytes, bucket
        self._held: list[pl.DataFrame] = []
        self._bytes = 0
        self._files: list[list[Path]] = []
        self._folder: _Folder | None = None
        self._flushes = 0

    @property
    def is_on_disk(self) -> bool:
        """Whether the budget was exceeded."""
        return self._folder is not None

    def add(self, table: pl.DataFrame) -> None:
        """Put a table in; its columns may differ from those of others."""
        if table.is_empty():
            return
        self._held.append(table)
        self._bytes += int(table.estimated_size())
        if self._bytes > self._budget:
            self._flush()

    def _flush(self) -> None:
        if self._folder is None:
            self._folder = _Folder()
            self._files = [[] for _ in range(BUCKETS if self._bucket is not None else 1)]
        table = pl.concat(self._held, how="diagonal_relaxed")
        self._held, self._bytes = [], 0
        self._flushes += 1
        if self._bucket is None:
            self._write(0, table)
            return
        parts = table.with_columns(_bucket=self._bucket % BUCKETS).partition_by("_bucket", as_dict=True, include_key=False)
        for (number,), part in parts.items():
            self._write(int(number), part)

    def _write(self, number: int, table: pl.DataFrame) -> None:
        assert self._folder is not None
        path = self._folder.path / f"{number}-{self._flushes}.arrow"
        table.write_ipc(path, compression="lz4")
        self._files[number].append(path)

    def tables(self) -> Iterator[pl.DataFrame]:
        """What was put in, table by table, in the order of arrival (of a spool without buckets)."""
        for files in self._files:
            for path in files:
                yield pl.read_ipc(path)
        yield from self._held

    def scan(self) -> list[pl.LazyFrame]:
        """What was put in, in no order, without reading it yet; the frames keep the temporary directory alive."""
        files = [path for files in self._files for path in files]
        return [*(_scan(path, self._folder) for path in files), *(table.lazy() for table in self._held)]

    def buckets(self) -> Iterator[list[pl.DataFrame]]:
        """The tables of one bucket after the other; a single one while everything is in memory."""
        if self._folder is None:
            if self._held:
                yield self._held
            return
        if self._held:
            self._flush()
        for files in self._files:
            if files:
                yield [pl.read_ipc(path) for path in files]


class _Folder:
    """A temporary directory that lasts as long as somebody holds on to it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="maillog-forensics-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _scan(path: Path, folder: _Folder | None) -> pl.LazyFrame:
    """A file as a lazy table that holds on to its temporary directory."""

    def unchanged(table: pl.DataFrame) -> pl.DataFrame:
        assert folder is not None
        return table

    return pl.scan_ipc(path).map_batches(unchanged)
