"""What the archive holds, in figures, and forgetting what is older than it should be."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass

from maillog_forensics.archive import segments
from maillog_forensics.archive.ledger import Log
from maillog_forensics.archive.store import Archive


@dataclass(frozen=True)
class Status:
    """The archive in figures.

    Attributes
    ----------
    first, last
        Oldest and newest day (UTC).
    size
        Bytes of all files of events.
    places
        For each entry and folder: name, logs, lines, time of the last event, and what their clocks rest on.
    logs
        For each log: source, path under which it was seen last, lines, time of the last event, state of its clock.
    """

    first: str
    last: str
    days: int
    events: int
    size: int
    lines: int
    unrecognised: int
    damaged: int
    places: tuple[tuple[str, int, int, str, tuple[str, ...]], ...]
    logs: tuple[tuple[str, str, int, str, str], ...]


def status(archive: Archive) -> Status:
    """Count what there is."""
    days = archive.ledger.days()
    events, size = archive.ledger.execute("SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM segments")[0]
    lines, unrecognised, damaged = archive.ledger.execute(
        "SELECT coalesce(sum(parsed + ignored + unrecognised + damaged), 0), coalesce(sum(unrecognised), 0), coalesce(sum(damaged), 0) FROM counts"
    )[0]
    known = archive.ledger.logs()
    logs = tuple((log.source, log.path, log.lines, log.last or "", f"{log.zone}: {log.zone_basis}") for log in known)
    places = tuple(_place(name, [log for log in known if log.place == name]) for name in sorted({log.place for log in known}))
    first, last = (days[0], days[-1]) if days else ("", "")
    return Status(first, last, len(days), events, size, lines, unrecognised, damaged, places, logs)


def _place(name: str, logs: list[Log]) -> tuple[str, int, int, str, tuple[str, ...]]:
    clocks = sorted(
        {_CLOCK.get(log.zone, f"in the zone {log.zone}") if "taken as UTC" not in log.zone_basis else _UNPROVED for log in logs}
    )
    return name, len(logs), sum(log.lines for log in logs), max(log.last or "" for log in logs), tuple(clocks)


_UNPROVED = "taken as UTC, since no line proves the zone (set tz)"
_CLOCK = {"in the stamps": "zone in the stamps", "UTC": "in UTC"}


def forget(archive: Archive, before: dt.date) -> int:
    """Remove the events, counts and reports of the days before a date; how many days of events went.

    What identifies a log (hashes) stays while its file is there: else the next run would take it in again.
    """
    ledger, day = archive.ledger, before.isoformat()
    gone = [d for d in ledger.days() if d < day]
    with ledger.changing():
        ledger.execute("DELETE FROM segments WHERE day < ?", (day,))
        ledger.execute("DELETE FROM counts WHERE quarter < ? AND quarter != ''", (day,))
        for table in ("changed", "due", "reports", "digests"):
            ledger.execute(f"DELETE FROM {table} WHERE day < ?", (day,))
        for path, _ in ledger.execute("SELECT path, log FROM files"):
            if not os.path.exists(path):
                ledger.execute("DELETE FROM files WHERE path = ?", (path,))
        dead = "id NOT IN (SELECT log FROM segments) AND id NOT IN (SELECT log FROM files WHERE log IS NOT NULL)"
        for (number,) in ledger.execute(f"SELECT id FROM logs WHERE {dead}"):
            for table in ("counts", "shapes"):
                ledger.execute(f"DELETE FROM {table} WHERE log = ?", (number,))
            ledger.execute("DELETE FROM logs WHERE id = ?", (number,))
        ledger.execute(
            "DELETE FROM shapes WHERE log NOT IN (SELECT log FROM segments)"
        )  # their samples are lines of days that are gone
    segments.sweep(archive.root, ledger.segments())
    return len(gone)
