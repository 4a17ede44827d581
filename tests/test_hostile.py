"""What an attacker, a full disk or a bad copy makes of a log: no crash, every line counted, one sentence, bounded time and memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import accounts, api, compression, duplicates, intake, logfiles, normalize, reading, schema, sources
from maillog_forensics.text import visible
from tests import fuzz_reading

STAMP = "Mar  2 08:13:22 mx1 postfix/"
REMOVED = "Mar  2 08:13:22 mx1 postfix/qmgr[7]: 4F1C2A0D31: removed\n"
SENT = (
    "Mar  2 08:13:22 mx1 postfix/smtp[7]: 4F1C2A0D31: to=<b@beta.example>, relay=mx.beta.example[192.0.2.1]:25, delay=1, "
    "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"
)
HEAD = (
    "#Fields: date-time,client-ip,client-hostname,server-ip,server-hostname,source-context,connector-id,source,event-id,"
    "internal-message-id,message-id,recipient-address,recipient-status,total-bytes,recipient-count,related-recipient-address,"
    "reference,message-subject,sender-address,return-path,message-info,directionality\n"
)
RECORD = (
    "2026-03-02T08:00:00.000Z,10.0.0.1,c,10.0.0.2,s,ctx,conn,SMTP,RECEIVE,1,<m{}@x.example>,a@b.example,,100,1,,,subject,"
    "c@d.example,c@d.example,,Incoming\n"
)


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


@pytest.fixture
def take(tmp_path: Path, plan: normalize.Plan) -> Callable[..., tuple[pl.DataFrame, accounts.InputReport]]:
    """Read bytes as a log; the ledger adds up, whatever they are."""

    def taken(data: bytes, name: str = "mail.log", chunk_bytes: int = sources.CHUNK_BYTES):
        (tmp_path / name).write_bytes(data)
        events, report = intake.take_in(str(tmp_path / name), plan, intake.Options(year=2026, chunk_bytes=chunk_bytes)).whole()
        adds_up(report)
        return events, report

    return taken


def adds_up(report: accounts.InputReport) -> None:
    states = (report.parsed, report.ignored, report.unrecognised, report.damaged)
    assert min(states) >= 0
    assert sum(states) == report.about.lines


CHILD = """
import json, re, sys, time
from maillog_forensics import intake, reading
plan = reading.load()
began = time.monotonic()
events, report = intake.take_in(sys.argv[1], plan, intake.Options(year=2026)).whole()
print(json.dumps({
    "s": time.monotonic() - began, "mb": int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024, "events": events.height,
    "lines": report.about.lines, "states": [report.parsed, report.ignored, report.unrecognised, report.damaged],
    "problems": report.about.problems, "bytes": report.about.decompressed_bytes,
}))
"""


def measured(path: Path) -> dict:
    """Read `path` in a process of its own: seconds, peak memory in MB, ledger.

    The peak is the kernel's VmHWM: ru_maxrss of a child begins with what its parent had.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc")
    out = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, check=False, timeout=240)
    assert out.returncode == 0, out.stderr.decode()[-2000:]
    told = json.loads(out.stdout)
    assert sum(told["states"]) == told["lines"]
    return told


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_gigabyte_without_a_newline_is_one_damaged_line_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    with path.open("wb") as file:
        file.write(SENT.encode())
        file.write(b"x" * 100)
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(("\n" + REMOVED).encode())
    told = measured(path)
    assert told["mb"] < 600
    assert told["states"] == [2, 0, 0, 1]


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"\n" * 12_000_000, 12_000_000), (b"\xff" * 30_000_000 + b"\n", 1), (b"\xff\n" * 2_000_000, 2_000_000), (b"\0" * 40_000_000, 1)],
    ids=["newlines", "one broken line", "broken lines", "zeros"],
)  # fmt: skip
def test_bytes_that_are_no_text_take_bounded_memory(tmp_path: Path, data: bytes, lines: int) -> None:
    (tmp_path / "mail.log").write_bytes(data)
    told = measured(tmp_path / "mail.log")
    assert told["mb"] < 600
    assert told["lines"] == lines


