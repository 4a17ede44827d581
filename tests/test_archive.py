"""The archive: every line once, in its own day, however the logs come in and whatever happens meanwhile."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import api, normalize, reading
from maillog_forensics.archive import looking, retention, segments, store
from maillog_forensics.archive.reading import Entry
from maillog_forensics.archive.taking import Progress, take_in
from maillog_forensics.errors import ArchiveError, UsageError
from tests import daily_month

KILLS = int(os.environ.get("MAILLOG_FORENSICS_KILLS", "4"))
"""`make kills` sets it to 210."""


@cache
def plan() -> normalize.Plan:
    return reading.load()


def take(root: Path, *paths: Path | str, name: str = "mail", **more: bool) -> Progress:
    with store.writing(root) as archive:
        return take_in(archive, [Entry(name, tuple(map(str, paths)))], plan, **more)


def content(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything that must be the same: files of events by day (their names are their hashes), and the counts of lines."""
    with store.looking(root) as archive:
        assert archive.verify() == []
        files = [(s.day, s.name, s.sha256, s.rows) for s in archive.ledger.segments()]
        counts = archive.ledger.execute(
            "SELECT source, quarter, sum(parsed), sum(ignored), sum(unrecognised), sum(damaged) FROM counts JOIN logs ON id = log "
            "GROUP BY source, quarter ORDER BY source, quarter"
        )
        states = [(x.source, x.size, x.lines, x.first, x.last, x.zone, x.first_year) for x in archive.ledger.logs()]
    return {"files": files, "counts": counts, "logs": states}


def events(root: Path) -> pl.DataFrame:
    with store.looking(root) as archive:
        return archive.events().collect()


LINE = "{stamp} mx1 postfix/smtpd[77]: {id}: client=ws1.alpha.example[192.0.2.{n}]\n"


def lines(first: int, count: int, day: str = "2026-11-02") -> bytes:
    return "".join(
        LINE.format(stamp=f"{day}T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}+00:00", id=f"{0xA00000 + i:X}", n=i % 200)
        for i in range(first, first + count)
    ).encode()


# --- however the logs come in -------------------------------------------------------------------------------------------


def at_once(folder: Path, root: Path, work: Path, rng: random.Random) -> None:
    for day in daily_month.month():
        for path, data in day.lines.items():
            daily_month.append(folder, path, data, day.end - 1)
        daily_month.rotate(folder, work)
    take(root, folder)


def every_morning(folder: Path, root: Path, work: Path, rng: random.Random) -> None:
    for day in daily_month.month():
        for path, data in day.lines.items():
            daily_month.append(folder, path, data, day.end - 1)
        daily_month.rotate(folder, work)
        take(root, folder)


def now_and_then(folder: Path, root: Path, work: Path, rng: random.Random) -> None:
    """Runs by day and by night, in the middle of lines, before and after the rotation, and sometimes not for days."""
    for day in daily_month.month():
        parts = rng.randint(1, 3)
        cuts = {p: sorted(rng.sample(range(len(d)), parts - 1)) for p, d in day.lines.items()}
        for part in range(parts):
            for path, data in day.lines.items():
                edges = [0, *cuts[path], len(data)]
                at = min(day.end - 1, time.time()) if part == parts - 1 else time.time()  # one that is being written is young
                daily_month.append(folder, path, data[edges[part] : edges[part + 1]], at)
            if rng.random() < 0.4:
                take(root, folder)
        for path in day.lines:
            os.utime(folder / path, (day.end - 1, day.end - 1))
        daily_month.rotate(folder, work, is_copied=rng.random() < 0.5)
        if rng.random() < 0.3:
            take(root, folder)
    take(root, folder)


