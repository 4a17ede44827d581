"""What other programs call: read, normalize, analyze."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from maillog_forensics import __version__, allowing, drafts, duplicates, grammar, incidents, intake, schema, sources, summary
from maillog_forensics import correlate as correlating
from maillog_forensics import normalize as normalizer
from maillog_forensics.evidence import Lines
from maillog_forensics.findings import SCHEMA, Findings, InputFile, Run, Suppressed, UnknownShape
from maillog_forensics.intake import InputReport


def load(parsers: Path | None = None) -> normalizer.Plan:
    """Read and compile the shipped grammar files and those in `parsers`."""
    return normalizer.compile_grammar(grammar.read(grammar.find(parsers)))


def normalize(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
    shown: dict[str, str] | None = None,
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None,
) -> tuple[pl.DataFrame, list[InputReport], list[str]]:
    """Read logs.

    Parameters
    ----------
    on_unrecognised
        Receives the lines that nothing knows: name of the input, and a table of line, offset, text.

    Returns
    -------
    events
        The events table (`schema.EVENTS`) of all inputs; what two inputs tell stands in it twice (`duplicates` tells which).
    reports
        One for each input, in the order of `sources.expand`.
    problems
        A sentence for each path behind which there was nothing.
    """
    files, problems = sources.expand(paths)
    plan = load(parsers)
    options = intake.Options(tz=tz, year=year, format=format, on_unrecognised=on_unrecognised)
    tables: list[pl.DataFrame] = []
    reports: list[InputReport] = []
    began: dict[str, dt.datetime] = {}
    for path in reversed(files):  # of a rotated set, the youngest first: it tells until when the next older one can last
        kin = sources.rotated_set(path)
        limited = replace(options, next_began=began.get(kin))
        table, report = intake.take_in(path, plan, limited, partial(progress, path) if progress else None)
        if report.first:
            began[kin] = report.first.replace(tzinfo=None)
        if shown and path in shown:
            report.about.path = shown[path]
            table = table.with_columns(source=pl.lit(shown[path]))
        tables.insert(0, table)
        reports.insert(0, report)
    events = pl.concat(tables) if tables else schema.empty(schema.EVENTS)
    return events, reports, problems


def _once(events: pl.DataFrame, reports: list[InputReport]) -> pl.DataFrame:
    """Each event once, though two inputs tell it; the reports get the number of lines that went."""
    abouts = [r.about for r in reports]
    copies = duplicates.copies([(a.path, a.decompressed_sha256, a.decompressed_bytes) for a in abouts])
    events, repeated = duplicates.drop(events, copies)
    for report in reports:
        report.duplicates = repeated.get(report.about.path, 0)
    return events


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
    events, reports, problems = normalize(paths, tz=tz, year=year, format=format, parsers=parsers, shown=shown)
    problems = [*problems, *(f"{r.about.path}: {p}" for r in reports for p in r.about.problems)]
    return correlating.mailboxes(correlating.correlate(_once(events, reports))), problems


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found: the document, and the tables behind it."""

    findings: Findings
    events: pl.DataFrame
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
        As in `normalize`.

    Returns
    -------
    Analysis
    """
    allowed = allowing.read(allow) if allow else []
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    with spooled(paths) as (real, shown):
        events, reports, problems = normalize(
            real,
            tz=tz,
            year=year,
            format=format,
            parsers=parsers,
            progress=progress,
            shown=shown,
            on_unrecognised=on_unrecognised,
        )
        events = _once(events, reports)
        if since or until:
            events = events.filter((pl.col("time") >= (since or _EVER[0])) & (pl.col("time") <= (until or _EVER[1])))
        mail = correlating.mailboxes(correlating.correlate(events))
        found = drafts.find(mail, window_s=window_s)
        wanted, suppressed = _without_allowed(found.drafts, allowed)
        lines = Lines({r.about.path: r.about for r in reports})
        incidents.want_lines(wanted, lines)
        lines.want(incidents.first_lines(wanted, mail))
        lines.fetch()
        done = [(d, incidents.finish(d, found.edges, mail, lines)) for d in wanted]
    parameters: dict[str, str | int | float | bool | None] = {
        "tz": tz,
        "year": year,
        "format": format,
        "since": _iso(since),
        "until": _iso(until),
        "window_s": window_s,
    }
    document = Findings(
        schema=SCHEMA,
        run=Run(
            version=__version__,
            command=command,
            started_at=began,
            elapsed_s=round(time.monotonic() - clock, 3),
            parameters=parameters,
            libraries={"polars": pl.__version__},
        ),
        inputs=tuple(_input(r) for r in reports),
        traffic=summary.traffic(events, mail, found.edges),
        incidents=tuple(i for d, i in done if d.verdict in ("loop", "guard")),
        possible=tuple(i for d, i in done if d.verdict not in ("loop", "guard")),
        suppressed=suppressed,
        searches=tuple(found.searches),
        limits=tuple(summary.limits(reports, mail)),
    )
    return Analysis(document, events, mail, problems)


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


_EVER = (dt.datetime(1, 1, 2, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


def _iso(time: dt.datetime | None) -> str | None:
    return time.isoformat() if time else None


@contextmanager
def spooled(paths: list[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Paths that can be read more than once, and what to call those that are stand-ins, while the context lasts.

    Standard input and pipes are kept in temporary files, since evidence is read a second time; names that are no UTF-8 are
    written with escapes.
    """
    real, shown = [], {}
    with ExitStack() as stack:
        for path in paths:
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


def _input(report: InputReport) -> InputFile:
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
