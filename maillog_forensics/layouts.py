"""Record formats: what their statements in a grammar file say, and which line is a head of theirs.

A record format is a `format` block with a statement `head`: the names that a head must have. `layout` gives the columns of
records whose head is lost, told by their number; `column` says which cell becomes which column of the events table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import cells, schema
from maillog_forensics.cells import plain
from maillog_forensics.errors import GrammarError
from maillog_forensics.grammar import Format
from maillog_forensics.normalize import Plan

KINDS = ("text", "small", "address", "id", "number", "int", "utc", "local", "local-utc")
"""How a cell is read. `local` is a date as some culture writes it, without zone; `local-utc` the same, known to be UTC."""

_OWN = ("head", "aside", "layout", "piece", "file", "sign", "forwarded", "json")  # statements that `like` does not hand on


@dataclass(frozen=True)
class Column:
    """`column NAME KIND CELL… [when CELL is WORD…]`: the first of the cells, or of what a scan found, that is not empty."""

    name: str
    kind: str
    cells: tuple[str, ...]
    when: str | None = None
    words: tuple[str, ...] = ()


@dataclass
class RecordFormat:
    """The statements of one record format, read."""

    form: Format
    heads: list[frozenset[str]] = field(default_factory=list)
    layouts: dict[int, tuple[str, ...]] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    splits: dict[str, list[str]] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    scans: list[tuple[str, str, str]] = field(default_factory=list)  # cell, format that has the block, block
    events: tuple[tuple[str, ...], str] = ((), "")
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    wrapped: set[str] = field(default_factory=set)
    delimiters: tuple[str, ...] = ()
    aside: str | None = None
    file: str | None = None
    sign: str | None = None
    cut: tuple[int, str] | None = None
    forwarded: str | None = None
    members: tuple[str, ...] = ()  # of a record in JSON, as they are written


# --- reading the statements -------------------------------------------------------------------------------------------


def formats(plan: Plan) -> list[RecordFormat]:
    """Every record format of `plan`.

    Raises
    ------
    GrammarError
        For a statement that can't be read, with file and line.
    """
    if "record formats" not in plan.memory:
        told = [f for f in plan.grammar.formats if "head" in f.options or "aside" in f.options]
        plan.memory["record formats"] = [_read(form, plan) for form in told]
    return list(plan.memory["record formats"])


def _read(form: Format, plan: Plan) -> RecordFormat:
    record = RecordFormat(form)
    parents = [form]
    while "like" in parents[-1].options:
        number, name = parents[-1].options["like"][0]
        parent = plan.grammar.format(name)
        if parent is None:
            raise GrammarError(parents[-1].file, number, 10, f"no format {name!r} to be like")
        parents.append(parent)
    pieces: dict[str, tuple[str, ...]] = {}
    for kin in parents:  # its own statements come first and win
        taken: dict[str, set[str]] = {w: set(getattr(record, a)) for w, a in (("split", "splits"), ("pair", "pairs"))}
        for word, lines in kin.options.items():
            for number, text in lines:
                if word in _OWN and kin is not form:
                    continue
                first = plain(text.split(" ")[0])
                if first in taken.get(word, ()):
                    continue
                problem = _statement(record, kin, word, text, pieces)
                if problem:
                    raise GrammarError(kin.file, number, 5, problem)
        record.tables = kin.tables | record.tables
    record.delimiters = record.delimiters or (cells.DELIMITERS["comma"],)
    return record


def _statement(record: RecordFormat, kin: Format, word: str, text: str, pieces: dict[str, tuple[str, ...]]) -> str | None:
    """Read one statement into `record`; the answer is what is wrong with it."""
    parts = text.split()
    if word == "head":
        record.heads.append(frozenset(map(plain, parts)))
    elif word in ("piece", "layout"):
        names: list[str] = []
        for part in parts[1:] if word == "piece" else parts:
            names += pieces[part[1:]] if part[:1] == "@" else [plain(part)]
        if word == "piece":
            pieces[parts[0]] = tuple(names)
        else:
            record.layouts[len(names)] = tuple(names)
    elif word == "column":
        return _column(record, parts)
    elif word == "split":
        name, _, expression = text.partition(" ")
        record.splits.setdefault(plain(name), []).append(expression)
    elif word == "pair" and len(parts) == 3:
        record.pairs[plain(parts[0])] = plain(parts[2])
    elif word == "scan" and len(parts) == 2:
        if parts[1] not in kin.fields:
            return f"no block 'fields {parts[1]}' in this file"
        if (plain(parts[0]), kin.name, parts[1]) not in record.scans:
            record.scans.append((plain(parts[0]), kin.name, parts[1]))
    elif word == "event" and "by" in parts:
        if not record.events[1]:
            record.events = (tuple(map(plain, parts[: parts.index("by")])), parts[-1])
    elif word == "wrapped":
        record.wrapped |= set(map(plain, parts))
    elif word == "delimiter" and set(parts) <= set(cells.DELIMITERS):
        record.delimiters = record.delimiters or tuple(cells.DELIMITERS[p] for p in parts)
    elif word == "aside":
        record.aside = text
    elif word in ("file", "sign", "forwarded"):
        setattr(record, word, text)
    elif word == "cut" and parts[0].isdigit():
        record.cut = record.cut or (int(parts[0]), text.partition(" ")[2])
    elif word == "json":
        record.members = tuple(parts)
    elif word != "like":
        return f"this statement of a record format can't be read: {word} {text}"
    return None


def _column(record: RecordFormat, parts: list[str]) -> str | None:
    parts, _, condition = _partition(parts, "when")
    words: tuple[str, ...] = ()
    when = None
    if condition:
        left, _, right = _partition(condition, "is")
        when, words = plain(left[0]), tuple(right)
    if len(parts) < 3 or parts[1] not in KINDS:
        return f"write: column NAME KIND CELL… [when CELL is WORD…]; a kind is one of {', '.join(KINDS)}"
    if parts[0] not in schema.EVENTS and parts[0] != "time":
        return f"no column {parts[0]} in the events table"
    record.columns.append(Column(parts[0], parts[1], tuple(map(plain, parts[2:])), when, words))
    return None


def _partition(parts: list[str], word: str) -> tuple[list[str], str, list[str]]:
    at = parts.index(word) if word in parts else len(parts)
    return parts[:at], word, parts[at + 1 :]


# --- recognising a head -----------------------------------------------------------------------------------------------

FIELDS = re.compile(r"^\s*\"?#fields:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Head:
    """What is in force for the records below: whose format, which names, which delimiter."""

    record: RecordFormat
    names: tuple[str, ...]
    delimiter: str


def find_head(line: str, records: Iterable[RecordFormat]) -> Head | None:
    """Whether `line` names the columns of a record format."""
    marked = FIELDS.match(line)
    text = line[marked.end() :] if marked else line
    best = _signed(line, records)
    for record in records:
        for delimiter in record.delimiters:
            names = tuple(cells.names(text, delimiter))
            if any(needs <= set(names) for needs in record.heads) and (best is None or len(best.names) < len(names)):
                best = Head(record, names, delimiter)
    return best


def _signed(line: str, records: Iterable[RecordFormat]) -> Head | None:
    """A line that is no list of names and yet tells its format: PowerShell's lists and tables."""
    for record in records:
        if record.sign and re.search(record.sign, line):
            return Head(record, (), ",")
    return None


def lost_head(line: str, records: Iterable[RecordFormat]) -> Head | None:
    """The layout of a record whose head is lost: by the number of its cells, and a first date where the layout has it."""
    for record in records:
        if record.members and line.startswith("{") and all(f'"{m}"' in line for m in record.members):
            return Head(record, tuple(map(plain, record.members)), "{")
        if record.forwarded:
            line = re.sub(record.forwarded, lambda m: m.group(1), line)
        for delimiter in record.delimiters:
            if line.count(delimiter) + 1 < min(record.layouts, default=len(line) + 2):
                continue  # not worth the splitting: a line of syslog is looked at by every format
            row = cells.split(pl.Series([line]), delimiter)[0]
            names = record.layouts.get(len(row))
            times = {c for column in record.columns if column.name == "time" for c in column.cells}
            if names and any(n in times and re.match(r'^"?\d{1,4}[-/.]', row[i]) for i, n in enumerate(names)):
                return Head(record, names, delimiter)
    return None
