"""What other programs call: read, normalize, analyze."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import shutil
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl
from polars.io.plugins import register_io_source

from maillog_forensics import (
    __version__,
    allowing,
    buckets,
    drafts,
    grammar,
    incidents,
    intake,
    objects,
    schema,
    sources,
    summary,
)
from maillog_forensics import correlate as correlating
from maillog_forensics import normalize as normalizer
from maillog_forensics.evidence import Lines
from maillog_forensics.findings import SCHEMA, Findings, Incident, InputFile, Run, Search, Suppressed, UnknownShape
from maillog_forensics.intake import InputReport
from maillog_forensics.spool import BUDGET_BYTES, Spool

_T = TypeVar("_T")


def load(parsers: Path | None = None) -> normalizer.Plan:
    """Read and compile the shipped grammar files and those in `parsers`."""
    return normalizer.compile_grammar(grammar.read(grammar.find(parsers)))


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

    def each(
        self, files: list[str], read_one: Callable[..., _T], report_of: Callable[[_T], InputReport]
    ) -> Iterator[tuple[int, _T]]:
        """What `read_one` (`intake.take_in`, or made of `intake.pour`) gives for each of `files`, with its number.

        Of a rotated set the youngest file comes first, because it tells until when the next older one can last.
        """
        plan = load(self.parsers)
        options = intake.Options(
            tz=self.tz,
            year=self.year,
            format=self.format,
            on_unrecognised=self.on_unrecognised,
            spool_bytes=self.spool_bytes,
            chunk_bytes=self.chunk_bytes,
        )
        for _, twins in itertools.groupby(enumerate(files), key=lambda each: sources.rotated_set(each[1])):
            limited = options
            for number, path in reversed(list(twins)):
                done = read_one(number, path, plan, limited, partial(self.progress, path) if self.progress else None)
                report = report_of(done)
                if report.first:
                    limited = replace(limited, next_began=report.first.replace(tzinfo=None))
                report.about.path = (self.shown or {}).get(path, report.about.path)
                yield number, done


def read(request: Request) -> tuple[Iterator[tuple[int, intake.Taken]], int, list[str]]:
    """Read logs, one after the other as the result is asked for.

    Returns
    -------
    taken
        Each input with its number in the order of `sources.expand`; see `Request.each` for the order in which they come.
    count
        How many inputs there are.
    problems
        A sentence for each path behind which there was nothing.
    """
    files, problems = sources.expand(request.paths)

    def take_in(number: int, path: str, *rest: Any) -> intake.Taken:
        return intake.take_in(path, *rest)

    return request.each(files, take_in, lambda taken: taken.report), len(files), problems


@dataclass(frozen=True)
class Normalized:
    """What `normalize` hands on.

    Attributes
    ----------
    events
        The events table (`schema.EVENTS`), one input after the other; what two inputs tell stands in it twice (`duplicates`
        tells which). The logs are read when it is collected or sunk, in bounded memory, and again each time that is done.
    reports, problems
        One report for each input, and a sentence for each path behind which there was nothing; they are complete once `events`
        has been collected.
    """

    events: pl.LazyFrame
    reports: list[InputReport]
    problems: list[str]


def normalize(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None,
) -> Normalized:
    """Read logs into one table, lazily.

    Parameters
    ----------
    on_unrecognised
        As in `Request`.
    """
    reports: list[InputReport] = []
    problems: list[str] = []

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        reports.clear()
        problems.clear()
        with objects.fetched(paths) as (here, shown):
            files, missing = sources.expand(here)
            problems.extend(missing)
            twins = Counter(map(sources.rotated_set, files))
            spool_bytes = _STREAMED_SPOOL // max(twins.values(), default=1)
            request = Request(
                here, tz, year, format, parsers, progress, shown, on_unrecognised, spool_bytes, _STREAMED_CHUNK
            )  # fmt: skip
            taken, _, _ = read(request)
            for _, several in itertools.groupby(taken, key=lambda each: sources.rotated_set(files[each[0]])):
                for _, one in reversed(list(several)):  # a rotated set is read from its youngest file on
                    reports.append(one.report)
                    for table in one.events():
                        kept = table if predicate is None else table.filter(predicate)
                        yield kept if with_columns is None else kept.select(with_columns)

    return Normalized(register_io_source(source, schema=schema.EVENTS), reports, problems)


_STREAMED_SPOOL = 8 << 20
_STREAMED_CHUNK = 4 << 20  # smaller ones save little memory and cost much time


Engine = Callable[[Request, dt.datetime | None, dt.datetime | None, Spool | None], tuple[buckets.Read, list[str]]]
"""Reads what is requested, of the time between two moments, and gathers its messages; see `_put_together`, which does it here."""


def _put_together(
    request: Request, since: dt.datetime | None = None, until: dt.datetime | None = None, events: Spool | None = None
) -> tuple[buckets.Read, list[str]]:
    """Read the inputs and gather their messages, bucket by bucket where they are many; what two inputs tell counts once.

    Parameters
    ----------
    events
        Receives the events that count, with the number of their input in `_input`; where none is given, connections are not kept.
    """
    files, problems = sources.expand(request.paths)
    spool = Spool(bucket=correlating.bucket)
    is_lean = events is None and len(files) == 1

    def pour(number: int, path: str, plan: Any, options: Any, progress: Any) -> tuple[InputReport, intake.Settlement]:
        mark = pl.lit(number, dtype=pl.UInt32).alias("_input")

        def into(*tables: pl.DataFrame) -> None:
            spool.add(*(t.with_columns(mark) for t in tables))

        return intake.pour(path, plan, replace(options, is_lean=is_lean), into, progress)

    reports: dict[int, InputReport] = {}
    settlements: dict[int, intake.Settlement] = {}
    for number, (report, settlement) in request.each(files, pour, lambda done: done[0]):
        reports[number], settlements[number] = report, replace(settlement, source=report.about.path)
    undated: dict[int, int] = {}
    settled = (intake.settled(tables, settlements, undated) for tables in spool.buckets())
    done = buckets.read(settled, [reports[n] for n in sorted(reports)], since, until, events)
    for number, lines in undated.items():
        reports[number].undated(lines)
    return done, problems


class Source(Protocol):
    """Something that was read before: what an archive holds of one log."""

    report: InputReport

    def events(self) -> Iterator[pl.DataFrame]:
        """Its events (`schema.EVENTS`) in pieces, in the order of the lines."""


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
    return buckets.read((pl.concat(tables) for tables in spool.buckets()), reports, None, None, events)


def correlate(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    shown: dict[str, str] | None = None,
) -> tuple[correlating.Mail, list[str]]:
    """Read logs and put messages together: the tables of messages and deliveries, and a sentence for each path without input."""
    done, problems = _put_together(Request(paths, tz, year, format, parsers, shown=shown))
    return done.mail, [*problems, *(f"{r.about.path}: {p}" for r in done.reports for p in r.about.problems)]


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found: the document, and the tables behind it.

    Attributes
    ----------
    events
        The events that were looked at (`schema.EVENTS`), each once though two inputs tell it, in the order of inputs and lines;
        empty unless they were asked for.
    """

    findings: Findings
    events: pl.LazyFrame
    mail: correlating.Mail
    problems: list[str]


