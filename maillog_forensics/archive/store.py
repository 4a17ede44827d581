"""The archive: a folder of events by day, with a ledger of the logs they came from. What callers see of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from maillog_forensics import schema
from maillog_forensics.accounts import InputReport, Shape
from maillog_forensics.archive import segments
from maillog_forensics.archive.ledger import Ledger, Log, Segment
from maillog_forensics.clock import TimeBasis
from maillog_forensics.errors import ArchiveError, UsageError
from maillog_forensics.evidence import Lines
from maillog_forensics.sources import Input

_LEDGER, _LOCK = "ledger.sqlite", "lock.sqlite"

NAMES = (
    "Sources are named as the archive names them, by the first event of the log; size and hash are those of the archive's files when this was made. "
    "'maillog-forensics archive status --logs' tells under which name each log was seen last."
)
"""What a reader of findings that come from an archive has to know."""


@dataclass(frozen=True)
class Archive:
    """An open archive; get one by `writing` or `looking`."""

    root: Path
    ledger: Ledger

    def events(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> pl.LazyFrame:
        """The events between two times (the second not included), by log and line; columns of `segments.SCHEMA`."""
        found = sorted(self.segments(since, until), key=self._order())
        rows = segments.scan(self.root, found)
        if since:
            rows = rows.filter(pl.col("time") >= since)
        if until:
            rows = rows.filter(pl.col("time") < until)
        return rows

    def segments(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> list[Segment]:
        """The files of the days from one time to another."""
        first, last = segments.day_of(since) if since else "", segments.day_of(until) if until else "~"
        return self.ledger.segments("s.day >= ? AND s.day <= ?", (first, last))

    def has_events(self, since: dt.datetime, until: dt.datetime) -> bool:
        """Whether there is an event between two times (the second not included)."""
        return self.events(since, until).select("time").head(1).collect().height > 0

    def _order(self) -> _Order:
        return _Order({log.id: log.source for log in self.ledger.logs()})

    def reports(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> list[InputReport]:
        """What became of the lines of each log between two times (the second not included; by quarters of an hour), as `analyze` would tell of its inputs."""
        where, values = ["1"], []
        if since:
            where.append("quarter >= ?")
            values.append(_minute(since - dt.timedelta(minutes=since.minute % 15)))
        if until:
            where.append("quarter < ?")
            values.append(_minute(until))
        rows = self.ledger.execute(
            "SELECT log, sum(parsed), sum(ignored), sum(unrecognised), sum(damaged) FROM counts WHERE "
            + " AND ".join(where)
            + " GROUP BY log",
            values,
        )
        counts = {row[0]: row[1:5] for row in rows}
        files: dict[int, list[Segment]] = {}
        for segment in self.segments(since, until):
            files.setdefault(segment.log, []).append(segment)
        return [
            self._report(log, counts[log.id], files.get(log.id, []))
            for log in self.ledger.logs()
            if log.id is not None and log.id in counts
        ]

    def _report(self, log: Log, counts: tuple[int, ...], files: list[Segment]) -> InputReport:
        """Size and hash are those of the archive's file; where there are several, the hash is that of their hashes."""
        hashes = [s.sha256 for s in files]
        sha = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        about = Input(log.source, bytes=sum(s.bytes for s in files), sha256=sha, decompressed_sha256=sha, lines=sum(counts))
        about.problems = list(log.problems)
        parsed, ignored, unrecognised, damaged = counts
        shapes = self.ledger.execute(
            "SELECT shape, sum(count), min(line), sample FROM shapes WHERE log = ? GROUP BY shape ORDER BY sum(count) DESC, min(line) LIMIT 20",
            (log.id,),
        )
        report = InputReport(about, parsed, ignored, unrecognised, damaged, format=log.format)
        report.first = dt.datetime.fromisoformat(log.first) if log.first else None
        report.last = dt.datetime.fromisoformat(log.last) if log.last else None
        report.basis = basis_of(log)
        report.shapes = [Shape(*row) for row in shapes] if unrecognised else []
        return report

    def lines(self) -> Lines:
        """A bringer of raw lines that reads them from the archive."""
        return _ArchivedLines(self)

    def verify(self) -> list[str]:
        """What is wrong with the archive, a sentence for each fault; hashes every file."""
        found = [f for s in self.ledger.segments() if (f := segments.faults(self.root, s))]
        broken = self.ledger.execute("PRAGMA integrity_check")
        found += [f"{self.ledger.path}: {row[0]}" for row in broken if row[0] != "ok"]
        lost = self.ledger.execute("SELECT count(*) FROM segments WHERE log NOT IN (SELECT id FROM logs)")[0][0]
        if lost:
            found.append(f"{self.ledger.path}: {lost} files of events belong to no log")
        return found


