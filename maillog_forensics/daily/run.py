"""One run: take in what is new, make the pages of the days that changed, forget what is too old, tell who wants to know.

Every step leaves a state from which the next run goes on: logs are taken in one by one, each day's page is made once its events
are in the archive, and what is still to be done stands in the ledger.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from maillog_forensics.archive import retention, store
from maillog_forensics.archive.reading import Entry
from maillog_forensics.archive.store import Archive
from maillog_forensics.archive.taking import Progress, take_in
from maillog_forensics.daily import metrics, pages
from maillog_forensics.daily.config import Config
from maillog_forensics.errors import MaillogForensicsError, NoInputError
from maillog_forensics.language import speaking
from maillog_forensics.operations.compare import days_after
from maillog_forensics.options import duration_s
from maillog_forensics.text import visible

if TYPE_CHECKING:
    from maillog_forensics.normalize import Plan


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    pages
        Days whose page was made.
    failures
        Sentences about what could not be done and is tried again the next time: a mail that was not sent.
    matched
        Whether the newest day has an incident that `fail_on` names.
    """

    progress: Progress
    pages: list[dt.date] = field(default_factory=list)
    forgotten: int = 0
    sent: str = ""
    failures: list[str] = field(default_factory=list)
    matched: bool = False


def run(
    config: Config,
    *,
    now: dt.datetime | None = None,
    note: Callable[[str], None] | None = None,
    is_anew: bool = False,
    is_remade: bool = False,
) -> Outcome:
    """Run once.

    Parameters
    ----------
    now
        What time it is; the clock, unless a test says otherwise.
    note
        Receives what is being done, for a person who waits.
    is_anew
        Read the logs that are there from their beginning.
    is_remade
        Make the pages of all days again.

    Raises
    ------
    UsageError, ArchiveError
        When the archive or the pages can't be used; what was done until then stays.
    NoInputError
        When no log was there.
    """
    now = now or dt.datetime.now(dt.UTC)
    tell = note or (lambda _: None)
    with store.writing(config.archive, wait_s=duration_s(config.wait, "wait")) as archive:
        keep_private(config.archive)
        pages.make_folder(config.folder)
        entries = [Entry(e.name, e.paths, e.tz, e.host, e.format) for e in config.logs]
        outcome = Outcome(take_in(archive, entries, lambda: _plan(config), lambda name: tell(f"reading {name}"), is_anew=is_anew))
        if config.keep.days:
            horizon = config.day_of(now) - dt.timedelta(days=config.keep.days)
            outcome.forgotten = retention.forget(archive, horizon) if _has_older(archive, horizon) else 0
            pages.forget(config, horizon)
        _settle_due(archive, config, is_remade, now)
        with speaking(config.report.lang):
            _make_pages(archive, config, now, outcome, tell)
            pages.write_index(archive, config)
            _send(archive, config, now, outcome)
        outcome.matched = _is_matched(archive, config)
        if config.report.prometheus:
            metrics.write(archive, config.report.prometheus, now, outcome.progress.problems + outcome.failures)
    if not outcome.progress.is_anything_there:
        raise NoInputError("; ".join(outcome.progress.problems) or "no log was found")
    return outcome


def _plan(config: Config) -> Plan:
    from maillog_forensics import reading  # what a day with nothing new has no use for is not loaded

    return reading.load(config.parsers)


def keep_private(root: Path) -> None:
    """Mail logs are personal data: the archive is for its owner and group only."""
    if os.name != "nt" and os.stat(root).st_uid == os.geteuid():
        os.chmod(root, 0o750)


def _has_older(archive: Archive, horizon: dt.date) -> bool:
    days = archive.ledger.days()
    return bool(days) and days[0] < horizon.isoformat()


def _settle_due(archive: Archive, config: Config, is_remade: bool, now: dt.datetime) -> None:
    """From what changed, which is told in UTC, to the days whose pages are due; a day that is over at last is due too."""
    ledger = archive.ledger
    with ledger.changing():
        spans = ledger.execute("SELECT first, last FROM changed")
        if is_remade:
            spans += [(f"{d}T00:00:00+00:00", f"{d}T23:59:59+00:00") for d in ledger.days()]
        for first, last in spans:
            day, end = config.day_of(dt.datetime.fromisoformat(first)), config.day_of(dt.datetime.fromisoformat(last))
            while day <= end:
                _put_due(archive, day, is_changed=True)
                day += dt.timedelta(days=1)
        for (text,) in ledger.execute("SELECT day FROM reports WHERE NOT is_whole"):
            if config.span(dt.date.fromisoformat(text))[1] <= now:
                _put_due(archive, dt.date.fromisoformat(text), is_changed=False)
        ledger.execute("DELETE FROM changed")


