"""The ledger of the archive: which logs were taken in how far, and which files hold their events. One SQLite file.

A file of events is part of the archive when a row here names it, and not before: everything that a run changes becomes
visible by one transaction. What lies in the folder without a row is left over from a run that was killed.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from maillog_forensics.errors import ArchiveError, MaillogForensicsError, UsageError

VERSION = 2
"""Version of the tables below."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL, first_line TEXT NOT NULL, source TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    digests BLOB NOT NULL, head BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS logs_by_first_line ON logs (first_line);
CREATE TABLE IF NOT EXISTS segments (
    log INTEGER NOT NULL, day TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    last_line INTEGER NOT NULL, PRIMARY KEY (log, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    log INTEGER NOT NULL, quarter TEXT NOT NULL, is_tail INTEGER NOT NULL, parsed INTEGER NOT NULL, ignored INTEGER NOT NULL,
    unrecognised INTEGER NOT NULL, damaged INTEGER NOT NULL, PRIMARY KEY (log, quarter, is_tail)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shapes (
    log INTEGER NOT NULL, is_tail INTEGER NOT NULL, shape TEXT NOT NULL, count INTEGER NOT NULL, line INTEGER NOT NULL,
    sample TEXT NOT NULL, PRIMARY KEY (log, is_tail, shape)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, device TEXT NOT NULL, inode TEXT NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    log INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changed (day TEXT PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS due (day TEXT PRIMARY KEY, is_changed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (day TEXT PRIMARY KEY, made TEXT NOT NULL, is_whole INTEGER NOT NULL, summary TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digests (key TEXT PRIMARY KEY, day TEXT NOT NULL, sent TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass
class Log:
    """One log file's life, from its first line to its last, under whatever names it was seen.

    Attributes
    ----------
    place
        Where it is from: the name of its entry in the configuration, and its folder below that.
    first_line
        Hash of its first line, by which it is looked up.
    source
        What tables and findings call it.
    size, lines
        How much was taken in: decompressed bytes, and lines.
    digests, head, tail
        Hashes of what was taken in (see `identity`).
    resume_line, resume_offset
        Where reading goes on, a little before `settled`, because records may refer to the lines before.
    settled
        Lines up to this one are final; those behind it are read once more, since a record may still be unfinished.
    settled_quarter, first_quarter
        Quarter of an hour (counted from 1970) of the last final line, and of the first line that tells a time.
    is_whole
        The format needs the file from its beginning (records below a head): it is read anew when it has grown.
    """

    place: str
    first_line: str
    source: str = ""
    id: int | None = None
    size: int = 0
    lines: int = 0
    digests: bytes = b""
    head: bytes = b""
    tail: str = ""
    resume_line: int = 1
    resume_offset: int = 0
    settled: int = 0
    settled_quarter: int | None = None
    first_quarter: int | None = None
    settled_turns: int = 0
    settled_wall: str | None = None
    is_whole: bool = False
    is_yearless: bool = False
    is_zoneless: bool = False
    turns: int = 0
    leap_turns: list[int] = field(default_factory=list)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    zone: str = "UTC"
    zone_basis: str = ""
    offset_s: int | None = 0
    first_year: int | None = None
    year_basis: str = "in the stamps"
    is_proved: bool = False
    shift: str = ""
    host: str | None = None
    format: str = "unknown"
    compression: str = "none"
    path: str = ""
    first: str | None = None
    last: str | None = None
    problems: list[str] = field(default_factory=list)


_COLUMNS = ("id", "place", "first_line", "source", "digests", "head")
_STATE = tuple(f.name for f in fields(Log) if f.name not in _COLUMNS)


@dataclass(frozen=True)
class Segment:
    """A Parquet file with the events of one log on one day (UTC)."""

    log: int
    day: str
    name: str
    sha256: str
    rows: int
    bytes: int
    last_line: int

    @property
    def path(self) -> str:
        """Below the archive's folder."""
        return f"events/day={self.day}/{self.name}"


class Ledger:
    """The SQLite file; errors of the file system become one sentence."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.path = path
        try:
            # who only looks may still have to roll back what a killed run left half done
            mode = "rwc" if not is_read_only else "rw" if os.access(path, os.W_OK) else "ro"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=60)
            if not is_read_only:
                self._db.execute("PRAGMA synchronous = EXTRA")  # the folder's entry is on the disk too when a commit returns
                if self.meta("version") is None:
                    self._create()
        except sqlite3.Error as error:
            raise self._told(error) from error
        if self.meta("version") != str(VERSION):
            raise ArchiveError(
                f"{path}: this ledger has version {self.meta('version')}, this program reads version {VERSION}; use the program that wrote it"
            )

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def _create(self) -> None:
        with self.changing():
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    self.execute(statement)
            self.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))

    def meta(self, key: str) -> str | None:
        """A value of the table meta; None also where there is no table yet."""
        try:
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise self._told(error) from error
        except sqlite3.Error as error:
            raise self._told(error) from error
        return str(found[0]) if found else None

    def _told(self, error: sqlite3.Error) -> MaillogForensicsError:
        what = str(error)
        if "readonly" in what or "unable to open" in what:
            return UsageError(f"{self.path}: it can't be written; check the folder's owner and permissions")
        if "full" in what:
            what = "the disk is full"
        elif "malformed" in what or "not a database" in what:
            what = "it is damaged; move the archive's folder away, and the next run reads what logs there are"
        return ArchiveError(f"{self.path}: {what}")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: all of it, or, whatever happens, nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.rollback()
            raise

    def execute(self, statement: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        try:
            return self._db.execute(statement, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise self._told(error) from error

    # --- logs -------------------------------------------------------------------------------------------------------------

    def logs(self, where: str = "1", values: Iterable[object] = ()) -> list[Log]:
        """Logs that meet a condition, in the order of their names."""
        rows = self.execute(f"SELECT {', '.join(_COLUMNS)}, state FROM logs WHERE {where} ORDER BY source", values)
        return [Log(**dict(zip(_COLUMNS, row, strict=False)), **json.loads(row[-1])) for row in rows]

    def save(self, log: Log) -> int:
        """Write what is known of a log; returns its id."""
        state = json.dumps({k: v for k, v in asdict(log).items() if k in _STATE}, default=str)
        row = (log.place, log.first_line, log.source, state, log.digests, log.head)
        if log.id is None:
            names = "place, first_line, source, state, digests, head"
            log.id = int(self.execute(f"INSERT INTO logs ({names}) VALUES (?, ?, ?, ?, ?, ?) RETURNING id", row)[0][0])
        else:
            self.execute(
                "UPDATE logs SET place = ?, first_line = ?, source = ?, state = ?, digests = ?, head = ? WHERE id = ?",
                (*row, log.id),
            )
        return log.id

    # --- segments ---------------------------------------------------------------------------------------------------------

    def segments(self, where: str = "1", values: Iterable[object] = ()) -> list[Segment]:
        """Segments that meet a condition, by day and by the name of their log."""
        rows = self.execute(
            f"SELECT s.log, s.day, s.name, s.sha256, s.rows, s.bytes, s.last_line FROM segments s JOIN logs l ON l.id = s.log "
            f"WHERE {where} ORDER BY s.day, l.source",
            values,
        )
        return [Segment(*row) for row in rows]

    def days(self) -> list[str]:
        """Days (UTC) of which there are events."""
        return [str(row[0]) for row in self.execute("SELECT DISTINCT day FROM segments ORDER BY day")]

    def mark_changed(self, day: str, first: str, last: str) -> None:
        """Note that events of a day came or went, between two times, for who makes the reports."""
        self.execute(
            "INSERT INTO changed VALUES (?, ?, ?) ON CONFLICT (day) DO UPDATE SET first = min(first, excluded.first), "
            "last = max(last, excluded.last)",
            (day, first, last),
        )
