"""Compressed logs: told by their first bytes, unpacked in small pieces, whatever the file claims about itself.

A few kilobytes can unpack to gigabytes (Fifield, A better zip bomb, 2019; a zstd or bzip2 block of a dozen bytes to a
hundred kilobytes and more). So no call here returns more than a bounded piece, and a file that unpacks to what no log
can be is left with a sentence.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

_MAGIC = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}
_PIECE_BYTES = 1 << 20
_SLICE_BYTES = 64  # of what is damaged
_FED_BYTES = 2 << 10  # zstandard can't be asked for less: 2 KiB unpack to at most some 64 MiB
_XZ_MEMORY_BYTES = 256 << 20  # xz -9 asks for 65 MiB

BOMB_BYTES = 256 << 20
BOMB_RATIO = 500
"""Above `BOMB_BYTES`, what is more than this many times its compressed size is no log: real ones reach some 10 to 100 times."""


class DamageError(Exception):
    """The compressed data can't be followed any further; the text says why."""


def kind(head: bytes) -> str:
    """How a file that begins with `head` is compressed; "none" where it is not."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "none")


def unpack(kind: str, head: bytes, more: Callable[[], bytes]) -> Iterator[bytes]:
    """The unpacked bytes in pieces.

    Parameters
    ----------
    kind
        As the function `kind` gives it.
    head, more
        The first bytes, and a function that gives the next ones, b"" at the end.

    Raises
    ------
    DamageError
        When the data end early, are damaged, are followed by something else, or unpack without end.

    Notes
    -----
    Several members in one file are read one after the other (`cat a.gz b.gz`); zeros behind the last are padding.
    """
    fresh = _engine(kind)
    engine, begun, packed, unpacked, members = fresh(), True, 0, 0, 0
    pending = head
    while pending:
        packed += len(pending)
        while pending:
            if engine.eof:
                pending = pending.lstrip(b"\0")
                if not pending:
                    break
                engine, begun = fresh(), False
            try:
                for out in _pieces(kind, engine, pending):
                    if not out:
                        continue
                    begun = True
                    unpacked += len(out)
                    yield out
                    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed:
                        raise DamageError(
                            f"the {kind} data unpack to more than {BOMB_RATIO} times their size, as no log does; the first "
                            f"{unpacked >> 20} MiB were read. If it is a log, unpack it and name the unpacked file"
                        )
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, _zstd_error()) as error:
                if members and not begun:
                    raise DamageError(
                        f"something that is not {kind} follows the {kind} data; what came before was read"
                    ) from error
                raise DamageError(f"the {kind} data are damaged ({error}); what came before was read") from error
            members += engine.eof
            pending = engine.unused_data if engine.eof else b""
        pending = more()
    if not engine.eof:
        raise DamageError(f"the {kind} data end early (truncated file); what came before was read")


def _pieces(kind: str, engine: Any, data: bytes) -> Iterator[bytes]:
    """What `data` unpack to, up to the end of a member; the engine keeps what follows as `unused_data`."""
    if kind == "gzip":
        while data and not engine.eof:
            before = engine.copy()
            try:
                yield engine.decompress(data, _PIECE_BYTES)
            except zlib.error:  # what it had unpacked up to there is lost with the call
                for start in range(0, len(data), _SLICE_BYTES):
                    yield before.decompress(data[start : start + _SLICE_BYTES])
                raise
            data = engine.unconsumed_tail
        while not engine.eof and (rest := engine.decompress(b"", _PIECE_BYTES)):
            yield rest
    elif hasattr(engine, "needs_input"):
        yield engine.decompress(data, _PIECE_BYTES)
        while not engine.eof and not engine.needs_input:
            yield engine.decompress(b"", _PIECE_BYTES)
    else:
        yield from engine.feed(data)


class _Zstd:
    """The package zstandard behind the interface of bz2; it has no bound on what one call returns, so it is fed little."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.unused_data = engine, b""

    @property
    def eof(self) -> bool:
        return bool(self._engine.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _FED_BYTES):
            yield self._engine.decompress(data[start : start + _FED_BYTES])
            if self._engine.eof:
                self.unused_data = self._engine.unused_data + data[start + _FED_BYTES :]
                return


def _engine(kind: str) -> Callable[[], Any]:
    if kind == "gzip":
        return lambda: zlib.decompressobj(wbits=31)
    if kind == "bzip2":
        return bz2.BZ2Decompressor
    if kind == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdDecompressor
    try:
        import zstandard
    except ImportError as error:
        raise DamageError("zstd files need the package zstandard: pip install zstandard") from error
    return lambda: _Zstd(zstandard.ZstdDecompressor().decompressobj())


def _zstd_error() -> type[Exception]:
    """What a zstd library raises; where none is loaded, what is caught anyway."""
    for name in ("compression.zstd", "zstandard"):
        if module := sys.modules.get(name):
            error: type[Exception] = module.ZstdError
            return error
    return zlib.error
