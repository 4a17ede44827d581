"""Separated values, one record a line: quotes are bounded by the line, so that a stray one spoils its own cell and no more.

Exchange writes one event on one physical line (message tracking, "Structure of the message tracking log files"), quotes a
cell only when it needs to, and doubles quotes inside. Copies that passed through other tools have quotes that never close.
"""

from __future__ import annotations

import re

import polars as pl

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}


def split(text: pl.Series, delimiter: str) -> pl.Series:
    """The cells of each line: a list of strings.

    Parameters
    ----------
    text
        Lines.
    delimiter
        One character.

    Notes
    -----
    Lines without a quote take a plain split. In the others a cell is either quoted, up to a quote that the delimiter or
    the end follows, or, where there is no such quote, everything up to the next delimiter.
    """
    mark = re.escape(delimiter)
    quoted = text.str.contains('"', literal=True)
    if not quoted.any():
        return text.str.split(delimiter).alias("cells")
    frame = pl.DataFrame({"text": text, "quoted": quoted}).with_row_index("n")
    plain = frame.filter(~pl.col("quoted")).select("n", cells=pl.col("text").str.split(delimiter))
    odd = frame.filter("quoted").select(
        "n", cells=(pl.col("text") + delimiter).str.extract_all(rf'"(?:[^"]|"")*"{mark}|[^{mark}]*{mark}')
    )
    odd = odd.with_columns(pl.col("cells").list.eval(_unquoted(pl.element().str.head(-1))))
    return pl.concat([plain, odd]).sort("n")["cells"]


def _unquoted(cell: pl.Expr) -> pl.Expr:
    """Doubled quotes become one; a quote that never closes is dropped."""
    bare = cell.str.strip_chars(" \t\r")
    is_whole = bare.str.starts_with('"') & bare.str.ends_with('"') & (bare.str.len_bytes() >= 2)
    inner = bare.str.head(-1).str.slice(1).str.replace_all('""', '"', literal=True)
    return pl.when(is_whole).then(inner).otherwise(cell.str.strip_prefix('"'))


def names(line: str, delimiter: str) -> list[str]:
    """The names in a head, comparable: small letters and digits only. PowerShell's calculated `$_.Name` loses its `$_`."""
    return [plain(cell.strip().strip('"').removeprefix("$_.")) for cell in line.strip().split(delimiter)]


def plain(name: str) -> str:
    """One name as `names` gives it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
