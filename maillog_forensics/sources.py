"""The only stage that reads logs: paths to chunks of numbered lines, hashed as they stream by.

Memory is bounded by the chunk, whatever the size of the file, of a line, or of what a compressed file expands to.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import polars as pl

from maillog_forensics import compression
from maillog_forensics.language import mark

CHUNK_BYTES = 8 << 20
"""Decompressed bytes handed on at a time: large enough for the columns, small enough to use the same memory again and again."""

MAX_LINE_BYTES = 1 << 20
"""A longer line is cut here and counted as damaged; no mail server writes one."""

MAX_CHUNK_LINES = 500_000
"""A chunk with more lines, and so with hardly anything in them, is handed on in parts."""

FILE_BITS = 40
"""Where the lines of several files are in one table, the bits of `line` from this one on tell the file, and those below its line."""

_READ_BYTES = 256 << 10
_PROBE_BYTES = 400


@dataclass
class Input:
    """What is known of one input once it has been read (a row of `inputs` in the findings)."""

    path: str
    compression: str = "none"
    encoding: str = "utf-8"
    bytes: int = 0
    sha256: str = ""
    decompressed_bytes: int = 0
    decompressed_sha256: str = ""
    modified: float | None = None
    """When it was last written (POSIX seconds); of standard input known when it ends."""
    packed: float | None = None
    """Modification time (POSIX seconds) that a gzip header remembers of what was packed."""
    identity: tuple[int, int] | None = None
    """Device and inode of a file: a log that was rotated since is another one under the same name."""
    opened: str | None = None
    """The path to open, where `path` is another name for it: standard input, a pipe, a name that is no UTF-8; or an object's URL."""
    lines: int = 0
    problems: list[str] = field(default_factory=list)
    """Sentences for a person: truncated, unreadable, empty …"""
    unreadable: bool = False


@dataclass(frozen=True)
class Chunk:
    """Some whole lines of one input: columns `line` (1-based), `offset` (byte in the decompressed stream), `text`."""

    lines: pl.DataFrame
    cut: tuple[int, ...] = ()
    """Numbers of lines that were longer than `MAX_LINE_BYTES` and are kept only up to it."""


class _Hashing:
    """A binary file that hashes what is read from it, up to the length it had when it was opened."""

    def __init__(self, raw: BinaryIO, length: int | None) -> None:
        self.raw, self.left, self.sha, self.size = raw, length, hashlib.sha256(), 0

    def read(self) -> bytes:
        data = self.raw.read(_READ_BYTES if self.left is None else min(_READ_BYTES, self.left))
        if self.left is not None:
            self.left -= len(data)
        self.sha.update(data)
        self.size += len(data)
        return data


_ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c")


def _plain(stream: _Hashing, about: Input) -> Iterator[bytes]:
    """The decompressed bytes of `stream`, in pieces; damage ends the stream and is noted, never raised."""
    head = stream.read()
    if head.startswith(_ARCHIVES):
        about.problems.append(
            "an archive of files (zip, 7z), which is not read; unpack it, and name the folder that it unpacks to"
        )
        return
    about.compression = compression.kind(head)
    if about.compression == "gzip" and len(head) >= 8:
        about.packed = float(int.from_bytes(head[4:8], "little")) or None
    try:
        if about.compression != "none":
            yield from compression.unpack(about.compression, head, stream.read)
            return
        while head:
            yield head
            head = stream.read()
    except compression.DamageError as error:
        about.problems.append(str(error))


def encoding(text: bytes) -> str:
    """Encoding of a text."""
    return _encoding(text)[0]


def _encoding(head: bytes) -> tuple[str, int]:
    """Encoding of a text and the length of its byte order mark."""
    for bom, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(bom):
            return name, len(bom)
    probe = head[:_PROBE_BYTES]
    if len(probe) >= 8:
        if probe[1::2].count(0) > 0.9 * len(probe[1::2]) and probe[0::2].count(0) < 0.1 * len(probe):
            return "utf-16-le", 0
        if probe[0::2].count(0) > 0.9 * len(probe[0::2]) and probe[1::2].count(0) < 0.1 * len(probe):
            return "utf-16-be", 0
    return "utf-8", 0


