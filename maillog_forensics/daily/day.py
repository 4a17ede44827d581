"""One day examined: its incidents under ids that last from day to day, its operations, its findings."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from maillog_forensics import __version__, allowing, api, duplicates, reading, summary
from maillog_forensics.accounts import InputReport
from maillog_forensics.archive import looking, segments
from maillog_forensics.archive.ledger import Segment
from maillog_forensics.archive.store import NAMES, Archive
from maillog_forensics.daily.config import Config
from maillog_forensics.findings import (
    SCHEMA,
    Ending,
    Findings,
    Incident,
    Kind,
    LoopType,
    Run,
    Search,
    StormType,
    Suppressed,
    Traffic,
)
from maillog_forensics.language import mark
from maillog_forensics.operations.compare import Compared, compare, days_before, sentence
from maillog_forensics.operations.facts import NEEDED, Lives
from maillog_forensics.operations.figures import Figures, figures
from maillog_forensics.operations.view import brief, label_of
from maillog_forensics.options import duration_s
from maillog_forensics.wording import headline_of

_SAME_START = dt.timedelta(seconds=60)


@dataclass(frozen=True)
class Day:
    """What a day came to.

    Attributes
    ----------
    opened
        By incident id: the day on which it was first seen.
    is_whole
        Whether the day was over when it was examined.
    """

    date: dt.date
    is_whole: bool
    findings: Findings
    operations: Figures
    compared: tuple[Compared, ...]
    opened: dict[str, dt.date]

    @property
    def running(self) -> tuple[Incident, ...]:
        """Incidents that had not ended when the day (or what is known of it) did."""
        return tuple(i for i in self.findings.incidents if i.ended_by.reason is Ending.ONGOING)


@dataclass(frozen=True)
class _Known:
    """An incident as the newest of the days before saw it."""

    id: str
    kind: str
    members: frozenset[str]
    started: dt.datetime
    ended: dt.datetime
    opened: dt.date


def examine(archive: Archive, config: Config, date: dt.date, now: dt.datetime) -> Day:
    """Examine one day of the archive; nothing is written.

    Notes
    -----
    The search begins `look_back` before the day, and before the start of each incident that was running the evening before, so
    that a chain is seen from its first message; what earlier lines tell of messages still in a queue is looked up as well.
    """
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    start, end = config.span(date)
    known = _known(archive, config, date)
    since = _search_from(config, start, date, known)
    search = _search(archive, config, since, start, end)
    today, opened = _of_day(search.incidents, start, end, date, known)
    events = _Events(archive, start, end)
    operations = figures(events, search.lives, zone=config.report.timezone, top=config.report.top)
    traffic = search.traffic
    if traffic.first is not None:
        rejected = operations.totals["rejected"] + operations.totals["refused_for_now"]
        hosts, mtas = tuple(sorted(events.hosts)[:50]), tuple(sorted(events.mtas))
        traffic = traffic.model_copy(update={"rejected": rejected, "hosts": hosts, "mtas": mtas})
    run = Run(
        version=__version__,
        command=f"maillog-forensics daily ({date.isoformat()})",
        started_at=began,
        elapsed_s=round(time.monotonic() - clock, 3),
        parameters={"day": date.isoformat(), "timezone": config.report.timezone, "searched_from": since.isoformat()},
        libraries={"polars": pl.__version__},
    )
    findings = Findings(
        schema=SCHEMA,
        run=run,
        inputs=tuple(api.input_of(r) for r in search.reports),
        traffic=traffic,
        incidents=today,
        possible=tuple(i for i in search.possible if i.ended >= start and i.started < end),
        suppressed=search.suppressed,
        searches=_searches_of_day(search.searches, [i for i in search.incidents if i.ended < start or i.started >= end]),
        limits=(*search.limits, NAMES),
    )
    others = _totals(archive, days_before(date))
    return Day(date, end <= now, findings, operations, tuple(compare(date, operations.totals, others)), opened)


@dataclass(frozen=True)
class _Search:
    """What the search found, and of the messages only what the day's figures ask of them: all of them take much memory."""

    incidents: tuple[Incident, ...]
    possible: tuple[Incident, ...]
    suppressed: tuple[Suppressed, ...]
    searches: tuple[Search, ...]
    reports: list[InputReport]
    traffic: Traffic
    limits: list[str]
    lives: Lives