def _minute(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M")


@dataclass(frozen=True)
class _Order:
    """Segments in the order of their logs' names, then days: the order of an events table."""

    names: dict[int | None, str]

    def __call__(self, segment: Segment) -> tuple[str, str]:
        return self.names[segment.log], segment.day


def basis_of(log: Log) -> TimeBasis:
    """How the stamps of a log became times."""
    last_year = None if log.first_year is None else log.first_year + log.turns
    return TimeBasis(log.zone, log.zone_basis, log.offset_s, last_year, log.year_basis, log.shift)


class _ArchivedLines(Lines):
    """Raw lines out of the archive's files: they are there when the logs are gone."""

    def __init__(self, archive: Archive) -> None:
        super().__init__({})
        self._archive = archive

    def fetch(self) -> None:
        """Read the wanted lines, log by log."""
        ids = {log.source: log.id for log in self._archive.ledger.logs()}
        for source, places in sorted(self._wanted.items()):
            missing = sorted({n for n, _ in places if (source, n) not in self._texts})
            found = self._archive.ledger.segments("s.log = ?", (ids.get(source),))
            if not missing or not found:
                continue
            rows = segments.scan(self._archive.root, found).filter(pl.col("line").is_in(missing), pl.col("text").is_not_null())
            for line, text in rows.select("line", "text").unique("line").collect().iter_rows():
                self._texts[source, line] = text


@contextmanager
def writing(root: Path, *, wait_s: float = 600) -> Iterator[Archive]:
    """The archive for one who changes it, alone; leftovers of a killed run are removed first.

    Raises
    ------
    ArchiveError
        When another run holds it longer than `wait_s`, or it can't be written.
    """
    with segments.full_disk_told(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{root}: the archive can't be made there ({(error.strerror or str(error)).lower()})") from error
        with _locked(root, "EXCLUSIVE", wait_s):
            ledger = Ledger(root / _LEDGER)
            try:
                segments.sweep(root, ledger.segments())
                yield Archive(root, ledger)
                segments.sweep(root, ledger.segments())
            finally:
                ledger.close()


@contextmanager
def looking(root: Path, *, wait_s: float = 60) -> Iterator[Archive]:
    """The archive for one who reads it; nobody changes it meanwhile."""
    if not (root / _LEDGER).is_file():
        raise UsageError(f"{root}: no archive; 'maillog-forensics daily --config FILE.toml' makes one")
    with _locked(root, "DEFERRED", wait_s):
        ledger = Ledger(root / _LEDGER, is_read_only=True)
        try:
            yield Archive(root, ledger)
        finally:
            ledger.close()


@contextmanager
def _locked(root: Path, kind: str, wait_s: float) -> Iterator[None]:
    """A lock that the operating system lets go when the process dies: a transaction on an SQLite file of its own."""
    path = root / _LOCK
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=wait_s)
    except sqlite3.Error as error:
        raise UsageError(f"{root}: the archive can't be opened ({error}); check the folder's owner and permissions") from error
    try:
        db.execute(f"BEGIN {kind}")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
    except pl.exceptions.ComputeError as error:
        if "parquet" not in str(error) or "os error" in str(error):  # such as a full disk
            raise
        raise ArchiveError(f"{root}: a file of events can't be read ({str(error).splitlines()[0]}); {segments.MEND}") from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise ArchiveError(
                f"{root}: another run is using the archive, and did not finish within {wait_s:.0f} s; nothing was done, the next run goes on"
            ) from error
        if "readonly" in str(error) or "unable to open" in str(error):
            raise UsageError(f"{root}: the archive can't be written; check the folder's owner and permissions") from error
        raise ArchiveError(f"{path}: {error}") from error
    finally:
        db.close()


def conform(rows: pl.LazyFrame) -> pl.DataFrame:
    """The events table of some rows of the archive."""
    return rows.select(*schema.EVENTS).collect()