def test_a_token_of_five_megabytes_is_cut_and_counted_as_damaged(take) -> None:
    long = (
        STAMP
        + "smtp[7]: 4F1C2A0D31: to=<"
        + "a" * 5_000_000
        + "@b.example>, relay=none, delay=1, dsn=5.4.6, status=bounced (x)\n"
    )
    began = time.monotonic()
    events, report = take((SENT + long + REMOVED).encode())
    assert (report.parsed, report.damaged) == (2, 1)
    assert events["offset"].max() == len(SENT) + len(long)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "line",
    [
        "2026-03-02 08:13:23 1vwyP5-0001mi-2O <= a@alpha.example " + "(" * 400_000 + " H=mx1 (" + "(" * 100_000,
        "2026-03-02 08:13:23 1vwyP5-0001mi-2O => a@alpha.example " + "A=b " * 200_000,
        "2026-03-02 08:13:23 1vwyP5-0001mi-2O <= a@alpha.example T=\"" + 'x\\"' * 300_000,
        STAMP + "smtpd[1]: NOQUEUE: reject: RCPT from " + "a[1.2.3.4]: 554 " * 60_000,
        STAMP + "smtpd[1]: " + " " * 900_000,
        HEAD + "," * 900_000,
        HEAD + RECORD.format(1).replace("subject", '"' * 900_000),
        '{"__REALTIME_TIMESTAMP":"1700000000000000","_HOSTNAME":"mx","MESSAGE":' + "[" * 900_000,
    ],
    ids=["brackets", "keys", "quotes", "repeats", "blanks", "commas", "quoted cells", "nested json"],
)  # fmt: skip
def test_a_line_made_to_be_slow_is_read_in_seconds(take, line: str) -> None:
    began = time.monotonic()
    take((line + "\n" + REMOVED).encode())
    assert time.monotonic() - began < 30


def distinct(count: int) -> bytes:
    return b"".join(
        b"Mar  2 08:13:22 mx%d postfix-%d/smtp[%d]: %X: to=<v%d@e%d.example>, relay=r%d.example[192.0.2.1]:25, delay=1, "
        b"delays=0/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as %X)\n"
        b"Mar  2 08:13:23 h%d tag%d[%d]: nothing\n" % (i, i, i, i + (1 << 28), i, i, i, i + (1 << 29), i, i, i)
        for i in range(count)
    )


def test_three_hundred_thousand_distinct_hosts_tags_and_ids_take_linear_time(take) -> None:
    seconds = []
    for count in (30_000, 150_000):
        data = distinct(count)
        began = time.monotonic()
        events, report = take(data)
        seconds.append(time.monotonic() - began)
        assert events.height == count == report.parsed == report.ignored
    assert seconds[1] < 5 * 3 * seconds[0] + 5


def test_three_hundred_different_heads_are_followed_and_no_more(take) -> None:
    lines = [HEAD.rstrip("\n") + f",x{i}\n" + RECORD.format(i).rstrip("\n") + ",\n" for i in range(5000)]
    began = time.monotonic()
    _, report = take("".join(lines).encode())
    assert report.ignored == report.parsed == 5000
    assert any("different heads" in p for p in report.about.problems)
    assert time.monotonic() - began < 60


# --- characters -------------------------------------------------------------------------------------------------------


def test_zeros_from_a_crash_are_damaged_lines_and_what_follows_them_is_read(take) -> None:
    _, report = take(SENT.encode() + b"\0" * 70_000 + b"\n" + b"\0" * 5000 + REMOVED.encode() + b"\0\0\0")
    assert report.parsed == 2
    assert report.damaged == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_line_ends_of_any_kind_give_the_same_events_and_true_offsets(take, end: str) -> None:
    data = (SENT + REMOVED).replace("\n", end).encode()
    events, report = take(data)
    assert report.about.lines == 2
    for line, offset in events.select("line", "offset").rows():
        assert data[offset:].startswith((SENT if line == 1 else REMOVED)[:20].encode())


