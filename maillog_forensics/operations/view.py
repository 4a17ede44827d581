"""The day's operations as a page and a text show them: sentences, and tables whose cells are written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maillog_forensics.figures import bytes_text, seconds_text
from maillog_forensics.language import number, say, translated, weekday
from maillog_forensics.operations.compare import Compared, sentence
from maillog_forensics.operations.figures import HOURLY, TOTALS, Figures, Kind, Table

_SHOWN_WITHOUT_COUNT = ("received", "delivered", "deferred", "bounced", "rejected", "bytes_received", "bytes_delivered")


@dataclass(frozen=True)
class Total:
    """A line of the table of totals; all values as text, None where nothing is known."""

    label: str
    value: str
    before: str | None
    weekdays: str | None
    is_unusual: bool


@dataclass(frozen=True)
class Shown:
    """A table with its cells written.

    Attributes
    ----------
    is_text
        For each column whether it is words.
    lead
        The first row in a few words, for who does not open the table.
    is_open
        Whether it tells of trouble, which nobody should have to look for.
    """

    id: str
    title: str
    columns: tuple[str, ...]
    is_text: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int
    note: str
    lead: str
    is_open: bool


_TROUBLE = ("warnings", "deferral-reasons", "bounce-reasons", "reject-reasons")
_IN_DIGEST = {
    "warnings": (0, 1, 2, 3), "bounce-reasons": (0, 2), "deferral-reasons": (0, 2), "reject-reasons": (0, 2),
    "failed-logins": (0, 2), "senders": (0, 1, 2), "recipients": (0, 1, 2), "to-domains": (0, 1, 2, 5),
}  # fmt: skip
"""Tables, and which of their columns, that a digest shows the first rows of."""
_BRIEF_ROWS = 5


@dataclass(frozen=True)
class Operations:
    """What the templates place."""

    date: dt.date
    zone: str
    is_whole: bool
    unusual: tuple[str, ...]
    compared_with: str
    totals: tuple[Total, ...]
    hours: tuple[tuple[str, ...], ...]
    tables: tuple[Shown, ...]


def view(date: dt.date, zone: str, is_whole: bool, figures: Figures, compared: Sequence[Compared]) -> Operations:
    """The operations of a day, what is unusual first."""
    known = any(c.before is not None or c.weekdays for c in compared)
    unusual = tuple(sentence(c, label_of(c.name)) for c in compared if c.is_unusual and is_whole)
    totals = tuple(
        _total(c, is_whole) for c in compared if c.value or c.before or any(c.weekdays) or c.name in _SHOWN_WITHOUT_COUNT
    )
    return Operations(
        date,
        zone,
        is_whole,
        unusual,
        say("the day before, and the same weekday (%(weekday)s) of four weeks", weekday=weekday(date)) if known else "",
        totals,
        tuple((f"{h:02d}–{h + 1:02d}", *(number(figures.hours[name][h]) for name in HOURLY)) for h in range(24)),
        tuple(sorted(map(_table, figures.tables), key=lambda table: not table.is_open)),
    )


def label_of(name: str) -> str:
    """What a total is called, in the language that is spoken."""
    return translated(TOTALS[name])


def _total(c: Compared, is_whole: bool) -> Total:
    write = bytes_text if c.name.startswith("bytes") else number
    return Total(
        label_of(c.name),
        write(c.value),
        write(c.before) if c.before is not None else None,
        ", ".join(write(v) for v in c.weekdays) or None,
        c.is_unusual and is_whole,
    )


def _table(table: Table) -> Shown:
    names, kinds = zip(*table.columns)
    rows = tuple(tuple(_cell(value, kind) for value, kind in zip(row, kinds)) for row in table.rows)
    words = next(n for n, kind in enumerate(kinds) if kind == "text")
    lead = f"{rows[0][words]}: {rows[0][table.ranked]}" if rows and kinds.count("text") < 3 else ""
    return Shown(
        table.id,
        translated(table.title),
        tuple(translated(name) for name in names),
        tuple(k == "text" for k in kinds),
        rows,
        table.left_out,
        table.note,
        lead,
        table.id in _TROUBLE,
    )


def brief(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The first rows of some tables as a digest shows them: title, columns, is_text, rows."""
    shown = {t.id: _table(t) for t in tables}
    return [
        {
            "title": shown[id].title,
            "columns": [shown[id].columns[c] for c in columns],
            "is_text": [shown[id].is_text[c] for c in columns],
            "rows": [[row[c] for c in columns] for row in shown[id].rows[:_BRIEF_ROWS]],
        }
        for id, columns in _IN_DIGEST.items()
        if id in shown
    ]


def _cell(value: object, kind: Kind) -> str:
    if value is None:
        return "–"
    if isinstance(value, (int, float)):
        return {"bytes": bytes_text, "seconds": seconds_text}.get(kind, number)(value)
    return str(value)
