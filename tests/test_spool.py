"""Tables that don't fit into memory take the way over files and come out the same."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from maillog_forensics import api, correlate, spool
from maillog_forensics.spool import BUCKETS, Spool

SAMPLES = Path(__file__).parent.parent / "sample_logs"


@pytest.mark.parametrize("budget", [1, 1000, 1 << 20])
def test_tables_come_out_in_the_order_they_went_in(budget: int) -> None:
    tables = [pl.DataFrame({"a": range(n, n + 100)}) for n in range(0, 1000, 100)]
    spooled = Spool(budget)
    for table in tables:
        spooled.add(table)
    assert spooled.is_on_disk == (budget < 8000)
    assert_frame_equal(pl.concat([t for batch in spooled.batches() for t in batch]), pl.concat(tables))


def test_a_bucket_holds_all_rows_of_its_keys() -> None:
    spooled = Spool(1, lambda table: table["key"].hash())
    for n in range(10):
        spooled.add(pl.DataFrame({"key": [f"k{k}" for k in range(200)], "n": [n] * 200}))
    seen = [pl.concat(tables) for tables in spooled.buckets()]
    assert 1 < len(seen) <= BUCKETS
    assert sum(t.height for t in seen) == 2000
    assert sum(t["key"].n_unique() for t in seen) == 200


def test_its_files_go_with_it() -> None:
    spooled = Spool(1)
    spooled.add(pl.DataFrame({"a": [1]}))
    place = spooled._folder.path  # type: ignore[union-attr]
    assert list(place.iterdir())
    lazy = pl.concat(spooled.scan())
    del spooled
    assert lazy.collect().height == 1, "what is to be read later keeps the files"
    del lazy
    assert not place.exists()


def test_messages_and_deliveries_are_the_same_by_bucket_and_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """… of all samples together: Postfix, Exim and Exchange, several inputs, one told twice."""
    whole, _ = api.correlate([str(SAMPLES)], year=2026)
    monkeypatch.setattr(spool.Spool.__init__, "__defaults__", (1 << 16, None))
    parts, _ = api.correlate([str(SAMPLES)], year=2026)
    assert_frame_equal(whole.messages, parts.messages)
    assert_frame_equal(whole.deliveries, parts.deliveries)
    assert_frame_equal(whole.attempts, parts.attempts)
    assert whole.until == parts.until
    assert isinstance(whole, correlate.Mail)