def analyze(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    window_s: float = 4 * 3600,
    allow: Path | None = None,
    command: str = "",
    progress: Callable[[str, int], None] | None = None,
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None,
    keep_events: bool = True,
    engine: Engine | None = None,
) -> Analysis:
    """Read logs, correlate them, find incidents.

    Parameters
    ----------
    paths
        Files, directories, globs, "-" for standard input.
    since, until
        Only events in this time (UTC) are looked at.
    window_s
        Longest gap in seconds between a message and the answer to it.
    allow
        A file of known-good pairs (see `allowing`).
    on_unrecognised
        As in `Request`.
    keep_events
        Whether `Analysis.events` is wanted; without it less is kept.
    engine
        Who reads the logs and puts messages together, where this process does not: see `engines`.

    Returns
    -------
    Analysis
    """
    allowed = allowing.read(allow) if allow else []
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    kept = Spool() if keep_events else None
    with spooled(paths) as (real, shown):
        request = Request(real, tz, year, format, parsers, progress, shown, on_unrecognised)
        done, problems = (engine or _put_together)(request, since, until, kept)
        lines = Lines({r.about.path: r.about for r in done.reports})
        examined = examine(done, lines, window_s=window_s, allowed=allowed)
    parameters: dict[str, str | int | float | bool | None] = {
        "tz": tz,
        "year": year,
        "format": format,
        "since": _iso(since),
        "until": _iso(until),
        "window_s": window_s,
    }
    run = Run(
        version=__version__,
        command=command,
        started_at=began,
        elapsed_s=round(time.monotonic() - clock, 3),
        parameters=parameters,
        libraries={"polars": pl.__version__},
    )
    return Analysis(document(examined, run), in_order(kept), done.mail, problems)


