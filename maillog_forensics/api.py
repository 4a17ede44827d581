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
from maillog_forensics.spool import BUDGET_BYTES, Spool


def load(parsers: Path | None = None) -> normalizer.Plan:
    """Read and compile the shipped grammar files and those in `parsers`."""
    return normalizer.compile_grammar(grammar.read(grammar.find(parsers)))


def read(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
    shown: dict[str, str] | None = None,
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None,
    spool_bytes: int = BUDGET_BYTES,
) -> tuple[Iterator[tuple[int, intake.Taken]], int, list[str]]:
    """Read logs, one after the other as the result is asked for.

    Parameters
    ----------
    on_unrecognised
        Receives the lines that nothing knows: name of the input, and a table of line, offset, text.
    spool_bytes
        Memory for the events of one input; what is beyond goes to a temporary file.

    Returns
    -------
    taken
        Each input with its number in the order of `sources.expand`; of a rotated set the youngest file comes first, because it
        tells until when the next older one can last.
    count
        How many inputs there are.
    problems
        A sentence for each path behind which there was nothing.
    """
    files, problems = sources.expand(paths)
    plan = load(parsers)
    options = intake.Options(tz=tz, year=year, format=format, on_unrecognised=on_unrecognised, spool_bytes=spool_bytes)

    def taken() -> Iterator[tuple[int, intake.Taken]]:
        began: dict[str, dt.datetime] = {}
        for number, path in reversed(list(enumerate(files))):
            kin = sources.rotated_set(path)
            limited = replace(options, next_began=began.get(kin))
            one = intake.take_in(path, plan, limited, partial(progress, path) if progress else None)
            if one.report.first:
                began[kin] = one.report.first.replace(tzinfo=None)
            if shown and path in shown:
                one.report.about.path = shown[path]
            yield number, one

    return taken(), len(files), problems


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
    """Read logs into one table.

    Parameters
    ----------
    on_unrecognised
        As in `read`.

    Returns
    -------
    events
        The events table (`schema.EVENTS`) of all inputs; what two inputs tell stands in it twice (`duplicates` tells which).
    reports
        One for each input, in the order of `sources.expand`.
    problems
        A sentence for each path behind which there was nothing.
    """
    taken, _, problems = read(
        paths, tz=tz, year=year, format=format, parsers=parsers, progress=progress, shown=shown, on_unrecognised=on_unrecognised
    )
    tables: dict[int, list[pl.DataFrame]] = {}
    reports: dict[int, InputReport] = {}
    for number, one in taken:
        tables[number], reports[number] = list(one.events()), one.report
    ordered = [table for number in sorted(tables) for table in tables[number]]
    return pl.concat(ordered) if ordered else schema.empty(schema.EVENTS), [reports[n] for n in sorted(reports)], problems


@dataclass(frozen=True)
class Read:
    """All inputs read and their messages put together.

    Attributes
    ----------
    mail
        With canonical mailboxes.
    reports
        One for each input, in the order of `sources.expand`.
    rejected, hosts, mtas
        Of all events, each counted once though two inputs tell it.
    """

    mail: correlating.Mail
    reports: list[InputReport]
    rejected: int
    hosts: tuple[str, ...]
    mtas: tuple[str, ...]


def _put_together(
    taken: Iterator[tuple[int, intake.Taken]], since: dt.datetime | None, until: dt.datetime | None, events: Spool | None = None
) -> Read:
    """Read the inputs and gather their messages, bucket by bucket where they are many; what two inputs tell counts once.

    Parameters
    ----------
    events
        Receives the events that count, with the number of their input in `_input`.
    """
    reports: dict[int, InputReport] = {}
    spool = Spool(bucket=correlating.bucket())
    for number, one in taken:
        reports[number] = one.report
        for table in one.events():
            if since or until:
                table = table.filter((pl.col("time") >= (since or _EVER[0])) & (pl.col("time") <= (until or _EVER[1])))
            spool.add(table.with_columns(_input=pl.lit(number, dtype=pl.UInt32)))
    ordered = [reports[n] for n in sorted(reports)]
    copies = duplicates.copies([(r.about.path, r.about.decompressed_sha256, r.about.decompressed_bytes) for r in ordered])
    gathered, rejected = [], 0
    hosts: set[str] = set()
    mtas: set[str] = set()
    for tables in spool.buckets():
        bucket = pl.concat(tables, how="diagonal_relaxed")
        if len(ordered) > 1:
            bucket = bucket.sort("_input", "line", maintain_order=True)
        bucket, repeated = duplicates.drop(bucket, copies)
        for report in ordered:
            report.duplicates += repeated.get(report.about.path, 0)
        rejected += int((bucket["event"] == "reject").sum())
        hosts |= set(bucket["host"].drop_nulls().unique().to_list())
        mtas |= set(bucket["mta"].drop_nulls().unique().to_list())
        gathered.append(correlating.gather(bucket.drop("_input")))
        if events is not None:
            events.add(bucket)
    mail = correlating.link(gathered or [correlating.gather(schema.empty(schema.EVENTS))])
    return Read(correlating.mailboxes(mail), ordered, rejected, tuple(sorted(hosts)), tuple(sorted(mtas)))


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
    taken, _, problems = read(paths, tz=tz, year=year, format=format, parsers=parsers, shown=shown)
    done = _put_together(taken, None, None)
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
        As in `read`.
    keep_events
        Whether `Analysis.events` is wanted; without it less is kept.

    Returns
    -------
    Analysis
    """
    allowed = allowing.read(allow) if allow else []
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    kept = Spool() if keep_events else None
    with spooled(paths) as (real, shown):
        taken, _, problems = read(
            real,
            tz=tz,
            year=year,
            format=format,
            parsers=parsers,
            progress=progress,
            shown=shown,
            on_unrecognised=on_unrecognised,
        )
        done = _put_together(taken, since, until, kept)
        mail, reports = done.mail, done.reports
        found = drafts.find(mail, window_s=window_s)
        wanted, suppressed = _without_allowed(found.drafts, allowed)
        lines = Lines({r.about.path: r.about for r in reports})
        incidents.want_lines(wanted, lines)
        lines.want(incidents.first_lines(wanted, mail))
        lines.fetch()
        finished = [(d, incidents.finish(d, found.edges, mail, lines)) for d in wanted]
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
        traffic=summary.traffic(mail, found.edges, done.rejected, done.hosts, done.mtas),
        incidents=tuple(i for d, i in finished if d.verdict in ("loop", "guard")),
        possible=tuple(i for d, i in finished if d.verdict not in ("loop", "guard")),
        suppressed=suppressed,
        searches=tuple(found.searches),
        limits=tuple(summary.limits(reports, mail)),
    )
    return Analysis(document, _in_order(kept), mail, problems)


def _in_order(kept: Spool | None) -> pl.LazyFrame:
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
