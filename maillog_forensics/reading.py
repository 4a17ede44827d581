"""Reading what is requested: from paths to inputs taken in, and to messages put together."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl

from maillog_forensics import buckets, bundles, grammar, intake, logfiles, sources, timing
from maillog_forensics import correlate as correlating
from maillog_forensics import normalize as normalizer
from maillog_forensics.accounts import Format, InputReport
from maillog_forensics.errors import UsageError
from maillog_forensics.settlements import Settlement, settled
from maillog_forensics.spool import BUDGET_BYTES, TABLES_BYTES, Spool, buckets_for

_T = TypeVar("_T")


def load(parsers: Path | None = None, only: str | None = None) -> normalizer.Plan:
    """Read and compile the shipped grammar files and those in `parsers`; of mail servers' formats `only` this one, or those of this server.

    Raises
    ------
    UsageError
        When no format is called so.
    """
    known = grammar.read(grammar.find(parsers))
    if only:
        wanted = [f for f in known.formats if only in (f.name, f.mta)]
        if not wanted:
            names = ", ".join(f.name for f in known.formats if f.mta)
            raise UsageError(f"--format {only}: no format is called so; write one of {names}")
        known.formats = [f for f in known.formats if f in wanted or not f.mta]
    return normalizer.compile_grammar(known)


@dataclass(frozen=True)
class Request:
    """Which logs are read, and how.

    Attributes
    ----------
    shown
        What to call those paths that are stand-ins.
    on_unrecognised
        Receives the lines that nothing knows: name of the input, and a table of line, offset, text.
    spool_bytes
        Memory for the events of one input; what is beyond goes to a temporary file.
    chunk_bytes
        How much of a log is parsed at a time.
    tables_bytes
        As `spool_bytes`, for the tables of messages and deliveries.
    """

    paths: list[str]
    tz: str | None = None
    year: int | None = None
    format: str | None = None
    parsers: Path | None = None
    progress: Callable[[str, int], None] | None = None
    shown: dict[str, str] | None = None
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None
    spool_bytes: int = BUDGET_BYTES
    chunk_bytes: int = sources.CHUNK_BYTES
    tables_bytes: int = TABLES_BYTES

    def each(
        self, files: list[str], read_one: Callable[..., _T], report_of: Callable[[_T], InputReport]
    ) -> Iterator[tuple[int, _T]]:
        """What `read_one` (`intake.take_in`, or made of `intake.pour`) gives for each of `files`, with its number.

        Of a rotated set the youngest file comes first, because it tells until when the next older one can last.
        """
        plan = load(self.parsers, self.format)
        options = intake.Options(
            tz=self.tz,
            year=self.year,
            format=self.format,
            on_unrecognised=self.on_unrecognised,
            spool_bytes=self.spool_bytes,
            chunk_bytes=self.chunk_bytes,
        )
        current = ""
        limited = options
        for number, path in in_order(files):
            if logfiles.rotated_set(path) != current:
                current, limited = logfiles.rotated_set(path), options
            done = read_one(number, path, plan, limited, partial(self.progress, path) if self.progress else None)
            report = report_of(done)
            if report.first:
                limited = replace(limited, next_began=report.first.replace(tzinfo=None))
            report.about.path = (self.shown or {}).get(path, report.about.path)
            yield number, done


def in_order(files: list[str]) -> list[tuple[int, str]]:
    """Inputs (in the order of `logfiles.expand`) with their numbers, in the order in which they are read."""
    sets = itertools.groupby(enumerate(files), key=lambda each: logfiles.rotated_set(each[1]))
    return [each for _, twins in sets for each in reversed(list(twins))]


def taken_in(request: Request) -> tuple[Iterator[tuple[int, intake.Taken]], int, list[str]]:
    """Read logs, one after the other as the result is asked for.

    Returns
    -------
    taken
        Each input with its number in the order of `logfiles.expand`; see `Request.each` for the order in which they come.
    count
        How many inputs there are.
    problems
        A sentence for each path behind which there was nothing.
    """
    files, problems = logfiles.expand(request.paths)

    def take_in(number: int, path: str, *rest: Any) -> intake.Taken:
        return intake.take_in(path, *rest)

    return request.each(files, take_in, lambda taken: taken.report), len(files), problems


Engine = Callable[[Request, dt.datetime | None, dt.datetime | None, Spool | None], tuple[buckets.Read, list[str]]]
"""Reads what is requested, of the time between two moments, and gathers its messages; see `gathered`, which does it here."""


def gathered(
    request: Request, since: dt.datetime | None = None, until: dt.datetime | None = None, events: Spool | None = None
) -> tuple[buckets.Read, list[str]]:
    """Read the inputs and gather their messages, bucket by bucket where they are many; what two inputs tell counts once.

    Parameters
    ----------
    events
        Receives the events that count, with the number of their input in `_input`; where none is given, connections are not kept.
    """
    files, problems = logfiles.expand(request.paths)
    spool = Spool(request.spool_bytes, correlating.bucket, buckets_for(sum(logfiles.likely_bytes(f) for f in files)))
    is_lean = events is None and len(files) == 1
    company: bundles.Company | None = None

    def pour(number: int, path: str, plan: Any, options: Any, progress: Any) -> tuple[InputReport, Settlement]:
        nonlocal company
        company = company or bundles.Company(in_order(files), plan, options, spool.add)
        if known := company.take(number):
            about, account = known
            if progress:
                progress(about.decompressed_bytes)
            return account.close(about, Format(), tz=options.tz, year=options.year, next_began=options.next_began)
        mark = pl.lit(number, dtype=pl.UInt32).alias("_input")

        def into(*tables: pl.DataFrame) -> None:
            spool.add(*(t.with_columns(mark) for t in tables))

        options = replace(options, is_lean=is_lean)
        return intake.pour(path, plan, options, into, progress)

    reports: dict[int, InputReport] = {}
    settlements: dict[int, Settlement] = {}
    with timing.stage("read and parse"):
        for number, (report, settlement) in request.each(files, pour, lambda done: done[0]):
            reports[number], settlements[number] = report, replace(settlement, source=report.about.path)
    undated: dict[int, int] = {}
    pieces = (settled(tables, settlements, undated) for tables in spool.buckets())
    with timing.stage("put messages together"):
        done = buckets.read(pieces, [reports[n] for n in sorted(reports)], since, until, events, request.tables_bytes)
    for number, lines in undated.items():
        reports[number].undated(lines)
    return done, problems


class Source(Protocol):
    """Something that was read before: what an archive holds of one log."""

    report: InputReport

    def events(self) -> Iterator[pl.DataFrame]:
        """Its events in pieces, of each kind in the order of the lines; columns of `schema.EVENTS` that nothing fills may miss."""


def put_together(taken: Iterable[Source], events: Spool | None = None) -> buckets.Read:
    """Gather the messages of sources that were read before, as `analyze` does with logs.

    Parameters
    ----------
    taken
        In the order of inputs.
    events
        Receives the events that count.
    """
    spool, reports = Spool(bucket=correlating.bucket), []
    for number, one in enumerate(taken):
        reports.append(one.report)
        for table in one.events():
            spool.add(table.with_columns(_input=pl.lit(number, dtype=pl.UInt32)))
    whole = (pl.concat(tables, how="diagonal_relaxed") for tables in spool.buckets())
    return buckets.read(whole, reports, None, None, events)
