"""Which files are the inputs, in which order, and what their names tell: nothing here reads a line."""

from __future__ import annotations

import datetime as dt
import glob
import os
import re
import stat


def label(path: str) -> str:
    """`path` as it stands in tables and findings: bytes that are no UTF-8 as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def expand(paths: list[str]) -> tuple[list[str], list[str]]:
    """The files behind `paths` in a stable order, and a sentence for each path behind which there is none.

    A path is a file, a directory (read recursively, hidden files left out), a glob, or "-" for standard input. A pipe will
    do where it is named; in a directory, pipes, sockets, devices and links that lead nowhere are left out, with a sentence.
    """
    files: list[str] = []
    problems: list[str] = []
    for path in paths:
        if path == "-":
            files.append(path)
        elif os.path.isdir(path):
            inside, sentences = _inside(path)
            files += inside
            problems += sentences
            if not inside:
                problems.append(
                    f"{path}: the directory holds no files; name the directory of the mail logs, for instance /var/log"
                )
        elif os.path.exists(path):
            mode = os.stat(path).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
                problems.append(f"{path}: a device or a socket, not a log; name the file that holds the lines")
            else:
                files.append(path)
        elif glob.has_magic(path) and (found := sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))):
            files += found
        elif os.path.islink(path):
            problems.append(f"{path}: a link that leads nowhere; name the file that holds the lines")
        else:
            problems.append(f"{path}: no such file; check the spelling, or name the directory that holds the logs")
    unique = list(dict.fromkeys(files))
    return sorted(unique, key=_rotation_key), problems


def likely_bytes(path: str) -> int:
    """About how many bytes of log are in a file, by its size and its name: enough to plan with."""
    try:
        size = os.path.getsize(path)
    except OSError:  # "-", or gone: whoever reads it will say so
        return 0
    return size * (_PACKED if path.endswith((".gz", ".bz2", ".xz", ".zst")) else 1)


_PACKED = 10
"""Times that a log is larger than its compressed file."""


def _inside(folder: str) -> tuple[list[str], list[str]]:
    """The files below a folder, links to folders not followed; sentences about what could not be looked at."""
    files: list[str] = []
    problems: list[str] = []
    others: list[str] = []

    def told(error: OSError) -> None:
        problems.append(f"{error.filename}: can't be listed: {(error.strerror or str(error)).lower()}; check its permissions")

    for place, folders, names in os.walk(folder, onerror=told):
        folders[:] = sorted(n for n in folders if not n.startswith("."))
        for name in sorted(n for n in names if not n.startswith(".")):
            path = os.path.join(place, name)
            (files if os.path.isfile(path) else others).append(path)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        problems.append(f"{others[0]}{more}: left out, no file (a pipe, a socket, a device or a link that leads nowhere)")
    return sorted(files), problems


def _rotation_key(path: str) -> tuple[str, int, str]:
    """Sort rotated twins oldest first: mail.log.2.gz, mail.log.1, mail.log."""
    stem, age = _rotation(path)
    return stem, -age, path


def rotated_set(path: str) -> str:
    """What rotated twins have in common: mail.log for mail.log.2.gz, mail.log.1 and mail.log."""
    return _rotation(path)[0]


def _rotation(path: str) -> tuple[str, int]:
    stem = re.sub(r"\.(gz|bz2|xz|zst|Z)$", "", path)
    match = re.search(r"\.(\d{1,5})$", stem)
    return (stem[: match.start()], int(match.group(1))) if match else (stem, 0)


def date_in_name(path: str) -> dt.date | None:
    """The day on which logrotate (dateext) put a file aside: mail.log-20260302.gz."""
    match = re.search(r"[.-]((?:19|20)[0-9]{2})-?([0-9]{2})-?([0-9]{2})(?=$|[.-])", os.path.basename(path))
    try:
        return dt.date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
