"""The command line as its user meets it: what it says, where it says it, how it exits."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = [sys.executable, "-c", "from maillog_forensics.cli import main; main()"]


def run(*args: str, stdin: bytes | None = None, check_text: bool = True) -> subprocess.CompletedProcess:
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "140"}
    return subprocess.run([*ENTRY, *args], capture_output=True, input=stdin, env=env, check=False)


def said(result: subprocess.CompletedProcess) -> str:
    return result.stderr.decode()


@pytest.fixture
def log(samples: Path, tmp_path: Path) -> Path:
    """A few hundred lines of a real loop."""
    lines = (samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log").read_text().splitlines(keepends=True)
    path = tmp_path / "mail.log"
    path.write_text("".join(lines[:400]))
    return path


def test_analyze_writes_report_and_findings_and_says_where(log: Path, tmp_path: Path) -> None:
    result = run("analyze", str(log), "--report", str(tmp_path / "r.html"), "--findings", str(tmp_path / "f.json"))
    assert result.returncode == 0, said(result)
    assert json.loads((tmp_path / "f.json").read_text())["schema"] == "maillog-forensics/findings/1"
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert str(tmp_path / "r.html") in said(result)


def test_a_name_that_is_no_utf8_stands_in_the_findings_as_escapes(log: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.log"
    try:
        shutil.copy(log, odd)
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    result = run("analyze", os.fsdecode(odd), "--findings", str(tmp_path / "f.json"), "--summary", str(tmp_path / "s.json"))
    assert result.returncode == 0, said(result)
    findings = json.loads((tmp_path / "f.json").read_text())
    assert findings["inputs"][0]["path"].endswith(r"\xff\xfe.log") and r"\xff\xfe.log" in findings["run"]["command"]
    assert r"\xff\xfe.log" in json.loads((tmp_path / "s.json").read_text())["command"]


def test_findings_go_to_standard_output_alone(log: Path) -> None:
    result = run("analyze", str(log), "--findings", "-", "--quiet")
    assert json.loads(result.stdout)["incidents"]
    assert said(result) == ""


def test_a_log_may_come_from_standard_input(log: Path) -> None:
    result = run("analyze", "-", "--findings", "-", "--quiet", stdin=log.read_bytes())
    found = json.loads(result.stdout)
    assert found["inputs"][0]["path"] == "-"
    assert found["incidents"][0]["evidence"][0]["text"]


def test_fail_on_exits_with_ten_only_for_the_kind_that_is_there(log: Path) -> None:
    assert run("analyze", str(log), "--quiet", "--fail-on", "loop").returncode == 10
    assert run("analyze", str(log), "--quiet", "--fail-on", "storm").returncode == 0


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--window", "soon"], "--window 4h"), (["--since", "yesterdayish"], "--since 2026"), (["--fail-on", "fire"], "loop,storm"),
        (["--since=2026-03-03", "--until=2026-03-01"], "earlier"), (["--tz", "Mars/Base"], "Asia/Manila"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_usage_and_says_what_to_write(log: Path, args: list[str], word: str) -> None:
    result = run("analyze", str(log), *args)
    assert result.returncode == 2
    assert word in said(result)
    assert "Traceback" not in said(result)


def bad_inputs(folder: Path) -> dict[str, tuple[bytes | None, str]]:
    web = b'192.0.2.7 - - [02/Mar/2026:08:00:00 +0000] "GET / HTTP/1.1" 200 612 "-" "curl/8"\n' * 20
    return {
        "missing.log": (None, "no such file"),
        "empty.log": (b"", "empty"),
        "binary.log": (bytes(range(256)) * 40, "no line of a mail server"),
        "access.log": (web, "web server"),
    }


@pytest.mark.parametrize("name", ["missing.log", "empty.log", "binary.log", "access.log"])
def test_an_input_without_mail_gets_one_clear_sentence_and_exit_three(tmp_path: Path, name: str) -> None:
    data, word = bad_inputs(tmp_path)[name]
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    result = run("analyze", str(path), "--quiet")
    assert result.returncode == 3, said(result)
    assert word in said(result) and name in said(result)
    assert "Traceback" not in said(result)


def test_a_directory_without_logs_is_told(tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    result = run("analyze", str(tmp_path / "void"))
    assert result.returncode == 3
    assert "holds no files" in said(result)


def test_the_rest_is_analyzed_when_one_input_is_bad(log: Path, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_bytes(bad_inputs(tmp_path)["access.log"][0] or b"")
    result = run("analyze", str(log), str(tmp_path / "access.log"), str(tmp_path / "nothing.log"), "--findings", "-", "--quiet")
    assert result.returncode == 0
    assert json.loads(result.stdout)["incidents"]
    assert "access.log" in said(result) and "nothing.log" in said(result)


def test_a_truncated_gzip_is_read_as_far_as_it_goes(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress(log.read_bytes())[:-2000])
    result = run("analyze", str(path), "--findings", "-", "--quiet")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert found["inputs"][0]["parsed"] > 100
    assert "truncated" in said(result)
    assert run("analyze", str(path), "--quiet", "--strict").returncode == 4


def test_nul_bytes_and_broken_utf8_are_counted_and_the_rest_is_understood(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(
        b"\0" * 5000
        + b"\n"
        + log.read_bytes()
        + b"\xff\xfe\x80 broken \xc3\n"
        + b"\0\0Mar  2 08:40:00 mx1 postfix/qmgr[1]: ABCDEF12345: removed\n"
    )
    found = json.loads(run("analyze", str(path), "--findings", "-", "--quiet").stdout)
    item = found["inputs"][0]
    assert item["damaged"] >= 1
    assert item["parsed"] + item["ignored"] + item["unrecognised"] + item["damaged"] == item["lines"] == 403
    assert found["incidents"]


def test_normalize_to_a_pipe_that_closes_ends_cleanly(log: Path) -> None:
    shell = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c 'from maillog_forensics.cli import main; main()' normalize {log} -o - | head -n 1"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert json.loads(shell.stdout)["mta"] == "postfix"
    assert b"Traceback" not in shell.stderr


def test_spreadsheet_formulas_are_defused_in_csv(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text("Mar  2 08:00:00 mx postfix/cleanup[2]: AAAAAAAA01: message-id=<=cmd|' /C calc'!A0>\n")
    assert run("normalize", str(tmp_path / "mail.log"), "-o", str(tmp_path / "e.csv"), "--year", "2026").returncode == 0
    assert "'=cmd|" in (tmp_path / "e.csv").read_text()


def test_help_does_not_load_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv=['maillog-forensics','--help']\n"
        "from maillog_forensics.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'polars' not in sys.modules and 'networkx' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_escape_sequences_of_a_log_never_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[31m.log").write_text("x\n")
    result = run("analyze", str(tmp_path / "evil\x1b[31m.log"))
    assert b"\x1b" not in result.stderr


def test_lines_that_nothing_knows_are_written_out_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_text("Mar  2 08:00:00 mx postfix/qmgr[2]: AAAAAAAA01: removed\nno record at all\n")
    out = tmp_path / "strange.txt"
    assert run("normalize", str(tmp_path / "mail.log"), "-o", "-", "--year", "2026", "--unrecognised", str(out)).returncode == 0
    assert out.read_text() == f"{tmp_path / 'mail.log'}:2: no record at all\n"


def test_formats_propose_drafts_a_rule() -> None:
    result = run("formats", "propose", "Mar  2 08:00:00 mx mygate[2]: let 3 through to <a@b.example>")
    assert result.returncode == 0
    assert b"event notice" in result.stdout and b"{_:int}" in result.stdout


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--report", "mail.html"),
        ("--findings", "mail.json"),
        ("--summary", "mail.json"),
        ("--unrecognised", "mail.log"),
        ("-o", "mail.csv"),
    ],
)
def test_what_is_read_is_never_written_over(log: Path, tmp_path: Path, option: str, name: str) -> None:
    source = tmp_path / "logs" / name
    source.parent.mkdir()
    source.write_bytes(log.read_bytes())
    result = run(*(["normalize"] if option == "-o" else ["analyze"]), str(tmp_path / "logs"), option, str(source))
    assert result.returncode == 2
    assert "one of the files that are read" in said(result)
    assert source.read_bytes() == log.read_bytes()


@pytest.mark.parametrize(("option", "name"), [("--report", "mail.log"), ("--report", "x.pdf"), ("--findings", "mail.log")])
def test_a_name_that_is_none_of_a_report_is_refused(log: Path, tmp_path: Path, option: str, name: str) -> None:
    """The shell makes it of `--report /var/log/*` where a name was forgotten."""
    victim = tmp_path / name
    victim.write_text("kept")
    result = run("analyze", str(log), option, str(victim))
    assert result.returncode == 2
    assert "must end in" in said(result)
    assert victim.read_text() == "kept"


def test_a_run_without_mail_leaves_the_last_report(tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    report.write_text("last week's")
    result = run("analyze", str(tmp_path / "typo.log"), "--report", str(report), "--findings", str(tmp_path / "f.json"))
    assert result.returncode == 3
    assert report.read_text() == "last week's"
    assert not (tmp_path / "f.json").exists()
    assert "No mail loop" not in said(result)


def test_a_time_without_mail_is_told_with_the_times_that_the_logs_tell_of(log: Path) -> None:
    result = run("analyze", str(log), "--since", "2031-01-01")
    assert result.returncode == 0
    assert "No mail in the time that was asked for" in result.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "postfx"], "write one of"),
        (["--parsers", "/nowhere/at/all"], "no such folder"),
        (["--window", "4"], "--window 4h or --window 4s"),
    ],
)
def test_a_mistaken_value_is_an_error_that_says_what_to_write(log: Path, arguments: list[str], words: str) -> None:
    result = run("analyze", str(log), *arguments)
    assert result.returncode == 2
    assert words in said(result)


def test_a_format_that_is_asked_for_is_the_only_one_read(log: Path) -> None:
    assert run("analyze", str(log), "--format", "postfix").returncode == 0
    assert run("analyze", str(log), "--format", "exim").returncode == 3


def test_a_list_of_pairs_with_other_words_is_refused(log: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.toml"
    known.write_text('[[pair]]\nmembers = ["a@x.example", "b@y.example"]\n')
    result = run("analyze", str(log), "--allow", str(known))
    assert result.returncode == 2
    assert "[[allow]]" in said(result)
