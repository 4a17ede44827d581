"""Taking in whatever is new in the logs: each log is one transaction."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import logfiles, sources
from maillog_forensics.archive import segments
from maillog_forensics.archive.identity import DisappearedError, File, Relation, compare, first_line
from maillog_forensics.archive.ledger import Log
from maillog_forensics.archive.reading import Entry, Reading, Taken, quarter_text
from maillog_forensics.archive.store import Archive
from maillog_forensics.intake import host_of
from maillog_forensics.normalize import Plan
from maillog_forensics.schema import LINE_STATES


@dataclass
class Progress:
    """What a run took in.

    Attributes
    ----------
    files
        How many files were looked at.
    lines
        New lines.
    days
        Days (UTC) whose events changed.
    problems
        A sentence for each path or file that could not be read.
    is_anything_there
        Whether a log was found at all.
    """

    files: int = 0
    lines: int = 0
    days: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    is_anything_there: bool = False


def take_in(
    archive: Archive,
    entries: Sequence[Entry],
    plan: Callable[[], Plan],
    note: Callable[[str], None] | None = None,
    *,
    is_anew: bool = False,
) -> Progress:
    """Take in what is new.

    Parameters
    ----------
    is_anew
        Read every log that is there from its beginning, whatever was taken in of it: a newer version may know more of its lines.
    plan
        Gives the compiled grammar; called only when there is something to read.
    note
        Receives the name of each file that is read.
    """
    progress = Progress()
    for entry in entries:
        found, problems = logfiles.expand(list(entry.paths))
        progress.problems += [f"{entry.name}: {p}" for p in problems]
        for path in found:
            progress.files += 1
            try:
                _take_file(archive, entry, path, plan, progress, note, is_anew)
            except DisappearedError:
                progress.problems.append(f"{logfiles.label(path)}: it was rotated while it was read; the next run reads it")
            except OSError as error:
                if error.filename not in (path, None):
                    raise
                progress.problems.append(
                    f"{logfiles.label(path)}: can't be read: {(error.strerror or str(error)).lower()}; check its permissions "
                    "(the group adm can read logs on Debian)"
                )
    return progress


def _take_file(
    archive: Archive,
    entry: Entry,
    path: str,
    plan: Callable[[], Plan],
    progress: Progress,
    note: Callable[[str], None] | None,
    is_anew: bool,
) -> None:
    ledger, name = archive.ledger, logfiles.label(path)
    file = File.look(path)
    progress.is_anything_there = True
    seen = ledger.execute("SELECT device, inode, size, modified, log FROM files WHERE path = ?", (name,))
    if seen and seen[0][:4] == file.facts and not is_anew:
        return
    known = _identify(archive, file, seen[0][4] if seen and seen[0][:2] == file.facts[:2] else None)
    if known is None:
        return
    log, relation = known
    if relation is Relation.PART or (relation is Relation.SAME and not is_anew):
        with ledger.changing():
            _remember(archive, file, name, log.id)
            if relation is Relation.SAME and log.path != name:
                log.path = name
                ledger.save(log)
        return
    if note:
        note(name)
    place = _place(entry, path)
    if log is _NEW:
        key = first_line(file.pieces(sources.Input(path)))
        log = Log(place, key or "", host=entry.host or host_of(name))
    log.path, log.compression = name, file.compression
    before = log.lines
    if is_anew and log.id is not None:
        log = Log(log.place, log.first_line, log.source, log.id, host=log.host, path=name, compression=file.compression)
    taken = Reading(file, log, entry, plan(), segments.incoming(archive.root)).run()
    _commit(archive, taken, file, name, progress)
    progress.lines += taken.log.lines if is_anew else taken.log.lines - before
    progress.problems += [f"{name}: {p}" for p in taken.log.problems]


_NEW = Log("", "")


def _identify(archive: Archive, file: File, trusted: int | None) -> tuple[Log, Relation] | None:
    """The log that a file is, and how they stand to each other; None where it has no whole line yet."""
    key = first_line(file.pieces(sources.Input(file.path)))
    if key is None:
        return None
    best: tuple[Log, Relation] | None = None
    for log in archive.ledger.logs("first_line = ?", (key,)):
        relation = compare(file, log, is_trusted=log.id == trusted)
        if relation in (Relation.SAME, Relation.PART):
            return log, relation
        if relation is Relation.GROWN and (best is None or log.size > best[0].size):
            best = log, relation
    return best or (_NEW, Relation.GROWN)


def _place(entry: Entry, path: str) -> str:
    """The entry's name, and below it the folder of the file, where the entry names a folder or a pattern of folders."""
    folder = os.path.dirname(os.path.abspath(path))
    for given in entry.paths:
        root = given if os.path.isdir(given) else os.path.dirname(re.split(r"[*?\[]", given)[0])
        below = os.path.relpath(folder, os.path.abspath(root))
        if not below.startswith(".."):
            return entry.name if below == "." else f"{entry.name}/{below.replace(os.sep, '/')}"
    return entry.name


