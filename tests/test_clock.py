"""What time it was: years and zones that stamps leave out, proved by the lines or reckoned from the file's age."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maillog_forensics import clock, intake, normalize, proofs, reading, watches
from maillog_forensics.errors import UsageError
from tests.reading import normalized


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


def line(stamp: str, text: str = "93BA798A0: removed", program: str = "qmgr") -> str:
    return f"{stamp} mx1 postfix/{program}[7]: {text}"


def proof(stamp: str, utc: str) -> str:
    """A Message-ID that Postfix made itself: it begins with the UTC second."""
    return line(stamp, f"93BA798A1: message-id=<{utc}.93BA798A1@mx1.alpha.example>", "cleanup")


def write(path: Path, *lines: str, modified: str = "2026-03-10") -> Path:
    path.write_text("".join(f"{text}\n" for text in lines))
    moment = dt.datetime.fromisoformat(modified).replace(tzinfo=dt.UTC).timestamp()
    os.utime(path, (moment, moment))
    return path


def times(plan: normalize.Plan, path: Path, **options: object) -> list[str]:
    events, _ = intake.take_in(str(path), plan, intake.Options(**options)).whole()
    return [t.strftime("%Y-%m-%d %H:%M:%S") for t in events["time"]]


# --- the year


def test_without_proof_the_last_line_is_no_younger_than_the_file(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Mar  9 08:00:00"), modified="2026-03-10")
    assert times(plan, path) == ["2026-03-09 08:00:00"]
    assert times(plan, write(path, line("Mar 12 08:00:00"), modified="2026-03-10")) == ["2025-03-12 08:00:00"]


def test_a_new_year_inside_the_file(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Dec 31 23:59:59"), line("Jan  1 00:00:01"), modified="2026-01-05")
    assert times(plan, path) == ["2025-12-31 23:59:59", "2026-01-01 00:00:01"]


def test_a_late_line_of_the_old_year_stays_there(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(
        tmp_path / "mail.log", line("Jan  1 00:00:01"), line("Dec 31 23:59:59"), line("Jan  1 00:00:02"), modified="2026-01-05"
    )
    assert [t[:4] for t in times(plan, path)] == ["2026", "2025", "2026"]
    write(
        path,
        line("Dec 31 23:59:58"),
        line("Jan  1 00:00:01"),
        line("Dec 31 23:59:59"),
        line("Jan  1 00:00:02"),
        modified="2026-01-05",
    )
    assert [t[:4] for t in times(plan, path)] == ["2025", "2026", "2025", "2026"]


def test_a_log_that_was_silent_for_most_of_a_year(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(
        tmp_path / "mail.log", line("Jan  1 08:00:00"), line("Nov  1 08:00:00"), line("Nov  2 08:00:00"), modified="2026-12-01"
    )
    assert [t[:4] for t in times(plan, path)] == ["2026", "2026", "2026"]


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 60])
def test_a_year_proved_before_new_year_holds_for_the_lines_after_it(
    plan: normalize.Plan, tmp_path: Path, chunk_bytes: int
) -> None:
    path = write(
        tmp_path / "mail.log", proof("Dec 31 12:00:00", "20221231120000"), line("Dec 31 23:59:59"), line("Jan  2 08:00:00")
    )
    assert times(plan, path, chunk_bytes=chunk_bytes) == ["2022-12-31 12:00:00", "2022-12-31 23:59:59", "2023-01-02 08:00:00"]


def test_a_29_february_asks_for_a_leap_year(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Feb 29 08:00:00"), line("Mar  1 08:00:00"), modified="2026-03-10")
    assert times(plan, path) == ["2024-02-29 08:00:00", "2024-03-01 08:00:00"]
    write(path, line("Feb 29 08:00:00"), line("Oct  1 08:00:00"), line("Jan  1 08:00:00"), modified="2026-03-10")
    assert times(plan, path) == ["2024-02-29 08:00:00", "2024-10-01 08:00:00", "2025-01-01 08:00:00"]


def test_the_time_in_a_gzip_header_counts_where_the_file_was_copied_later(plan: normalize.Plan, tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    moment = int(dt.datetime(2024, 3, 10, tzinfo=dt.UTC).timestamp())
    with gzip.GzipFile(path, "wb", mtime=moment) as file:
        file.write((line("Mar  9 08:00:00") + "\n").encode())
    assert times(plan, path) == ["2024-03-09 08:00:00"]


def test_so_does_the_date_in_its_name(plan: normalize.Plan, tmp_path: Path) -> None:
    assert times(plan, write(tmp_path / "mail.log-20230310", line("Mar  9 08:00:00"))) == ["2023-03-09 08:00:00"]


def test_the_users_word_goes_before_the_files_age(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Dec 31 08:00:00"), line("Jan  1 08:00:00"))
    assert times(plan, path, year=2031) == ["2030-12-31 08:00:00", "2031-01-01 08:00:00"]


def test_a_rotated_files_year_follows_from_the_next_younger_one(tmp_path: Path) -> None:
    write(tmp_path / "mail.log", proof("Jan  3 12:00:00", "20230103120000"))
    write(tmp_path / "mail.log.1", line("Dec 30 08:00:00"))
    write(tmp_path / "mail.log.2", line("Dec 20 08:00:00"))
    events, reports = normalized([str(tmp_path)])
    assert [t.date().isoformat() for t in events["time"]] == ["2022-12-20", "2022-12-30", "2023-01-03"]
    assert [Path(r.about.path).name for r in reports] == ["mail.log.2", "mail.log.1", "mail.log"]


def test_the_users_year_is_that_of_the_youngest_file(tmp_path: Path) -> None:
    write(tmp_path / "mail.log", line("Jan  3 12:00:00"))
    write(tmp_path / "mail.log.1", line("Dec 30 08:00:00"))
    events, _ = normalized([str(tmp_path)], year=2020)
    assert [t.date().isoformat() for t in events["time"]] == ["2019-12-30", "2020-01-03"]


# --- the zone


def test_the_zone_is_read_from_message_ids_of_ones_own(plan: normalize.Plan, tmp_path: Path) -> None:
    noise = [line("Nov  1 02:00:00", f"4F1C2A: from=<a@b.example>, size={n}, nrcpt=1 (queue active)") for n in range(200)]
    path = write(tmp_path / "mail.log", *noise, proof("Nov  1 02:11:18", "20151101101118"), *noise)
    events, report = intake.take_in(str(path), plan, intake.Options()).whole()
    assert (report.basis.zone, report.basis.last_year) == ("-08:00", 2015)
    assert events["time"][200] == dt.datetime(2015, 11, 1, 10, 11, 18, tzinfo=dt.UTC)


def test_and_from_long_queue_ids(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Mar 14 00:08:33", "4PbC4x469Jz3tBr: client=x.example[192.0.2.1]", "smtpd"))
    _, report = intake.take_in(str(path), plan, intake.Options()).whole()
    assert (report.basis.zone, report.basis.last_year) == ("+01:00", 2023)


def test_a_zone_that_the_user_names_is_believed(plan: normalize.Plan, tmp_path: Path) -> None:
    path = write(tmp_path / "mail.log", line("Jul  1 12:00:00"), modified="2026-07-02")
    assert times(plan, path, tz="Asia/Manila") == ["2026-07-01 04:00:00"]
    assert times(plan, path, tz="-08:00") == ["2026-07-01 20:00:00"]


def test_a_zone_that_does_not_exist_is_said_so(plan: normalize.Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such time zone"):
        times(plan, write(tmp_path / "mail.log", line("Jul  1 12:00:00")), tz="Manila/Asia")


def test_one_forged_message_id_does_not_move_the_clock() -> None:
    wall = dt.datetime.fromisoformat("2000-03-02 09:00:00")
    seen = pl.DataFrame(
        [
            {
                "line": n,
                "_wall": wall,
                "_yearless": True,
                "_turn": 0,
                "epoch": int(dt.datetime(year, 3, 2, 8, tzinfo=dt.UTC).timestamp()),
            }
            for n, year in enumerate((2026, 2026, 2019))
        ],
        schema_overrides={"_wall": pl.Datetime("us"), "_turn": pl.Int32},
    )
    basis = clock.decide(clock.Evidence(seen, yearless=True, zoneless=True, last_wall=wall))
    assert (basis.last_year, basis.zone) == (2026, "+01:00")


@pytest.mark.parametrize(
    ("queue_id", "expected"),
    [
        ("1vwyP5-0001mi-2O", "2026-03-02 08:13:23"),
        ("4PbC4x469Jz3tBr", "2023-03-13 23:08:33"),
        ("4F1C2A", None),
        ("NOQUEUE", None),
    ],
)
def test_ids_that_carry_a_time(queue_id: str, expected: str | None) -> None:
    rows = pl.DataFrame({"line": [1], "queue_id": [queue_id], "event": ["receive"], "mta": ["exim"]})
    epoch = proofs.look(rows)["epoch"][0]
    assert (dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%d %H:%M:%S") if epoch else None) == expected


def test_summer_time_that_begins_within_a_file_is_told_and_not_smoothed_away(tmp_path: Path) -> None:
    """Exim's ids carry the UTC second; the stamps are an hour, later two hours ahead of it."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    lines = []
    for i in range(16):
        utc = dt.datetime(2026, 3, 29, 0, 0, tzinfo=dt.UTC) + dt.timedelta(minutes=8 * i)
        number, ident = int(utc.timestamp()), ""
        while number:
            number, rest = divmod(number, 62)
            ident = digits[rest] + ident
        wall = utc + dt.timedelta(hours=1 if i < 8 else 2)
        lines.append(f"{wall:%Y-%m-%d %H:%M:%S} {ident}-0001mi-{i:02d} <= a@a.example H=mx.a.example [192.0.2.1] P=esmtp S=500\n")
    (tmp_path / "mainlog").write_text("".join(lines))
    _, (report,) = normalized([str(tmp_path / "mainlog")])
    assert any("the clock changes within this file" in p and "+01:00" in p and "+02:00" in p for p in report.about.problems)
    events, (named,) = normalized([str(tmp_path / "mainlog")], tz="Europe/Berlin")
    assert not named.about.problems
    assert events["time"].diff().drop_nulls().dt.total_minutes().unique().to_list() == [8]


