"""A line of progress on a terminal; silence in a pipe."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from maillog_forensics.text import visible


class Progress:
    """Shows which file is read and how far, on standard error, at most ten times a second."""

    def __init__(self, quiet: bool) -> None:
        self._show = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._next = 0.0

    def __enter__(self) -> Progress:
        return self

    def step(self, path: str, done: int) -> None:
        """`done` bytes of `path` have been read."""
        if self._show and time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            sys.stderr.write(f"\r\x1b[K{visible(path, 60)}: {done / 1e6:,.0f} MB")
            sys.stderr.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._show:
            sys.stderr.write("\r\x1b[K")