@dataclass(frozen=True)
class Examined:
    """What the detectors made of the messages, before it becomes a document."""

    read: buckets.Read
    edges: pl.DataFrame
    incidents: tuple[Incident, ...]
    possible: tuple[Incident, ...]
    suppressed: tuple[Suppressed, ...]
    searches: tuple[Search, ...]


def examine(
    done: buckets.Read, lines: Lines, *, window_s: float = 4 * 3600, allowed: Sequence[allowing.Allowed] = ()
) -> Examined:
    """Find incidents in the messages, and fetch from `lines` those that prove them."""
    mail = done.mail
    found = drafts.find(mail, window_s=window_s)
    wanted, suppressed = _without_allowed(found.drafts, list(allowed))
    incidents.want_lines(wanted, lines)
    lines.want(incidents.first_lines(wanted, mail))
    lines.fetch()
    finished = [(d, incidents.finish(d, found.graph, mail, lines)) for d in wanted]
    return Examined(
        done,
        found.graph.edges,
        tuple(i for d, i in finished if d.verdict in ("loop", "guard")),
        tuple(i for d, i in finished if d.verdict not in ("loop", "guard")),
        suppressed,
        tuple(found.searches),
    )


def document(examined: Examined, run: Run) -> Findings:
    """The findings of what was examined, with all traffic and the inputs it came from."""
    done = examined.read
    return Findings(
        schema=SCHEMA,
        run=run,
        inputs=tuple(input_of(r) for r in done.reports),
        traffic=summary.traffic(done.mail, examined.edges, done.rejected, done.hosts, done.mtas),
        incidents=examined.incidents,
        possible=examined.possible,
        suppressed=examined.suppressed,
        searches=examined.searches,
        limits=tuple(summary.limits(done.reports, done.mail)),
    )


def in_order(kept: Spool | None) -> pl.LazyFrame:
    """The events in the order of inputs and lines."""
    if kept is None:
        return schema.empty(schema.EVENTS).lazy()
    tables = kept.scan()
    if not tables:
        return schema.empty(schema.EVENTS).lazy()
    return pl.concat(tables, how="diagonal_relaxed").sort("_input", "line", maintain_order=True).drop("_input")


def _without_allowed(
    found: list[drafts.Draft], allowed: list[allowing.Allowed]
) -> tuple[list[drafts.Draft], tuple[Suppressed, ...]]:
    """Drafts that no entry covers, and a count for each entry that covered some."""
    wanted = []
    counts: dict[allowing.Allowed, list[drafts.Draft]] = {}
    for draft in found:
        entry = next((a for a in allowed if a.covers(draft.members, draft.ended.date())), None)
        if entry:
            counts.setdefault(entry, []).append(draft)
        else:
            wanted.append(draft)
    told = [
        Suppressed(members=a.members, reason=a.reason, expires=a.expires, incidents=len(d), messages=sum(x.messages for x in d))
        for a, d in counts.items()
    ]
    return wanted, tuple(told)


def _iso(time: dt.datetime | None) -> str | None:
    return time.isoformat() if time else None


@contextmanager
def spooled(paths: list[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Paths that can be read more than once, and what to call those that are stand-ins, while the context lasts.

    Standard input and pipes are kept in temporary files, since evidence is read a second time, and so are objects of a store;
    names that are no UTF-8 are written with escapes.
    """
    real = []
    with ExitStack() as stack:
        here, shown = stack.enter_context(objects.fetched(paths))
        for path in here:
            if path == "-" or (os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)):
                copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="maillog-forensics-"))
                with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as pipe:
                    shutil.copyfileobj(pipe, copy)
                copy.flush()
                shown[copy.name] = sources.label(path)
                path = copy.name
            real.append(path)
        files, _ = sources.expand(real)
        shown |= {f: sources.label(f) for f in files if f not in shown and f != sources.label(f)}
        yield real, shown


def input_of(report: InputReport) -> InputFile:
    """The ledger and the custody of one input, as they stand in the findings."""
    about, basis = report.about, report.basis
    return InputFile(
        path=about.path,
        sha256=about.sha256,
        bytes=about.bytes,
        compression=about.compression,
        decompressed_sha256=about.decompressed_sha256,
        lines=about.lines,
        parsed=report.parsed,
        ignored=report.ignored,
        unrecognised=report.unrecognised,
        damaged=report.damaged,
        duplicates=report.duplicates,
        first=report.first,
        last=report.last,
        format=report.format,
        zone=basis.zone,
        zone_basis=basis.zone_basis,
        year_basis=basis.year_basis,
        problems=tuple(about.problems),
        unrecognised_shapes=tuple(
            UnknownShape(shape=s.shape, count=s.count, line=s.line, sample=s.sample) for s in report.shapes
        ),
    )
