"""Reading files: lines are numbered and placed the same, however the file is packed, coded or cut into chunks."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pytest

from maillog_forensics import logfiles, sources

TEXT = "first\nzweite Zeile: é\r\n\nlast one\n"
LINES = ["first", "zweite Zeile: é", "", "last one"]
OFFSETS = [0, 6, 24, 25]


def read(path: Path, chunk_bytes: int = 1 << 20) -> tuple[list[str], list[int], list[int], sources.Input]:
    about = sources.Input(str(path))
    tables = [chunk.lines for chunk in sources.read(str(path), about, chunk_bytes=chunk_bytes)]
    columns = [[value for table in tables for value in table[name].to_list()] for name in ("text", "line", "offset")]
    return columns[0], columns[1], columns[2], about


@pytest.mark.parametrize("chunk_bytes", [1, 7, 16, 1 << 20])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_lines_keep_their_number_and_place(tmp_path: Path, pack, chunk_bytes: int) -> None:
    (tmp_path / "mail.log").write_bytes(pack(TEXT.encode()))
    text, line, offset, about = read(tmp_path / "mail.log", chunk_bytes)
    assert (text, line, offset) == (LINES, [1, 2, 3, 4], OFFSETS)
    assert (about.lines, about.decompressed_bytes, about.problems) == (4, len(TEXT.encode()), [])


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_two_bytes_a_character(tmp_path: Path, codec: str, bom: str) -> None:
    (tmp_path / "mail.log").write_bytes((bom + TEXT).encode(codec))
    text, _, offset, about = read(tmp_path / "mail.log", 18)
    assert text == LINES
    assert offset[1] - offset[0] == 12
    assert about.encoding == codec


def test_bytes_that_are_no_text_stay_visible(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(b"a\xffb\nc\n")
    assert read(tmp_path / "mail.log")[:3] == (["a\\xffb", "c"], [1, 2], [0, 4])


def test_a_last_line_without_a_newline_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(b"a\nb")
    assert read(tmp_path / "mail.log")[0] == ["a", "b"]


def test_a_line_beyond_measure_is_cut_and_named(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(b"x" * (3 * sources.MAX_LINE_BYTES) + b"\nb\n")
    about = sources.Input("x")
    chunks = list(sources.read(str(tmp_path / "mail.log"), about, chunk_bytes=sources.MAX_LINE_BYTES * 2))
    assert [n for chunk in chunks for n in chunk.cut] == [1]
    assert [t[:3] for chunk in chunks for t in chunk.lines["text"]] == ["xxx", "b"]


def test_a_gzip_header_remembers_when_the_log_was_put_aside(tmp_path: Path) -> None:
    with gzip.GzipFile(tmp_path / "mail.log.1.gz", "wb", mtime=1_700_000_000) as file:
        file.write(b"a\n")
    assert read(tmp_path / "mail.log.1.gz")[3].packed == 1_700_000_000


def test_a_truncated_archive_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    body = "".join(f"line {n}\n" for n in range(50_000)).encode()
    (tmp_path / "mail.log.gz").write_bytes(gzip.compress(body)[:-2000])
    text, _, _, about = read(tmp_path / "mail.log.gz")
    assert text[0] == "line 0" and len(text) > 1000
    assert about.problems and not about.unreadable


def test_rotated_twins_are_read_oldest_first(tmp_path: Path) -> None:
    names = ["mail.log", "mail.log.1", "mail.log.2.gz", "mail.log.10.gz"]
    for name in names:
        (tmp_path / name).write_bytes(b"a\n")
    files, problems = logfiles.expand([str(tmp_path)])
    assert [Path(f).name for f in files] == ["mail.log.10.gz", "mail.log.2.gz", "mail.log.1", "mail.log"]
    assert {Path(logfiles.rotated_set(f)).name for f in files} == {"mail.log"}
    assert problems == []


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("mail.log-20260302.gz", "2026-03-02"),
        ("mainlog-2026-03-02", "2026-03-02"),
        ("mail.log.20269999", None),
        ("mail.log.1", None),
    ],
)
def test_the_day_in_a_name(name: str, day: str | None) -> None:
    found = logfiles.date_in_name(f"/var/log/20010101/{name}")
    assert (found.isoformat() if found else None) == day


def test_a_path_behind_which_there_is_nothing_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    files, problems = logfiles.expand([str(tmp_path / "nothing.log"), str(tmp_path / "empty")])
    assert files == []
    assert "no such file" in problems[0] and "holds no files" in problems[1]


def test_an_archive_of_files_is_told_and_not_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mail.log", "Mar  2 08:00:00 mx1 postfix/qmgr[1]: 4fX00001: removed\n")
    about = sources.Input(str(path))
    assert list(sources.read(str(path), about)) == []
    assert "unpack it" in about.problems[0]


def test_a_member_that_breaks_off_gives_what_it_holds(tmp_path: Path) -> None:
    lines = b"".join(
        b"Mar  2 08:00:%02d mx1 postfix/qmgr[1]: 4fX%05X: removed\n" % (k % 60, k * 7919 % 99991) for k in range(3000)
    )
    whole = gzip.compress(lines)
    path = tmp_path / "mail.log.gz"
    path.write_bytes(whole[: len(whole) // 2] + whole)
    about = sources.Input(str(path))
    read = sum(chunk.lines.height for chunk in sources.read(str(path), about))
    assert read > 500
    assert "damaged" in about.problems[0]