# polars knows the rules of summer time up to 2100
WALLS = st.datetimes(dt.datetime(1999, 12, 31), dt.datetime(2001, 1, 2)) | st.datetimes(
    dt.datetime(1969, 1, 1), dt.datetime(2099, 12, 31)
)
ZONES = st.sampled_from(["UTC", "in the stamps", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Manila"])


@given(
    WALLS,
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    ZONES,
    st.none() | st.integers(-50_000, 50_000),
    st.none() | st.integers(1968, 2098),
)
@example(dt.datetime(2026, 3, 29, 2, 30), False, False, 0, "Europe/Berlin", None, None)
@example(dt.datetime(2026, 10, 25, 2, 30), False, False, 0, "Europe/Berlin", None, None)
@example(dt.datetime(2000, 2, 29, 12), False, True, 0, "UTC", 0, 2026)
@example(dt.datetime(2200, 1, 1), False, False, 0, "UTC", None, None)
@example(dt.datetime(1969, 12, 31), True, False, 0, "UTC", None, None)
def test_one_stamp_gets_the_same_time_as_in_a_table(
    wall: dt.datetime, is_utc: bool, is_yearless: bool, turn: int, zone: str, offset: int | None, year: int | None
) -> None:
    basis = clock.TimeBasis(zone, "", offset, year)
    row = pl.DataFrame(
        [(wall, is_utc, is_yearless, turn)],
        {"_wall": pl.Datetime("us"), "_utc": pl.Boolean, "_yearless": pl.Boolean, "_turn": pl.Int32},
        orient="row",
    )
    assert clock.moment(wall, is_utc, is_yearless, turn, basis, 3) == clock.settle(row, basis, 3)["time"][0]


@pytest.mark.parametrize("every", [1, 60, 3_000])
def test_the_last_proofs_of_a_chunk_are_those_of_the_whole_chunk(every: int) -> None:
    lines = pl.int_range(1, 20_001, eager=True, dtype=pl.UInt64)
    proves = lines % every == 0
    table = pl.DataFrame({"line": lines}).with_columns(
        _wall=pl.lit(dt.datetime(2000, 3, 2, 9)),
        _yearless=True,
        _utc=False,
        _turn=pl.lit(0, dtype=pl.Int32),
        event=pl.lit("receive"),
        mta=pl.lit("exim"),
        queue_id=pl.select(pl.when(proves).then(pl.lit("1vwyP5-0001mi-2O")).otherwise(pl.lit("4F1C2A"))).to_series(),
    )
    halves = [table[::2], table[1::2]]  # as two formats' lines lie in two tables
    of_all, of_the_end = watches.proving(halves), watches._last_proving(halves)
    assert of_all is not None and of_the_end is not None
    assert of_the_end.tail(watches._LAST).equals(of_all.tail(watches._LAST))
    assert of_the_end.height >= min(watches._LAST, of_all.height) > 0
