"""Running one pattern over a column of text: the only place where a regular expression meets the lines."""

from __future__ import annotations

import polars as pl

from maillog_forensics.patterns import MATCHED, Compiled


def candidates(pattern: Compiled, column: str) -> pl.Expr | None:
    """The cheap literal test that every match of `pattern` passes."""
    text = pl.col(column)
    tests = [text.str.starts_with(pattern.prefix)] if pattern.prefix else []
    tests += [text.str.contains(n, literal=True) for n in pattern.needles if n != pattern.prefix][:_NEEDLES]
    return pl.all_horizontal(tests) if tests else None


_NEEDLES = 3
"""Literals looked for before the expression is tried: each costs a tenth of it at most."""


def match(rows: pl.DataFrame, pattern: Compiled, column: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that `pattern` takes, with its columns, and the rows that it leaves."""
    likely, unlikely = rows, None
    test = candidates(pattern, column)
    if test is not None:
        mask = rows.select(test.fill_null(False)).to_series()
        if not mask.any():
            return rows.clear(), rows
        if not mask.all():
            likely, unlikely = rows.filter(mask), rows.filter(~mask)
    found = groups(likely[column], pattern.regex)
    hit = found[MATCHED].is_not_null()
    if pattern.tail:
        rest = pl.col(column).str.slice(pl.col(MATCHED).str.len_chars()).alias(pattern.tail)
        found = found.hstack(pl.DataFrame([likely[column].alias(column), found[MATCHED]]).select(rest))
    hits = hit.sum()
    if not hits:
        return rows.clear(), rows
    taken = likely.drop(c for c in found.columns if c in likely.columns).hstack(found.drop(MATCHED))
    if hits == taken.height:
        return taken, rows.clear() if unlikely is None else unlikely
    left = likely.filter(~hit)
    return taken.filter(hit), left if unlikely is None else pl.concat([left, unlikely])


def fits(rows: pl.DataFrame, pattern: Compiled, column: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that `pattern` takes, as they are, and the rows that it leaves."""
    text = pl.col(column)
    likely = candidates(pattern, column)
    test = text.str.contains(pattern.test) if likely is None else pl.when(likely).then(text).str.contains(pattern.test)
    mask = rows.select(test.fill_null(False)).to_series()
    return rows.filter(mask), rows.filter(~mask)


def groups(text: pl.Series, regex: str) -> pl.DataFrame:
    """The named groups of `regex` in each value, all NULL where it does not match."""
    return text.to_frame("text").select(pl.col("text").str.extract_groups(regex)).to_series().struct.unnest()
