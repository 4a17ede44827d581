"""The only stage that reads logs: paths to chunks of numbered lines, hashed as they stream by.

Memory is bounded by the chunk, whatever the size of the file, of a line, or of what a compressed file expands to.
"""

from __future__ import annotations

import bz2
import glob
import hashlib
import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import polars as pl

CHUNK_BYTES = 32 << 20
"""Decompressed bytes handed on at a time."""

MAX_LINE_BYTES = 1 << 20
"""A longer line is cut here and counted as damaged; no mail server writes one."""

_READ_BYTES = 256 << 10
_COMPRESSED_READ_BYTES = 16 << 10  # deflate expands at most about 1,030 times: 16 MiB at a time
_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}


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


def expand(paths: list[str]) -> tuple[list[str], list[str]]:
    """The files behind `paths` in a stable order, and a sentence for each path behind which there is none.

    A path is a file, a directory (read recursively, hidden files left out), a glob, or "-" for standard input.
    """
    files: list[str] = []
    problems: list[str] = []
    for path in paths:
        if path == "-":
            files.append(path)
        elif os.path.isdir(path):
            inside = sorted(
                str(p) for p in Path(path).rglob("*")
                if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
            )  # fmt: skip
            files += inside
            if not inside:
                problems.append(f"{path}: the directory holds no files; name the directory of the mail logs, for instance /var/log")
        elif os.path.exists(path):
            files.append(path)
        elif glob.has_magic(path) and (found := sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))):
            files += found
        else:
            problems.append(f"{path}: no such file; check the spelling, or name the directory that holds the logs")
    unique = list(dict.fromkeys(files))
    return sorted(unique, key=_rotation_key), problems


def _rotation_key(path: str) -> tuple[str, int, str]:
    """Sort rotated twins oldest first: mail.log.2.gz, mail.log.1, mail.log."""
    stem = re.sub(r"\.(gz|bz2|xz|zst|Z)$", "", path)
    match = re.search(r"\.(\d{1,4})$", stem)
    return (stem[: match.start()] if match else stem, -int(match.group(1)) if match else 0, path)


