"""Separated values, one record a line: quotes are bounded by the line, so that a stray one spoils its own cell and no more.

Exchange writes one event on one physical line (message tracking, "Structure of the message tracking log files"), quotes a
cell only when it needs to, and doubles quotes inside. Copies that passed through other tools have quotes that never close.
"""

from __future__ import annotations

import re

import polars as pl

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


def split(text: pl.Series, delimiter: str) -> pl.Series:
    """The cells of each line, raw: quotes are still on them.

    Parameters
    ----------
    text
        Lines.
    delimiter
        One character.

    Returns
    -------
    A list of strings for each line; `unquote` makes values of them.

    Notes
    -----
    Lines without a quote take a plain split. In the others a cell is either quoted up to a quote that the delimiter or
    the end follows, or, where there is no such quote, everything up to the next delimiter.
    """
    mark = re.escape(delimiter)
    quoted = text.str.contains('"', literal=True)
    frame = pl.DataFrame({"text": text, "quoted": quoted}).with_row_index("n")
    plain = frame.filter(~pl.col("quoted")).select("n", cells=pl.col("text").str.split(delimiter))
    odd = frame.filter("quoted").select(
        "n",
        cells=(pl.col("text") + delimiter)
        .str.extract_all(rf'"(?:[^"]|"")*"{mark}|[^{mark}]*{mark}')
        .list.eval(pl.element().str.head(-1)),
    )
    return pl.concat([plain, odd]).sort("n")["cells"]


def unquote(cell: pl.Expr) -> pl.Expr:
    """The value of a raw cell; NULL where it is empty. A quote that never closes is dropped."""
    value = cell.str.strip_chars(" \t\r")
    whole = value.str.starts_with('"') & value.str.ends_with('"') & (value.str.len_chars() >= 2)
    value = (
        pl.when(whole)
        .then(value.str.head(-1).str.slice(1).str.replace_all('""', '"', literal=True))
        .otherwise(value.str.strip_prefix('"'))
        .str.strip_chars(" \t")
    )
    return pl.when(value != "").then(value)


def names(line: str, delimiter: str) -> list[str]:
    """The names in a head, comparable: small letters and digits only. PowerShell's calculated `$_.Name` loses its `$_`."""
    return [re.sub(r"[^a-z0-9]", "", cell.strip().removeprefix("$_.").lower()) for cell in _bare(line, delimiter)]


def _bare(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.strip().split(delimiter)]


def plain(name: str) -> str:
    """One name as `names` gives it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
