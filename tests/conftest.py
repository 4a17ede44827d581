"""What several tests need: places, a small log on disk, edges written by hand."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import graph, schema

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_logs"
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The project's own sample logs."""
    return SAMPLES


@pytest.fixture(scope="session")
def shared() -> Path:
    """Further recorded logs beside the checkout; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with further recorded logs is not here")
    return SHARED


def make_graph(rows: list[tuple[float, str, str]], **columns: object) -> graph.Graph:
    """A mail graph from (second, sender, recipient); each row is a message of its own."""
    start = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
    boxes = pl.Series("box", sorted({n for _, a, b in rows for n in (a, b)}), dtype=pl.String)
    number = {name: i for i, name in enumerate(boxes)}
    marks = dict.fromkeys(("is_null", "is_notification", "is_automatic", "is_linked", "is_inferred"), pl.lit(False))
    table = pl.DataFrame(
        {
            "mid": list(range(len(rows))),
            "sender": [number[s] for _, s, _ in rows],
            "recipient": [number[r] for _, _, r in rows],
            "sent": [start + dt.timedelta(seconds=t) for t, _, _ in rows],
        },
        schema_overrides={"sent": schema.TIME},
    ).with_columns(logical="mid", arrived="sent", **{**marks, **{k: pl.Series(v) for k, v in columns.items()}})  # type: ignore[arg-type]
    table = schema.conform(table, graph.EDGES, "edges").sort("sent", "mid")
    return graph.Graph(table, boxes, table.select("mid", "logical"))
