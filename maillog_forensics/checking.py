"""Proving grammar files by their own samples, and explaining what is made of a line."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from maillog_forensics import envelopes, layouts, normalize, reading, records, rules, schema, stamps
from maillog_forensics.grammar import Format, Rule, Sample
from maillog_forensics.normalize import Plan


def listing(parsers: Path | None = None) -> str:
    """One line for each format."""
    plan = reading.load(parsers)
    lines = []
    for form in plan.grammar.formats:
        samples = sum(len(r.samples) for r in form.rules) + len(form.samples)
        lines.append(
            f"{form.name:<12} {form.title or form.name:<34} {len(form.rules):>3} rules {samples:>4} samples  {Path(form.file).name}"
        )
    for envelope in plan.grammar.envelopes:
        lines.append(
            f"{'':<12} envelope {envelope.name:<25} {len(envelope.patterns):>3} rules {len(envelope.samples):>4} samples"
        )
    return "\n".join(lines) + "\n"


def claims(form: Format, text: str, programs: tuple[str, ...], plan: Plan) -> list[tuple[Rule, pl.DataFrame]]:
    """Every rule of `form` that takes `text` when it is the first to see it, with what it reads."""
    found = []
    program = programs[0] if programs else ""
    row = pl.DataFrame(
        {
            "line": pl.Series([1], dtype=pl.UInt64),
            "message": [text],
            "format": [form.name],
            "program": [program],
        }
    )
    for compiled in plan.rules[form.name]:
        if compiled.rule.programs and program and program not in compiled.rule.programs:
            continue
        taken, _ = rules.apply(row, compiled, form.name, plan)
        if taken:
            found.append((compiled.rule, taken[0]))
    return found


def check(parsers: Path | None = None) -> tuple[list[str], int]:
    """Prove every sample.

    A sample must be taken by its own rule before any other, and give the values that are written below it. Rules without
    a list of programs are the last resort of their format and may understand what a rule before them has taken.

    Returns
    -------
    faults
        A sentence for each sample that is not as promised, and for each rule without sample or reference.
    samples
        How many samples were read.
    """
    plan = reading.load(parsers)
    faults, count = [], 0
    for form in plan.grammar.formats:
        for rule in form.rules:
            if not rule.samples:
                faults.append(f"{rule.name}: the rule has no sample")
            if not rule.references and rule.event is not None:
                faults.append(f"{rule.name}: the rule has no reference (ref …)")
            for sample in rule.samples:
                count += 1
                faults += _prove(form, rule, sample, plan)
    for record in layouts.formats(plan):
        count += len(record.form.samples)
        faults += _prove_records(record, plan)
    for e in plan.envelopes:
        for sample in e.envelope.samples:
            count += 1
            faults += _prove_envelope(e.envelope.name, e.envelope.file, sample, plan)
    return faults, count


def _prove(form: Format, rule: Rule, sample: Sample, plan: Plan) -> list[str]:
    where = f"{Path(form.file).name}:{sample.line}"
    found = claims(form, sample.text, rule.programs, plan)
    if not found:
        return [f"{where}: no rule takes this sample"]
    first, table = found[0]
    if first is not rule:
        return [f"{where}: this sample is taken by the rule at {first.name}, not by its own at line {rule.line}"]
    twice = [r.name for r, other in found[1:] if bool(r.programs) == bool(rule.programs) and not _is_the_same(table, other)]
    if twice:
        return [f"{where}: this sample is claimed by {', '.join(twice)} too"]
    row = table.to_dicts()[0]
    return [
        f"{where}: {column} should be {want!r}, is {row.get(column)!r}"
        for column, want in sample.expect.items()
        if str("" if row.get(column) is None else row[column]) != want or (want != "" and row.get(column) is None)
    ]


def _is_the_same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether two rules read the same from a line: the first is only the quicker one."""
    return set(one.columns) == set(other.columns) and one.equals(other.select(one.columns))


