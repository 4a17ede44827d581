"""The pages of the days, and the index of all of them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maillog_forensics import __version__, report, writers
from maillog_forensics.archive.store import Archive
from maillog_forensics.daily.config import Config
from maillog_forensics.errors import UsageError
from maillog_forensics.figures import plural
from maillog_forensics.findings import write
from maillog_forensics.language import say
from maillog_forensics.operations.view import Operations, view

if TYPE_CHECKING:
    from maillog_forensics.daily.day import Day


def make_folder(folder: Path) -> None:
    """Make the folder of the pages.

    Raises
    ------
    UsageError
        When it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the pages can't be written there ({(error.strerror or str(error)).lower()})") from error


def operations_of(day: Day, config: Config) -> Operations:
    """The day's operations, ready to be placed."""
    return view(day.date, config.report.timezone, day.is_whole, day.operations, day.compared)


def write_day(day: Day, config: Config) -> Path:
    """Write a day's page and, if wanted, its findings; the page's path."""
    folder = config.folder
    target = folder / f"{day.date.isoformat()}.html"
    writers.write_text(report.render(day.findings, lang=config.report.lang, operations=operations_of(day, config)), str(target))
    if config.report.findings:
        writers.write_text(write(day.findings), str(target.with_suffix(".json")))
    return target


def write_index(archive: Archive, config: Config) -> Path:
    """Write the index of all days."""
    days = days_of(archive)
    running = running_of(archive)
    target = config.folder / "index.html"
    if running:
        headline = say("%(incidents)s running at the end of the logs", incidents=plural(len(running), "incident"))
    elif days:
        headline = say("No incident is running at the end of the logs")
    else:
        headline = say("No day has been reported yet")
    writers.write_text(
        report.fill("days.html.j2", days=days, running=running, headline=headline, version=__version__), str(target)
    )
    return target


def days_of(archive: Archive) -> list[dict[str, Any]]:
    """All reported days, newest first, with what the ledger knows of them."""
    rows = archive.ledger.execute("SELECT day, is_whole, summary FROM reports ORDER BY day DESC")
    return [{"date": day, "is_whole": bool(is_whole), **json.loads(summary)} for day, is_whole, summary in rows]


def running_of(archive: Archive) -> list[dict[str, Any]]:
    """Incidents that run at the end of what was taken in: those that the newest reported day saw running."""
    newest = archive.ledger.execute("SELECT summary FROM reports ORDER BY day DESC LIMIT 1")
    return [i for row in newest for i in json.loads(row[0])["incidents"] if i["is_running"]]


def forget(config: Config, before: dt.date) -> int:
    """Remove pages and findings of days before a date; how many days."""
    gone = set()
    for path in sorted(config.folder.glob("????-??-??.*")):
        if path.stem < before.isoformat() and path.suffix in (".html", ".json"):
            path.unlink(missing_ok=True)
            gone.add(path.stem)
    return len(gone)
