"""Analysing what an archive holds, as `analyze` does logs: over months, and when the logs are gone."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from maillog_forensics import __version__, allowing, api, reading, schema
from maillog_forensics.accounts import InputReport
from maillog_forensics.archive import segments, store
from maillog_forensics.archive.ledger import Segment
from maillog_forensics.archive.store import Archive
from maillog_forensics.errors import NoInputError
from maillog_forensics.findings import Run
from maillog_forensics.spool import Spool

QUEUE_LIFE = dt.timedelta(days=6)
"""How long a message may lie in a queue: five days are the default of Postfix, Exim and RFC 5321, and a day for good measure."""


@dataclass
class Held:
    """What the archive holds of one log, from day to day: a source of events like a log that was just read."""

    archive: Archive
    report: InputReport
    parts: Sequence[Segment]
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    earlier: Sequence[Segment] = ()
    """Segments before these, of which only what tells of `wanted` is taken."""
    wanted: pl.DataFrame | None = None
    """Queue ids (host, queue_id)."""

    def events(self) -> Iterator[pl.DataFrame]:
        """The events, one day after the other, a part of a file at a time, sorted by kind; of connections only the last of each host and part.

        A table has only the columns of `schema.EVENTS` that say something: most events fill a third of them.
        """
        for segment in self.earlier:
            if self.wanted is None or self.since is None:
                continue
            for rows in self._parts(segment):
                early = rows.filter(pl.col("time") < self.since)
                early = early.join(
                    self.wanted.lazy(), on=["host", "queue_id"], how="semi", nulls_equal=True, maintain_order="left"
                )
                yield from _by_kind(early.collect())
        for segment in self.parts:
            for rows in self._parts(segment):
                if self.since:
                    rows = rows.filter(pl.col("time") >= self.since)
                if self.until:
                    rows = rows.filter(pl.col("time") < self.until)
                yield from _by_kind(rows.collect())

    def _parts(self, segment: Segment) -> Iterator[pl.LazyFrame]:
        whole = segments.scan(self.archive.root, [segment]).select(*schema.EVENTS)
        for start in range(0, segment.rows, _PART_ROWS):
            yield whole.slice(start, _PART_ROWS)


_PART_ROWS = 400_000


_ALWAYS = ("time", "source", "line", "offset", "mta", "host", "event")


def _by_kind(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Tables of one kind of event each. Connections tell only until when the log of a host goes on: the last of each stands for all."""
    rows = rows.select(c for c in rows.columns if c in _ALWAYS or rows[c].null_count() < rows.height)
    for kind in rows["event"].unique(maintain_order=True):
        part = rows.filter(pl.col("event") == kind)
        if kind == "session":
            part = part.sort("time", maintain_order=True).unique("host", keep="last", maintain_order=True)
        yield part.select(c for c in part.columns if c in _ALWAYS or part[c].null_count() < part.height)


def held(
    archive: Archive, since: dt.datetime | None = None, until: dt.datetime | None = None, *, with_unfinished: bool = False
) -> list[Held]:
    """What the archive holds between two times (the second not included), log by log in the order of their names.

    Parameters
    ----------
    with_unfinished
        Also what is told before `since` of messages that are still in a queue then.
    """
    reports = {r.about.path: r for r in archive.reports(since, until)}
    names = {log.id: log.source for log in archive.ledger.logs()}
    first = segments.day_of(since) if since else ""
    last = segments.day_of(until) if until else "~"
    parts: dict[str, list[Segment]] = {}
    for s in archive.ledger.segments("s.day >= ? AND s.day <= ?", (first, last)):
        parts.setdefault(names[s.log], []).append(s)
    earlier: dict[str, list[Segment]] = {}
    wanted = None
    if with_unfinished and since:
        oldest = segments.day_of(since - QUEUE_LIFE)
        for s in archive.ledger.segments("s.day >= ? AND s.day <= ?", (oldest, first)):
            earlier.setdefault(names[s.log], []).append(s)
        wanted = _queue_ids(archive, [s for p in parts.values() for s in p], since, until)
    order = sorted(parts.keys() | earlier.keys())
    return [
        Held(archive, reports.get(name) or _nothing(name), parts.get(name, []), since, until, earlier.get(name, []), wanted)
        for name in order
    ]


def _nothing(name: str) -> InputReport:
    """The report of a log that only told earlier of messages which are still there."""
    from maillog_forensics.sources import Input

    return InputReport(Input(name))


def _queue_ids(archive: Archive, parts: Sequence[Segment], since: dt.datetime, until: dt.datetime | None) -> pl.DataFrame:
    """The queue ids that are told of, but did not begin, in the time."""
    rows = segments.scan(archive.root, parts).filter(pl.col("time") >= since, pl.col("queue_id").is_not_null())
    if until:
        rows = rows.filter(pl.col("time") < until)
    begins = (pl.col("event") == "receive").any()
    told = rows.group_by("host", "queue_id").agg(begins=begins).filter(~pl.col("begins")).select("host", "queue_id")
    return told.collect(engine="streaming")


def analyze(
    root: Path,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    window_s: float = 4 * 3600,
    allow: Path | None = None,
    command: str = "",
    keep_events: bool = False,
) -> api.Analysis:
    """Find incidents in what an archive holds; parameters and result as those of `api.analyze`."""
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    kept = Spool() if keep_events else None
    with store.looking(root) as archive:
        days = archive.ledger.days()
        if not archive.segments(since, until):
            held_days = f"it holds {days[0]} to {days[-1]}" if days else "it is empty"
            raise NoInputError(f"{root}: the archive has no events of that time; {held_days}")
        done = reading.put_together(held(archive, since, until), kept)
        allowed = allowing.read(allow) if allow else []
        examined = api.examine(done, archive.lines(), window_s=window_s, allowed=allowed)
    run = Run(
        version=__version__,
        command=command,
        started_at=began,
        elapsed_s=round(time.monotonic() - clock, 3),
        parameters={
            "archive": str(root),
            "since": since.isoformat() if since else None,
            "until": until.isoformat() if until else None,
            "window_s": window_s,
        },
        libraries={"polars": pl.__version__},
    )
    found = api.document(examined, run)
    found = found.model_copy(update={"limits": (*found.limits, store.NAMES)})
    return api.Analysis(found, api.in_order(kept), done.mail, [])
