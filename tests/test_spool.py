"""Tables that don't fit into memory take the way over files and come out the same."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from maillog_forensics import api, reading
from maillog_forensics.spool import BUCKETS, Spool
from tests import bench_logs
from tests.clusters import document
from tests.test_archive import little_room
from tests.test_cli import ENTRY

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
    monkeypatch.setattr(api, "Request", partial(reading.Request, spool_bytes=1 << 16, tables_bytes=1 << 16))
    parts, _ = api.correlate([str(SAMPLES)], year=2026)
    assert whole.folder is None and parts.folder is not None
    assert_frame_equal(whole.messages.collect(), parts.messages.collect())
    assert_frame_equal(whole.deliveries.collect(), parts.deliveries.collect())
    by = ("time", "source", "line", "recipient")
    assert_frame_equal(whole.attempts.collect().sort(by), parts.attempts.collect().sort(by))
    assert whole.until == parts.until


@pytest.mark.parametrize("name", ["loop_postfix_exim", "ring_three_hosts", "backscatter_storm", "exchange_autoreply"])
def test_the_findings_are_the_same_from_tables_in_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.analyze([str(SAMPLES / name)], keep_events=False)
    monkeypatch.setattr(api, "tables_budget", lambda memory_bytes: 1 << 14)
    parts = api.analyze([str(SAMPLES / name)], keep_events=False)
    assert whole.mail.folder is None and parts.mail.folder is not None
    assert document(whole.findings) == document(parts.findings)
    place = parts.mail.folder.path
    assert place.exists()
    del parts
    assert not place.exists(), "files go with the tables"


def test_a_log_of_refusals_alone_goes_to_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "mail.log"
    refusal = (
        "Mar  2 08:00:{:02} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from h[192.0.2.{}]: 550 5.1.1 <u{}@a.example>: "
        "Recipient address rejected: User unknown; from=<x@b.example> to=<u{}@a.example> proto=SMTP helo=<h>\n"
    )
    log.write_text("".join(refusal.format(n % 60, n % 250, n, n) for n in range(400)))
    monkeypatch.setattr(api, "tables_budget", lambda memory_bytes: 1)
    result = api.analyze([str(log)], keep_events=False, year=2026)
    traffic = result.findings.traffic
    assert result.mail.attempts.collect().height == traffic.rejected == 400
    assert traffic.first is not None and f"{traffic.first:%d %H:%M:%S}" == "02 08:00:00", "its lines have dates"
    assert result.mail.folder is not None and result.mail.messages.collect().is_empty()


@pytest.mark.parametrize("words", [["--memory", "100M"], []])
def test_a_full_folder_for_temporary_files_is_one_sentence(tmp_path: Path, words: list[str]) -> None:
    """… whether it is the events of a log that do not fit, or what comes in through a pipe."""
    log = tmp_path / "mail.log"
    bench_logs.write("postfix", log, 60)
    (tmp_path / "t").mkdir()
    command = [*ENTRY, "analyze", str(log) if words else "-", *words, "--quiet", "--findings", "-"]
    result = subprocess.run(
        command,
        input=None if words else log.read_bytes(),
        capture_output=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "t")},
        preexec_fn=little_room(200_000),
        check=False,
    )
    said = result.stderr.decode()
    assert result.returncode == 1, said
    assert said.count("\n") == 1 and f"can't be written to {tmp_path / 't'}" in said
    assert not list((tmp_path / "t").iterdir())
