"""The public API, as its page shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maillog_forensics import steps
from tests.conftest import ROOT


def test_the_examples_of_the_page_run_one_after_the_other(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_logs").symlink_to(samples)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)


def test_events_from_a_file_tell_the_incidents_of_the_logs(samples: Path, tmp_path: Path) -> None:
    path = str(samples / "loop_postfix_exim")
    steps.normalize([path], year=2026).events.sink_parquet(tmp_path / "e.parquet")
    import polars as pl

    (mine,) = steps.find_incidents(pl.scan_parquet(tmp_path / "e.parquet")).incidents
    (theirs,) = steps.analyze([path], year=2026).findings.incidents
    assert (mine.id, mine.headline, mine.messages) == (theirs.id, theirs.headline, theirs.messages)
    assert [e.text for e in mine.evidence] == [e.text for e in theirs.evidence], "the logs still lie there"


def test_correlate_hands_on_lazy_tables(samples: Path) -> None:
    mail = steps.correlate(steps.normalize([str(samples / "quiet_day")]).events)
    assert {"from_box", "parent"} <= set(mail.messages.collect_schema())
    assert mail.deliveries.collect().height > 500
