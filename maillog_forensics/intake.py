"""One input after the other: from a path to its events, its ledger and the basis of its clock.

This is the driver of `sources`, `normalize`, `records` and `clock`; it holds no knowledge of any format.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import clock, envelopes, journal, normalize, records, schema, sources
from maillog_forensics.clock import TimeBasis
from maillog_forensics.normalize import Plan

_HEAD_LINES = 400
_SHAPES_KEPT = 20


@dataclass
class Shape:
    """A kind of line that nothing knows: how often, and one of them."""

    shape: str
    count: int
    line: int
    sample: str


@dataclass
class InputReport:
    """What became of one input: the ledger adds up to `lines`."""

    about: sources.Input
    parsed: int = 0
    ignored: int = 0
    unrecognised: int = 0
    damaged: int = 0
    duplicates: int = 0
    """Among the parsed: lines that an earlier input told; filled in by who compares the inputs."""
    format: str = "unknown"
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    basis: TimeBasis = field(default_factory=TimeBasis)
    shapes: list[Shape] = field(default_factory=list)
    events: int = 0

    @property
    def recognised(self) -> bool:
        """Whether a line of a mail server was found in it."""
        return self.parsed > 0 and self.format != "unknown"


@dataclass(frozen=True)
class Options:
    """What the user may say about the inputs."""

    tz: str | None = None
    year: int | None = None
    format: str | None = None
    chunk_bytes: int = sources.CHUNK_BYTES
    on_unrecognised: Callable[[str, pl.DataFrame], None] | None = None
    """Receives the lines that nothing knows (line, offset, text), chunk by chunk."""
    next_began: dt.datetime | None = None
    """First line (UTC) of the next younger file of a rotated set, which is the newest moment that this one's lines can have."""


def take_in(
    path: str, plan: Plan, options: Options, progress: Callable[[int], None] | None = None
) -> tuple[pl.DataFrame, InputReport]:
    """Read one input completely.

    Returns
    -------
    events
        The events table (`schema.EVENTS`), in the order of the lines.
    report
        Ledger, hashes, time basis; problems in words are in `report.about.problems`.
    """
    about = sources.Input(sources.label(path))
    report = InputReport(about)
    reader: records.Reader | journal.Export | None = None
    tables: list[pl.DataFrame] = []
    shapes: list[pl.DataFrame] = []
    years = clock.Years()
    zoneless = False
    cut: list[int] = []
    for lines, events, ledger, whose in _parsed(path, about, plan, options, cut):
        reader = whose
        counts = dict(ledger.group_by("state").len().iter_rows())
        for state in schema.LINE_STATES:
            setattr(report, state, getattr(report, state) + counts.get(state, 0))
        if counts.get("unrecognised"):
            strange = lines.join(ledger.filter(pl.col("state") == "unrecognised"), on="line", how="semi", maintain_order="left")
            shapes.append(_shapes(strange))
            if options.on_unrecognised:
                options.on_unrecognised(about.path, strange)
        if progress:
            progress(about.decompressed_bytes)
        if events.is_empty():
            continue
        events = years.count(clock.naive(events))
        zoneless |= bool((~events["_utc"]).any())
        events = events.select(c for c in events.columns if c in schema.EVENTS or c.startswith("_"))
        if "offset" not in events.columns:
            events = events.join(lines.select("line", "offset"), on="line", how="left", maintain_order="left")
        tables.append(events)
    table = pl.concat(tables, how="diagonal_relaxed") if tables else pl.DataFrame()
    if table.height:
        found = clock.Evidence(
            clock.proofs(table), years.met, zoneless, years.last_wall, years.turns, clock.leap_days(table, years.turns),
            _written(about), options.next_began,
        )  # fmt: skip
        report.basis = clock.decide(found, tz=options.tz, year=options.year)
        table = clock.settle(table, report.basis, years.turns)
        report.basis = (reader.basis if reader else None) or report.basis
    if report.basis.shift:
        about.problems.append(report.basis.shift)
    events = _dated(_finish(table, about.path), report, cut)
    report.events = events.height
    report.format = _name_format(events, reader)
    report.shapes = _top_shapes(shapes)
    if events.height:
        report.first, report.last = events["time"].min(), events["time"].max()  # type: ignore[assignment]
    if reader:
        about.problems += reader.problems
    if not report.recognised and about.lines and not about.unreadable and not (reader and reader.problems):
        about.problems.append(_unknown_sentence(shapes))
    return events, report


def _parsed(
    path: str, about: sources.Input, plan: Plan, options: Options, cut: list[int]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, records.Reader | journal.Export | None]]:
    """For each chunk its lines, raw events, ledger, and who reads the input; numbers of over-long lines are added to `cut`."""
    order: tuple[str, ...] | None = None
    reader: records.Reader | journal.Export | None = None
    for chunk in sources.read(path, about, chunk_bytes=options.chunk_bytes):
        if order is None:
            head = chunk.lines.head(_HEAD_LINES)
            reader = journal.Export(plan) if journal.is_export(head) else records.recognise(head, plan, path, options.format)
            order = _rank_envelopes(head, plan)
        events, ledger = reader.parse(chunk.lines) if reader else normalize.parse(chunk.lines, plan, order)
        cut += chunk.cut
        yield chunk.lines, events, _mark_cut(ledger, chunk.cut), reader
    if isinstance(reader, journal.Export):
        events, ledger = reader.rest()
        yield events.clear(), events, ledger, reader


