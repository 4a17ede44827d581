"""What other programs call: read, normalize, analyze."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from maillog_forensics import grammar, intake, schema, sources
from maillog_forensics import normalize as normalizer
from maillog_forensics.intake import InputReport


def load(parsers: Path | None = None) -> normalizer.Plan:
    """Read and compile the shipped grammar files and those in `parsers`."""
    return normalizer.compile_grammar(grammar.read(grammar.find(parsers)))


def normalize(
    paths: list[str],
    *,
    tz: str | None = None,
    year: int | None = None,
    format: str | None = None,
    parsers: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> tuple[pl.DataFrame, list[InputReport], list[str]]:
    """Read logs.

    Returns
    -------
    events
        The events table (`schema.EVENTS`) of all inputs.
    reports
        One for each input, in the order of `sources.expand`.
    problems
        A sentence for each path behind which there was nothing.
    """
    files, problems = sources.expand(paths)
    plan = load(parsers)
    options = intake.Options(tz=tz, year=year, format=format)
    tables, reports = [], []
    for path in files:
        table, report = intake.take_in(path, plan, options, (lambda n, p=path: progress(p, n)) if progress else None)
        tables.append(table)
        reports.append(report)
    events = pl.concat(tables) if tables else schema.empty(schema.EVENTS)
    return events, reports, problems
