"""Bringing the raw lines behind findings: by file, line and offset, read again where they stand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from maillog_forensics import objects, sources
from maillog_forensics.findings import Evidence
from maillog_forensics.sources import Input

MAX_TEXT = 2000
Place = tuple[str, int, int]
"""source, line, offset"""


class Lines:
    """The texts of some places, fetched once for all incidents.

    Call `want` while incidents are put together, `fetch` once, then `evidence`.
    """

    def __init__(self, inputs: dict[str, Input]) -> None:
        self._inputs = inputs
        self._wanted: dict[str, set[tuple[int, int]]] = {}
        self._texts: dict[tuple[str, int], str] = {}

    def want(self, places: Iterable[Place]) -> None:
        """Note places whose text will be needed."""
        for source, line, offset in places:
            self._wanted.setdefault(source, set()).add((line, offset))

    def fetch(self) -> None:
        """Read the wanted lines: plain files by seeking, compressed ones in one more pass up to the last line wanted.

        Objects of a store that were read elsewhere (`Input.opened` is then a URL) are read in the same two ways.
        """
        for source, places in sorted(self._wanted.items()):
            about = self._inputs.get(source)
            missing = {(n, o) for n, o in places if (source, n) not in self._texts}
            if not missing or about is None:
                continue
            path = _found(about)
            if path is None:
                continue
            reader: Callable[[str, Input, set[tuple[int, int]]], dict[int, str]]
            reader = _seek if about.compression == "none" else _stream
            for line, text in reader(path, about, missing).items():
                self._texts[source, line] = text

    def evidence(self, place: Place, note: str = "") -> Evidence:
        """The line at `place`; its text is empty where the file can no longer be read."""
        source, line, offset = place
        text = self._texts.get((source, line), "")
        return Evidence(source=source, line=line, offset=offset, text=text[:MAX_TEXT], note=note)


def _found(about: Input) -> str | None:
    """Where the file stands that was read: under its name, or, where it was rotated since, beside it; None where it is gone."""
    path = about.opened or about.path
    if about.opened and objects.is_url(about.opened):
        return path
    for candidate in (path, *_beside(path)):
        try:
            status = os.stat(candidate)
        except OSError:
            continue
        if about.identity in (None, (status.st_dev, status.st_ino)):
            return candidate if status.st_size >= about.bytes else None  # shorter: it was emptied and begun anew
    return None


def _beside(path: str) -> Iterator[str]:
    folder, name = os.path.split(path)
    try:
        yield from (os.path.join(folder, other) for other in sorted(os.listdir(folder or ".")) if other.startswith(name))
    except OSError:
        return


def _seek(path: str, about: Input, places: set[tuple[int, int]]) -> dict[int, str]:
    out = {}
    newline = "\n".encode(about.encoding)
    wanted = sorted(places)
    for (line, _), raw in zip(wanted, _spans(path, about, [offset for _, offset in wanted])):
        end = raw.find(newline)
        while end >= 0 and len(newline) == 2 and end % 2:
            end = raw.find(newline, end + 1)
        out[line] = (raw[:end] if end >= 0 else raw).decode(about.encoding, "backslashreplace").rstrip("\r\n")
    return out


def _spans(path: str, about: Input, offsets: list[int]) -> Iterator[bytes]:
    """What stands at each offset, longer than any text that is shown."""
    if objects.is_url(path):
        yield from objects.spans(path, [(at, min(at + MAX_TEXT * 4, about.bytes)) for at in offsets])
        return
    try:
        with open(path, "rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield file.read(MAX_TEXT * 4)
    except OSError:
        return  # the file is gone: evidence keeps file, line and offset


def _stream(path: str, about: Input, places: set[tuple[int, int]]) -> dict[int, str]:
    if objects.is_url(path):
        with objects.copied(path) as place:
            return _stream(place, about, places)
    wanted = {line for line, _ in places}
    last = max(wanted)
    out: dict[int, str] = {}
    for chunk in sources.read(path, Input(path)):
        table = chunk.lines
        found = table.filter(table["line"].is_in(list(wanted)))
        out |= dict(zip(found["line"].to_list(), found["text"].to_list()))
        if table.height and table["line"][-1] >= last:
            break
    return out
