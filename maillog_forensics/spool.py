"""Tables on their way to the next stage: in memory up to a budget, beyond it in files of a temporary directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from maillog_forensics.scratch import Folder, holding, writing

BUDGET_BYTES = 192 << 20
"""What one spool holds in memory before it goes to files."""

BUCKETS = 32
"""Parts by key once a spool is in files; one of them must fit into memory."""

_MOST_BUCKETS = 512
_BUCKET_LOG_BYTES = 40 << 20
"""Log behind one bucket in files: it took 4.8 GB to put the messages of 310 MB together, two buckets at a time."""

BUCKET_BYTES = 24 << 20
"""Size of a bucket of what is in memory: putting messages together takes several times as much."""

TABLES_BYTES = 640 << 20
"""What the tables of messages and deliveries take in memory before they go to files."""


def budget(memory_bytes: int | None) -> int:
    """What a spool may hold so that the whole program stays near `memory_bytes` until the messages are put together.

    The program takes about 350 MB by itself; what a spool holds is four to five times as large while it is worked on (measured on
    1 GB of Postfix log).
    """
    return BUDGET_BYTES if memory_bytes is None else max(16 << 20, (memory_bytes - (350 << 20)) // 5)


def tables_budget(memory_bytes: int | None) -> int:
    """What the tables of messages may take so that the whole program stays near `memory_bytes` until the detectors begin.

    Beside them stands the program, and a bucket that is worked on.
    """
    return TABLES_BYTES if memory_bytes is None else max(16 << 20, (memory_bytes - (350 << 20)) // 2)


def buckets_for(log_bytes: int) -> int:
    """How many buckets the events of so many bytes of logs should go to: one is worked on as a whole."""
    return max(BUCKETS, min(_MOST_BUCKETS, log_bytes // _BUCKET_LOG_BYTES))


class Spool:
    """Batches of tables in the order of their arrival, or by bucket.

    Parameters
    ----------
    budget_bytes
        Estimated size of what is kept in memory.
    bucket
        Gives each row of a table a number (UInt64); rows with the same number come out together. Without it a spool keeps the
        order of arrival.
    count
        Buckets, once it is in files.

    Notes
    -----
    Files are Arrow IPC with LZ4 in a temporary directory, which goes when the spool goes.
    """

    def __init__(
        self, budget_bytes: int = BUDGET_BYTES, bucket: Callable[[pl.DataFrame], pl.Series] | None = None, count: int = BUCKETS
    ) -> None:
        self._budget, self._bucket, self._buckets = budget_bytes, bucket, count
        self._held: list[list[pl.DataFrame]] = []
        self._bytes = 0
        self._files: list[list[Path]] = []
        self._folder: Folder | None = None
        self._count = 0

    @property
    def is_on_disk(self) -> bool:
        """Whether the budget was exceeded."""
        return self._folder is not None

    def add(self, *tables: pl.DataFrame) -> None:
        """Put in tables that belong together; their columns may differ."""
        filled = [table for table in tables if table.height]
        if not filled:
            return
        self._held.append(filled)
        self._bytes += sum(int(table.estimated_size()) for table in filled)
        if self._bytes > self._budget:
            self._flush()

    def _flush(self) -> None:
        if self._folder is None:
            self._folder = Folder()
            self._files = [[] for _ in range(self._buckets if self._bucket is not None else 1)]
        held, self._held, self._bytes = self._held, [], 0
        if self._bucket is None:
            for batch in held:
                self._write(0, pl.concat(batch, how="diagonal_relaxed"))
            return
        parts: dict[int, list[pl.DataFrame]] = {}
        while held:
            for table in held.pop(0):
                self._split(table, self._buckets, parts)
        for number, tables in sorted(parts.items()):
            self._write(number, pl.concat(tables, how="diagonal_relaxed"))

    def _split(self, table: pl.DataFrame, count: int, parts: dict[int, list[pl.DataFrame]]) -> None:
        assert self._bucket is not None
        marked = table.with_columns(_bucket=self._bucket(table) % count)
        for (number,), part in marked.partition_by("_bucket", as_dict=True, include_key=False).items():
            parts.setdefault(int(number), []).append(part)

    def _write(self, number: int, table: pl.DataFrame) -> None:
        assert self._folder is not None
        self._count += 1
        path = self._folder.path / f"{self._count}.arrow"
        with writing():
            table.write_ipc(path, compression="lz4")
        self._files[number].append(path)

    def batches(self) -> Iterator[list[pl.DataFrame]]:
        """What was put in together, in the order of arrival (of a spool without buckets)."""
        for files in self._files:
            for path in files:
                yield [pl.read_ipc(path)]
        yield from self._held

    def buckets(self) -> Iterator[list[pl.DataFrame]]:
        """The tables of one bucket after the other, as many as memory asks for; the spool is empty afterwards."""
        if self._folder is not None:
            if self._held:
                self._flush()
            for files in self._files:
                if files:
                    yield [pl.read_ipc(path) for path in files]
            return
        count = min(self._buckets, -(-self._bytes // BUCKET_BYTES))
        held, self._held = self._held, []
        if count <= 1 or self._bucket is None:
            if held:
                yield [table for batch in held for table in batch]
            return
        parts: dict[int, list[pl.DataFrame]] = {}
        while held:
            for table in held.pop(0):
                self._split(table, count, parts)
        for number in sorted(parts):
            yield parts.pop(number)

    def scan(self) -> list[pl.LazyFrame]:
        """What was put in, in no order, without reading it yet; the frames keep the temporary directory alive."""
        files = [path for files in self._files for path in files]
        return [*(holding(pl.scan_ipc(path), self._folder) for path in files), *(t.lazy() for batch in self._held for t in batch)]
