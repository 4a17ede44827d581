"""One input after the other: from a path to its events, its ledger and the basis of its clock.

This is the driver of `sources`, `normalize`, `records` and `clock`; it holds no knowledge of any format.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl

from maillog_forensics import clock, envelopes, journal, normalize, records, schema, sources
from maillog_forensics.clock import TimeBasis
from maillog_forensics.language import mark
from maillog_forensics.ledger import Ledger
from maillog_forensics.normalize import Plan
from maillog_forensics.spool import BUDGET_BYTES, Spool

Reader = records.Reader | journal.Export
HEAD_LINES = 400
"""Lines at the beginning of an input that tell how to read it."""
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

    def undated(self, lines: int) -> None:
        """Count lines as damaged whose time exists in no calendar, and say so."""
        self.parsed, self.damaged = self.parsed - lines, self.damaged + lines
        if lines:
            whose = (
                "1 line has a time that does not exist or lies"
                if lines == 1
                else f"{lines} lines have times that do not exist or lie"
            )
            self.about.problems.append(f"{whose} outside the years 1970 to 2199; what they say is not counted")

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
    is_lean: bool = False
    """Connections are only counted: nothing but the last of each chunk is told of them."""
    next_began: dt.datetime | None = None
    """First line (UTC) of the next younger file of a rotated set, which is the newest moment that this one's lines can have."""


@dataclass(frozen=True)
class RawChunk:
    """What one chunk of an input says, before its clock is settled."""

    lines: pl.DataFrame
    """line, offset, text"""
    tables: list[pl.DataFrame]
    """Events: columns of the events table that a rule reads, and those of `stamps.WALL`."""
    ledger: Ledger
    reader: Reader | None = None
    """Who reads the input, where its lines are no syslog."""
    cut: tuple[int, ...] = ()
    """Numbers of lines that were too long."""