def _table(data: bytes, encoding: str, first: int, offset: int) -> tuple[pl.DataFrame, list[int]]:
    """Split whole lines into a table, and tell which were cut; broken bytes are kept visibly as backslash escapes."""
    cut: list[int] = []
    lines = _lines(data) if encoding == "utf-8" else None
    width = None if lines is None else lines.str.len_bytes().cast(pl.Int64) + 1
    if width is not None and (width > MAX_LINE_BYTES).any():
        lines = None
    if lines is None:
        raw = data.split(b"\n") if encoding == "utf-8" else _split_wide(data, "\n".encode(encoding))
        widths = [len(line) + (1 if encoding == "utf-8" else 2) for line in raw]
        cut = [first + n for n, w in enumerate(widths) if w > MAX_LINE_BYTES]
        texts = [line[:MAX_LINE_BYTES].decode(encoding, "backslashreplace") for line in raw]
        lines, width = pl.Series("text", texts, dtype=pl.String), pl.Series(widths, dtype=pl.Int64)
    assert width is not None
    table = pl.DataFrame({"text": lines, "width": width}).select(
        line=pl.int_range(first, first + pl.len(), dtype=pl.UInt64),
        offset=(offset + pl.col("width").cum_sum() - pl.col("width")).cast(pl.UInt64),
        text="text",
    )
    if encoding != "utf-8" or b"\r" in data or (b"\xef" in data and b"\xef\xbb\xbf" in data):  # joined files keep their marks
        table = table.with_columns(pl.col("text").str.strip_suffix("\r").str.strip_prefix("\ufeff"))
    return table, cut


def _lines(data: bytes) -> pl.Series | None:
    """The lines of UTF-8 text; None where it is none."""
    if data and b"\r" not in data and not data.endswith(b"\n"):  # polars would take these for ends of lines
        try:
            return pl.read_lines(data).to_series().alias("text")
        except pl.exceptions.ComputeError:
            return None
    try:
        return pl.Series("text", [data.decode()]).str.split("\n").explode()
    except UnicodeDecodeError:
        return None


def lines_of(data: bytes, line: int, offset: int) -> pl.DataFrame:
    """The lines of a part of a UTF-8 log that begins with line number `line` at `offset`, as a chunk has them."""
    return _table(data.removesuffix(b"\n"), "utf-8", line, offset)[0]


def _split_wide(data: bytes, newline: bytes) -> list[bytes]:
    """Lines of a text whose characters are two bytes wide: a newline counts on a character's border."""
    parts: list[bytes] = []
    start = at = 0
    while (at := data.find(newline, at)) >= 0:
        if (at - start) % 2:
            at += 1
            continue
        parts.append(data[start:at])
        start = at = at + 2
    return [*parts, data[start:]]


