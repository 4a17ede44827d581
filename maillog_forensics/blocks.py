"""The report as plain blocks (headings, paragraphs, lists, tables, commands), and how text and Markdown write them.

Whatever comes from a log has its invisible characters made visible; in Markdown it can't become markup, a link or a
mention: words with an @ or a URL stand in code spans, lines and commands in fences longer than any run of backticks.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maillog_forensics.text import visible

WIDTH = 100
_CELL = 44
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 4."""

    level: int
    words: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    words: str


@dataclass(frozen=True)
class Items:
    """A list; `done` makes it a list of boxes to tick."""

    items: tuple[str, ...]
    to_do: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Verbatim:
    """Commands, log lines, a letter: as they are."""

    lines: tuple[str, ...]
    language: str = ""


Block = Heading | Paragraph | Items | Table | Verbatim


def text(blocks: Iterable[Block]) -> str:
    """Plain text for a terminal or a mail: no escapes, at most WIDTH wide except for lines that must stay whole."""
    out: list[str] = []
    for block in blocks:
        match block:
            case Heading(level, words):
                shown = visible(words, 600)
                lines = _wrapped(shown)
                rule = {1: "=", 2: "-"}.get(level)
                out += ["", *lines, rule * min(WIDTH, max(map(len, lines)))] if rule else ["", *lines]
            case Paragraph(words):
                out += _wrapped(visible(words, 2000))
            case Items(items, to_do):
                for item in items:
                    out += _wrapped(visible(item, 1200), "[ ] " if to_do else "- ")
            case Table(head, rows):
                out += _columns(head, rows)
            case Verbatim(lines, _):
                out += ["    " + visible(line) for line in lines]
        out.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in out)).strip("\n") + "\n"


def _wrapped(words: str, first: str = "") -> list[str]:
    return textwrap.wrap(
        words, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    ) or [first]


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in columns; cells that would spoil it are cut, as the findings file has them whole."""
    cells = [[_fitted(visible(c, 400)) for c in row] for row in (head, *rows)]
    widths = [max(_width(row[n]) for row in cells) for n in range(len(head))]
    return ["  ".join(c + " " * (w - _width(c)) for c, w in zip(row, widths)).rstrip() for row in cells]


def _fitted(cell: str) -> str:
    return cell if len(cell) <= _CELL else f"{cell[: _CELL // 2]}…{cell[-(_CELL // 2 - 1) :]}"


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in cell)


def markdown(blocks: Iterable[Block]) -> str:
    """Markdown as GitHub, GitLab and most ticket systems read it (CommonMark with tables)."""
    out: list[str] = []
    for block in blocks:
        match block:
            case Heading(level, words):
                out.append(f"{'#' * level} {_inline(visible(words, 600))}")
            case Paragraph(words):
                out.append(_inline(visible(words, 2000)))
            case Items(items, to_do):
                out.append("\n".join(f"- {'[ ] ' if to_do else ''}{_inline(visible(i, 1200))}" for i in items))
            case Table(head, rows):
                lines = [head, ["---"] * len(head), *([_inline(visible(c, 400)) for c in row] for row in rows)]
                out.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
            case Verbatim(lines, language):
                shown = [visible(line) for line in lines]
                fence = "`" * max(3, 1 + max((len(m) for line in shown for m in re.findall("`+", line)), default=0))
                out.append("\n".join([fence + language, *shown, fence]))
    return "\n\n".join(out) + "\n"


def _inline(words: str) -> str:
    """A sentence in which nothing is markup."""
    return " ".join(_word(w) for w in words.split(" "))


def _word(word: str) -> str:
    if "@" in word or "://" in word or "www." in word.lower():
        code = word.rstrip(",.;:")  # the sentence's own, not the address's
        run = "`" * (1 + max((len(m) for m in re.findall("`+", code)), default=0))
        pad = " " if code.startswith("`") or code.endswith("`") else ""
        return f"{run}{pad}{code}{pad}{run}".replace("|", "\\|") + word[len(code) :]
    escaped = _MARKUP.sub(r"\\\1", word)
    return "\\" + escaped if word[:1] in ("-", "=", ":") else escaped