def copied_and_renamed(folder: Path, root: Path, work: Path, rng: random.Random) -> None:
    """Half-grown copies lie about, older files are compressed otherwise or get other names, and come in any order."""
    for n, day in enumerate(daily_month.month()):
        for path, data in day.lines.items():
            daily_month.append(folder, path, data[: len(data) // 2], day.end - 1)
            if n % 7 == 3:
                shutil.copy2(folder / path, folder / f"{path}.copy")
        if n % 7 == 3:
            take(root, folder)
        for path, data in day.lines.items():
            daily_month.append(folder, path, data[len(data) // 2 :], day.end - 1)
            target = folder / f"{path}-{rng.randrange(10**9)}"
            (folder / path).rename(target)
            if rng.random() < 0.4:
                status = target.stat()
                packed = target.with_name(f"{target.name}.bz2")
                packed.write_bytes(bz2.compress(target.read_bytes()))
                os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
                target.unlink()
    take(root, folder)
    take(root, *sorted(folder.glob("*/*"), key=lambda p: rng.random()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the logs of the month, rotated and compressed each night by a real logrotate, and an archive made in one go."""
    if daily_month.logrotate() is None:
        pytest.skip("logrotate is not installed (Debian: apt install logrotate)")
    work = tmp_path_factory.mktemp("whole")
    at_once(work / "logs", work / "archive", work, random.Random(0))
    return work


@pytest.mark.parametrize("way", [every_morning, now_and_then, copied_and_renamed])
def test_a_month_gives_the_same_archive_however_it_comes_in(
    tmp_path: Path, whole: Path, way: Callable[[Path, Path, Path, random.Random], None]
) -> None:
    """Byte-equal files, equal counts."""
    way(tmp_path / "logs", tmp_path / "archive", tmp_path, random.Random(way.__name__))
    expected, told = content(whole / "archive"), content(tmp_path / "archive")
    assert len(expected["logs"]) == 3 * daily_month.DAYS
    written = sum(d.count(b"\n") for day in daily_month.month() for d in day.lines.values())
    assert sum(sum(row[2:]) for row in expected["counts"]) == written  # type: ignore[arg-type]
    for part in ("logs", "counts", "files"):
        assert told[part] == expected[part], part


def test_an_archive_shows_the_incidents_that_its_logs_show(whole: Path) -> None:
    by_logs = api.analyze([str(whole / "logs")]).findings
    by_archive = looking.analyze(whole / "archive").findings
    assert len(by_logs.incidents) >= 3

    def told(findings):  # type: ignore[no-untyped-def]
        return [
            (i.id, i.type, i.severity, i.headline, i.members, i.started, i.ended, i.messages, i.transfers, i.turns, i.bytes, i.ended_by.reason, i.ended_by.text)
            for i in findings.incidents
        ]  # fmt: skip

    assert told(by_archive) == told(by_logs)
    shown = [{e.text for e in i.evidence} for i in by_archive.incidents]
    assert shown == [{e.text for e in i.evidence} for i in by_logs.incidents]
    assert by_archive.traffic.messages == by_logs.traffic.messages


# --- one file, and what may happen to it --------------------------------------------------------------------------------


def test_a_log_that_grows_is_read_where_it_was_left(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 1000))
    assert take(tmp_path / "a", log).lines == 1000
    with open(log, "ab") as file:
        file.write(lines(1000, 500))
    assert take(tmp_path / "a", log).lines == 500
    assert take(tmp_path / "a", log).lines == 0
    take(tmp_path / "b", log)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert events(tmp_path / "a")["line"].to_list() == list(range(1, 1501))


def test_a_line_that_is_not_finished_waits_for_its_end(tmp_path: Path) -> None:
    log, data = tmp_path / "mail.log", lines(0, 600)
    log.write_bytes(data[:-20])
    assert take(tmp_path / "a", log).lines == 599
    log.write_bytes(data)
    assert take(tmp_path / "a", log).lines == 1
    assert events(tmp_path / "a").height == 600


def test_an_emptied_log_begins_a_new_life_and_its_copy_goes_on_with_the_old(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 700))
    take(tmp_path / "a", log)
    (tmp_path / "mail.log.1").write_bytes(lines(0, 900))  # copied a moment later, then emptied: copytruncate
    with open(log, "r+b") as file:
        file.truncate(0)
        file.write(lines(900, 1000))  # longer than before
    take(tmp_path / "a", f"{log}*")
    found = events(tmp_path / "a")
    assert found.height == 1900
    assert found["queue_id"].n_unique() == 1900
    assert found.group_by("source").len()["len"].sort().to_list() == [900, 1000]


@pytest.mark.parametrize("at", [50, 400, 2000])
def test_a_copy_of_a_beginning_is_known(tmp_path: Path, at: int) -> None:
    data = lines(0, 2500)
    (tmp_path / "mail.log").write_bytes(data)
    take(tmp_path / "a", tmp_path / "mail.log")
    (tmp_path / "copy").write_bytes(b"".join(data.splitlines(keepends=True)[:at]))
    assert take(tmp_path / "a", tmp_path / "copy").lines == 0


def test_two_logs_that_begin_alike_are_two_and_what_both_tell_counts_once(tmp_path: Path) -> None:
    """Restored from a backup, a log may go on otherwise than its original did."""
    (tmp_path / "one").write_bytes(lines(0, 500) + lines(3000, 100))
    (tmp_path / "two").write_bytes(lines(0, 500) + lines(6000, 100))
    take(tmp_path / "a", tmp_path / "one", tmp_path / "two")
    assert events(tmp_path / "a").height == 1200
    assert events(tmp_path / "a")["source"].n_unique() == 2
    assert looking.analyze(tmp_path / "a").mail.messages.collect().height == 700


def test_late_lines_go_to_their_own_day(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 500, "2026-11-02") + lines(500, 500, "2026-11-03"))
    take(tmp_path / "a", log)
    with open(log, "ab") as file:
        file.write(lines(2000, 3, "2026-11-02"))
    assert take(tmp_path / "a", log).days == {"2026-11-02"}
    with store.looking(tmp_path / "a") as archive:
        assert {s.day: s.rows for s in archive.ledger.segments()} == {"2026-11-02": 503, "2026-11-03": 500}


def test_the_zone_may_be_proved_only_later_and_then_holds_for_all_lines(tmp_path: Path) -> None:
    """No line of the first run tells the zone; a message id of the second does."""
    stamp = "Nov  2 {h:02d}:{m:02d}:{s:02d} mx1 postfix/"
    plain = "".join(
        stamp.format(h=9, m=i // 60 % 60, s=i % 60) + f"smtpd[7]: {0xB00000 + i:X}: client=a.alpha.example[192.0.2.7]\n"
        for i in range(500)
    )
    proof = "".join(
        stamp.format(h=10, m=0, s=i)
        + f"cleanup[8]: {0xC00000 + i:X}: message-id=<202611020200{i:02d}.{0xC00000 + i:X}@mx1.alpha.example>\n"
        for i in range(5)
    )
    log = tmp_path / "mail.log"
    for text in (plain, plain + proof):
        log.write_text(text)
        os.utime(log, (1793700000, 1793700000))
        take(tmp_path / "a", log)
    take(tmp_path / "b", log)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert events(tmp_path / "a")["time"].min() == dt.datetime(2026, 11, 2, 1, tzinfo=dt.UTC)


def test_records_below_a_head_are_read_anew_when_their_file_grows(tmp_path: Path, samples: Path) -> None:
    source = sorted((samples / "exchange_autoreply").glob("*/MSGTRK2*"))[0]
    whole = source.read_bytes()
    log = tmp_path / source.name
    for share in (0.2, 0.5, 1):
        log.write_bytes(whole[: int(len(whole) * share)])
        take(tmp_path / "a", log)
    take(tmp_path / "b", log)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert events(tmp_path / "a")["mta"].unique().to_list() == ["exchange"]


def test_a_log_that_is_not_there_or_not_readable_is_told(tmp_path: Path) -> None:
    told = take(tmp_path / "a", tmp_path / "gone.log")
    assert not told.is_anything_there
    assert "gone.log" in told.problems[0]


# --- keeping and forgetting ---------------------------------------------------------------------------------------------


def test_forgotten_days_do_not_come_back_while_their_log_is_there(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 500, "2026-11-02") + lines(500, 500, "2026-11-03"))
    take(tmp_path / "a", log)
    with store.writing(tmp_path / "a") as archive:
        assert retention.forget(archive, dt.date(2026, 11, 3)) == 1
    os.utime(log)
    assert take(tmp_path / "a", log).lines == 0
    assert events(tmp_path / "a").height == 500
    log.unlink()
    with store.writing(tmp_path / "a") as archive:
        retention.forget(archive, dt.date(2027, 1, 1))
        assert archive.ledger.logs() == []
    assert not list((tmp_path / "a" / "events").iterdir())


def test_reading_the_logs_anew_changes_nothing_where_they_say_the_same(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 900))
    take(tmp_path / "a", log)
    before = content(tmp_path / "a")
    assert take(tmp_path / "a", log, is_anew=True).lines == 900
    assert content(tmp_path / "a") == before


def test_verify_finds_what_was_changed_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(lines(0, 500, "2026-11-02") + lines(500, 500, "2026-11-03"))
    take(tmp_path / "a", tmp_path / "mail.log")
    one, two = sorted((tmp_path / "a" / "events").glob("*/*.parquet"))
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 1
    one.write_bytes(data)
    two.unlink()
    with store.looking(tmp_path / "a") as archive:
        faults = archive.verify()
    assert len(faults) == 2
    assert one.name in faults[0] and "not what was written" in faults[0]
    assert two.name in faults[1] and "missing" in faults[1]


@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "same size"])
def test_looking_into_a_damaged_archive_names_what_to_do(tmp_path: Path, harm: str) -> None:
    root, log = tmp_path / "a", tmp_path / "mail.log"
    log.write_bytes(lines(0, 500))
    take(root, log)
    (path,) = root.glob("events/*/*.parquet")
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-9], "same size": bytes(len(whole))}[harm])
    with pytest.raises(ArchiveError, match="archive verify"):
        looking.analyze(root)


def test_a_second_run_says_so_when_the_first_does_not_end(tmp_path: Path) -> None:
    with (
        store.writing(tmp_path / "a"),
        pytest.raises(ArchiveError, match="another run"),
        store.writing(tmp_path / "a", wait_s=0.1),
    ):
        pass


def test_what_no_row_names_is_swept(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(lines(0, 500))
    take(tmp_path / "a", tmp_path / "mail.log")
    before = content(tmp_path / "a")
    left = tmp_path / "a" / "events" / "day=2026-11-02" / "left.parquet"
    left.write_bytes(b"half")
    (tmp_path / "a" / "incoming").mkdir()
    (tmp_path / "a" / "incoming" / "1-2.parquet").write_bytes(b"half")
    take(tmp_path / "a", tmp_path / "mail.log")
    assert content(tmp_path / "a") == before
    assert not left.exists()
    assert not (tmp_path / "a" / "incoming").exists()


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mail.log").write_bytes(lines(0, 10))
    take(tmp_path / "a", tmp_path / "mail.log")
    with sqlite3.connect(tmp_path / "a" / "ledger.sqlite") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    db.close()
    with pytest.raises(ArchiveError, match="version 99"):
        take(tmp_path / "a", tmp_path / "mail.log")


def test_looking_where_no_archive_is_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="daily --config"), store.looking(tmp_path / "a"):
        pass


# --- killed, and out of room ----------------------------------------------------------------------------------------------

PROGRAM = [sys.executable, "-c", "from maillog_forensics.cli import main; main()"]


def configured(folder: Path, **more: object) -> Path:
    path = folder / "daily.toml"
    text = f'archive = "{more.get("archive", "archive")}"\n[[logs]]\nname = "mail"\npaths = ["logs/*/*.log*"]\n[report]\nfolder = "pages"\n'
    path.write_text(textwrap.dedent(text))
    return path


def daily(config: Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, "daily", "--config", config], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]


def grown(folder: Path, days: int, skip: int = 0) -> None:
    for day in daily_month.month()[skip : skip + days]:
        for path, data in day.lines.items():
            daily_month.append(folder / "logs", path, data, day.end - 1)


def pieces_of_month(count: int) -> Iterator[list[tuple[str, bytes, float]]]:
    """What the servers write, each day in `count` pieces that end in the middle of lines; nothing when the month is over."""
    for day in daily_month.month():
        for n in range(count):
            yield [(p, d[len(d) * n // count : len(d) * (n + 1) // count], day.end - 1) for p, d in day.lines.items()]
    while True:
        yield []


def summaries(root: Path) -> list[tuple[object, ...]]:
    with store.looking(root) as archive:
        return archive.ledger.execute("SELECT day, is_whole, summary FROM reports ORDER BY day")


def test_a_killed_run_leaves_the_archive_as_it_was_before_or_after(tmp_path: Path) -> None:
    """SIGKILL at random instants, with more lines in the logs each time; in the end nothing is lost and nothing doubled."""
    rng = random.Random(KILLS)
    work, clean = tmp_path / "killed", tmp_path / "clean"
    work.mkdir(), clean.mkdir()
    config = configured(work)
    pieces = pieces_of_month(2 + KILLS // 28)
    began = time.monotonic()
    assert daily(configured(clean), cwd=clean).returncode == 3  # no log yet; how long a start takes
    start_s = time.monotonic() - began
    killed, last = 0, 0
    while killed < KILLS:
        if rng.random() < 0.8 or last == 0:
            for path, data, at in next(pieces):
                daily_month.append(work / "logs", path, data, at)
        process = subprocess.Popen([*PROGRAM, "daily", "--config", config], stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.4, 1.9) * start_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if (work / "archive" / "ledger.sqlite").exists():
            try:
                with store.looking(work / "archive") as archive:
                    assert archive.verify() == []
                    count = archive.ledger.execute("SELECT coalesce(sum(rows), 0) FROM segments")[0][0]
            except ArchiveError as error:
                assert "version None" in str(error)  # killed before the ledger's first transaction
                continue
            assert count >= last
            last = count
    assert daily(config).returncode == 0
    shutil.copytree(work / "logs", clean / "logs")
    assert daily(configured(clean)).returncode == 0
    assert content(work / "archive") == content(clean / "archive")
    assert summaries(work / "archive") == summaries(clean / "archive")
    for page in (clean / "pages").glob("*.json"):
        assert (work / "pages" / page.name).exists()
    assert sorted(p.name for p in (work / "pages").iterdir()) == sorted(p.name for p in (clean / "pages").iterdir())


def little_room(size: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("room", [2_000, 40_000])
def test_a_file_that_may_not_grow_is_one_sentence_and_nothing_is_lost(tmp_path: Path, room: int) -> None:
    grown(tmp_path, 2)
    config = configured(tmp_path)
    failed = daily(config, preexec_fn=little_room(room))
    assert failed.returncode in (1, 2), failed.stderr
    said = [line for line in failed.stderr.splitlines() if line.startswith("maillog-forensics: ")]
    assert len(said) == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert daily(config).returncode == 0
    clean = tmp_path / "clean"
    clean.mkdir()
    shutil.copytree(tmp_path / "logs", clean / "logs")
    assert daily(configured(clean)).returncode == 0
    assert content(tmp_path / "archive") == content(clean / "archive")


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 400 kB; the test skips where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here (needs root)")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(tmp_path: Path, small_disk: Path) -> None:
    grown(tmp_path, 8)
    config = configured(tmp_path, archive=small_disk / "archive")
    failed = daily(config)
    assert failed.returncode == 1, failed.stderr
    said = [line for line in failed.stderr.splitlines() if line.startswith("maillog-forensics: ")]
    assert len(said) == 1, failed.stderr
    assert "no space left" in said[0] or "disk is full" in said[0]
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    assert content(small_disk / "archive")  # whole, as far as it is
    assert daily(config).returncode == 0
    clean = tmp_path / "clean"
    clean.mkdir()
    shutil.copytree(tmp_path / "logs", clean / "logs")
    assert daily(configured(clean)).returncode == 0
    assert content(small_disk / "archive") == content(clean / "archive")


def test_equal_rows_give_equal_bytes_whatever_the_pieces(tmp_path: Path) -> None:
    """What the names of files rely on: polars writes the same Parquet for the same rows, in one piece or many."""
    table = pl.DataFrame({c: pl.Series([None] * 250_000, dtype=t) for c, t in segments.SCHEMA.items()}).with_columns(
        line=pl.int_range(250_000, dtype=pl.UInt64), queue_id=(pl.int_range(250_000) * 7919 % 65521).cast(pl.String)
    )
    names = set()
    for n, cuts in enumerate(([], [1], [99_999, 100_000], [5, 77, 130_001, 249_999])):
        parts = [table[a:b].lazy() for a, b in zip([0, *cuts], [*cuts, 250_000])]
        made = segments.write(tmp_path / str(n), 1, "x", "2026-01-01", pl.concat(parts))
        assert made
        names.add(made.name)
    assert len(names) == 1


def test_a_compressed_twin_is_the_same_log(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(lines(0, 2000))
    take(tmp_path / "a", log)
    with open(log, "ab") as file:
        file.write(lines(2000, 10))
    (tmp_path / "mail.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    assert take(tmp_path / "a", tmp_path / "mail.log.1.gz").lines == 10
    assert events(tmp_path / "a")["source"].n_unique() == 1
    assert events(tmp_path / "a").height == 2010