class _Hashing:
    """A binary file that hashes what is read from it."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw, self.sha, self.size = raw, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self.raw.read(size)
        self.sha.update(data)
        self.size += len(data)
        return data


def _decompressor(kind: str) -> Callable[[], object]:
    if kind == "gzip":
        return lambda: zlib.decompressobj(wbits=31)
    if kind == "bzip2":
        return bz2.BZ2Decompressor
    if kind == "xz":
        return lzma.LZMADecompressor
    try:
        import zstandard
    except ImportError as error:
        raise OSError("zstd files need the package zstandard: pip install 'maillog-forensics[zstd]'") from error
    return lambda: zstandard.ZstdDecompressor().decompressobj()


def _plain(stream: _Hashing, about: Input) -> Iterator[bytes]:
    """The decompressed bytes of `stream`, in pieces; damage ends the stream and is noted, never raised."""
    head = stream.read(_READ_BYTES)
    about.compression = next((k for k, magic in _MAGIC.items() if head.startswith(magic)), "none")
    if about.compression == "none":
        while head:
            yield head
            head = stream.read(_READ_BYTES)
        return
    fresh = _decompressor(about.compression)
    engine = fresh()
    pending = head
    try:
        while pending:
            for start in range(0, len(pending), _COMPRESSED_READ_BYTES):
                piece = pending[start : start + _COMPRESSED_READ_BYTES]
                while piece:
                    if engine.eof:  # type: ignore[attr-defined]  # several members in one file: logrotate, cat a.gz b.gz
                        piece = piece.lstrip(b"\0")
                        if not piece:
                            break
                        engine = fresh()
                    out = engine.decompress(piece)  # type: ignore[attr-defined]
                    if out:
                        yield out
                    piece = engine.unused_data if engine.eof else b""  # type: ignore[attr-defined]
            pending = stream.read(_READ_BYTES)
        if not engine.eof:  # type: ignore[attr-defined]
            about.problems.append(f"the {about.compression} data ends early (truncated file); what came before was read")
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError, Exception) as error:
        if type(error).__module__.split(".")[0] not in ("zlib", "builtins", "lzma", "_lzma", "zstandard", "zstd", "bz2", "_bz2"):
            raise
        about.problems.append(f"the {about.compression} data is damaged ({error}); what came before was read")


def _encoding(head: bytes) -> tuple[str, int]:
    """Encoding of a text and the length of its byte order mark."""
    for bom, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(bom):
            return name, len(bom)
    probe = head[:400]
    if len(probe) >= 8:
        if probe[1::2].count(0) > 0.9 * len(probe[1::2]) and probe[0::2].count(0) < 0.1 * len(probe):
            return "utf-16-le", 0
        if probe[0::2].count(0) > 0.9 * len(probe[0::2]) and probe[1::2].count(0) < 0.1 * len(probe):
            return "utf-16-be", 0
    return "utf-8", 0


def _table(data: bytes, encoding: str, first: int, offset: int) -> pl.DataFrame:
    """Split whole lines into a table; broken bytes are kept visibly as backslash escapes."""
    if encoding != "utf-8":
        text = data.decode(encoding, "backslashreplace")
        lines = pl.Series("text", [text]).str.split("\n").explode()
        astral = lines.str.count_matches(r"[\x{10000}-\x{10FFFF}]")
        width = 2 * (lines.str.len_chars() + astral + 1).cast(pl.Int64)
    else:
        try:
            lines = pl.Series("text", [data.decode()]).str.split("\n").explode()
            width = lines.str.len_bytes().cast(pl.Int64) + 1
        except UnicodeDecodeError:
            lines = pl.Series("text", [data.decode("utf-8", "backslashreplace")]).str.split("\n").explode()
            width = pl.Series([data.decode("latin-1")]).str.split("\n").explode().str.len_chars().cast(pl.Int64) + 1
    frame = pl.DataFrame({"text": lines, "width": width})
    return frame.select(
        line=pl.int_range(first, first + pl.len(), dtype=pl.UInt64),
        offset=(offset + pl.col("width").cum_sum() - pl.col("width")).cast(pl.UInt64),
        text=pl.col("text").str.strip_suffix("\r"),
    )


def read(path: str, about: Input, *, stdin: BinaryIO | None = None, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Stream one input as chunks of lines; `about` is complete when the iterator ends.

    Never raises for bad data: an unreadable file sets `about.unreadable` and `about.problems`.
    """
    try:
        raw = (stdin or sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: SIM115  (closed below)
        if path != "-":
            about.modified = os.fstat(raw.fileno()).st_mtime
    except OSError as error:
        about.unreadable = True
        about.problems.append(f"can't be read: {(error.strerror or str(error)).lower()}; check its permissions (the group adm can read logs on Debian)")
        return
    stream = _Hashing(raw)
    same = hashlib.sha256()
    try:
        yield from _chunks(_plain(stream, about), about, same, chunk_bytes)
    except OSError as error:
        about.unreadable = about.lines == 0
        about.problems.append(f"reading stopped: {error.strerror or error}")
    finally:
        if path != "-":
            raw.close()
        about.bytes, about.sha256 = stream.size, stream.sha.hexdigest()
        about.decompressed_sha256 = same.hexdigest()
    if about.bytes == 0 and not about.unreadable:
        about.problems.append("the file is empty")


def _chunks(pieces: Iterator[bytes], about: Input, sha: hashlib._Hash, chunk_bytes: int) -> Iterator[Chunk]:
    buffer = io.BytesIO()
    held = 0
    line, offset = 1, 0
    newline = b""
    cut: list[int] = []
    skipping = 0  # bytes of an over-long line that were thrown away

    def emit(data: bytes, width: int, numbers: list[int]) -> Chunk:
        nonlocal line, offset
        table = _table(data, about.encoding, line, offset)
        line += table.height
        offset += width
        about.lines += table.height
        return Chunk(table, tuple(numbers))

    for piece in pieces:
        sha.update(piece)
        about.decompressed_bytes += len(piece)
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
            yield emit(data, len(data) + skipping + end + len(newline), [line])
            buffer, held, skipping = io.BytesIO(), 0, 0
            piece = piece[end + len(newline) :]
        buffer.write(piece)
        held += len(piece)
        if held < chunk_bytes:
            continue
        data = buffer.getvalue()
        end = _find_last(data, newline)
        if end < 0:  # one line fills the chunk: keep its beginning, skip the rest
            keep = MAX_LINE_BYTES
            skipping, held = held - keep, keep
            buffer = io.BytesIO()
            buffer.write(data[:keep])
            continue
        yield emit(data[:end], end + len(newline), cut)
        rest = data[end + len(newline) :]
        buffer, held = io.BytesIO(), len(rest)
        buffer.write(rest)
    data = buffer.getvalue()
    if data or skipping:
        if newline and data.endswith(newline) and not skipping:
            data = data[: -len(newline)]
        yield emit(data, len(data) + skipping, [line] if skipping else [])


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