def test_broken_utf8_and_lone_surrogates_stay_visible_and_spoil_no_other_line(take) -> None:
    bad = [b"\xff\xfe\xfa", b"\xed\xa0\x80", b"\xc3", b"\xf0\x9f", b"\xc0\x80"]
    data = b"".join(SENT.encode().replace(b"250 ok", b"250 " + b) for b in bad)
    events, report = take(data)
    assert report.parsed == 5
    assert events["diagnostic"].to_list()[1] == r"250 \xed\xa0\x80"
    assert all(data[o:].startswith(STAMP.encode()) for o in events["offset"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_byte_order_marks_and_wide_characters_cut_in_half(take, encoding: str, cut: int) -> None:
    text = SENT.replace("ok", "Ĭ grün 🐘 ਊ") + REMOVED * 40 + SENT
    data = text.encode(encoding)
    events, report = take(data[: len(data) - cut], chunk_bytes=1 << 11)
    assert report.parsed >= 41
    assert report.about.lines == 42
    start = STAMP.encode(encoding.removesuffix("-sig") if encoding != "utf-16" else "utf-16-le")
    assert all(data[o:].startswith(start) for o in events["offset"])


def test_marks_of_files_that_were_put_together_are_taken_off(take) -> None:
    data = (b"\xef\xbb\xbf" + (HEAD + RECORD.format(1)).encode()) * 2
    assert take(data)[1].parsed == 2


@pytest.mark.parametrize(
    "line",
    [
        "Feb 30 08:00:00 mx postfix/cleanup[1]: 4F1C2A0D31: message-id=<20260302081322.4F1C2A0D31@mx>",
        "Mar  2 25:61:61 mx postfix/qmgr[1]: 4F1C2A0D31: removed",
        "9999-12-31T23:59:59-23:59 mx postfix/qmgr[1]: 4F1C2A0D31: removed",
        "0001-01-01T00:00:00+23:59 mx postfix/qmgr[1]: 4F1C2A0D31: removed",
        "0000-01-01 00:00:00 1vwyP5-0001mi-2O <= a@b.example U=root P=local S=99999999999999999999999",
        '{"__REALTIME_TIMESTAMP":"9000000000000000000","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"postfix/qmgr","_PID":"1",'
        '"MESSAGE":"4F1C2A0D31: removed"}',
    ],
)  # fmt: skip
def test_a_time_that_no_calendar_has_is_damage_with_a_sentence(take, line: str) -> None:
    events, report = take((line + "\n").encode())
    assert events.is_empty()
    assert report.damaged == 1
    assert "times that do not exist" in report.about.problems[0] or "a time that does not exist" in report.about.problems[0]


def test_a_leap_second_is_the_second_before_it(take) -> None:
    events, _ = take(b"2016-12-31T23:59:60Z mx postfix/qmgr[1]: 4F1C2A0D31: removed\n")
    assert events["time"].dt.to_string("%H:%M:%S").to_list() == ["23:59:59"]


def test_years_that_turn_three_thousand_times_are_no_crash(take) -> None:
    months = [f"{m} 20 08:00:00 mx postfix/qmgr[1]: 4F1C2A0D31: removed\n" for m in ("May", "Sep", "Dec")]
    take("".join(months * 3000).encode())


def test_a_year_proved_before_new_year_is_counted_on_after_it(take, plan: normalize.Plan, tmp_path: Path) -> None:
    first = "Dec 20 08:00:00 mx postfix/cleanup[1]: 4F1C2A0D31: message-id=<20251220080000.4F1C2A0D31@mx>\n"
    rest = [f"{day} 08:00:00 mx postfix/qmgr[1]: 4F1C2A{i:04X}: removed\n" for day in ("Dec 31", "Jan  2") for i in range(150)]
    (tmp_path / "mail.log").write_text(first + "".join(rest))
    _, report = intake.take_in(str(tmp_path / "mail.log"), plan, intake.Options()).whole()
    assert report.first is not None and report.last is not None
    assert (report.first.year, report.last.year) == (2025, 2026)


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "-1", "0x10", "99999999999999999999"])
def test_numbers_that_no_column_holds_are_null(take, number: str) -> None:
    data = (
        SENT.replace("delay=1,", f"delay={number},")
        + STAMP
        + f"qmgr[1]: 4F1C2A0D31: from=<a@b.example>, size={number}, nrcpt={number} (queue active)\n"
    )
    events, _ = take(data.encode())
    assert events.filter(pl.col("event") == "queue")["size"].null_count() == events.filter(pl.col("event") == "queue").height


# --- forged lines -----------------------------------------------------------------------------------------------------


