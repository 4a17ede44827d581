"""One input after the other: from a path to its events, its ledger and the basis of its clock.

This is the driver of `sources`, `normalize`, `records` and `clock`; it holds no knowledge of any format.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import polars as pl

from maillog_forensics import envelopes, journal, logfiles, normalize, records, schema, sources
from maillog_forensics.accounts import Account, Format, InputReport, Reader, Shape, Told, shapes_of
from maillog_forensics.ahead import ahead
from maillog_forensics.ledger import Ledger
from maillog_forensics.normalize import Plan
from maillog_forensics.settlements import Settlement
from maillog_forensics.spool import BUDGET_BYTES, Spool

HEAD_LINES = 400
"""Lines at the beginning of an input that tell how to read it."""


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
    report, settlement = pour(path, plan, options, spool.add, progress)
    return Taken(report, spool, settlement)


def pour(
    path: str,
    plan: Plan,
    options: Options,
    into: Callable[..., None],
    progress: Callable[[int], None] | None = None,
) -> tuple[InputReport, Settlement]:
    """Read one input, handing on the raw events of each chunk.

    Parameters
    ----------
    into
        Receives the tables of one chunk after the other, with the columns of `stamps.WALL` and `_turn`.

    Returns
    -------
    report, settlement
        Known only at the end: what no line but the last may tell, the clock's zone and year.
    """
    about = sources.Input(logfiles.label(path))
    account = Account()
    host = host_of(path)
    form = Format()
    for chunk in raw_chunks(path, about, plan, options):
        form = Format.of(chunk.reader)
        one = told(chunk, host)
        if options.on_unrecognised and one.shapes:
            options.on_unrecognised(about.path, _strange(chunk))
        if progress:
            progress(about.decompressed_bytes)
        if tables := account.add(one):
            into(*tables)
    return account.close(about, form, tz=options.tz, year=options.year, next_began=options.next_began)


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
    chunks = itertools.chain([first], chunks)
    if isinstance(reader, journal.Export):  # what it has read tells how to read on
        for chunk in chunks:
            yield raw(chunk, reader.parse(chunk.lines), reader)
        yield raw(sources.Chunk(first.lines.clear()), reader.rest(), reader)
        return
    if reader:
        for chunk, part in ahead(_beside(chunk, reader.begin(chunk.lines)) for chunk in chunks):
            yield raw(chunk, reader.take(part), reader)
        return
    order = rank_envelopes(head, plan)

    def parsed(chunk: sources.Chunk) -> RawChunk:
        return raw(chunk, normalize.parse(chunk.lines, plan, order, is_lean=options.is_lean))

    yield from ahead(functools.partial(parsed, chunk) for chunk in chunks)


def _beside(chunk: sources.Chunk, read: Callable[[], records.Part]) -> Callable[[], tuple[sources.Chunk, records.Part]]:
    return lambda: (chunk, read())


def raw(chunk: sources.Chunk, parsed: normalize.Parsed, reader: Reader | None = None) -> RawChunk:
    """What a chunk says, from what the rules read."""
    parsed.ledger.damaged(pl.Series("line", chunk.cut, dtype=pl.UInt64))
    tables = [placed(table, chunk.lines) for table in parsed.tables if table.height]
    return RawChunk(chunk.lines, tables, parsed.ledger, reader, chunk.cut)


def placed(table: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Events with the offset of their lines."""
    if "offset" in table.columns:
        return table
    is_gapless = lines["line"][-1] - lines["line"][0] == lines.height - 1
    place = (table["line"] - lines["line"][0]).cast(pl.UInt32) if is_gapless else lines["line"].search_sorted(table["line"])
    return table.with_columns(offset=lines["offset"].gather(place))


def rank_envelopes(head: pl.DataFrame, plan: Plan) -> tuple[str, ...]:
    """All envelopes, those that fit the first lines best in front; what fitted the input before is tried first."""
    last: tuple[str, ...] = plan.memory.get("envelopes", ())
    if last and envelopes.open_envelopes(head, plan, last[:1])[1].is_empty():
        return last
    order = plan.memory["envelopes"] = envelopes.ranked(head, plan)
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
