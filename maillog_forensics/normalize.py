"""From lines to events: the compiled grammar run over a table of lines, with no Python per line.

A line passes three doors: an envelope gives its time, host and tag; the tag decides the format; and the format's rules,
each behind a cheap literal test, read the rest. What no door takes is counted as unrecognised.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from maillog_forensics import schema, stamps
from maillog_forensics.envelopes import SPLICE, cut_at_splices, join_parts, open_envelopes, open_nested, unfold
from maillog_forensics.ledger import Ledger
from maillog_forensics.matching import match
from maillog_forensics.plan import Plan, compile_grammar
from maillog_forensics.rules import apply

__all__ = ["Parsed", "Plan", "compile_grammar", "parse", "read_opened", "read_rules", "split_tags", "typed"]


@dataclass(frozen=True)
class Parsed:
    """What some lines say.

    Attributes
    ----------
    tables
        Events, each table with the columns that one rule reads: those of the events table, typed, and `stamps.WALL`.
    ledger
        Each line once.
    """

    tables: list[pl.DataFrame]
    ledger: Ledger

    def events(self) -> pl.DataFrame:
        """All events in one table, in the order of the lines."""
        if not self.tables:
            return pl.DataFrame(schema={"line": pl.UInt64})
        return pl.concat(self.tables, how="diagonal_relaxed").sort("line", maintain_order=True)


def split_tags(rows: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Decide the format of each row by its tag, where its envelope has not; adds instance and program."""
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


_CARRIED = ("line", "offset", "host", "_wall", "_utc", "_yearless")


def read_rules(opened: pl.DataFrame, plan: Plan, *, which: list[tuple[int, str]] | None = None, is_lean: bool = False) -> Parsed:
    """Run the rules of each row's format.

    Parameters
    ----------
    opened
        The result of `open_envelopes` with its times read (`stamps.naive`).
    which
        When given, receives (line, name of the rule that took it): for `formats explain`.
    is_lean
        Connections (event session) are only counted; of each host's the last is told, since its log goes on until then.
    """
    tables: list[pl.DataFrame] = []
    ledger = Ledger()
    groups = opened.lazy().with_row_index("_row").group_by("tag", "format", maintain_order=True).agg("_row").collect()
    decided = split_tags(groups, plan)
    carried = opened.select(_CARRIED)
    for (form, program), part in decided.partition_by("format", "program", as_dict=True, maintain_order=True).items():
        tagged = part.select("instance", "_row").explode("_row")
        if part.height > 1:
            tagged = tagged.sort("_row")
        rows = tagged["_row"]
        lines = carried["line"].gather(rows)
        if form is None:  # another program's
            ledger.add("ignored", lines)
            continue
        message = opened["message"].gather(rows)
        if (bare := message == "").any():  # a record without a word was cut: journald's NULL for what it found too large
            ledger.add("damaged", lines.filter(bare))
        rest = pl.DataFrame([lines, message]).with_columns(program=pl.lit(program), _row=pl.int_range(pl.len(), dtype=pl.UInt32))
        for compiled in plan.rules.get(form, ()):
            if rest.is_empty():
                break
            if compiled.rule.programs and program not in compiled.rule.programs:
                continue
            is_counted = is_lean and compiled.rule.event == "session" and not compiled.rule.lookups
            taken, rest = apply(rest, compiled, form, plan, is_counted=is_counted)
            for table in taken:
                if which is not None:
                    which += [(n, compiled.rule.name) for n in lines.gather(table["_row"]).to_list()]
                if compiled.rule.event is None:
                    ledger.add(compiled.rule.state, lines.gather(table["_row"]))
                    continue
                if is_counted:
                    ledger.add("parsed", lines.gather(table["_row"]))
                    last = carried[rows.gather(table["_row"])].unique("host", keep="last", maintain_order=True)
                    tables.append(
                        last.with_columns(event=pl.lit("session", dtype=schema.EVENT), mta=pl.lit(plan.grammar.mta(form)))
                    )
                    continue
                places = rows.gather(table["_row"])
                table = table.hstack(
                    [
                        s
                        for s in (*carried[places], tagged["instance"].gather(table["_row"]).alias("instance"))
                        if s.name not in table.columns
                    ]
                )
                tables.append(_with_constants(typed(table.drop("_row")), program=program, mta=plan.grammar.mta(form)))
                ledger.add("parsed", tables[-1]["line"])
        ledger.add("unrecognised", rest["line"])
    return Parsed(tables, ledger)


def typed(table: pl.DataFrame) -> pl.DataFrame:
    """Columns with the types of the events table; NOQUEUE is no queue id."""
    changes = [
        pl.col(c).cast(t, strict=False) for c, t in schema.EVENTS.items() if c in table.columns and t != pl.String and c != "line"
    ]
    if "queue_id" in table.columns:
        changes.append(pl.when(pl.col("queue_id") != "NOQUEUE").then("queue_id").alias("queue_id"))
    return table.with_columns(changes)


def _with_constants(table: pl.DataFrame, **constants: str | None) -> pl.DataFrame:
    return table.with_columns(pl.lit(v, dtype=pl.String).alias(c) for c, v in constants.items() if c not in table.columns)


def parse(lines: pl.DataFrame, plan: Plan, order: tuple[str, ...] | None = None, *, is_lean: bool = False) -> Parsed:
    """Turn a chunk of lines into raw events.

    Parameters
    ----------
    lines
        Columns line, offset, text, as `sources.read` hands them on: line counts on without a gap.
    plan
        The compiled grammar.
    order
        Envelopes to try, best first.
    is_lean
        As in `read_rules`.

    Notes
    -----
    Cost is linear in the bytes; each rule's expression runs only over lines that pass its literal test.
    """
    if lines.is_empty():
        return Parsed([], Ledger())
    cleaned, mixed = _without_padding(lines)
    opened, rest = open_envelopes(cleaned, plan, order)
    parsed = read_opened(opened, plan, is_lean=is_lean)
    if rest.height:
        strange = lines.filter(lines["line"].is_in(rest["line"].implode()))
        nul = strange["text"].str.contains("\0", literal=True)
        blank = strange["text"].str.strip_chars(" \t\r\0").str.len_bytes() == 0
        lost = nul | (~blank & strange["text"].str.contains(SPLICE))
        parsed.ledger.add("damaged", strange["line"].filter(lost))
        parsed.ledger.add("ignored", strange["line"].filter(blank & ~lost))
        parsed.ledger.add("unrecognised", strange["line"].filter(~blank & ~lost))
    parsed.ledger.damaged(mixed)
    return parsed


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


def read_opened(opened: pl.DataFrame, plan: Plan, *, is_lean: bool = False) -> Parsed:
    """Raw events and the ledger of lines whose envelope is off (`envelopes.OPENED`)."""
    opened, swallowed = join_parts(opened, plan)
    opened = unfold(open_nested(opened, plan))
    opened, spliced = cut_at_splices(opened)
    parsed = read_rules(stamps.naive(opened), plan, is_lean=is_lean)
    if "_times" in opened.columns:
        times = opened.filter(pl.col("_times") > 1).select("line", "_times")
        again = [t.join(times, on="line", how="left", maintain_order="left") for t in parsed.tables]
        again = [
            t.select(pl.all().gather(pl.int_range(pl.len()).repeat_by(pl.col("_times").fill_null(1)).explode())).drop("_times")
            for t in again
        ]
        parsed = Parsed(again, parsed.ledger)
    parsed.ledger.add("ignored", swallowed)
    parsed.ledger.add("damaged", spliced)
    return parsed