def _search(archive: Archive, config: Config, since: dt.datetime, start: dt.datetime, end: dt.datetime) -> _Search:
    """Search from `since`; traffic and reports are those of the day, which begins at `start`."""
    allowed = allowing.read(config.search.allow) if config.search.allow else []
    examined = api.examine(
        reading.put_together(looking.held(archive, since, end, with_unfinished=True)),
        archive.lines(),
        window_s=duration_s(config.search.window, "window"),
        allowed=allowed,
    )
    mail, reports = examined.read.mail, archive.reports(start, end - dt.timedelta(microseconds=1))
    inside = replace(
        mail,
        messages=mail.messages.filter(pl.col("last") >= start).with_columns(first=pl.max_horizontal("first", pl.lit(start))),
        deliveries=mail.deliveries.filter(pl.col("last") >= start),
    )
    return _Search(
        examined.incidents,
        examined.possible,
        examined.suppressed,
        examined.searches,
        reports,
        summary.traffic(inside, examined.edges.filter(pl.col("sent") >= start), reports),
        summary.limits(reports, mail, examined.ahead),
        Lives.of(mail),
    )


_DETECTORS: dict[LoopType | StormType, str] = {
    LoopType.FORWARDING: "messages that come round again",
    LoopType.LIST: "lists and groups",
}


def _searches_of_day(searches: Sequence[Search], elsewhere: Sequence[Incident]) -> tuple[Search, ...]:
    """The searches with those incidents set aside that were found in the time before the day, and stand on another day's page."""
    names = Counter(
        "bursts of notifications"
        if i.kind is Kind.NDR_STORM
        else _DETECTORS.get(i.type, "pairs that answer each other" if len(i.members) < 3 else "rings of new messages")
        for i in elsewhere
    )
    out = []
    for search in searches:
        if n := min(names[search.detector], search.found):
            aside = {**search.set_aside, mark("an incident of another day"): n}
            search = search.model_copy(update={"found": search.found - n, "set_aside": aside})
        out.append(search)
    return tuple(out)


def _search_from(config: Config, start: dt.datetime, date: dt.date, known: Sequence[_Known]) -> dt.datetime:
    """From when on a day's search must look: `look_back`, or the beginnings of what ran in that time."""
    margin = dt.timedelta(seconds=duration_s(config.search.window, "window"))
    since = start - dt.timedelta(seconds=duration_s(config.search.look_back, "look_back"))
    oldest = start - dt.timedelta(seconds=duration_s(config.search.longest_look_back, "longest_look_back"))
    for incident in sorted(known, key=lambda k: k.started, reverse=True):
        if incident.ended >= since and incident.started < start:
            since = min(since, incident.started - margin)
    return max(since, oldest)