def _prove_records(record: layouts.RecordFormat, plan: Plan) -> list[str]:
    """Each sample of a record format is read without a head: its layout must claim it, and no other format's."""
    file = Path(record.form.file).name
    faults = []
    if not record.form.samples and not record.aside:
        faults.append(f"{file}:{record.form.line}: the format has no sample")
    if not record.form.references:
        faults.append(f"{file}:{record.form.line}: the format has no reference (ref …)")
    for sample in record.form.samples:
        where = f"{file}:{sample.line}"
        owners = records.claims(sample.text, plan)
        if owners != [record.form.name]:
            faults.append(
                f"{where}: this sample should be claimed by {record.form.name}, is claimed by {', '.join(owners) or 'nothing'}"
            )
            continue
        events = _read_record(sample.text, plan)[1]
        row = events.to_dicts()[0] if events.height else {}
        if wall := row.pop("_wall", None):
            row["wall"] = wall.isoformat(timespec="microseconds")  # in UTC where the record tells its zone
        faults += [
            f"{where}: {column} should be {want!r}, is {row.get(column)!r}"
            for column, want in sample.expect.items()
            if str("" if row.get(column) is None else row[column]) != want or (want != "" and row.get(column) is None)
        ]
    return faults


def _read_record(line: str, plan: Plan) -> tuple[str, pl.DataFrame]:
    """The format and the raw events of one record without its head; an empty name where none fits."""
    lines = pl.DataFrame({"line": pl.Series([1], dtype=pl.UInt64), "offset": pl.Series([0], dtype=pl.UInt64), "text": [line]})
    reader = records.recognise(lines, plan, "", None)
    return (reader.name, reader.parse(lines).events()) if reader else ("", pl.DataFrame())


def _prove_envelope(name: str, file: str, sample: Sample, plan: Plan) -> list[str]:
    lines = pl.DataFrame(
        {"line": pl.Series([1], dtype=pl.UInt64), "offset": pl.Series([0], dtype=pl.UInt64), "text": [sample.text]}
    )
    where = f"{Path(file).name}:{sample.line}"
    faults = []
    for e in plan.envelopes:  # one further down the file may fit as well: the first wins
        opened, _ = envelopes.open_envelopes(lines, plan, (e.envelope.name,))
        if opened.is_empty():
            if e.envelope.name == name:
                faults.append(f"{where}: the envelope {name} does not take its own sample")
            continue
        if e.envelope.name != name:
            faults.append(f"{where}: this sample is claimed by the envelope {e.envelope.name} before")
            continue
        row = opened.rename({"stamp": "time"}).to_dicts()[0]
        faults += [
            f"{where}: {k} should be {v!r}, is {row.get(k)!r}" for k, v in sample.expect.items() if (row.get(k) or "") != v
        ]
        return faults
    return faults


def explain(line: str, parsers: Path | None = None) -> str:
    """What is made of one line, in words for a terminal."""
    from maillog_forensics.text import visible

    plan = reading.load(parsers)
    lines = pl.DataFrame({"line": pl.Series([1], dtype=pl.UInt64), "offset": pl.Series([0], dtype=pl.UInt64), "text": [line]})
    opened, _ = envelopes.open_envelopes(lines, plan)
    name, raw = _read_record(line, plan) if opened.is_empty() else ("", pl.DataFrame())
    if name:
        out = [f"{'format':<16} {name} (a record without its head: its columns are known by their number)"]
        for event in raw.to_dicts():
            out += [
                f"  {k:<14} {visible(str(v))}" for k, v in event.items() if v is not None and k in schema.EVENTS and k != "line"
            ]
        return "\n".join(out) + "\n"
    if opened.is_empty():
        return "no envelope fits: the line does not begin like a log record that this program knows (see 'formats list')\n"
    opened = envelopes.unfold(envelopes.open_nested(opened, plan))
    opened = normalize.split_tags(opened, plan)
    row = opened.to_dicts()[0]
    out = [
        f"{name:<16} {visible(str(row[name]))}" for name in ("stamp", "host", "tag", "instance", "program", "pid") if row[name]
    ]
    if row["format"] is None:
        return "\n".join([*out, "no format claims this tag: the line is counted as ignored (another program's line)"]) + "\n"
    which: list[tuple[int, str]] = []
    events = normalize.read_rules(stamps.naive(opened), plan, which=which).events()
    out.append(f"{'format':<16} {row['format']}")
    out.append(f"{'rule':<16} {which[0][1] if which else 'none: the line is counted as unrecognised'}")
    for event in events.to_dicts():
        out += [f"  {k:<14} {visible(str(v))}" for k, v in event.items() if v is not None and k in schema.EVENTS and k != "line"]
    return "\n".join(out) + "\n"
