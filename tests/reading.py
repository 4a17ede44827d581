"""Reading a few lines as `intake` would, for tests of the formats."""

from __future__ import annotations

from typing import Any

import polars as pl

from maillog_forensics import api, normalize
from maillog_forensics.accounts import InputReport


def normalized(paths: list[str], **options: Any) -> tuple[pl.DataFrame, list[InputReport]]:
    """All events of some inputs, and the reports."""
    found = api.normalize(paths, **options)
    return found.events.collect(), found.reports


def table(*texts: str) -> pl.DataFrame:
    """Lines as `sources` hands them on."""
    numbers = range(1, len(texts) + 1)
    offsets = [sum(len(t.encode()) + 1 for t in texts[:n]) for n in range(len(texts))]
    return pl.DataFrame(
        {"line": list(numbers), "offset": offsets, "text": list(texts)},
        schema={"line": pl.UInt64, "offset": pl.UInt64, "text": pl.String},
    )


def facts(plan: normalize.Plan, *texts: str) -> list[dict[str, Any]]:
    """What the lines say, one dictionary for each event: only what is known."""
    rows = normalize.parse(table(*texts), plan).events().to_dicts()
    return [told(row) for row in rows]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What is known of an event; whole numbers as they stand in the line."""
    known = {k: v for k, v in row.items() if v is not None}
    return {k: str(v) if type(v) is int and k not in ("line", "offset") else v for k, v in known.items()}


def states(plan: normalize.Plan, *texts: str) -> list[str]:
    """The ledger's word for each line."""
    ledger = normalize.parse(table(*texts), plan).ledger.table()
    assert ledger["line"].to_list() == list(range(1, len(texts) + 1)), "each line once"
    return ledger["state"].to_list()
