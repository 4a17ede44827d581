"""Many small files read as one table give what each gives by itself."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from maillog_forensics import api, bundles

SHARED = Path(__file__).parents[2] / "shared"
SAMPLES = Path(__file__).parents[1] / "sample_logs"


def line(stamp: str, text: str, program: str = "qmgr", host: str = "mx1") -> str:
    return f"{stamp} {host} postfix/{program}[7]: {text}\n"


def mail(day: int, number: int) -> str:
    """The life of one message."""
    queue, at = f"{number:06X}", f"Mar {day:>2} 08:13:{number % 60:02d}"
    return (
        line(at, f"{queue}: client=mx.beta.example[198.51.100.25]", "smtpd")
        + line(at, f"{queue}: message-id=<{number}@beta.example>", "cleanup")
        + line(at, f"{queue}: from=<a@beta.example>, size=358, nrcpt=1 (queue active)")
        + line(
            at,
            f"{queue}: to=<b@alpha.example>, relay=virtual, delay=0.3, dsn=2.0.0, status=sent (delivered to maildir)",
            "virtual",
        )
        + line(at, f"{queue}: removed")
    )


def exim(day: int) -> str:
    return (
        f"2026-03-{day:02d} 10:00:00 1vwyP5-0001mi-2O <= anna@alpha.example H=mx1 [192.0.2.10] P=esmtp S=554 id=1@alpha.example\n"
        f"2026-03-{day:02d} 10:00:01 1vwyP5-0001mi-2O => bob <bob@beta.example> R=local_user T=maildir_home\n"
        f"2026-03-{day:02d} 10:00:01 1vwyP5-0001mi-2O Completed\n"
    )


ODD: dict[str, bytes] = {
    "empty.log": b"",
    "newline.log": b"\n",
    "blank-lines.log": b"\n\n" + mail(1, 11).encode() + b"\n\n",
    "unended.log": mail(1, 12).encode().rstrip(b"\n"),
    "carriage.log": mail(1, 13).replace("\n", "\r\n").encode(),
    "mark.log": b"\xef\xbb\xbf" + mail(1, 14).encode(),
    "wide.log": mail(1, 15).encode("utf-16"),
    "broken.log": mail(1, 16).encode() + b"\xff\xfe\xfa broken\n",
    "foreign.log": mail(1, 17).encode() + "Mär  1 08:00:00 Grüße ｆｕｌｌ\n".encode(),
    "nul.log": mail(1, 18).encode() + b"\0" * 40 + mail(1, 19).encode(),
    "repeated.log": b"Mar  1 09:00:00 mx1 last message repeated 3 times\n" + mail(1, 20).encode(),
    "repeats.log": mail(1, 21).encode() + b"Mar  1 09:00:00 mx1 last message repeated 3 times\n",
    "web.log": b'192.0.2.1 - - [01/Mar/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5\n' * 30,
    "long.log": mail(1, 22).encode() + b"x" * 300_000 + b"\n",
    "journal.json": b'{"__REALTIME_TIMESTAMP":"1772352000000000","_HOSTNAME":"mx1","SYSLOG_IDENTIFIER":"postfix/qmgr","MESSAGE":"93BA79: removed"}\n',
    "mx9.alpha.example.mainlog": exim(1).encode(),
    "parts.log": (
        b"Mar  1 10:00:00 mx2 exim[77]: [1\\2] 2026-03-01 10:00:00 1vwyP5-0001mi-2O <= anna@alpha.example H=mx1 [192.0.2.10]\n"
        b"Mar  1 10:00:00 mx2 exim[77]: [2/2]   P=esmtp S=554\n"
    ),
    "tail-of-parts.log": b"Mar  1 10:00:00 mx2 exim[77]: [2/2]   P=esmtp S=555\n",
    "late-year.log": (line("Dec 31 23:59:59", "93BA798A0: removed") + line("Jan  1 00:00:01", "93BA798A1: removed")).encode(),
    "no-time.log": line("Feb 30 08:00:00", "93BA798A0: removed").encode(),
}


def told(paths: list[Path], monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> dict[str, Any]:
    """Everything that is found in some files: findings without the run, events, and the lines that nothing knows."""
    strange: list[tuple[str, int, int, str]] = []

    def note(path: str, lines: pl.DataFrame) -> None:
        strange.extend((path, *row) for row in lines.select("line", "offset", "text").iter_rows())

    with monkeypatch.context() as patch:
        if alone:
            patch.setattr(bundles, "is_small", lambda path: False)
        done = api.analyze([str(p) for p in paths], year=2026, on_unrecognised=note)
    found = done.findings.model_dump(mode="json")
    del found["run"]
    assert done.events is not None
    events = done.events.collect().sort("source", "line", "event", "recipient", maintain_order=True)
    return {"findings": found, "events": events.to_dicts(), "strange": sorted(strange)}


def same(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    together, alone = told(paths, monkeypatch, alone=False), told(paths, monkeypatch, alone=True)
    for what, value in alone.items():
        assert together[what] == value, what
    return together


def test_odd_files_are_read_in_company_as_they_are_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        (tmp_path / f"mail.log.{number}").write_text(mail(9 - number, number) + exim(1) * (number % 2))
    for name, text in ODD.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "packed.log.gz").write_bytes(gzip.compress(mail(2, 30).encode()))
    (tmp_path / "cut.log.gz").write_bytes(gzip.compress(mail(2, 31).encode() * 50)[:-20])
    (tmp_path / "bomb.log.xz").write_bytes(lzma.compress(mail(2, 32).encode() * 3000))
    found = same([tmp_path], monkeypatch)
    assert len(found["findings"]["inputs"]) == 12 + len(ODD)
    assert found["strange"]


def test_a_set_of_20_000_has_its_oldest_file_first(tmp_path: Path) -> None:
    from maillog_forensics import logfiles

    names = [f"mail.log.{n}" for n in (9, 19_999, 100)]
    for name in names:
        (tmp_path / name).write_text("")
    files, _ = logfiles.expand([str(tmp_path)])
    assert [Path(f).name for f in files] == ["mail.log.19999", "mail.log.100", "mail.log.9"]


@pytest.mark.parametrize("where", ["samples", "logs", "incidents"])
def test_real_files_are_read_in_company_as_they_are_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = {"samples": SAMPLES, "logs": SHARED / "logs", "incidents": SHARED / "incidents"}[where]
    if not folder.exists():
        pytest.skip(f"{folder.name} of the shared material is not here")
    assert same([folder], monkeypatch)["events"]


def test_small_files_of_one_log_are_put_together_like_the_log(tmp_path: Path) -> None:
    lines = "".join(mail(1, n) for n in range(400)).splitlines(keepends=True)
    (tmp_path / "whole.log").write_text("".join(lines))
    cut = tmp_path / "cut"
    cut.mkdir()
    for number, start in enumerate(range(0, len(lines), 7)):
        (cut / f"mail.log.{1000 - number}").write_text("".join(lines[start : start + 7]))
    one, many = (api.analyze([str(p)], year=2026) for p in (tmp_path / "whole.log", cut))
    assert one.findings.traffic.messages == 400
    assert many.findings.traffic == one.findings.traffic
