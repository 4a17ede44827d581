"""A log in parts that several workers can read, and what a worker does with one of them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import polars as pl

from maillog_forensics import accounts, grammar, intake, journal, normalize, records, sources
from maillog_forensics.engines import wire
from maillog_forensics.engines.telling import telling

PART_BYTES = 64 << 20
"""A plain log of more bytes is read in parts of about this size; compressed ones and records below a head are read whole."""


@dataclass(frozen=True)
class Settings:
    """What a worker must know to read a log as the local engine would."""

    format: str | None
    parsers: Path | None
    buckets: int
    is_lean: bool
    """One input only, whose events nobody wants: of connections, only the last is kept."""
    chunk_bytes: int = sources.CHUNK_BYTES
    part_bytes: int = PART_BYTES


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
    path: str
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


def survey(number: int, path: str, settings: Settings) -> Surveyed | None:
    """Read a log once for its hashes and the places where it can be cut; None where it must be read as a whole.

    The cuts are those of the local engine's chunks, so that what a rule sees of a line's neighbours is the same.
    """
    compiled = plan(settings.parsers)
    about = sources.Input(sources.label(path))
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
    chunks = [(line, offset, end) for (line, offset), end in zip(begins, ends)]
    size = max(1, settings.part_bytes // settings.chunk_bytes)
    parts = [
        Part(number, path, order, tuple(chunks[at : at + size]), envelopes)
        for order, at in enumerate(range(0, len(chunks), size))
    ]
    return Surveyed(number, replace(about, identity=None), tuple(parts))


def read(part: Part, settings: Settings) -> Iterator[pl.DataFrame]:
    """The raw events of a part, as they travel, and at last a row of what it tells of its input."""
    compiled = plan(settings.parsers)
    about = sources.Input(sources.label(part.path))
    if part.chunks:
        chunks = _cut_out(part, compiled, settings.is_lean)
    else:
        options = intake.Options(format=settings.format, chunk_bytes=settings.chunk_bytes, is_lean=settings.is_lean)
        chunks = intake.raw_chunks(part.path, about, compiled, options)
    host = intake.host_of(part.path)
    told: list[accounts.Told] = []
    form = accounts.Format()
    for chunk in chunks:
        form = accounts.Format.of(chunk.reader)
        one = intake.told(chunk, host)
        told.append(replace(one, tables=telling(one.tables)))
        if one.tables:
            yield wire.pack(one.tables, part.number, settings.buckets)
    whole = None if part.chunks else replace(about, identity=None)
    yield wire.told(part.number, pickle.dumps(PartTold(part.number, part.order, tuple(told), whole, form)))


def _cut_out(part: Part, compiled: normalize.Plan, is_lean: bool) -> Iterator[intake.RawChunk]:
    with open(part.path, "rb") as file:
        for line, offset, end in part.chunks:
            file.seek(offset)
            lines = sources.lines_of(file.read(end - offset), line, offset)
            yield intake.raw(sources.Chunk(lines), normalize.parse(lines, compiled, part.envelopes, is_lean=is_lean))
