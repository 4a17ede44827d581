"""Which log a file is, told by its bytes: rotation, compression, renaming and copying change everything else.

A log is looked up by its first line, and then proved: the hash of each whole block of what was taken in, and of what
stands behind the last whole block, must be those of the file. Device, inode, size and time of change only save that work
where nothing happened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from maillog_forensics import compression, sources
from maillog_forensics.archive.ledger import Log

BLOCK_BYTES = 64 << 10
_DIGEST_BYTES = 16
_HEAD_BYTES = 8
_READ_BYTES = 1 << 20
_LONGEST_FIRST_LINE = 1 << 20


class Relation(Enum):
    """What a file is to a log that was taken in."""

    SAME = "holds exactly what was taken in"
    GROWN = "goes on behind what was taken in"
    PART = "holds the beginning of what was taken in"
    OTHER = "another log"


class DisappearedError(Exception):
    """The file is gone, or another one stands under its name since it was looked at: the next run will see."""


@dataclass
class Fingerprint:
    """Hashes of a stream of bytes so far: of each whole block, of the rest, and of each beginning that ends with a line."""

    digests: bytearray = field(default_factory=bytearray)
    head: bytearray = field(default_factory=bytearray)
    rest: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, log: Log) -> Fingerprint:
        """Of the whole blocks of what was taken in; what is behind them is to be fed again."""
        return cls(bytearray(log.digests), bytearray(log.head))

    def update(self, data: bytes) -> None:
        """Go on with `data`."""
        self.rest += data
        while len(self.rest) >= BLOCK_BYTES:
            block = bytes(self.rest[:BLOCK_BYTES])
            if not self.digests:
                self.head = _line_ends(block)
            self.digests += _digest(block)
            del self.rest[:BLOCK_BYTES]

    @property
    def size(self) -> int:
        """Bytes so far."""
        return len(self.digests) // _DIGEST_BYTES * BLOCK_BYTES + len(self.rest)

    def fill(self, log: Log) -> None:
        """Write it down in `log`."""
        log.size = self.size
        log.digests, log.tail = bytes(self.digests), _digest(bytes(self.rest)).hex()
        log.head = bytes(self.head if self.digests else _line_ends(bytes(self.rest)))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _line_ends(data: bytes) -> bytearray:
    """A short hash of each beginning of `data` that ends with a newline: a copy may stop anywhere in the first block."""
    running, out = hashlib.blake2b(digest_size=_HEAD_BYTES), bytearray()
    for line in data.splitlines(keepends=True) if b"\r" not in data else _lines(data):
        if line.endswith(b"\n"):
            running.update(line)
            out += running.copy().digest()
    return out


def _lines(data: bytes) -> list[bytes]:
    return [part + b"\n" for part in data.split(b"\n")[:-1]]


@dataclass(frozen=True)
class File:
    """A file of a log as it was found, and what the system says about it."""

    path: str
    device: str
    inode: str
    size: int
    modified: int
    compression: str

    @property
    def facts(self) -> tuple[str, str, int, int]:
        """What is the same as long as nobody has written to it."""
        return self.device, self.inode, self.size, self.modified

    @classmethod
    def look(cls, path: str) -> File:
        """Look at a file.

        Raises
        ------
        OSError
        """
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            kind = compression.kind(file.read(8))
        return cls(path, str(status.st_dev), str(status.st_ino), status.st_size, status.st_mtime_ns, kind)

    def pieces(self, about: sources.Input, start: int = 0) -> Iterator[bytes]:
        """Its decompressed bytes from `start` on, up to the size that it had when it was looked at.

        Raises
        ------
        DisappearedError
            When another file stands in its place.
        """
        if self.compression != "none":
            skip = start
            for piece in sources.pieces(self.path, about):
                self._check(about.identity)
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(0, skip - len(piece))
            return
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                self._check((status.st_dev, status.st_ino))
                about.opened, about.modified = self.path, self.modified / 1e9
                file.seek(start)
                left = self.size - start
                while left > 0 and (data := file.read(min(_READ_BYTES, left))):
                    left -= len(data)
                    yield data
        except FileNotFoundError as error:
            raise DisappearedError(self.path) from error

    def _check(self, identity: tuple[int, int] | None) -> None:
        if identity is not None and (str(identity[0]), str(identity[1])) != (self.device, self.inode):
            raise DisappearedError(self.path)


def first_line(pieces: Iterable[bytes]) -> str | None:
    """The hash of the first line; None where it is not finished."""
    data = b""
    for piece in pieces:
        data += piece
        if b"\n" in piece:
            return _digest(data[: data.index(b"\n") + 1]).hex()
        if len(data) > _LONGEST_FIRST_LINE:
            return _digest(data).hex()
    return None


def compare(file: File, log: Log, *, is_trusted: bool = False) -> Relation:
    """What `file` is to `log`.

    Parameters
    ----------
    is_trusted
        The file has the device and inode under which the log was read last: the last whole block and the rest behind it are
        proof enough, the others are not read again.
    """
    if file.compression == "none" and is_trusted and file.size >= log.size:
        base = max(0, log.size // BLOCK_BYTES - 1)
        known = Fingerprint(bytearray(log.digests[: base * _DIGEST_BYTES]))
    else:
        base, known = 0, Fingerprint()
    position = base * BLOCK_BYTES
    has_more = False
    for piece in file.pieces(sources.Input(file.path), position):
        known.update(piece[: log.size - position])
        position += len(piece)
        if known.digests != log.digests[: len(known.digests)]:
            return Relation.OTHER
        if position > log.size:
            has_more = True
            break
    if known.size == log.size:
        if _digest(bytes(known.rest)).hex() != log.tail:
            return Relation.OTHER
        return Relation.GROWN if has_more else Relation.SAME
    if known.digests:
        return Relation.PART
    ends = _line_ends(bytes(known.rest))
    return Relation.PART if ends and ends == log.head[: len(ends)] else Relation.OTHER
