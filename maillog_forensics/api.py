"""What other programs call: read, normalize, analyze."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from maillog_forensics import (
    __version__,
    allowing,
    buckets,
    detectors,
    incidents,
    logfiles,
    objects,
    schema,
    scratch,
    skew,
    summary,
    timing,
)
from maillog_forensics.accounts import InputReport
from maillog_forensics.drafts import Draft
from maillog_forensics.evidence import Lines
from maillog_forensics.findings import SCHEMA, Findings, Incident, InputFile, Run, Search, Suppressed, UnknownShape
from maillog_forensics.mail import Mail
from maillog_forensics.reading import Engine, Request, gathered, taken_in
from maillog_forensics.spool import Spool, budget, tables_budget


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
            files, missing = logfiles.expand(here)
            problems.extend(missing)
            twins = Counter(map(logfiles.rotated_set, files))
            spool_bytes = _STREAMED_SPOOL // max(twins.values(), default=1)
            request = Request(
                here, tz, year, format, parsers, progress, shown, on_unrecognised, spool_bytes, _STREAMED_CHUNK
            )  # fmt: skip
            taken, _, _ = taken_in(request)
            for _, several in itertools.groupby(taken, key=lambda each: logfiles.rotated_set(files[each[0]])):
                for _, one in reversed(list(several)):  # a rotated set is read from its youngest file on
                    reports.append(one.report)
                    for table in one.events():
                        kept = table if predicate is None else table.filter(predicate)
                        yield kept if with_columns is None else kept.select(with_columns)

    return Normalized(register_io_source(source, schema=schema.EVENTS), reports, problems)


_STREAMED_SPOOL = 8 << 20
_STREAMED_CHUNK = 4 << 20  # smaller ones save little memory and cost much time


def correlate(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    shown: dict[str, str] | None = None,
) -> tuple[Mail, list[str]]:
    """Read logs and put messages together: the tables of messages and deliveries, and a sentence for each path without input."""
    done, problems = gathered(Request(paths, tz, year, format, parsers, shown=shown))
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
    mail: Mail
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
    memory_bytes: int | None = None,
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
    memory_bytes
        What reading and putting together may take; beyond it events and messages go to temporary files (TMPDIR). The graph, and
        what the detectors make of it, comes on top where there are many messages: some 190 MB for each million.
    engine
        Who reads the logs and puts messages together, where this process does not: see `engines`.

    Returns
    -------
    Analysis
    """
    allowed = allowing.read(allow) if allow else []
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    kept = Spool() if keep_events else None
    with spooled(paths, only_names=engine is not None) as (real, shown):
        request = Request(
            real,
            tz=tz,
            year=year,
            format=format,
            parsers=parsers,
            progress=progress,
            shown=shown,
            on_unrecognised=on_unrecognised,
            spool_bytes=budget(memory_bytes),
            tables_bytes=tables_budget(memory_bytes),
        )
        done, problems = (engine or gathered)(request, since, until, kept)
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
    ahead: dict[str, float]
    """Seconds by which clocks of hosts were ahead, as in `Mail`."""


def examine(
    done: buckets.Read, lines: Lines, *, window_s: float = 4 * 3600, allowed: Sequence[allowing.Allowed] = ()
) -> Examined:
    """Find incidents in the messages, and fetch from `lines` those that prove them."""
    with timing.stage("graph and detectors"):
        mail = skew.on_one_clock(done.mail)
        found = detectors.find(mail, window_s=window_s)
    wanted, suppressed = _without_allowed(found.drafts, list(allowed))
    incidents.want_lines(wanted, lines)
    lines.want(incidents.first_lines(wanted, mail))
    lines.fetch()
    local = incidents.local_mailboxes(wanted, mail)
    finished = [(d, incidents.finish(d, found.graph, mail, lines, local)) for d in wanted]
    return Examined(
        done,
        found.graph.edges,
        tuple(i for d, i in finished if d.verdict in ("loop", "guard")),
        tuple(i for d, i in finished if d.verdict not in ("loop", "guard")),
        suppressed,
        tuple(found.searches),
        mail.ahead,
    )


def document(examined: Examined, run: Run) -> Findings:
    """The findings of what was examined, with all traffic and the inputs it came from."""
    done = examined.read
    return Findings(
        schema=SCHEMA,
        run=run,
        inputs=tuple(input_of(r) for r in done.reports),
        traffic=summary.traffic(done.mail, examined.edges, done.reports, done.rejected, done.hosts, done.mtas),
        incidents=examined.incidents,
        possible=examined.possible,
        suppressed=examined.suppressed,
        searches=examined.searches,
        limits=tuple(summary.limits(done.reports, done.mail, examined.ahead)),
    )


def in_order(kept: Spool | None) -> pl.LazyFrame:
    """The events in the order of inputs and lines."""
    if kept is None:
        return schema.empty(schema.EVENTS).lazy()
    tables = kept.scan()
    if not tables:
        return schema.empty(schema.EVENTS).lazy()
    return pl.concat(tables, how="diagonal_relaxed").sort("_input", "line", maintain_order=True).drop("_input")


def _without_allowed(found: list[Draft], allowed: list[allowing.Allowed]) -> tuple[list[Draft], tuple[Suppressed, ...]]:
    """Drafts that no entry covers, and a count for each entry that covered some."""
    wanted = []
    counts: dict[allowing.Allowed, list[Draft]] = {}
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
def spooled(paths: list[str], *, only_names: bool = False) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Paths that can be read more than once, and what to call those that are stand-ins, while the context lasts.

    Standard input and pipes are kept in temporary files, since evidence is read a second time, and so are objects of a store
    (`only_names`: without their content, see `objects.fetched`); names that are no UTF-8 are written with escapes.
    """
    real = []
    with ExitStack() as stack:
        here, shown = stack.enter_context(objects.fetched(paths, only_names=only_names))
        for path in here:
            if path == "-" or (os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)):
                with scratch.writing():
                    copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="maillog-forensics-"))
                with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as pipe:
                    while piece := pipe.read(1 << 20):
                        with scratch.writing():  # what reading raises is no fault of the folder
                            copy.write(piece)
                with scratch.writing():
                    copy.flush()
                shown[copy.name] = logfiles.label(path)
                path = copy.name
            real.append(path)
        files, _ = logfiles.expand(real)
        shown |= {f: logfiles.label(f) for f in files if f not in shown and f != logfiles.label(f)}
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