def _known(archive: Archive, config: Config, date: dt.date) -> list[_Known]:
    """The incidents of the days before a date, as far back as its search may look: what a later day saw is not known."""
    oldest = date - dt.timedelta(days=1 + duration_s(config.search.longest_look_back, "longest_look_back") // 86400)
    rows = archive.ledger.execute(
        "SELECT summary FROM reports WHERE day >= ? AND day < ? ORDER BY day", (oldest.isoformat(), date.isoformat())
    )
    newest = {i["id"]: i for row in rows for i in json.loads(row[0])["incidents"]}
    known = [
        _Known(
            id, i["kind"], frozenset(i["members"]), dt.datetime.fromisoformat(i["started"]),
            dt.datetime.fromisoformat(i["ended"]), dt.date.fromisoformat(i["opened"]),
        )
        for id, i in newest.items()
    ]  # fmt: skip
    return sorted(known, key=lambda k: (k.started, k.id))


def _of_day(
    found: Sequence[Incident], start: dt.datetime, end: dt.datetime, date: dt.date, known: Sequence[_Known]
) -> tuple[tuple[Incident, ...], dict[str, dt.date]]:
    """The incidents with a part in the day, under the ids that they had the day before; and when each was opened."""
    out, opened = [], {}
    ids = {k.id: k for k in known}
    for incident in found:
        if incident.ended < start or incident.started >= end:
            continue
        before = ids.get(incident.id) or next((k for k in known if _is_same(incident, k)), None)
        if before and before.id not in opened:
            incident = incident.model_copy(update={"id": before.id})
        opened[incident.id] = before.opened if before else date
        out.append(incident)
    return tuple(out), opened


def _is_same(incident: Incident, known: _Known) -> bool:
    """Whether a new day shows more of an incident that was known: of one kind, about the same mailboxes, and at the same time."""
    if incident.kind.value != known.kind:
        return False
    shared = known.members & set(incident.members)
    if 2 * len(shared) < min(len(known.members), len(incident.members)):
        return False
    return abs(incident.started - known.started) <= _SAME_START or (
        incident.started <= known.ended and known.started <= incident.ended
    )


class _Events:
    """The events of a day, hour by hour, each once though two logs tell it; and what is counted on the way."""

    def __init__(self, archive: Archive, start: dt.datetime, end: dt.datetime) -> None:
        self.archive, self.start, self.end = archive, start, end
        self.hosts: set[str] = set()
        self.mtas: set[str] = set()

    def __iter__(self) -> Iterator[pl.DataFrame]:
        last = self.end - dt.timedelta(microseconds=1)
        files = self.archive.segments(self.start, last)
        one = len({s.log for s in files}) == 1
        for part in self._slices(files) if one else self._times(sum(s.rows for s in files)):
            self.hosts.update(part["host"].unique().drop_nulls().to_list())
            self.mtas.update(part["mta"].unique().drop_nulls().to_list())
            if part.height:
                yield part

    def _slices(self, files: Sequence[Segment]) -> Iterator[pl.DataFrame]:
        """Of one log, so many lines at a time."""
        for file in files:
            for first in range(0, file.rows, _PART_ROWS):
                rows = segments.scan(self.archive.root, [file]).select(NEEDED).slice(first, _PART_ROWS)
                yield rows.filter(pl.col("time") >= self.start, pl.col("time") < self.end).collect()

    def _times(self, rows: int) -> Iterator[pl.DataFrame]:
        """Of several, so much time at a time: what two of them tell, they tell at the same moment."""
        step = (self.end - self.start) / max(24, rows // _PART_ROWS)
        at = self.start
        while at < self.end:
            later = min(at + step, self.end)
            part, _ = duplicates.drop(self.archive.events(at, later).collect())
            yield part.select(NEEDED)
            at = later


_PART_ROWS = 300_000


def _totals(archive: Archive, days: Sequence[dt.date]) -> dict[dt.date, dict[str, int]]:
    """The totals of earlier days that were whole when they were examined."""
    out = {}
    for day in days:
        row = archive.ledger.execute("SELECT summary FROM reports WHERE day = ? AND is_whole", (day.isoformat(),))
        if row:
            out[day] = {str(k): int(v) for k, v in json.loads(row[0][0])["totals"].items()}
    return out


def remember(archive: Archive, day: Day, made: dt.datetime) -> None:
    """Write into the ledger what later days compare with and go on from; part of the caller's transaction."""
    ledger, date = archive.ledger, day.date.isoformat()
    running = {i.id for i in day.running}
    summary_ = {
        "totals": day.operations.totals,
        "hours": day.operations.hours,
        "incidents": [
            {
                "id": i.id, "kind": i.kind.value, "type": i.type.value, "severity": i.severity.value, "headline": headline_of(i), "messages": i.messages,
                "is_running": i.id in running, "opened": day.opened[i.id].isoformat(), "members": sorted(i.members),
                "started": i.started.isoformat(), "ended": i.ended.isoformat(),
            }
            for i in day.findings.incidents
        ],
        "unusual": [sentence(c, label_of(c.name)) for c in day.compared if c.is_unusual],
        "compared": [
            {"label": label_of(c.name), "name": c.name, "value": c.value, "before": c.before, "median": c.median} for c in day.compared
        ],
        "tables": brief(day.operations.tables),
        "lines": sum(i.lines for i in day.findings.inputs),
        "unrecognised": sum(i.unrecognised for i in day.findings.inputs),
    }  # fmt: skip
    ledger.execute(
        "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?)", (date, made.isoformat(), day.is_whole, json.dumps(summary_))
    )
