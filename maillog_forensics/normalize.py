"""From lines to events: the compiled grammar run over a table of lines, with no Python per line.

A line passes three doors: an envelope gives its time, host and tag; the tag decides the format; and the format's rules,
each behind a cheap literal test, read the rest. What no door takes is counted as unrecognised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import schema
from maillog_forensics.grammar import Envelope, Format, Grammar, Rule
from maillog_forensics.patterns import BUILT_IN, MATCHED, Compiled, compile_pattern

ENVELOPE_PARTS = ("time", "host", "tag", "pid", "zone", "message")
_WORKING = frozenset({"pid", "zone", "pri"})  # holes that help a rule and reach no column


@dataclass(frozen=True)
class _CompiledRule:
    rule: Rule
    patterns: tuple[Compiled, ...]


@dataclass(frozen=True)
class _CompiledEnvelope:
    envelope: Envelope
    patterns: tuple[Compiled, ...]


@dataclass
class Plan:
    """A grammar, compiled once and used for every chunk."""

    grammar: Grammar
    envelopes: tuple[_CompiledEnvelope, ...]
    rules: dict[str, tuple[_CompiledRule, ...]]
    fields: dict[tuple[str, str], tuple[Compiled, ...]]
    tags: tuple[tuple[Format, Compiled], ...]
    parts: tuple[tuple[Format, Compiled], ...] = ()
    claims: dict[str, frozenset[str]] = field(default_factory=dict)


def compile_grammar(grammar: Grammar) -> Plan:
    """Compile every pattern of `grammar`.

    Raises
    ------
    GrammarError
        For an unknown type, fragment or column, with file and line.
    """
    from maillog_forensics.errors import GrammarError

    envelopes = []
    for e in grammar.envelopes:
        compiled = tuple(compile_pattern(p, grammar.types, {}, (e.file, n)) for n, p in e.patterns)
        envelopes.append(_CompiledEnvelope(e, compiled))
    rules: dict[str, tuple[_CompiledRule, ...]] = {}
    fields: dict[tuple[str, str], tuple[Compiled, ...]] = {}
    tags: list[tuple[Format, Compiled]] = []
    parts: list[tuple[Format, Compiled]] = []
    claims = {}
    for f in grammar.formats:
        for name, lines in f.fields.items():
            fields[f.name, name] = tuple(compile_pattern(p, f.types, f.defines, (f.file, n), anchored=False) for n, p in lines)
        compiled_rules = []
        for rule in f.rules:
            patterns = tuple(compile_pattern(p, f.types, f.defines, (rule.file, n)) for n, p in rule.patterns)
            wanted = {c for p in patterns for c in p.types} | set(rule.constants)
            wanted |= {column for column, _, _ in rule.lookups}
            wanted |= {c for p in patterns for run in p.runs.values() for c in _columns_of(f.name, run, fields)}
            unknown = sorted(c for c in wanted if c not in schema.EVENTS and c not in _WORKING and not c.startswith("_"))
            if unknown:
                raise GrammarError(rule.file, rule.line, 1, f"no column {', '.join(unknown)} in the events table")
            compiled_rules.append(_CompiledRule(rule, patterns))
        rules[f.name] = tuple(compiled_rules)
        claims[f.name] = frozenset(p for r in f.rules for p in r.programs)
        tags += [(f, compile_pattern(p, f.types, f.defines, (f.file, n))) for n, p in f.tags]
        parts += [(f, compile_pattern(p, f.types, f.defines, (f.file, n))) for n, p in f.parts]
    return Plan(grammar, tuple(envelopes), rules, fields, tuple(tags), tuple(parts), claims)


def _columns_of(form: str, block: str, fields: dict[tuple[str, str], tuple[Compiled, ...]]) -> set[str]:
    """Every column that a block of fields can fill, those of the blocks that search its values included."""
    patterns = fields.get((form, block), ())
    return {c for p in patterns for c in p.types} | {c for p in patterns for b in p.runs.values() if b != block for c in _columns_of(form, b, fields)}


# --- running one pattern ----------------------------------------------------------------------------------------------


def _candidates(pattern: Compiled, column: str) -> pl.Expr | None:
    """The cheap literal test that every match of `pattern` passes."""
    text = pl.col(column)
    tests = []
    if pattern.prefix:
        tests.append(text.str.starts_with(pattern.prefix))
    needle = next((n for n in pattern.needles if n != pattern.prefix), None)
    if needle:
        tests.append(text.str.contains(needle, literal=True))
    if not tests:
        return None
    return tests[0] & tests[1] if len(tests) == 2 else tests[0]


def _match(rows: pl.DataFrame, pattern: Compiled, column: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that `pattern` takes, with its columns, and the rows that it leaves."""
    test = _candidates(pattern, column)
    if test is not None:
        mask = rows.select(test.fill_null(False)).to_series()
        if not mask.any():
            return rows.clear(), rows
        likely, unlikely = rows.filter(mask), rows.filter(~mask)
    else:
        likely, unlikely = rows, rows.clear()
    found = likely.select(pl.col(column).str.extract_groups(pattern.regex).alias("g")).to_series().struct.unnest()
    hit = found[MATCHED].is_not_null()
    if not hit.any():
        return rows.clear(), rows
    clash = [c for c in found.columns if c in likely.columns]
    taken = likely.drop(clash).hstack(found.drop(MATCHED)).filter(hit)
    left = likely.filter(~hit)
    return taken, (left if unlikely.is_empty() else pl.concat([left, unlikely]))


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
        mask = _candidates(pattern, text)
        hits = taken.select(mask.fill_null(False)).to_series() if mask is not None else None
        if hits is not None and not hits.any():
            continue
        found = taken.select(pl.col(text).str.extract_groups(pattern.regex).alias("g")).to_series().struct.unnest()
        new = _empty_means_missing(found.drop([c for c in found.columns if c == MATCHED]), pattern)
        taken = taken.with_columns(
            pl.coalesce(pl.col(c), new[c]).alias(c) if c in taken.columns else new[c].alias(c) for c in new.columns
        )
        if pattern.encloses:
            taken = taken.with_columns(pl.col(text).str.replace(pattern.regex, ""))
        for column, inner in pattern.runs.items():
            taken = _read_fields(taken, column, inner, form, plan)
    return taken.with_columns(original) if kept else taken.drop(text)


