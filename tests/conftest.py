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


def make_edges(rows: list[tuple[float, str, str]], **columns: object) -> pl.DataFrame:
    """A table of edges from (second, sender, recipient); each row is a message of its own."""
    start = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.UTC)
    table = pl.DataFrame(
        {
            "logical": [f"m{i}@x.example" for i in range(len(rows))],
            "sender": [s for _, s, _ in rows],
            "recipient": [r for _, _, r in rows],
            "sent": [start + dt.timedelta(seconds=t) for t, _, _ in rows],
            "size": [500] * len(rows),
            "is_null": [False] * len(rows),
            "is_notification": [False] * len(rows),
            "is_automatic": [False] * len(rows),
            "is_linked": [False] * len(rows),
            "host": ["mx"] * len(rows),
            "mid": list(range(len(rows))),
            "order": list(range(len(rows))),
            **columns,
        }
    ).with_columns(born="sent", arrived="sent")
    return schema.conform(table, graph.EDGES, "edges").sort("sent", "order")


@pytest.fixture
def edges_of():
    """`make_edges`, for tests that take fixtures."""
    return make_edges