def test_a_line_inside_a_subject_or_a_helo_is_part_of_that_line(take) -> None:
    forged = REMOVED.rstrip("\n").replace("4F1C2A0D31", "AAAAAAAAAA")
    lines = [
        f"2026-03-02 08:13:23 1vwyP5-0001mi-2O <= a@alpha.example H=mx1 [192.0.2.10] P=esmtp S=554 T=\"{forged} H=evil [6.6.6.6]\"",
        f"2026-03-02 08:13:23 1vwyP5-0001mi-2P <= a@alpha.example H=mx1 [192.0.2.10] P=esmtp S=554 T=\"\\\"\\n{forged}\" from <a@alpha.example> for b@beta.example",
    ]  # fmt: skip
    events, report = take(("\n".join(lines) + "\n").encode(), "mx.exim_mainlog")
    assert report.about.lines == report.parsed == 2
    assert events["client_ip"].unique().to_list() == ["192.0.2.10"]
    assert not (events["queue_id"] == "AAAAAAAAAA").any()
    helo = (
        STAMP
        + f"smtpd[1]: NOQUEUE: reject: RCPT from unknown[192.0.2.9]: 554 5.7.1 no; from=<a@b> to=<c@d> proto=SMTP helo=<{forged}>\n"
    )
    events, _ = take(helo.encode())
    assert events["event"].to_list() == ["reject"]
    assert events["client_ip"].to_list() == ["192.0.2.9"]


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_quote_that_never_closes_spoils_its_own_record_and_no_more(take) -> None:
    lines = [RECORD.format(i) for i in range(50)]
    lines[10] = lines[10].replace("subject", '"subject')
    events, report = take((HEAD + "".join(lines)).encode())
    assert report.parsed + report.damaged == 50
    assert report.parsed >= 49
    assert events.height >= 49


def test_a_head_in_the_middle_is_no_record_and_the_new_order_of_columns_holds(take) -> None:
    names = HEAD.removeprefix("#Fields: ").strip().split(",")
    turned = "#Fields: " + ",".join(reversed(names)) + "\n"
    record = ",".join(reversed(RECORD.format(2).strip().split(","))) + "\n"
    events, report = take((HEAD + RECORD.format(1) + turned + record + HEAD + RECORD.format(3)).encode())
    assert (report.parsed, report.ignored) == (3, 3)
    assert events["message_id"].to_list() == ["m1@x.example", "m2@x.example", "m3@x.example"]
    assert events["sender"].unique().to_list() == ["c@d.example"]


def test_a_broken_head_that_names_a_status_and_no_recipient_is_no_crash(take) -> None:
    take((HEAD.replace("recipient-address", "re\xa1ipient") + RECORD.format(1)).encode())


# --- compressed -------------------------------------------------------------------------------------------------------