# --- envelopes --------------------------------------------------------------------------------------------------------


def open_envelopes(lines: pl.DataFrame, plan: Plan, order: tuple[str, ...] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Take the envelope off every line.

    Parameters
    ----------
    lines
        Columns line, offset, text.
    order
        Names of the envelopes to try, best first; all of them when None.

    Returns
    -------
    opened, rest
        `opened` has in addition stamp, stamp_kind, host, tag, pid, zone, message, format (all strings).
    """
    chosen = plan.envelopes if order is None else tuple(e for n in order for e in plan.envelopes if e.envelope.name == n)
    out, rest = [], lines
    for e in chosen:
        if rest.is_empty():
            break
        if e.envelope.json_paths:
            taken, rest = _open_json(rest, e.envelope)
            if taken.height:
                out.append(taken)
            continue
        for pattern in e.patterns:
            if rest.is_empty():
                break
            taken, rest = _match(rest, pattern, "text")
            if taken.height:
                out.append(_envelope_columns(taken, pattern.types.get("time", ""), e.envelope))
    opened = pl.concat(out) if out else _envelope_columns(lines.clear(), "", None)
    return opened, rest


def _envelope_columns(taken: pl.DataFrame, kind: str, envelope: Envelope | None) -> pl.DataFrame:
    def part(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.String) if name in taken.columns else pl.lit(None, dtype=pl.String)

    return taken.select(
        "line", "offset",
        part("time").alias("stamp"),
        pl.lit(kind, dtype=pl.String).alias("stamp_kind"),
        part("host").alias("host"),
        part("tag").alias("tag"),
        part("pid").alias("pid"),
        part("zone").alias("zone"),
        part("message").alias("message"),
        pl.lit(envelope.format if envelope else None, dtype=pl.String).alias("format"),
    )  # fmt: skip


def _open_json(rows: pl.DataFrame, envelope: Envelope) -> tuple[pl.DataFrame, pl.DataFrame]:
    likely = rows["text"].str.starts_with("{") & rows["text"].str.contains(f'"{envelope.json_paths["message"][0]}"', literal=True)
    if not likely.any():
        return rows.clear(), rows
    parts = {p: pl.col("text").str.json_path_match(f"$.{key}") for p, (key, _) in envelope.json_paths.items()}
    taken = rows.filter(likely).with_columns(**parts)
    good = taken["message"].is_not_null() & taken["time"].is_not_null()
    bytes_array = pl.col("message").str.starts_with("[") & pl.col("message").str.contains(r"^\[[0-9, ]+\]$")
    taken = taken.filter(good).with_columns(
        message=pl.when(bytes_array).then(_from_byte_values(pl.col("message"))).otherwise(pl.col("message")).str.strip_suffix("\n")
    )
    kind = envelope.json_paths["time"][1]
    rest = pl.concat([rows.filter(~likely), rows.filter(likely).filter(~good)])
    return _envelope_columns(taken, kind, envelope), rest


def _from_byte_values(column: pl.Expr) -> pl.Expr:
    """journald writes text that is not clean UTF-8 as an array of byte values."""
    number = pl.element().str.strip_chars(" []").cast(pl.Int32, strict=False)
    char = pl.when(number.is_between(32, 126)).then(number).otherwise(63)
    return column.str.split(",").list.eval(_ascii(char)).list.join("")


def _ascii(number: pl.Expr) -> pl.Expr:
    return number.replace_strict(list(range(32, 127)), [chr(n) for n in range(32, 127)], default="?", return_dtype=pl.String)


# --- tags and rules ---------------------------------------------------------------------------------------------------


def _split_tags(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Decide the format of each row by its tag; adds instance and program. Runs once per distinct tag."""
    tags = rows.select(text=pl.col("tag").unique()).drop_nulls()
    out, rest = [], tags
    for form, pattern in plan.tags:
        taken, rest = _match(rest, pattern, "text")
        if taken.height:
            program = pl.col("program") if "program" in taken.columns else pl.lit(form.name)
            if plan.claims[form.name]:
                known = taken.select(program.is_in(list(plan.claims[form.name])).fill_null(False)).to_series()
                rest = pl.concat([rest, taken.filter(~known).select("text")])
                taken = taken.filter(known)
            instance = pl.col("instance") if "instance" in taken.columns else pl.lit(None, dtype=pl.String)
            out.append(taken.select("text", pl.lit(form.name).alias("_format"), instance.alias("instance"), program.alias("program")))
    nothing = pl.DataFrame(schema={"text": pl.String, "_format": pl.String, "instance": pl.String, "program": pl.String})
    known = pl.concat([nothing, *out])
    return (
        rows.join(known, left_on="tag", right_on="text", how="left", maintain_order="left")
        .with_columns(format=pl.coalesce("format", "_format"), program=pl.coalesce("program", "format"))
        .drop("_format")
    )


def _filled_in(value: str, columns: list[str]) -> pl.Expr:
    """The value of a `set`: the text itself, with {holes} filled by what the pattern read."""
    parts = re.split(r"\{([a-z_][a-z0-9_]*)\}", value)
    if len(parts) == 1:
        return pl.lit(value)
    filled = [pl.lit(p) if n % 2 == 0 else (pl.col(p) if p in columns else pl.lit(None, dtype=pl.String)) for n, p in enumerate(parts)]
    return pl.concat_str(filled)


def _unless_read(column: str, value: pl.Expr, columns: list[str]) -> pl.Expr:
    return (pl.coalesce(column, value) if column in columns else value).alias(column)


def _apply(rows: pl.DataFrame, compiled: _CompiledRule, form: str, plan: Plan) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    out = []
    for pattern in compiled.patterns:
        if rows.is_empty():
            break
        taken, rows = _match(rows, pattern, "message")
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
        taken = taken.with_columns(_unless_read(k, _filled_in(v, taken.columns), taken.columns) for k, v in rule.constants.items())
        taken = taken.with_columns(_unless_read("event", pl.lit(rule.event), taken.columns))
        keep = [c for c in taken.columns if c in schema.EVENTS or c in ("stamp", "stamp_kind", "zone")]
        out.append(taken.select(keep))
    return out, rows


def read_rules(rows: pl.DataFrame, plan: Plan, *, which: list[tuple[int, str]] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
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
        rest = part
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
                    events.append(table)
        left.append(rest["line"])
    table = pl.concat(events, how="diagonal_relaxed") if events else pl.DataFrame(schema={"line": pl.UInt64})
    states = [("parsed", table["line"].unique())]
    states += aside
    states += [("unrecognised", s) for s in left]
    ledger = pl.concat(
        [pl.DataFrame({"line": s, "state": [name] * len(s)}, schema={"line": pl.UInt64, "state": pl.String}) for name, s in states]
    )
    return table, ledger


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
    text = pl.col("text")
    blank = lines.filter(text.str.strip_chars().str.len_bytes() == 0)
    lines = lines.filter(text.str.strip_chars().str.len_bytes() > 0)
    nul = lines["text"].str.contains("\0", literal=True)
    cleaned = lines.with_columns(text=text.str.replace_all("\0", "", literal=True)) if nul.any() else lines
    opened, rest = open_envelopes(cleaned, plan, order)
    opened, swallowed = _join_parts(opened, plan)
    opened, nested = _open_nested(opened, plan)
    opened = _split_tags(opened, plan)
    foreign = opened.filter(pl.col("format").is_null())
    events, ledger = read_rules(opened.filter(pl.col("format").is_not_null()), plan)
    if "mta" not in events.columns and events.height:
        names = {f.name: f.mta for f in plan.grammar.formats}
        formats = opened.select("line", mta=pl.col("format").replace(names))
        events = events.join(formats, on="line", how="left", maintain_order="left")
    state = pl.DataFrame({"line": pl.concat([foreign["line"], swallowed])}).with_columns(state=pl.lit("ignored"))
    lost = pl.DataFrame({"line": rest["line"]}).with_columns(
        state=pl.when(pl.col("line").is_in(lines.filter(nul)["line"].implode())).then(pl.lit("damaged")).otherwise(pl.lit("unrecognised"))
    )
    empty = pl.DataFrame({"line": blank["line"]}).with_columns(
        state=pl.when(blank["text"].str.contains("\0", literal=True)).then(pl.lit("damaged")).otherwise(pl.lit("ignored"))
    )
    return events, pl.concat([ledger, state, lost, empty]).sort("line")


def _join_parts(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, pl.Series]:
    """Records that were cut to fit a line of syslog: the first line gets the whole text, the lines of the others are returned.

    A format says how its parts look: `_part` is the part's number, `_glue` what the cut was made for (a backslash: the text had
    a newline there). A part whose first is not in this chunk stays as it is.
    """
    swallowed = [opened["line"].clear()]
    for form, pattern in plan.parts:
        tags = [p.regex for f, p in plan.tags if f is form]
        mine = pl.any_horizontal(pl.col("tag").str.contains(regex) for regex in tags) & pl.col("message").str.starts_with("[")
        pieces, _ = _match(opened.filter(mine.fill_null(False)), pattern, "message")
        if pieces.is_empty():
            continue
        key = ["host", "tag", "pid"]
        pieces = pieces.sort("line").with_columns(
            _first=(pl.col("_part") == "1").cum_sum().over(key),
            _end=pl.when(pl.col("_glue") == "\\").then(pl.lit("\n")).otherwise(pl.lit("")),
        )
        pieces = pieces.filter(pl.col("_first") > 0)
        whole = pieces.group_by([*key, "_first"], maintain_order=True).agg(
            pl.col("line").first(), _text=pl.concat_str("message", "_end").str.join("").str.strip_chars_end("\n")
        )
        gone = pieces.join(whole.select("line"), on="line", how="anti")["line"]
        swallowed.append(gone)
        opened = (
            opened.join(gone.to_frame(), on="line", how="anti", maintain_order="left")
            .join(whole.select("line", "_text"), on="line", how="left", maintain_order="left")
            .with_columns(message=pl.coalesce("_text", "message"))
            .drop("_text")
        )
    return opened, pl.concat(swallowed)


def _open_nested(opened: pl.DataFrame, plan: Plan) -> tuple[pl.DataFrame, int]:
    """A record inside a record (a container's log shipper around a syslog line): the inner one counts.

    The inner envelope's time is the mail server's own; where it lacks the year, the outer stamp lends it.
    """
    inner = opened.filter(pl.col("message").str.contains(rf"^(?:<[0-9]+>)?(?:{BUILT_IN['bsd']}|{BUILT_IN['iso']}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} [0-9:.]+) "))
    if inner.is_empty():
        return opened, 0
    again, _ = open_envelopes(inner.select("line", "offset", text="message"), plan)
    if again.is_empty():
        return opened, 0
    outer = inner.select("line", outer_stamp="stamp", outer_kind="stamp_kind", outer_host="host", outer_tag="tag", outer_pid="pid")
    again = again.join(outer, on="line", how="left", maintain_order="left")
    yearless = (pl.col("stamp_kind") == "bsd") & (pl.col("outer_kind") != "bsd")
    again = again.with_columns(
        stamp=pl.when(yearless).then("outer_stamp").otherwise("stamp"),
        stamp_kind=pl.when(yearless).then("outer_kind").otherwise("stamp_kind"),
        host=pl.coalesce("host", "outer_host"),
        tag=pl.coalesce("tag", "outer_tag"),
        pid=pl.coalesce("pid", "outer_pid"),
    ).select(opened.columns)
    return pl.concat([opened.join(again.select("line"), on="line", how="anti", maintain_order="left"), again]).sort("line"), again.height
