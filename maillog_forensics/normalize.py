"""From lines to events: the compiled grammar run over a table of lines, with no Python per line.

A line passes three doors: an envelope gives its time, host and tag; the tag decides the format; and the format's rules,
each behind a cheap literal test, read the rest. What no door takes is counted as unrecognised.
"""

from __future__ import annotations

import re

import polars as pl

from maillog_forensics import schema
from maillog_forensics.envelopes import SPLICE, cut_at_splices, join_parts, open_envelopes, open_nested, unfold
from maillog_forensics.matching import candidates, groups, match
from maillog_forensics.patterns import MATCHED, Compiled
from maillog_forensics.plan import CompiledRule, Plan, compile_grammar

__all__ = ["Plan", "compile_grammar", "parse", "read_opened", "read_rules", "split_tags"]


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


def _read_fields(taken: pl.DataFrame, text: str, block: str, form: str, plan: Plan) -> pl.DataFrame:
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
            taken = _read_fields(taken, column, inner, form, plan)
    return taken.with_columns(original) if kept else taken.drop(text)


def split_tags(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Decide the format of each row by its tag; adds instance and program. Runs once per distinct tag."""
    tags = rows.select(text=pl.col("tag").unique()).drop_nulls()
    out, rest = [], tags
    for form, pattern in plan.tags:
        taken, rest = match(rest, pattern, "text")
        if taken.height:
            program = pl.col("program") if "program" in taken.columns else pl.lit(form.name)
            if plan.claims[form.name]:
                known = taken.select(program.is_in(list(plan.claims[form.name])).fill_null(False)).to_series()
                rest = pl.concat([rest, taken.filter(~known).select("text")])
                taken = taken.filter(known)
            instance = pl.col("instance") if "instance" in taken.columns else pl.lit(None, dtype=pl.String)
            out.append(
                taken.select("text", pl.lit(form.name).alias("_format"), instance.alias("instance"), program.alias("program"))
            )
    nothing = pl.DataFrame(schema={"text": pl.String, "_format": pl.String, "instance": pl.String, "program": pl.String})
    decided = pl.concat([nothing, *out])
    return (
        rows.join(decided, left_on="tag", right_on="text", how="left", maintain_order="left")
        .with_columns(format=pl.coalesce("format", "_format"), program=pl.coalesce("program", "format"))
        .drop("_format")
    )


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


_KEPT = frozenset({*schema.EVENTS, "stamp", "stamp_kind", "zone", "_row"})


def _apply(rows: pl.DataFrame, compiled: CompiledRule, form: str, plan: Plan) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    out = []
    for pattern in compiled.patterns:
        if rows.is_empty():
            break
        taken, rows = match(rows, pattern, "message")
        if taken.is_empty():
            continue
        rule = compiled.rule
        if rule.event is None:
            out.append(taken.select("line", event=pl.lit(None, dtype=pl.String)))
            continue
        taken = _one_row_each(_empty_means_missing(taken, pattern), pattern)
        for text, run in pattern.runs.items():
            taken = _read_fields(taken, text, run, form, plan)
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


def read_rules(
    rows: pl.DataFrame, plan: Plan, *, which: list[tuple[int, str]] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run the rules of each row's format.

    Parameters
    ----------
    rows
        The result of `open_envelopes`, with format and program decided.
    which
        When given, receives (line, name of the rule that took it): for `formats explain`.

    Returns
    -------
    events, ledger
        Events still carry stamp, stamp_kind and zone; ledger has line and state.
    """
    events: list[pl.DataFrame] = []
    aside: list[tuple[str, pl.Series]] = []
    left: list[pl.Series] = []
    for (form, program), part in rows.partition_by("format", "program", as_dict=True).items():
        # what the rules don't look at stays behind, and comes back to the lines that a rule took
        rest = part.select("line", "message", "program", _row=pl.int_range(pl.len()))
        others = part.drop("line", "message", "program")
        for compiled in plan.rules.get(form, ()):
            if rest.is_empty():
                break
            if compiled.rule.programs and program not in compiled.rule.programs:
                continue
            taken, rest = _apply(rest, compiled, form, plan)
            for table in taken:
                if which is not None:
                    which += [(n, compiled.rule.name) for n in table["line"].to_list()]
                if compiled.rule.event is None:
                    aside.append((compiled.rule.state, table["line"]))
                else:
                    kept = others.select(c for c in others.columns if c in _KEPT and c not in table.columns)
                    events.append(table.drop("_row").hstack(kept[table["_row"]]))
        left.append(rest["line"])
    table = pl.concat(events, how="diagonal_relaxed") if events else pl.DataFrame(schema={"line": pl.UInt64})
    states = [("parsed", table["line"].unique()), *aside, *(("unrecognised", s) for s in left)]
    return table, pl.concat([s.to_frame("line").with_columns(state=pl.lit(name)) for name, s in states])


def parse(lines: pl.DataFrame, plan: Plan, order: tuple[str, ...] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Turn a chunk of lines into raw events.

    Parameters
    ----------
    lines
        Columns line, offset, text, as `sources.read` hands them on.
    plan
        The compiled grammar.
    order
        Envelopes to try, best first.

    Returns
    -------
    events
        Columns of the events table that the lines state, and stamp, stamp_kind, zone for `clock` to turn into time.
    ledger
        Each line once: line, state (parsed, ignored, unrecognised, damaged).

    Notes
    -----
    Cost is linear in the bytes; each rule's expression runs only over lines that pass its literal test.
    """
    blank = lines["text"].str.strip_chars(" \t\r\0").str.len_bytes() == 0
    empty, lines = lines.filter(blank), lines.filter(~blank)
    cleaned, mixed = _without_padding(lines)
    opened, rest = open_envelopes(cleaned, plan, order)
    events, ledger = read_opened(opened, plan)
    nul = pl.col("text").str.contains("\0", literal=True)
    kept = lines.join(rest.select("line"), on="line", how="semi")
    lost = kept.select(
        "line", state=pl.when(nul | pl.col("text").str.contains(SPLICE)).then(pl.lit("damaged")).otherwise(pl.lit("unrecognised"))
    )
    nothing = empty.select("line", state=pl.when(nul).then(pl.lit("damaged")).otherwise(pl.lit("ignored")))
    ledger = pl.concat([ledger, lost, nothing]).sort("line")
    if mixed.len():
        ledger = ledger.with_columns(
            state=pl.when(pl.col("line").is_in(mixed.implode())).then(pl.lit("damaged")).otherwise("state")
        )
    return events, ledger


def _without_padding(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Lines without what is no part of a record, and the numbers of those where a block of NUL bytes had swallowed text.

    A crash leaves NUL blocks: the record after the block is whole, what stands before it is not. A spreadsheet that was saved
    leaves a run of commas. Files that were joined leave byte order marks.
    """
    text = lines["text"]
    mixed = lines["line"].clear()
    if (nul := text.str.contains("\0", literal=True)).any():
        bare = text.str.strip_chars("\0")
        mixed = lines["line"].filter(nul & bare.str.contains("\0", literal=True))
        text = bare.str.extract(r"([^\x00]*)$", 1)
    if (padded := text.str.ends_with(",,")).any():
        text = text.str.strip_chars_end(",").zip_with(padded, text)
    if text.str.starts_with("\ufeff").any():
        text = text.str.strip_prefix("\ufeff")
    return lines.with_columns(text=text), mixed


def read_opened(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Raw events and the ledger of lines whose envelope is off (`envelopes.OPENED`)."""
    opened, swallowed = join_parts(opened, plan)
    opened = unfold(open_nested(opened, plan))
    opened, spliced = cut_at_splices(opened)
    opened = split_tags(opened, plan)
    names = {f.name: f.mta or None for f in plan.grammar.formats}
    known = pl.col("format").is_not_null()
    mine = opened.filter(known).with_columns(mta=pl.col("format").replace_strict(names, default=None, return_dtype=pl.String))
    events, ledger = read_rules(mine, plan)
    if "_times" in opened.columns and events.height:
        times = events.select("line").join(opened.select("line", "_times"), on="line", how="left", maintain_order="left")[
            "_times"
        ]
        events = events.select(pl.all().gather(pl.int_range(pl.len()).repeat_by(times).explode()))
    # a record without a word was cut: journald's NULL for what it found too large
    bare = mine.filter(pl.col("message") == "")["line"]
    if bare.len():
        ledger = ledger.with_columns(
            state=pl.when(pl.col("line").is_in(bare.implode())).then(pl.lit("damaged")).otherwise("state")
        )
    aside = {"ignored": pl.concat([opened.filter(~known)["line"], swallowed]), "damaged": spliced}
    return events, pl.concat(
        [ledger, *(lines.to_frame("line").with_columns(state=pl.lit(name)) for name, lines in aside.items())]
    )