def _remember(archive: Archive, file: File, name: str, log: int | None) -> None:
    archive.ledger.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", (name, *file.facts, log))


def _commit(archive: Archive, taken: Taken, file: File, name: str, progress: Progress) -> None:
    """Write the files of the days that changed, then make them, and the log's new state, part of the archive."""
    ledger, log = archive.ledger, taken.log
    log.source = _unique_name(archive, log)
    old = {s.day: s for s in ledger.segments("s.log = ?", (log.id,))} if log.id is not None else {}
    # an id is needed for the names of temporary files only; the row comes with the transaction
    new = {}
    touched = {d for d, s in old.items() if s.last_line > taken.after} | set(taken.rows)
    for day in sorted(touched):
        kept = (
            [segments.scan(archive.root, [old[day]]).filter(pl.col("line") <= taken.after)] if day in old and taken.after else []
        )
        fresh = [rows.with_columns(source=pl.lit(log.source)).select(*segments.SCHEMA) for rows in taken.rows.get(day, [])]
        new[day] = (
            segments.write(archive.root, log.id or 0, log.source, day, pl.concat([*kept, *fresh])) if kept or fresh else None
        )
    with ledger.changing():
        identity = ledger.save(log)
        for day in sorted(touched):
            before, after = old.get(day), new[day]
            if before and after and before.sha256 == after.sha256:
                continue
            ledger.execute("DELETE FROM segments WHERE log = ? AND day = ?", (identity, day))
            if after:
                ledger.execute(
                    "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (identity, day, after.name, after.sha256, after.rows, after.bytes, after.last_line),
                )
            _mark(archive, taken, day, before is not None)
            progress.days.add(day)
        for quarter in _save_counts(archive, identity, taken):
            archive.ledger.mark_changed(quarter[:10], f"{quarter}:00+00:00", f"{quarter}:00+00:00")
        _remember(archive, file, name, identity)
    segments.clear(archive.root)


def _unique_name(archive: Archive, log: Log) -> str:
    """The log's name; where a log that began with the very same line has it already, with a number."""
    name, number = log.source, 1
    while archive.ledger.execute("SELECT 1 FROM logs WHERE source = ? AND id IS NOT ?", (name, log.id)):
        number += 1
        name = f"{log.source}-{number}"
    return name


def _mark(archive: Archive, taken: Taken, day: str, was_there: bool) -> None:
    """Tell from when to when a day's events changed: what was appended, or all of the day where lines went too."""
    first, last = f"{day}T00:00:00+00:00", f"{day}T23:59:59.999999+00:00"
    if day in taken.spans and (taken.after or not was_there):
        first, last = (t.isoformat() for t in taken.spans[day])
    archive.ledger.mark_changed(day, first, last)


def _save_counts(archive: Archive, log: int, taken: Taken) -> list[str]:
    """Write the counts of lines; the quarters of an hour in which they are others than before."""
    ledger = archive.ledger
    columns = "parsed, ignored, unrecognised, damaged"
    sums = f"SELECT quarter, {', '.join(f'sum({c})' for c in columns.split(', '))} FROM counts WHERE log = ? AND quarter != '' GROUP BY quarter"
    before = set(ledger.execute(sums, (log,)))
    for table in ("counts", "shapes"):
        ledger.execute(f"DELETE FROM {table} WHERE log = ?" + (" AND is_tail" if taken.after else ""), (log,))
    wide: dict[tuple[str, bool], dict[str, int]] = {}
    for quarter, is_tail, state, count in taken.counts.iter_rows():
        wide.setdefault((quarter, is_tail), {})[state] = count
    rows = [(q, is_tail, *(states.get(s, 0) for s in LINE_STATES)) for (q, is_tail), states in wide.items()]
    if taken.log.first_quarter is not None:  # what stood before the first time that was told belongs to that time
        undated = ledger.execute(f"SELECT is_tail, {columns} FROM counts WHERE log = ? AND quarter = ''", (log,))
        rows += [(quarter_text(taken.log.first_quarter), *row) for row in undated]
        ledger.execute("DELETE FROM counts WHERE log = ? AND quarter = ''", (log,))
    for row in rows:
        ledger.execute(
            "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (log, quarter, is_tail) DO UPDATE SET "
            + ", ".join(f"{c} = {c} + excluded.{c}" for c in columns.split(", ")),
            (log, *row),
        )
    for kind in taken.shapes.iter_rows(named=True) if taken.shapes.height else ():
        ledger.execute(
            "INSERT INTO shapes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (log, is_tail, shape) DO UPDATE SET count = count + excluded.count",
            (log, kind["is_tail"], kind["shape"], kind["count"], kind["line"], kind["sample"]),
        )
    return sorted({row[0] for row in before ^ set(ledger.execute(sums, (log,)))})
