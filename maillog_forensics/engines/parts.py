"""A log in parts that several workers can read, and what a worker does with one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import polars as pl

from maillog_forensics import accounts, grammar, intake, journal, logfiles, normalize, objects, records, sources
from maillog_forensics.engines import wire
from maillog_forensics.engines.telling import telling

PART_BYTES = 64 << 20
"""A plain log of more bytes is read in parts of about this size; compressed ones and records below a head are read whole."""


@dataclass(frozen=True)
class Settings:
    """What a worker must know to read a log as the local engine would."""

    format: str | None
    parsers: Path | None
    is_lean: bool
    """One input only, whose events nobody wants: of connections, only the last is kept."""
    chunk_bytes: int = sources.CHUNK_BYTES
    part_bytes: int = PART_BYTES


@dataclass(frozen=True)
class Log:
    """An input where every worker finds it.

    Attributes
    ----------
    path
        Of a file that all see under this name, or of the stand-in for an object.
    url
        Of the object.
    """

    path: str
    url: str | None = None

    @contextmanager
    def here(self) -> Iterator[str]:
        """A file with all of it."""
        if self.url is None:
            yield self.path
            return
        with objects.copied(self.url) as place:
            yield place

    def span(self, begin: int, end: int) -> bytes:
        """Some of its bytes."""
        if self.url is not None:
            return objects.spans(self.url, [(begin, end)])[0]
        with open(self.path, "rb") as file:
            file.seek(begin)
            return file.read(end - begin)


@dataclass(frozen=True)
class Part:
    """Something that one task reads: a whole input, or some chunks of it.

    Attributes
    ----------
    order
        Of the part within its input.
    chunks
        Of each chunk the number of its first line, its offset, and the offset behind it; empty: the whole input.
    envelopes
        Those that fit the beginning of the input best, in front.
    """

    number: int
    log: Log
    order: int = 0
    chunks: tuple[tuple[int, int, int], ...] = ()
    envelopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartTold:
    """What a part tells of its input: of each chunk, and of the whole where it is the whole."""

    number: int
    order: int
    chunks: tuple[accounts.Told, ...]
    about: sources.Input | None = None
    form: accounts.Format = field(default_factory=accounts.Format)


@dataclass(frozen=True)
class Surveyed:
    """What the first pass over a large plain log finds: hashes, lines, and how it can be read in parts.

    `about` is without the file's identity: each machine numbers its devices in its own way.
    """

    number: int
    about: sources.Input
    parts: tuple[Part, ...]


@cache
def plan(parsers: Path | None) -> normalize.Plan:
    """The compiled grammar, once for each worker process."""
    return normalize.compile_grammar(grammar.read(grammar.find(parsers)))


def is_large(path: str) -> bool:
    """Whether it may be worth a survey."""
    try:
        return os.path.getsize(path) > PART_BYTES
    except OSError:
        return False


def survey(number: int, log: Log, settings: Settings) -> Surveyed | None:
    """Read a log once for its hashes and the places where it can be cut; None where it must be read as a whole.

    The cuts are those of the local engine's chunks, so that what a rule sees of a line's neighbours is the same.
    """
    about = sources.Input(logfiles.label(log.path))
    with log.here() as path:
        found = _cuts(path, about, settings)
    if found is None:
        return None
    chunks, envelopes = found
    size = max(1, settings.part_bytes // settings.chunk_bytes)
    parts = [
        Part(number, log, order, tuple(chunks[at : at + size]), envelopes) for order, at in enumerate(range(0, len(chunks), size))
    ]
    return Surveyed(number, _anywhere(about, log), tuple(parts))


def _anywhere(about: sources.Input, log: Log) -> sources.Input:
    """What is known of an input, without what only the machine knows that read it."""
    return replace(about, identity=None, opened=log.url or log.path)


def _cuts(path: str, about: sources.Input, settings: Settings) -> tuple[list[tuple[int, int, int]], tuple[str, ...]] | None:
    """Chunks (as in `Part`) and envelopes of a log; None where it can't be cut."""
    compiled = plan(settings.parsers)
    begins: list[tuple[int, int]] = []
    envelopes: tuple[str, ...] = ()
    for chunk in sources.read(path, about, chunk_bytes=settings.chunk_bytes):
        if not begins:
            head = chunk.lines.head(intake.HEAD_LINES)
            is_record = journal.is_export(head) or records.recognise(head, compiled, path, settings.format)
            if about.compression != "none" or about.encoding != "utf-8" or is_record:
                return None
            envelopes = intake.rank_envelopes(head, compiled)
        if chunk.cut:
            return None
        if chunk.lines.height:
            begins.append((int(chunk.lines["line"][0]), int(chunk.lines["offset"][0])))
    if len(begins) < 2 or about.unreadable:
        return None
    ends = [*(offset for _, offset in begins[1:]), about.decompressed_bytes]
    return [(line, offset, end) for (line, offset), end in zip(begins, ends)], envelopes


def read(part: Part, settings: Settings) -> Iterator[pl.DataFrame]:
    """The raw events of a part, as they travel, and at last a row of what it tells of its input."""
    if part.chunks:
        return _told(part, _cut_out(part, settings))
    return _read_whole(part, settings)


def _read_whole(part: Part, settings: Settings) -> Iterator[pl.DataFrame]:
    about = sources.Input(logfiles.label(part.log.path))
    options = intake.Options(format=settings.format, chunk_bytes=settings.chunk_bytes, is_lean=settings.is_lean)
    with part.log.here() as path:
        yield from _told(part, intake.raw_chunks(path, about, plan(settings.parsers), options), about)


def _told(part: Part, chunks: Iterator[intake.RawChunk], about: sources.Input | None = None) -> Iterator[pl.DataFrame]:
    """Chunks as they travel, and what they tell; `about` is complete behind the last where it is the whole input."""
    host = intake.host_of(part.log.path)
    told: list[accounts.Told] = []
    form = accounts.Format()
    for chunk in chunks:
        form = accounts.Format.of(chunk.reader)
        one = intake.told(chunk, host)
        told.append(replace(one, tables=telling(one.tables)))
        if one.tables:
            yield wire.pack(one.tables, part.number)
    whole = _anywhere(about, part.log) if about else None
    yield wire.told(part.number, wire.dumps(PartTold(part.number, part.order, tuple(told), whole, form)))


def _cut_out(part: Part, settings: Settings) -> Iterator[intake.RawChunk]:
    for line, offset, end in part.chunks:
        lines = sources.lines_of(part.log.span(offset, end), line, offset)
        parsed = normalize.parse(lines, plan(settings.parsers), part.envelopes, is_lean=settings.is_lean)
        yield intake.raw(sources.Chunk(lines), parsed)
