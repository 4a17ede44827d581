"""Where output goes: a file that appears whole or not at all, an object in a store, standard output."""

from __future__ import annotations

import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from maillog_forensics import logfiles, objects
from maillog_forensics.errors import UsageError


def check_place(target: str) -> None:
    """Find out before the work what would be found out after it: that there is no such folder, or that it is not ours.

    Raises
    ------
    UsageError
    """
    if target == "-" or objects.is_url(target):
        return
    final = os.path.realpath(target)
    folder = os.path.dirname(final)
    if os.path.isdir(final):
        raise UsageError(f"{target}: is a folder; name a file in it")
    if not os.path.isdir(folder):
        raise UsageError(f"{target}: can't be written (there is no folder {folder}); type: mkdir -p {shlex.quote(folder)}")
    if not os.path.exists(final) and not os.access(folder, os.W_OK):
        raise UsageError(f"{target}: can't be written (permission denied)")


def check_name(target: str, option: str, *endings: str) -> None:
    """Find out before the work that a file is no place for this: a forgotten name makes the shell put a log there.

    Raises
    ------
    UsageError
        Where the name has none of the endings, and is that of no pipe or device.
    """
    is_special = os.path.exists(target) and not os.path.isfile(target)
    if target != "-" and not is_special and not target.lower().endswith(endings):
        raise UsageError(
            f"{option} {target}: the name must end in {' or '.join(filter(None, (', '.join(endings[:-1]), endings[-1])))}"
        )


def check_no_input(paths: Sequence[str], *targets: str | None) -> None:
    """Find out before the work that it would take the place of what it reads.

    Raises
    ------
    UsageError
        When one of the targets is one of the inputs.
    """
    places = {t: os.path.realpath(t) for t in targets if t and t != "-" and not objects.is_url(t) and os.path.exists(t)}
    if not places:
        return
    inputs, _ = logfiles.expand([p for p in paths if not objects.is_url(p)])
    for target, place in places.items():
        if any(path != "-" and os.path.samefile(path, place) for path in inputs):
            raise UsageError(f"{target}: is one of the files that are read; write to another")


@contextmanager
def replacing(target: str) -> Iterator[str]:
    """A path to write to; what was written there takes the place of `target` when the context ends well, else it is gone.

    A file is written beside its final name, flushed to the disk and renamed; an object is put together here and uploaded
    in one operation; a pipe or a device is written to as it is.

    Raises
    ------
    UsageError
        When the place can't be written to.
    """
    if objects.is_url(target):
        with tempfile.TemporaryDirectory(prefix="maillog-forensics-") as scratch:
            place = os.path.join(scratch, "object")
            yield place
            objects.put(place, target)
        return
    final = os.path.realpath(target)
    if os.path.exists(final) and not stat.S_ISREG(os.stat(final).st_mode):
        with _told(target):
            yield final
        return
    folder, name = os.path.split(final)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with _told(target):
            yield temporary
            settle(temporary, final)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def settle(temporary: str, final: str) -> None:
    """Give a finished file its name, so that a crash leaves the old file or the new one, whole."""
    _sync(temporary)
    os.replace(temporary, final)
    _sync(os.path.dirname(final) or ".")


def _sync(path: str) -> None:
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


@contextmanager
def _told(target: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(target, error) from error


def unwritable(target: str, error: OSError) -> UsageError:
    """The error as a sentence; polars tells the reason only in words, with the temporary name behind them."""
    reason = error.strerror or str(error).partition(" (os error")[0]
    return UsageError(f"{target}: can't be written ({reason.lower()})")


def write_text(text: str, target: str) -> None:
    """Write `text` as UTF-8 to a file, an object, or standard output ("-").

    Raises
    ------
    UsageError
        When the place can't be written to.
    """
    data = text.encode("utf-8", "backslashreplace")
    if target == "-":
        sys.stdout.buffer.write(data)
        return
    with replacing(target) as place, open(place, "wb") as file:
        file.write(data)
