"""The rules of one format run over message texts: what each rule takes, and the columns that it reads."""

from __future__ import annotations

import re

import polars as pl

from maillog_forensics import schema
from maillog_forensics.matching import candidates, fits, groups, match
from maillog_forensics.patterns import MATCHED, Compiled
from maillog_forensics.plan import CompiledRule, Plan


def _empty_means_missing(taken: pl.DataFrame, pattern: Compiled) -> pl.DataFrame:
    """Types that the language defines by meaning: quoted text and counted words."""
    changes = []
    for column, kind in pattern.types.items():
        if kind == "quoted":
            changes.append(
                pl.col(column).str.strip_prefix('"').str.strip_suffix('"').str.replace_all(r'\\(["\\])', "${1}").alias(column)
            )
        elif kind == "words":
            bare = pl.col(column).str.replace_all(r'"(?:[^"\\]|\\.)*"', "q")
            changes.append(bare.str.count_matches(r"\S+").cast(pl.String).alias(column))
        elif kind == "duration":
            changes.append(_seconds(pl.col(column)).cast(pl.String).alias(column))
        elif kind == "elapsed":
            clock = "1970-01-01 " + pl.col(column).str.extract(r"([0-9]{2}:[0-9]{2}:[0-9]{2})$", 1)
            days = pl.col(column).str.extract(r"^([0-9]+)\+", 1).cast(pl.Int64, strict=False).fill_null(0)
            seconds = clock.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s") + days * 86400
            changes.append(seconds.cast(pl.Float64).cast(pl.String).alias(column))
    return taken.with_columns(changes) if changes else taken


def _one_row_each(taken: pl.DataFrame, pattern: Compiled) -> pl.DataFrame:
    """A column of type `list` states as many facts as it has values: `to=<a@x.example>,<b@x.example>` becomes two rows."""
    for column in (c for c, kind in pattern.types.items() if kind == "list"):
        taken = taken.with_columns(pl.col(column).str.replace_all(r",\s+", ",").str.split(",")).explode(column)
        taken = taken.with_columns(pl.col(column).str.strip_chars(" ").str.strip_prefix("<").str.strip_suffix(">"))
    return taken


def _seconds(text: pl.Expr) -> pl.Expr:
    """Exim's 1d2h, 3m45s, 0.123s (readconf_printtime) in seconds."""
    parts = [(text.str.extract(rf"([0-9.]+){unit}", 1).cast(pl.Float64, strict=False).fill_null(0.0) * s) for unit, s in _UNITS]
    return pl.when(text.is_not_null()).then(pl.sum_horizontal(parts))


_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def read_fields(taken: pl.DataFrame, text: str, block: str, form: str, plan: Plan) -> pl.DataFrame:
    """Key=value pairs in any order: each key by its own expression; a value in "…" or <…> is taken out before the next key."""
    kept = not text.startswith("_run_")
    original = taken[text] if kept else None
    for pattern in plan.fields[form, block]:
        mask = candidates(pattern, text)
        hits = taken.select(mask.fill_null(False)).to_series() if mask is not None else None
        if hits is not None and not hits.any():
            continue
        found = groups(taken[text], pattern.regex)
        new = _empty_means_missing(found.drop([c for c in found.columns if c == MATCHED]), pattern)
        taken = taken.with_columns(
            pl.coalesce(pl.col(c), new[c]).alias(c) if c in taken.columns else new[c].alias(c) for c in new.columns
        )
        if pattern.encloses:
            taken = taken.with_columns(pl.col(text).str.replace(pattern.regex, ""))
        for column, inner in pattern.runs.items():
            taken = read_fields(taken, column, inner, form, plan)
    return taken.with_columns(original) if kept else taken.drop(text)


def _filled_in(value: str, columns: list[str]) -> pl.Expr:
    """The value of a `set`: the text itself, with {holes} filled by what the pattern read."""
    parts = re.split(r"\{([a-z_][a-z0-9_]*)\}", value)
    if len(parts) == 1:
        return pl.lit(value)
    filled = [
        pl.lit(p) if n % 2 == 0 else (pl.col(p) if p in columns else pl.lit(None, dtype=pl.String)) for n, p in enumerate(parts)
    ]
    return pl.concat_str(filled)


def _unless_read(column: str, value: pl.Expr, columns: list[str]) -> pl.Expr:
    return (pl.coalesce(column, value) if column in columns else value).alias(column)


_KEPT = frozenset({*schema.EVENTS, "_row"})


def apply(
    rows: pl.DataFrame, compiled: CompiledRule, form: str, plan: Plan, *, is_counted: bool = False
) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """What the patterns of one rule take, one after the other: a table for each that took something, and the rows left.

    Parameters
    ----------
    rows
        message, program, and what else shall go with a row that is taken.
    is_counted
        Nothing is read from the rows: it is enough to know which they are.
    """
    out = []
    if is_counted or compiled.rule.event is None:
        for pattern in compiled.patterns:
            taken, rows = fits(rows, pattern, "message") if rows.height else (rows, rows)
            if taken.height:
                out.append(taken.select(c for c in ("line", "_row") if c in taken.columns))
        return out, rows
    for pattern in compiled.patterns:
        if rows.is_empty():
            break
        taken, rows = match(rows, pattern, "message")
        if taken.is_empty():
            continue
        rule = compiled.rule
        taken = _one_row_each(_empty_means_missing(taken, pattern), pattern)
        for text, run in pattern.runs.items():
            taken = read_fields(taken, text, run, form, plan)
        closing = [c for c, kind in pattern.types.items() if kind == "enclosed"]  # after the search: what ends at ) was not cut
        taken = taken.with_columns(pl.col(c).str.strip_suffix(")") for c in closing)
        for column, source, table in rule.lookups:  # the first that finds something wins
            if source in taken.columns:
                mapping = plan.grammar.format(form).tables[table]  # type: ignore[union-attr]
                found = pl.col(source).replace_strict(mapping, default=None, return_dtype=pl.String)
                taken = taken.with_columns(_unless_read(column, found, taken.columns))
        taken = taken.with_columns(
            _unless_read(k, _filled_in(v, taken.columns), taken.columns) for k, v in rule.constants.items()
        )
        taken = taken.with_columns(_unless_read("event", pl.lit(rule.event), taken.columns))
        keep = [c for c in taken.columns if c in _KEPT]
        out.append(taken.select(keep))
    return out, rows
