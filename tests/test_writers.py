"""Files as a pipeline meets them: whole or not there, the same bytes each time, safe in a spreadsheet."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import api, schema, writers
from maillog_forensics.errors import UsageError
from maillog_forensics.writers import Output
from tests.test_cli import ENTRY, run, said
from tests.test_dialects import hostile_events

KINDS = ("parquet", "arrow", "jsonl", "csv")


@pytest.fixture(scope="module")
def events(samples: Path) -> pl.DataFrame:
    return api.normalize([str(samples / "loop_postfix_exim")]).events.collect()


def back(path: Path, kind: str) -> pl.DataFrame:
    match kind:
        case "parquet":
            return pl.read_parquet(path)
        case "arrow":
            return pl.read_ipc(path)
        case "jsonl":
            return pl.read_ndjson(path, infer_schema_length=None)
        case _:
            return pl.read_csv(path, infer_schema_length=None)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_holds_every_event_and_is_the_same_bytes_each_time(events: pl.DataFrame, tmp_path: Path, kind: str) -> None:
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    writers.write_events(events, str(first))
    writers.write_events(events.lazy(), str(second))
    assert first.read_bytes() == second.read_bytes()
    table = back(first, kind)
    assert table.columns == list(schema.EVENTS) and table["line"].to_list() == events["line"].to_list()
    if kind in ("parquet", "arrow"):
        assert table.with_columns(pl.col("event").cast(schema.EVENT)).equals(events)
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.name, second.name], "no temporary file is left"


def test_parquet_says_which_schema_it_holds(events: pl.DataFrame, tmp_path: Path) -> None:
    writers.write_events(events, Output(str(tmp_path / "e.parquet"), "ecs"))
    about = pl.read_parquet_metadata(tmp_path / "e.parquet")
    assert (about["maillog-forensics/events"], about["maillog-forensics/schema"]) == (str(schema.SCHEMA_VERSION), "ecs")


@pytest.mark.parametrize("name", ["native", "ecs", "ocsf", "timesketch"])
def test_no_cell_of_a_spreadsheet_is_a_formula(tmp_path: Path, name: str) -> None:
    writers.write_events(hostile_events(), Output(str(tmp_path / "e.csv"), name))
    with open(tmp_path / "e.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    texts = [c for c in cells if c[:1] in tuple("=+-@\t\r") and not c.lstrip("-").replace(".", "").replace("e", "").isdigit()]
    assert set(texts) <= {"@timestamp"}, "the name of ECS's own column"


def test_partitions_hold_each_event_once_and_whatever_a_host_is_called_stays_inside_the_folder(tmp_path: Path) -> None:
    table = hostile_events().with_columns(host=pl.Series(["../../up", "a/b", None, "", "mx.example", "..", "x=y\n"] * 6).head(36))
    paths = writers.write_events(table, Output(str(tmp_path / "out"), partition_by=("day", "host")))
    assert paths == sorted(paths) and len(paths) > 5
    assert all(Path(p).resolve().is_relative_to(tmp_path / "out") for p in paths)
    assert {p for p in (tmp_path / "out").rglob("*") if p.is_file()} == {Path(p) for p in paths}
    together = pl.concat(pl.read_parquet(p, hive_partitioning=False) for p in paths)
    assert together.sort("time").select("time", "host").equals(table.select("time", "host").sort("time"))
    assert pl.read_parquet(tmp_path / "out", hive_partitioning=True).columns == [*schema.EVENTS, "day", "log_host"]


def test_a_rerun_replaces_its_own_partitions_and_leaves_those_of_others(samples: Path, tmp_path: Path) -> None:
    def normalized(log: str) -> dict[str, bytes]:
        result = run("normalize", str(samples / log), "-o", str(tmp_path / "lake"), "--partition-by", "day", "--quiet")
        assert result.returncode == 0, said(result)
        return {str(p): p.read_bytes() for p in sorted((tmp_path / "lake").rglob("*.parquet"))}

    once = normalized("quiet_day")
    assert normalized("quiet_day") == once
    both = normalized("loop_postfix_exim")
    assert both.items() > once.items()


def test_a_report_that_has_no_place_is_told_before_the_logs_are_read(tmp_path: Path) -> None:
    """The logs are missing too, which would be told if they were looked for."""
    for option in ("--report", "--findings", "--summary", "--events"):
        result = run("analyze", str(tmp_path / "gone.log"), option, str(tmp_path / "reports" / "x.parquet"))
        assert result.returncode == 2
        assert f"type: mkdir -p {tmp_path / 'reports'}" in said(result) and "gone.log" not in said(result)


@pytest.mark.parametrize("name", ["native", "ocsf"])
def test_a_reader_that_has_enough_ends_the_pipe_without_a_word(samples: Path, name: str) -> None:
    log = samples / "backscatter_storm" / "mx1.alpha.example.exim_mainlog"
    words = f'cat {log} | "$0" -c \'from maillog_forensics.cli import main; main()\' normalize - -o - --schema {name}; echo "rc $?" >&2'
    result = subprocess.run(["bash", "-c", f"({words}) | head -2", sys.executable], capture_output=True, check=False)
    assert len([json.loads(line) for line in result.stdout.splitlines()]) == 2
    assert result.stderr == b"rc 0\n"


def test_a_pipe_is_as_old_as_now_where_its_stamps_carry_no_year(samples: Path) -> None:
    """What a log shipper hands on is not of 1970."""
    log = (samples / "quiet_day" / "mx1.alpha.example.mail.log").read_bytes()
    result = subprocess.run([*ENTRY, "normalize", "-", "-o", "-"], input=log, capture_output=True, check=True)
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(json.loads(result.stdout.splitlines()[-1])["time"])
    assert dt.timedelta(days=-1) <= age < dt.timedelta(days=366)


def test_a_full_disk_is_one_sentence_and_leaves_no_file(samples: Path) -> None:
    for words in (["-o", "/dev/full", "--to", "csv"], ["-o", "-"]):
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [*ENTRY, "normalize", str(samples / "quiet_day"), *words], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert result.returncode == 2
        assert result.stderr.decode().count("\n") == 1 and "no space left on device" in result.stderr.decode()


def test_a_device_is_written_to_and_not_replaced(samples: Path) -> None:
    result = run("analyze", str(samples / "quiet_day"), "--report", "/dev/null", "--findings", "/dev/null", "--quiet")
    assert result.returncode == 0, said(result)
    assert not os.path.isfile("/dev/null")


def test_inputs_without_mail_leave_nothing_under_the_final_name(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text('192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-"\n')
    (tmp_path / "old.parquet").write_text("what was there")
    for words in (["-o", str(tmp_path / "old.parquet")], ["-o", str(tmp_path / "lake"), "--partition-by", "day"]):
        result = run("normalize", str(tmp_path / "web.log"), *words)
        assert result.returncode == 3
        assert "no line of a mail server was found" in said(result)
    assert (tmp_path / "old.parquet").read_text() == "what was there"
    assert not [p for p in (tmp_path / "lake").rglob("*") if p.is_file()]


def test_a_run_that_is_killed_leaves_the_old_file_as_it_was(samples: Path, tmp_path: Path) -> None:
    target = tmp_path / "e.parquet"
    target.write_text("what was there")
    with subprocess.Popen([*ENTRY, "normalize", "-", "-o", str(target)], stdin=subprocess.PIPE) as writing:
        assert writing.stdin
        writing.stdin.write((samples / "quiet_day" / "mx1.alpha.example.mail.log").read_bytes())
        writing.stdin.flush()
        time.sleep(0.5)
        writing.send_signal(signal.SIGKILL)
    assert target.read_text() == "what was there"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (Output("x.txt"), "must end in one of .parquet"),
        (Output("x.parquet", "cim"), "write one of native, ecs, ocsf, timesketch"),
        (Output("x", kind="xlsx"), "write one of parquet, arrow, jsonl, csv"),
        (Output("x", partition_by=("week",)), "write day, host or day,host"),
        (Output("-", partition_by=("day",)), "needs a folder"),
        (Output("no such/folder/x.parquet"), "type: mkdir -p '.*no such/folder'"),
        (Output("tests", kind="csv"), "is a folder; name a file in it"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(output: Output, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        output.check()


def test_the_summary_of_a_run_agrees_with_its_published_schema_and_with_what_happened(samples: Path, tmp_path: Path) -> None:
    import jsonschema

    from maillog_forensics.run_summary import json_schema

    def summary(*args: str) -> dict:
        result = run(*args, "--summary", str(tmp_path / "s.json"), "--quiet")
        document = json.loads((tmp_path / "s.json").read_text())
        jsonschema.Draft202012Validator(json_schema()).validate(document)
        assert document["exit_code"] == result.returncode
        return document

    target = str(tmp_path / "e.jsonl")
    read = summary("normalize", str(samples / "quiet_day"), "-o", target)
    assert read["outputs"] == [target] and read["events"] == len(Path(target).read_text().splitlines())
    assert sum(i["lines"] for i in read["inputs"]) == 4237
    found = summary("analyze", str(samples / "loop_postfix_exim"), "--fail-on", "loop")
    assert (found["exit_code"], sum(found["incidents"]["mail_loop"].values())) == (10, 1)
    (tmp_path / "no.log").write_text("nothing\n")
    assert summary("normalize", str(tmp_path / "no.log"), "-o", target)["error"].startswith("no line of a mail server")
    assert summary("analyze", str(tmp_path / "gone.log"))["exit_code"] == 3


def test_nothing_colours_or_moves_outside_a_terminal(samples: Path, tmp_path: Path) -> None:
    for words in (["normalize", "-o", "-"], ["analyze"]):
        result = run(words[0], str(samples / "quiet_day"), *words[1:])
        assert b"\x1b" not in result.stdout + result.stderr and b"\r" not in result.stderr