def _put_due(archive: Archive, day: dt.date, *, is_changed: bool) -> None:
    archive.ledger.execute(
        "INSERT INTO due VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET is_changed = max(is_changed, excluded.is_changed)",
        (day.isoformat(), is_changed),
    )


def _make_pages(archive: Archive, config: Config, now: dt.datetime, outcome: Outcome, tell: Callable[[str], None]) -> None:
    """The pages that are due, oldest first; a day that looked back on one that changed, or was compared with it, is due after it."""
    ledger = archive.ledger
    look_back = -(-duration_s(config.search.look_back, "look_back") // 86400)
    while rows := ledger.execute("SELECT day, is_changed FROM due ORDER BY day LIMIT 1"):
        from maillog_forensics.daily import day as days  # as in `_plan`

        date, is_changed = dt.date.fromisoformat(rows[0][0]), bool(rows[0][1])
        start, end = config.span(date)
        before = _reported(archive, date)
        if archive.has_events(start, end):
            tell(f"making the page of {date}")
            examined = days.examine(archive, config, date, now)
            pages.write_day(examined, config)
            outcome.pages.append(date)
        else:  # its lines are gone, or were moved to other days when the clock of their log was proved
            examined = None
            for kind in ("html", "json"):
                (config.folder / f"{date.isoformat()}.{kind}").unlink(missing_ok=True)
        with ledger.changing():
            if examined:
                days.remember(archive, examined, now)
            else:
                ledger.execute("DELETE FROM reports WHERE day = ?", (date.isoformat(),))
            ledger.execute("DELETE FROM due WHERE day = ?", (date.isoformat(),))
            after = _reported(archive, date)
            if is_changed:
                _put_known_due(archive, [date + dt.timedelta(days=n + 1) for n in range(int(look_back))])
            if before["incidents"] != after["incidents"]:
                _put_known_due(archive, [date + dt.timedelta(days=1)])
            if before["totals"] != after["totals"]:
                _put_known_due(archive, days_after(date))


def _reported(archive: Archive, date: dt.date) -> dict[str, object]:
    """What the ledger tells later days of a day: its incidents, and its totals where it was whole."""
    row = archive.ledger.execute("SELECT summary, is_whole FROM reports WHERE day = ?", (date.isoformat(),))
    known = json.loads(row[0][0]) if row else {"incidents": []}
    return {"incidents": known["incidents"], "totals": known["totals"] if row and row[0][1] else None}


def _put_known_due(archive: Archive, wanted: list[dt.date]) -> None:
    """The pages of these days are due again, where there are any."""
    for day in wanted:
        if archive.ledger.execute("SELECT 1 FROM reports WHERE day = ?", (day.isoformat(),)):
            _put_due(archive, day, is_changed=False)


def _send(archive: Archive, config: Config, now: dt.datetime, outcome: Outcome) -> None:
    """The digest, if it is wanted, and was not sent yet; what fails is tried again by the next run."""
    if not config.mail.to:
        return
    from maillog_forensics.daily import digest  # as in `_plan`

    try:
        outcome.sent, refused = digest.send(archive, config, now, outcome.progress.problems)
        outcome.failures += refused
    except MaillogForensicsError as error:
        outcome.failures.append(f"the digest was not sent: {error}; the next run tries again")


def _is_matched(archive: Archive, config: Config) -> bool:
    kinds = {"loop": "mail_loop", "storm": "ndr_storm"}
    wanted = [kinds[k] for k in config.search.fail_on]
    newest = pages.days_of(archive)[:1]
    return any(i["kind"] in wanted and i["severity"] != "info" for day in newest for i in day["incidents"])


def told(outcome: Outcome, config: Config) -> list[str]:
    """What a run did, in words."""
    out = [visible(p) for p in outcome.progress.problems]
    made = ", ".join(d.isoformat() for d in outcome.pages)
    out.append(f"{outcome.progress.lines} new lines" + (f"; pages of {made}" if made else "; no page had to be made"))
    if outcome.forgotten:
        out.append(f"{outcome.forgotten} days older than {config.keep.days} days were forgotten (keep.days; 0 keeps all)")
    if outcome.sent:
        out.append(outcome.sent)
    return out + [visible(f) for f in outcome.failures]
