"""One input after the other: from a path to its events, its ledger and the basis of its clock.

This is the driver of `sources`, `normalize`, `records` and `clock`; it holds no knowledge of any format.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import clock, envelopes, journal, normalize, records, schema, sources
from maillog_forensics.clock import TimeBasis
from maillog_forensics.normalize import Plan
from maillog_forensics.spool import BUDGET_BYTES, Spool

Reader = records.Reader | journal.Export
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
    spool_bytes: int = BUDGET_BYTES
    """What the events of one input may take in memory before they go to files."""
    next_began: dt.datetime | None = None
    """First line (UTC) of the next younger file of a rotated set, which is the newest moment that this one's lines can have."""


@dataclass(frozen=True)
class RawChunk:
    """What one chunk of an input says, before its clock is settled."""

    lines: pl.DataFrame
    """line, offset, text"""
    events: pl.DataFrame
    """Columns of the events table that the lines state, with stamp, stamp_kind and zone for `clock` to turn into time."""
    ledger: pl.DataFrame
    """Each line once: line, state."""
    reader: Reader | None
    """Who reads the input, where its lines are no syslog."""
    cut: tuple[int, ...] = ()
    """Numbers of lines that were too long."""


class Taken:
    """One input, read: its report, and its events, which are settled as they are asked for.

    Attributes
    ----------
    report
        Ledger, hashes, time basis. Lines whose time exists in no calendar are told from the others as `events` goes by.
    """

    def __init__(self, report: InputReport, raw: Spool, basis: TimeBasis, turns: int, cut: list[int]) -> None:
        self.report = report
        self._raw, self._basis, self._turns, self._cut = raw, basis, turns, cut

    def events(self) -> Iterator[pl.DataFrame]:
        """The events table (`schema.EVENTS`) in pieces, in the order of the lines. It can be asked for once."""
        report, undated = self.report, 0
        raw, self._raw = self._raw, Spool()
        for table in raw.tables():
            events = _finish(clock.settle(table, self._basis, self._turns), report.about.path)
            events, lost = _dated(events, self._cut)
            undated += lost
            report.parsed, report.damaged = report.parsed - lost, report.damaged + lost
            report.events += events.height
            if events.height:
                yield events
        if undated:
            whose = (
                "1 line has a time that does not exist or lies"
                if undated == 1
                else f"{undated} lines have times that do not exist or lie"
            )
            report.about.problems.append(f"{whose} outside the years 1970 to 2199; what they say is not counted")

    def whole(self) -> tuple[pl.DataFrame, InputReport]:
        """All events in one table, and the report, complete."""
        return pl.concat([schema.empty(schema.EVENTS), *self.events()]), self.report


def take_in(path: str, plan: Plan, options: Options, progress: Callable[[int], None] | None = None) -> Taken:
    """Read one input completely, in bounded memory; problems in words are in `report.about.problems`."""
    about = sources.Input(sources.label(path))
    report = InputReport(about)
    reader: Reader | None = None
    spool = Spool(options.spool_bytes)
    shapes: list[pl.DataFrame] = []
    mtas: set[str] = set()
    watch = clock.Watch()
    cut: list[int] = []
    for chunk in raw_chunks(path, about, plan, options):
        reader = chunk.reader
        cut += chunk.cut
        counts = dict(chunk.ledger.group_by("state").len().iter_rows())
        for state in schema.LINE_STATES:
            setattr(report, state, getattr(report, state) + counts.get(state, 0))
        if counts.get("unrecognised"):
            strange = chunk.ledger.filter(pl.col("state") == "unrecognised")
            strange = chunk.lines.join(strange, on="line", how="semi", maintain_order="left")
            shapes.append(_shapes(strange))
            if options.on_unrecognised:
                options.on_unrecognised(about.path, strange)
        if progress:
            progress(about.decompressed_bytes)
        if chunk.events.height:
            events = watch.see(_placed(chunk))
            mtas |= set(events["mta"].drop_nulls().unique().to_list())
            spool.add(events)
    basis = TimeBasis()
    if found := watch.evidence(_written(about), options.next_began):
        basis = clock.decide(found, tz=options.tz, year=options.year)
        report.first, report.last = watch.span(basis)
    report.basis = (reader.basis if reader else None) or basis
    if report.basis.shift:
        about.problems.append(report.basis.shift)
    report.format = reader.name if reader and reader.name else "+".join(sorted(mtas)) or "unknown"
    report.shapes = _top_shapes(shapes)
    if reader:
        about.problems += reader.problems
    if not report.recognised and about.lines and not about.unreadable and not (reader and reader.problems):
        about.problems.append(_unknown_sentence(shapes))
    return Taken(report, spool, basis, watch.turns, cut)


def _placed(chunk: RawChunk) -> pl.DataFrame:
    """The chunk's events with the offset of their lines, without columns that only the rules need."""
    events = chunk.events.select(c for c in chunk.events.columns if c in schema.EVENTS or c in _CLOCK)
    if "offset" in events.columns:
        return events
    first = chunk.lines["line"][0]
    return events.with_columns(offset=chunk.lines["offset"].gather((events["line"] - first).cast(pl.UInt32)))


_CLOCK = ("stamp", "stamp_kind", "zone")


def raw_chunks(path: str, about: sources.Input, plan: Plan, options: Options) -> Iterator[RawChunk]:
    """The chunks of one input, parsed; those of a syslog on all processors, in order all the same."""
    chunks = sources.read(path, about, chunk_bytes=options.chunk_bytes)
    first = next(chunks, None)
    if first is None:
        return
    head = first.lines.head(_HEAD_LINES)
    reader: Reader | None = (
        journal.Export(plan) if journal.is_export(head) else records.recognise(head, plan, path, options.format)
    )
    if reader:  # what it has read tells how to read on
        for chunk in itertools.chain([first], chunks):
            events, ledger = reader.parse(chunk.lines)
            yield RawChunk(chunk.lines, events, _mark_cut(ledger, chunk.cut), reader, chunk.cut)
        if isinstance(reader, journal.Export):
            events, ledger = reader.rest()
            yield RawChunk(first.lines.clear(), events, ledger, reader)
        return
    order = _rank_envelopes(head, plan)

    def parsed(chunk: sources.Chunk) -> RawChunk:
        events, ledger = normalize.parse(chunk.lines, plan, order)
        return RawChunk(chunk.lines, events, _mark_cut(ledger, chunk.cut), None, chunk.cut)

    yield from _ahead(parsed, itertools.chain([first], chunks))


def _ahead(work: Callable[[sources.Chunk], RawChunk], chunks: Iterator[sources.Chunk]) -> Iterator[RawChunk]:
    """`map` on as many threads as there are processors, with no more chunks under way than that."""
    workers = os.cpu_count() or 1
    under_way: deque[Future[RawChunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="parse") as pool:
        for chunk in chunks:
            under_way.append(pool.submit(work, chunk))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


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


def _dated(events: pl.DataFrame, cut: list[int]) -> tuple[pl.DataFrame, int]:
    """Only events with a time; and how many lines are lost, since no calendar has their stamp."""
    timeless = events["time"].is_null()
    if not timeless.any():
        return events, 0
    dated = events.filter(~timeless)
    lines = events.filter(timeless).join(dated.select("line"), on="line", how="anti")["line"].unique()
    return dated, lines.filter(~lines.is_in(cut)).len()  # those that were cut are counted already


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