def read(path: str, about: Input, *, stdin: BinaryIO | None = None, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Stream one input as chunks of lines; `about` is complete when the iterator ends.

    Never raises for bad data: an unreadable file sets `about.unreadable` and `about.problems`.
    """
    yield from chunks(whole(path, about, stdin=stdin), about, chunk_bytes=chunk_bytes)


def whole(path: str, about: Input, *, stdin: BinaryIO | None = None) -> Iterator[bytes]:
    """The decompressed bytes of one input, in pieces, hashed and counted as they go by; never raises for bad data, as `read`."""
    same = hashlib.sha256()
    try:
        for piece in pieces(path, about, stdin=stdin):
            if about.compression != "none":
                same.update(piece)
            about.decompressed_bytes += len(piece)
            yield piece
    finally:
        about.decompressed_sha256 = same.hexdigest() if about.compression != "none" else about.sha256


def pieces(path: str, about: Input, *, stdin: BinaryIO | None = None) -> Iterator[bytes]:
    """The decompressed bytes of one input, in pieces; never raises for bad data, as `read`."""
    about.opened = path
    try:
        raw = (stdin or sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: SIM115  (closed below)
        length = None
        if path != "-":
            status = os.fstat(raw.fileno())
            about.modified, about.identity = status.st_mtime, (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode) and status.st_size:  # a log that grows meanwhile is read as it was at this moment
                length = status.st_size
    except OSError as error:
        about.unreadable = True
        about.problems.append(
            f"can't be read: {(error.strerror or str(error)).lower()}; check its permissions (the group adm can read logs on Debian)"
        )
        return
    stream = _Hashing(raw, length)
    try:
        yield from _plain(stream, about)
    except OSError as error:
        about.unreadable = stream.size == 0
        about.problems.append(f"reading stopped: {error.strerror or error}")
    finally:
        if path == "-":
            about.modified = _last_written(raw)
        else:
            raw.close()
        about.bytes, about.sha256 = stream.size, stream.sha.hexdigest()
    if about.bytes == 0 and not about.unreadable:
        about.problems.append(mark("the file is empty"))


def _last_written(stream: BinaryIO) -> float | None:
    """When standard input was written at the latest (POSIX seconds): a pipe until now, what is no real stream never."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_mtime if stat.S_ISREG(status.st_mode) else time.time()


def chunks(
    pieces: Iterator[bytes],
    about: Input,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    line: int = 1,
    offset: int = 0,
    only_whole: bool = False,
) -> Iterator[Chunk]:
    """Cut decompressed bytes into chunks of whole lines.

    Parameters
    ----------
    line, offset
        Of the first byte, where `pieces` begin within a log (at a line's beginning): its encoding is then UTF-8.
    only_whole
        A last line without its newline is left out: someone is writing it.
    """
    buffer = io.BytesIO()
    held = 0
    newline = b"\n" if offset else b""
    skipping = 0  # bytes of an over-long line that were thrown away

    def emit(data: bytes, ends: int, is_cut: bool = False) -> Iterator[Chunk]:
        """Whole lines, without the newline behind the last; `ends` are the bytes that follow them up to the next line."""
        nonlocal line, offset
        for part in _portions(data, newline):
            table, cut = _table(part, about.encoding, line, offset)
            line += table.height
            offset += len(part) + len(newline)
            about.lines += table.height
            yield Chunk(table, tuple([line - 1] if is_cut and not cut else cut))
        offset += ends - len(newline)

    for piece in _with_head(pieces):
        if not newline:
            about.encoding, bom = _encoding(piece)
            newline = "\n".encode(about.encoding)
            piece, offset = piece[bom:], bom
        if skipping:
            end = _find_end(piece, newline, offset + held + skipping)
            if end < 0:
                skipping += len(piece)
                continue
            data = buffer.getvalue()
            yield from emit(data, skipping + end + len(newline), True)
            buffer, held, skipping = io.BytesIO(), 0, 0
            piece = piece[end + len(newline) :]
        buffer.write(piece)
        held += len(piece)
        if held < chunk_bytes:
            continue
        data = buffer.getvalue()
        end = _find_last(data, newline)
        if end < 0 and held <= MAX_LINE_BYTES:
            continue
        if end < 0:  # one line fills the chunk: keep its beginning, skip the rest
            keep = MAX_LINE_BYTES
            skipping, held = held - keep, keep
            buffer = io.BytesIO()
            buffer.write(data[:keep])
            continue
        yield from emit(data[:end], len(newline))
        rest = data[end + len(newline) :]
        buffer, held = io.BytesIO(), len(rest)
        buffer.write(rest)
    data = buffer.getvalue()
    if only_whole:
        end = _find_last(data, newline) if newline and not skipping else -1
        data, skipping = data[: end + len(newline)] if end >= 0 else b"", 0
    if data or skipping:
        if newline and data.endswith(newline) and not skipping:
            data = data[: -len(newline)]
        yield from emit(data, skipping, bool(skipping))


def _with_head(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, the first of them long enough to tell the encoding."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _PROBE_BYTES:
            yield head
            break
    else:
        if head:
            yield head
    yield from pieces


def _portions(data: bytes, newline: bytes) -> Iterator[bytes]:
    """`data`, in two or more where its lines are more than `MAX_CHUNK_LINES`."""
    if data.count(newline) > MAX_CHUNK_LINES:
        middle = _find_last(data[: len(data) // 2], newline)
        if middle >= 0:
            yield from _portions(data[:middle], newline)
            yield from _portions(data[middle + len(newline) :], newline)
            return
    yield data


def _find_end(piece: bytes, newline: bytes, at: int) -> int:
    """First newline in `piece`, on a character border where characters are two bytes wide."""
    end = piece.find(newline)
    while end >= 0 and len(newline) == 2 and (end + at) % 2:
        end = piece.find(newline, end + 1)
    return end


def _find_last(data: bytes, newline: bytes) -> int:
    end = data.rfind(newline)
    while end >= 0 and len(newline) == 2 and end % 2:
        end = data.rfind(newline, 0, end + 1)
    return end