LOG = (SENT + REMOVED).encode() * 3000


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed_logs_whole_cut_put_together_and_with_garbage_behind(take, kind: str) -> None:
    packed = PACKERS[kind](LOG)
    _, whole = take(packed)
    assert (whole.about.compression, whole.parsed, whole.about.problems) == (kind, 6000, [])
    assert take(packed + packed)[1].parsed == 12_000
    assert take(packed + b"\0" * 1000)[1].about.problems == []
    noise = random.Random(1).randbytes(200_000)
    for spoiled in (packed[: len(packed) // 2], packed[:-1], packed + b"this is not compressed\n", packed[:20] + noise):
        _, report = take(spoiled)
        assert len([p for p in report.about.problems if kind in p]) == 1, report.about.problems
        assert not report.about.unreadable
    assert take(packed + b"this is not compressed\n")[1].parsed == 6000


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(b"\0" * (1 << 24)) * 200,
    "bzip2": lambda: bz2.compress(b"\0" * (1 << 24)) * 400,
    "xz": lambda: lzma.compress(b"\0" * (1 << 24)) * 400,
    "zstd": lambda: b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\0" * 40_000 + b"\x03\x00\x10\0",  # RLE blocks of 128 KiB
}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_of_gigabytes_is_left_with_a_sentence_in_bounded_time_and_memory(tmp_path: Path, kind: str) -> None:
    if kind == "zstd":
        pytest.importorskip("zstandard")
    (tmp_path / "mail.log.x").write_bytes(BOMBS[kind]())
    told = measured(tmp_path / "mail.log.x")
    assert told["mb"] < 600
    assert told["s"] < 60
    assert told["bytes"] < compression.BOMB_BYTES + (80 << 20)
    assert "times their size" in told["problems"][0]


# --- files ------------------------------------------------------------------------------------------------------------

ENTRY = [sys.executable, "-c", "from maillog_forensics.cli import main; main()"]


def run(*args: str | bytes, **more: object) -> subprocess.CompletedProcess:
    return subprocess.run([*ENTRY, *args], capture_output=True, check=False, timeout=120, **more)  # type: ignore[call-overload]


def test_a_log_that_grows_while_it_is_read_is_read_as_it_was_at_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text(REMOVED * 10_000)
    about = sources.Input(str(path))
    lines = 0
    for chunk in sources.read(str(path), about, chunk_bytes=1 << 16):
        lines += chunk.lines.height
        with path.open("a") as file:
            file.write(REMOVED * 5000)
    assert lines == about.lines == 10_000


def test_evidence_of_a_log_that_is_rotated_while_it_is_read_is_found_under_its_new_name(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log").read_text()
    path = tmp_path / "mail.log"
    path.write_text(text)
    from maillog_forensics import detectors

    find = detectors.find

    def rotates(*args: object, **more: object) -> object:
        path.rename(tmp_path / "mail.log.1")
        path.write_text(REMOVED * 20_000)
        return find(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(detectors, "find", rotates)
    (loop,) = api.analyze([str(path)]).findings.incidents
    lines = text.split("\n")
    assert all(e.text == lines[e.line - 1] for e in loop.evidence)
    assert loop.evidence[0].text


def test_a_log_that_is_emptied_while_it_is_read_gives_no_false_evidence(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mail.log"
    path.write_text((samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log").read_text())
    from maillog_forensics import detectors

    find = detectors.find

    def empties(*args: object, **more: object) -> object:
        path.write_text(REMOVED * 100)
        return find(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(detectors, "find", empties)
    (loop,) = api.analyze([str(path)]).findings.incidents
    assert {e.text for e in loop.evidence} == {""}


def test_names_with_newlines_escapes_quotes_and_broken_bytes_are_shown_safely(samples: Path, tmp_path: Path) -> None:
    text = (samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log").read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"a\nb.log", b"\x1b[31mred.log", b"'quo\"te.log", b"caf\xe9.log", b"<script>.log"]
    for n, name in enumerate(names):  # a part each
        lines = text.splitlines(keepends=True)
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(b"".join(lines[n::5]))
    result = run("analyze", str(folder), "--findings", str(tmp_path / "f.json"), "--report", str(tmp_path / "r.html"))
    assert result.returncode == 0, result.stderr.decode()
    found = json.loads((tmp_path / "f.json").read_text())
    assert len(found["inputs"]) == 5
    assert any(i["path"].endswith(r"caf\xe9.log") for i in found["inputs"])
    assert all(e["text"] for e in found["incidents"][0]["evidence"])
    assert b"\x1b" not in result.stdout + result.stderr
    assert "<script>.log" not in (tmp_path / "r.html").read_text()
    shown = run("trace", str(folder), "93BA798A0", "--lines")
    assert shown.returncode == 0, shown.stderr.decode()
    assert b"\x1b" not in shown.stdout


def test_a_folder_with_pipes_sockets_links_in_a_circle_and_links_to_nowhere_does_not_hang(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    (folder / "deep").mkdir(parents=True)
    (folder / "mail.log").write_text(SENT)
    os.mkfifo(folder / "pipe.log")
    (folder / "again").symlink_to(folder)
    (folder / "deep" / "up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "nowhere.log").symlink_to("gone")
    (folder / "null.log").symlink_to("/dev/null")
    (folder / "zero.log").symlink_to("/dev/zero")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            os.chdir(folder)  # the name of a socket is short
            sock.bind("s.log")
        finally:
            os.chdir(here)
        files, problems = logfiles.expand([str(folder)])
    assert files == [str(folder / "mail.log")]
    assert len(problems) == 1
    assert "left out" in problems[0]
    for name, word in (("s.log", "a socket"), ("zero.log", "a device"), ("nowhere.log", "leads nowhere")):
        (problem,) = logfiles.expand([str(folder / name)])[1]
        assert word in problem and name in problem


def test_files_and_folders_without_permission_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"hostile-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        (folder / "mail.log").write_text(SENT)
        (folder / "secret.log").write_text(SENT)
        (folder / "closed").mkdir()
        (folder / "secret.log").chmod(0)
        (folder / "closed").chmod(0)
        code = (
            "import os, sys\n"
            "from maillog_forensics import logfiles, sources\n"
            "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "files, problems = logfiles.expand([sys.argv[1]])\n"
            "abouts = [sources.Input(f) for f in files]\n"
            "[list(sources.read(a.path, a)) for a in abouts]\n"
            "print([(os.path.basename(a.path), a.lines, a.unreadable, a.problems) for a in abouts], problems)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(sources.__file__).parents[1],
        )
        assert out.returncode == 0, out.stderr
        assert "('mail.log', 1, False, [])" in out.stdout
        assert "('secret.log', 0, True, [\"can't be read: permission denied" in out.stdout
        assert "closed: can't be listed: permission denied" in out.stdout
    finally:
        (folder / "closed").chmod(0o700)
        for path in (folder / "mail.log", folder / "secret.log"):
            path.unlink()
        (folder / "closed").rmdir()
        folder.rmdir()


def test_a_named_pipe_is_read_once_and_its_evidence_is_kept(samples: Path, tmp_path: Path) -> None:
    log = samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log"
    os.mkfifo(tmp_path / "pipe.log")
    with subprocess.Popen(["cp", str(log), str(tmp_path / "pipe.log")]):
        result = run("analyze", str(tmp_path / "pipe.log"), "--findings", "-", "--quiet")
    found = json.loads(result.stdout)
    assert found["inputs"][0]["path"] == str(tmp_path / "pipe.log")
    assert all(e["text"] for e in found["incidents"][0]["evidence"])


def test_trace_shows_the_lines_of_standard_input(samples: Path) -> None:
    log = samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log"
    result = run("trace", "-", "93BA798A0", "--lines", input=log.read_bytes())
    assert result.returncode == 0, result.stderr.decode()
    assert re.search(rb"-:4: Mar  2 .*93BA798A0: client=", result.stdout)


# --- told twice -------------------------------------------------------------------------------------------------------


def content(analysis: api.Analysis) -> list[dict]:
    """Incidents without the names of the files."""
    out = [i.model_dump(mode="json") for i in analysis.findings.incidents]
    return json.loads(re.sub(r'"source": "[^"]*"', '"source": ""', json.dumps(out)))


def test_a_log_and_its_compressed_twin_give_the_same_incidents_as_the_log_alone(samples: Path, tmp_path: Path) -> None:
    log = samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log"
    (tmp_path / "mail.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    alone, both = api.analyze([str(log)]), api.analyze([str(log), str(tmp_path / "mail.log.1.gz")])
    assert content(alone) == content(both)
    assert alone.findings.traffic == both.findings.traffic
    assert sorted(i.duplicates for i in both.findings.inputs) == [0, alone.findings.inputs[0].parsed]
    for item in both.findings.inputs:
        assert item.parsed + item.ignored + item.unrecognised + item.damaged == item.lines


def test_copies_that_overlap_give_the_same_incidents_as_the_whole(samples: Path, tmp_path: Path) -> None:
    lines = (samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log").read_text().splitlines(keepends=True)
    (tmp_path / "whole.log").write_text("".join(lines))
    (tmp_path / "a.log").write_text("".join(lines[:1100]))
    (tmp_path / "b.log").write_text("".join(lines[500:]))
    parts = api.analyze([str(tmp_path / "a.log"), str(tmp_path / "b.log")], year=2026)
    whole = api.analyze([str(tmp_path / "whole.log")], year=2026)
    parsed = sum(i.parsed for i in parts.findings.inputs)
    assert sum(i.duplicates for i in parts.findings.inputs) == parsed - whole.findings.inputs[0].parsed == 599
    assert [i.messages for i in parts.findings.incidents] == [i.messages for i in whole.findings.incidents]
    assert parts.findings.traffic == whole.findings.traffic


def test_the_same_log_in_two_formats_counts_once(shared: Path) -> None:
    for name in ("1_vacation_pingpong", "9_mailerdaemon_loop", "10_self_routing"):
        folder, others = shared / "incidents" / name, sorted((shared / "incidents_other_formats" / name).iterdir())
        alone, both = api.analyze([str(folder)]), api.analyze([str(folder), *map(str, others)])
        assert [i.messages for i in alone.findings.incidents] == [i.messages for i in both.findings.incidents]
        assert alone.findings.traffic.deliveries == both.findings.traffic.deliveries
        for item in both.findings.inputs:
            if item.path in map(str, others):
                assert item.duplicates >= 0.995 * item.parsed


def test_a_reject_log_repeats_what_the_main_log_tells(shared: Path) -> None:
    found = api.analyze([str(shared / "incidents" / "7_background")]).findings
    (rejects,) = [i for i in found.inputs if i.path.endswith("rejectlog")]
    assert rejects.duplicates == rejects.parsed > 0


def events_at(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """Connections by (source, host, second)."""
    table = pl.DataFrame(rows, schema=["source", "host", "second"], orient="row")
    return schema.conform(
        table.select(
            "source", "host", line=pl.int_range(1, pl.len() + 1), mta=pl.lit("postfix"), program=pl.lit("smtpd"), event=pl.lit("session"),
            client_ip=pl.lit("192.0.2.1"), time=pl.from_epoch("second").dt.replace_time_zone("UTC"),
        ), schema.EVENTS, "events",
    )  # fmt: skip


def test_equal_lines_of_one_second_in_one_file_are_kept_and_repeats_across_files_go_one_by_one() -> None:
    kept, lines = duplicates.drop(events_at(*[("a", "mx", 100)] * 2, *[("b", "mx.example.org", 100)] * 3))
    assert kept["source"].to_list() == ["a", "a", "b"]
    assert lines == {"b": 2}
    assert duplicates.drop(events_at(*[("a", "mx", 100)] * 5))[0].height == 5


def test_equal_events_of_two_hosts_or_of_two_times_are_no_repeats() -> None:
    assert duplicates.drop(events_at(("a", "mx1", 100), ("b", "mx2", 100)))[1] == {}
    assert duplicates.drop(events_at(("a", "10.0.0.1", 100), ("b", "10.0.0.2", 100)))[1] == {}
    assert duplicates.drop(events_at(("a", "mx", 100), ("b", "mx", 101)))[1] == {}


def test_twins_whose_clocks_fall_on_both_sides_of_a_second_are_still_twins() -> None:
    first = [("a", "mx", s) for s in range(100, 200, 10)]
    second = [("b", "mx", s + (1 if s in (120, 160) else 0)) for s in range(100, 200, 10)]
    kept, lines = duplicates.drop(events_at(*first, *second))
    assert kept["source"].unique().to_list() == ["a"]
    assert lines == {"b": 10}


# --- what the fuzzer found --------------------------------------------------------------------------------------------


def test_a_few_hundred_mutated_inputs_hold_what_must_hold(tmp_path: Path, plan: normalize.Plan) -> None:
    """A short run of fuzz_reading, so that it does not rot."""
    lines, rng = fuzz_reading.seeds(), random.Random(7)
    for number in range(8):
        file, chunk = fuzz_reading.compose(rng.randbytes(100), lines)
        fuzz_reading.check(file, tmp_path / "mail.log", plan, chunk, further=number % 4 == 0)


def test_a_piece_smaller_than_the_longest_line_keeps_offsets_true(take) -> None:
    data = (SENT + "y" * 30_000 + "\n" + REMOVED).encode()
    events, report = take(data, chunk_bytes=1 << 10)
    assert report.about.lines == 3
    assert [data[o : o + 3] for o in events["offset"]] == [b"Mar", b"Mar"]


def test_bytes_of_the_journal_that_are_no_text_stay_visible(take) -> None:
    line = '{"__REALTIME_TIMESTAMP":"1772439202003000","_HOSTNAME":"mx1","SYSLOG_IDENTIFIER":"postfix/smtp","_PID":"7","MESSAGE":[%s]}'
    texts = [
        SENT.split("]: ", 1)[1].strip().encode().replace(b"ok", b)
        for b in (b"gr\xc3\xbcn", b"\xff\xed\xa0\x80", b"\xf0\x9f\x90\x98")
    ]
    events, report = take(
        "".join(line % ",".join(map(str, t)) + "\n" for t in texts).encode() + (line % "57,19555,169").encode() + b"\n"
    )
    assert report.parsed == 3
    assert events["diagnostic"].to_list() == ["250 grün", r"250 \xff\xed\xa0\x80", "250 🐘"]


@pytest.mark.parametrize("char", "\u00ad\u034f\u115f\u180e\u2061\u3164\ufe0f\uffa0\U000e0101")
def test_what_unicode_lets_be_drawn_as_nothing_is_shown(char: str) -> None:
    assert visible(f"a{char}b@evil.example") != f"a{char}b@evil.example"
    assert char not in visible(f"a{char}b@evil.example")


def test_marks_piled_on_one_letter_are_bounded() -> None:
    shown = visible("a" + "\u0301" * 60 + "b")
    assert shown.count("\u0301") == 3
    assert visible("Tiê\u0301ng Viê\u0323\u0302t") == "Tiê\u0301ng Viê\u0323\u0302t"