def _written(about: sources.Input) -> tuple[dt.datetime, str] | None:
    times = [(about.modified, "the file's modification time"), (about.packed, "the time in its gzip header")]
    known = [(dt.datetime.fromtimestamp(t, dt.UTC).replace(tzinfo=None), why) for t, why in times if t and 0 < t < _LAST_SECOND]
    if day := sources.date_in_name(about.path):
        known.append((dt.datetime.combine(day, dt.time.max), "the date in the file's name"))
    return min(known, default=None)


_LAST_SECOND = 4_102_444_800  # 2100: what a broken file system may tell beyond is no date


def _rank_envelopes(head: pl.DataFrame, plan: Plan) -> tuple[str, ...]:
    """All envelopes, those that fit the first lines best in front."""
    score = {}
    for e in plan.envelopes:
        opened, _ = envelopes.open_envelopes(head, plan, (e.envelope.name,))
        score[e.envelope.name] = opened.height
    return tuple(sorted(score, key=lambda name: -score[name]))


def _mark_cut(ledger: pl.DataFrame, cut: tuple[int, ...]) -> pl.DataFrame:
    if not cut:
        return ledger
    return ledger.with_columns(state=pl.when(pl.col("line").is_in(list(cut))).then(pl.lit("damaged")).otherwise("state"))


def _finish(table: pl.DataFrame, path: str) -> pl.DataFrame:
    if table.is_empty():
        return schema.empty(schema.EVENTS)
    changes = [pl.lit(path).alias("source")]
    if "queue_id" in table.columns:
        changes.append(pl.when(pl.col("queue_id") != "NOQUEUE").then("queue_id").alias("queue_id"))
    for column in ("client_ip", "client_host"):
        if column in table.columns:
            changes.append(pl.col(column).alias(column))
    host = host_of(path)
    if host:
        changes.append(
            (pl.col("host") if "host" in table.columns else pl.lit(None, dtype=pl.String)).fill_null(host).alias("host")
        )
    return schema.conform(table.with_columns(changes), schema.EVENTS, "events")


def _dated(events: pl.DataFrame, report: InputReport, cut: list[int]) -> pl.DataFrame:
    """Only events with a time; lines whose stamp no calendar has are damaged, and that is said."""
    timeless = events["time"].is_null()
    if not timeless.any():
        return events
    dated = events.filter(~timeless)
    lines = events.filter(timeless).join(dated.select("line"), on="line", how="anti")["line"].unique()
    lost = lines.filter(~lines.is_in(cut)).len()  # those that were cut are counted already
    report.parsed -= lost
    report.damaged += lost
    whose = "1 line has a time that does not exist or lies" if lost == 1 else f"{lost} lines have times that do not exist or lie"
    report.about.problems.append(f"{whose} outside the years 1970 to 2199; what they say is not counted")
    return dated


_LOG_NAME = re.compile(
    r"[._-]?(exim_?)?(main|reject|panic|mail|maillog|mail\.log|mail\.err|mail\.warn|journal|syslog).*$", re.IGNORECASE
)


def host_of(path: str) -> str | None:
    """The host that a file or folder is named after, where its lines name none (Exim's own files): mx.example.org.exim_mainlog."""
    for name in (os.path.basename(path), os.path.basename(os.path.dirname(path))):
        candidate = re.sub(r"(?i)\.(log|csv|txt|jsonl?)$", "", _LOG_NAME.sub("", name))
        if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", candidate) and not re.fullmatch(r"[0-9.]+", candidate):
            return candidate.lower()
    return None


def _name_format(events: pl.DataFrame, reader: records.Reader | journal.Export | None) -> str:
    if reader and reader.name:
        return reader.name
    if events.is_empty():
        return "unknown"
    return "+".join(events["mta"].drop_nulls().unique().sort().to_list()) or "unknown"


_MASKS = ((r"[^\s<>@]+@[^\s<>,;:()]+", "<addr>"), (r"\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}\b|\b\d{1,3}(?:\.\d{1,3}){3}\b", "<ip>"),
          (r"\b(?:[0-9A-F]{6,}|[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})\b", "<id>"), (r'"[^"]*"', '"…"'), (r"\d+", "0"))  # fmt: skip


def _shapes(lines: pl.DataFrame) -> pl.DataFrame:
    """Cluster lines by what stays when addresses, ids and numbers are masked."""
    shape = pl.col("text").str.slice(0, 400)
    for expression, mask in _MASKS:
        shape = shape.str.replace_all(expression, mask)
    return (
        lines.with_columns(shape=shape.str.slice(0, 160))
        .group_by("shape")
        .agg(count=pl.len(), line=pl.col("line").min(), sample=pl.col("text").sort_by("line").first().str.slice(0, 400))
        .sort(["count", "line"], descending=[True, False])
        .head(200)
    )


def _top_shapes(parts: list[pl.DataFrame]) -> list[Shape]:
    if not parts:
        return []
    table = pl.concat(parts).group_by("shape").agg(pl.col("count").sum(), pl.col("line").min(), pl.col("sample").first())
    table = table.sort(["count", "line"], descending=[True, False]).head(_SHAPES_KEPT)
    return [Shape(**row) for row in table.to_dicts()]


def _unknown_sentence(shapes: list[pl.DataFrame]) -> str:
    sample = shapes[0]["sample"][0] if shapes and shapes[0].height else ""
    if "HTTP/1." in sample and '" ' in sample:
        return "this looks like a web server's log, not a mail log; name the mail server's log instead (for instance /var/log/mail.log)"
    return "no line of a mail server was recognised; try 'maillog-forensics formats explain LINE' with one of its lines, or name another file"