@dataclass(frozen=True)
class Settlement:
    """How raw events of one input get their time: once it is read completely."""

    source: str
    basis: TimeBasis
    turns: int
    cut: tuple[int, ...]

    def settle(self, table: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Raw events with `time` and `source`, without those that have no time; and how many lines are lost by that."""
        events = clock.settle(table, self.basis, self.turns).with_columns(source=pl.lit(self.source))
        timeless = events["time"].is_null()
        if not timeless.any():
            return events, 0
        dated = events.filter(~timeless)
        lines = events.filter(timeless).join(dated.select("line"), on="line", how="anti")["line"].unique()
        return dated, lines.filter(~lines.is_in(list(self.cut))).len()  # those that were cut are counted already


def settled(tables: list[pl.DataFrame], settlements: dict[int, Settlement], undated: dict[int, int]) -> pl.DataFrame:
    """Raw events of several inputs (`_input` tells which) in one table with `time` and `source`, in no order.

    The columns are those of `schema.EVENTS` that a table has, and `_input`.

    Parameters
    ----------
    undated
        The number of lines of each input that are lost because no calendar has their time is added here.
    """
    alike: dict[tuple[str, ...], list[pl.DataFrame]] = {}
    for table in tables:
        columns = tuple(sorted(table.columns))
        alike.setdefault(columns, []).append(table.select(columns))
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, s in settlements.items():
        groups.setdefault((replace(s.basis, zone_basis="", year_basis="", shift=""), s.turns), []).append(number)
    out = []
    for several in alike.values():
        joined = pl.concat(several, how="vertical_relaxed") if len(several) > 1 else several[0]
        for numbers in groups.values():
            mine = joined if len(groups) == 1 else joined.filter(pl.col("_input").is_in(numbers))
            if mine.height:
                settlement = settlements[numbers[0]]
                settled = clock.settle(mine, settlement.basis, settlement.turns)
                out.append(settled.select("_input", *(c for c in settled.columns if c in schema.EVENTS)))
    events = pl.concat(out, how="diagonal_relaxed")
    timeless = events["time"].is_null()
    if timeless.any():
        lost = (
            events.filter(timeless)
            .select("_input", "line")
            .unique()
            .join(events.filter(~timeless), on=["_input", "line"], how="anti")
        )
        for number, lines in lost.group_by("_input").agg("line").iter_rows():
            undated[number] = undated.get(number, 0) + len(set(lines) - set(settlements[number].cut))
        events = events.filter(~timeless)
    names = {number: s.source for number, s in settlements.items()}
    source = pl.lit(names[0]) if len(names) == 1 else pl.col("_input").replace_strict(names, return_dtype=pl.String)
    return events.with_columns(source=source)


class Taken:
    """One input, read: its report, and its events, which are settled as they are asked for.

    Attributes
    ----------
    report
        Ledger, hashes, time basis. Lines whose time exists in no calendar are told from the others as the events go by.
    """

    def __init__(self, report: InputReport, raw: Spool, settlement: Settlement) -> None:
        self.report, self.settlement = report, settlement
        self._raw = raw

    def events(self) -> Iterator[pl.DataFrame]:
        """The events table (`schema.EVENTS`) in pieces, in the order of the lines. It can be asked for once."""
        raw, self._raw = self._raw, Spool()
        undated = 0
        settlement = replace(self.settlement, source=self.report.about.path)
        for batch in raw.batches():
            table = pl.concat(batch, how="diagonal_relaxed").sort("line", maintain_order=True)
            events, lost = settlement.settle(table)
            undated += lost
            if events.height:
                yield schema.conform(events.select(c for c in events.columns if c in schema.EVENTS), schema.EVENTS, "events")
        self.report.undated(undated)

    def whole(self) -> tuple[pl.DataFrame, InputReport]:
        """All events in one table, and the report, complete."""
        return pl.concat([schema.empty(schema.EVENTS), *self.events()]), self.report


def take_in(path: str, plan: Plan, options: Options, progress: Callable[[int], None] | None = None) -> Taken:
    """Read one input completely, in bounded memory; problems in words are in `report.about.problems`."""
    spool = Spool(options.spool_bytes)
    report, settlement = pour(path, plan, options, spool.add, progress).close(options)
    return Taken(report, spool, settlement)


@dataclass(frozen=True)
class Poured:
    """One input whose raw events were handed on, its clock not settled yet."""

    about: sources.Input
    account: Account
    form: Format

    def close(self, options: Options) -> tuple[InputReport, Settlement]:
        """Its report, and how its events get their time."""
        return self.account.close(self.about, self.form, options)


def pour(
    path: str,
    plan: Plan,
    options: Options,
    into: Callable[..., None],
    progress: Callable[[int], None] | None = None,
    *,
    about: sources.Input | None = None,
    chunks: Iterator[sources.Chunk] | None = None,
) -> Poured:
    """Read one input, handing on the raw events of each chunk.

    Parameters
    ----------
    into
        Receives the tables of one chunk after the other, with the columns of `stamps.WALL` and `_turn`.
    about, chunks
        What is known of the input, and its lines, where it was begun to be read.
    """
    about = about or sources.Input(sources.label(path))
    account = Account()
    host = host_of(path)
    form = Format()
    for chunk in raw_chunks(path, about, plan, options, chunks):
        form = Format.of(chunk.reader)
        one = told(chunk, host)
        if options.on_unrecognised and one.shapes:
            options.on_unrecognised(about.path, _strange(chunk))
        if progress:
            progress(about.decompressed_bytes)
        if tables := account.add(one):
            into(*tables)
    return Poured(about, account, form)


@dataclass(frozen=True)
class Told:
    """What one chunk adds to the account of its input."""

    counts: dict[str, int]
    """Lines by state."""
    shapes: tuple[Shape, ...]
    """Kinds of lines that nothing knows, the commonest first."""
    cut: tuple[int, ...]
    mtas: frozenset[str]
    events: int
    tables: list[pl.DataFrame]
    """The raw events, or those of them that tell about the clock."""


def told(chunk: RawChunk, host: str | None) -> Told:
    """What a chunk adds; `host` is what the input is named after."""
    tables = [_with_host(table, host) for table in chunk.tables]
    strange = _strange(chunk) if chunk.ledger.lines("unrecognised").len() else None
    shapes = () if strange is None else tuple(Shape(**row) for row in shapes_of(strange).to_dicts())
    mtas = frozenset(m for table in tables for m in table["mta"].unique().drop_nulls().to_list())
    return Told(chunk.ledger.counts(), shapes, chunk.cut, mtas, sum(table.height for table in tables), tables)


def _strange(chunk: RawChunk) -> pl.DataFrame:
    """The lines that nothing knows."""
    return chunk.lines.join(chunk.ledger.lines("unrecognised").to_frame(), on="line", how="semi", maintain_order="left")


@dataclass(frozen=True)
class Format:
    """What whoever reads an input that is no syslog knows of it at the end."""

    name: str = ""
    basis: TimeBasis | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, reader: Reader | None) -> Format:
        """What `reader` knows by now."""
        return cls(reader.name, reader.basis, tuple(reader.problems)) if reader else cls()


class Account:
    """The ledger and the clock of one input, filled in chunk by chunk, wherever the chunks were read."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._shapes: dict[str, Shape] = {}
        self._mtas: set[str] = set()
        self._cut: list[int] = []
        self._events = 0
        self._watch = clock.Watch()

    def add(self, chunk: Told) -> list[pl.DataFrame]:
        """Take the next chunk in; its raw events come back with `_turn`."""
        self._counts.update(chunk.counts)
        for kind in chunk.shapes:
            if (known := self._shapes.get(kind.shape)) is None:
                self._shapes[kind.shape] = replace(kind)
            else:
                known.count += kind.count
        self._mtas |= chunk.mtas
        self._cut += chunk.cut
        self._events += chunk.events
        return self._watch.see(chunk.tables) if chunk.tables else []

    def close(self, about: sources.Input, form: Format, options: Options) -> tuple[InputReport, Settlement]:
        """The report of the input, and how its events get their time."""
        report = InputReport(about, events=self._events)
        for state in schema.LINE_STATES:
            setattr(report, state, self._counts[state])
        basis = TimeBasis()
        if found := self._watch.evidence(written(about), options.next_began):
            basis = clock.decide(found, tz=options.tz, year=options.year)
            report.first, report.last = self._watch.span(basis)
        report.basis = form.basis or basis
        if report.basis.shift:
            about.problems.append(report.basis.shift)
        report.format = form.name or "+".join(sorted(self._mtas)) or "unknown"
        report.shapes = sorted(self._shapes.values(), key=lambda kind: (-kind.count, kind.line))[:_SHAPES_KEPT]
        about.problems += form.problems
        if not report.recognised and about.lines and not about.unreadable and not form.problems:
            about.problems.append(_unknown_sentence(self._shapes))
        return report, Settlement(about.path, basis, self._watch.turns, tuple(self._cut))


def _with_host(table: pl.DataFrame, host: str | None) -> pl.DataFrame:
    """The host that the input is named after, where its lines name none."""
    if host is None:
        return table
    if "host" not in table.columns:
        return table.with_columns(host=pl.lit(host))
    return table.with_columns(pl.col("host").fill_null(host))


def raw_chunks(
    path: str, about: sources.Input, plan: Plan, options: Options, chunks: Iterator[sources.Chunk] | None = None
) -> Iterator[RawChunk]:
    """The chunks of one input, parsed; those of a syslog on all processors, in order all the same.

    Parameters
    ----------
    chunks
        The lines, where not all of the file is to be read.
    """
    chunks = chunks or sources.read(path, about, chunk_bytes=options.chunk_bytes)
    first = next(chunks, None)
    if first is None:
        return
    head = first.lines.head(HEAD_LINES)
    reader: Reader | None = (
        journal.Export(plan) if journal.is_export(head) else records.recognise(head, plan, path, options.format)
    )
    if reader:  # what it has read tells how to read on
        for chunk in itertools.chain([first], chunks):
            yield raw(chunk, reader.parse(chunk.lines), reader)
        if isinstance(reader, journal.Export):
            yield raw(sources.Chunk(first.lines.clear()), reader.rest(), reader)
        return
    order = rank_envelopes(head, plan)
    yield from _ahead(
        lambda chunk: raw(chunk, normalize.parse(chunk.lines, plan, order, is_lean=options.is_lean)),
        itertools.chain([first], chunks),
    )


def raw(chunk: sources.Chunk, parsed: normalize.Parsed, reader: Reader | None = None) -> RawChunk:
    """What a chunk says, from what the rules read."""
    parsed.ledger.damaged(pl.Series("line", chunk.cut, dtype=pl.UInt64))
    tables = [_placed(table, chunk.lines) for table in parsed.tables if table.height]
    return RawChunk(chunk.lines, tables, parsed.ledger, reader, chunk.cut)


def _placed(table: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Events with the offset of their lines."""
    if "offset" in table.columns:
        return table
    return table.with_columns(offset=lines["offset"].gather((table["line"] - lines["line"][0]).cast(pl.UInt32)))


def _ahead(work: Callable[[sources.Chunk], RawChunk], chunks: Iterator[sources.Chunk]) -> Iterator[RawChunk]:
    """`map` on as many threads as there are processors, with no more chunks under way than that."""
    workers = os.cpu_count() or 1
    first, second = next(chunks, None), next(chunks, None)
    if first is None or second is None:
        yield from map(work, filter(None, (first,)))
        return
    under_way: deque[Future[RawChunk]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="parse") as pool:
        for chunk in itertools.chain((first, second), chunks):
            under_way.append(pool.submit(work, chunk))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def written(about: sources.Input) -> tuple[dt.datetime, str] | None:
    """When an input was last written at the latest (UTC), and how that is known."""
    times = [(about.modified, "the file's modification time"), (about.packed, "the time in its gzip header")]
    known = [(dt.datetime.fromtimestamp(t, dt.UTC).replace(tzinfo=None), why) for t, why in times if t and 0 < t < _LAST_SECOND]
    if day := sources.date_in_name(about.path):
        known.append((dt.datetime.combine(day, dt.time.max), "the date in the file's name"))
    return min(known, default=None)


_LAST_SECOND = 4_102_444_800  # 2100: what a broken file system may tell beyond is no date


def rank_envelopes(head: pl.DataFrame, plan: Plan) -> tuple[str, ...]:
    """All envelopes, those that fit the first lines best in front; what fitted the input before is tried first."""
    last: tuple[str, ...] = plan.memory.get("envelopes", ())
    if last and envelopes.open_envelopes(head, plan, last[:1])[1].is_empty():
        return last
    score = {}
    for e in plan.envelopes:
        opened, _ = envelopes.open_envelopes(head, plan, (e.envelope.name,))
        score[e.envelope.name] = opened.height
    order = tuple(sorted(score, key=lambda name: -score[name]))
    plan.memory["envelopes"] = order
    return order


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


def shapes_of(lines: pl.DataFrame, by: tuple[str, ...] = ()) -> pl.DataFrame:
    """Cluster lines, of each value of `by`, by what stays when addresses, ids and numbers are masked."""
    shape = pl.col("text").str.slice(0, 400)
    for expression, mask in _MASKS:
        shape = shape.str.replace_all(expression, mask)
    return (
        lines.with_columns(shape=shape.str.slice(0, 160))
        .group_by(*by, "shape")
        .agg(count=pl.len(), line=pl.col("line").min(), sample=pl.col("text").sort_by("line").first().str.slice(0, 400))
        .sort([*by, "count", "line"], descending=[*(False for _ in by), True, False])
        .filter(pl.int_range(pl.len()).over(by) < 200 if by else pl.int_range(pl.len()) < 200)
    )


def _unknown_sentence(shapes: dict[str, Shape]) -> str:
    sample = next(iter(shapes.values())).sample if shapes else ""
    if "HTTP/1." in sample and '" ' in sample:
        return mark(
            "this looks like a web server's log, not a mail log; name the mail server's log instead (for instance /var/log/mail.log)"
        )
    return mark(
        "no line of a mail server was recognised; try 'maillog-forensics formats explain LINE' with one of its lines, or name another file"
    )
