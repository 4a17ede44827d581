"""The day's operations: the figures of pflogsumm and eximstats, and what they are compared with."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import linking, normalize, reading
from maillog_forensics.addresses import canonical_of
from maillog_forensics.archive import store
from maillog_forensics.archive.reading import Entry
from maillog_forensics.archive.taking import take_in
from maillog_forensics.operations.compare import compare, days_before, sentence
from maillog_forensics.operations.facts import Lives
from maillog_forensics.operations.figures import TOTALS, Figures, figures
from maillog_forensics.operations.view import view
from tests.test_peers import EXIM_PUBLIC, WHY_PFLOGSUMM_DIFFERS, peer, raw


@cache
def plan() -> normalize.Plan:
    return reading.load()


def counted(root: Path, path: Path, top: int = 1000, mta: str | None = None) -> Figures:
    """The figures of everything that a log tells (of one kind of server), as the archive holds it."""
    with store.writing(root) as archive:
        take_in(archive, [Entry("log", (str(path),))], plan)
        events = archive.events().collect()
    if mta:
        events = events.filter(pl.col("mta") == mta)
    return figures([events], Lives.of(linking.correlated(events.drop("text"))), top=top)


# --- pflogsumm ----------------------------------------------------------------------------------------------------------


def pflogsumm(path: Path) -> str:
    command = [peer("pflogsumm"), "--smtpd-stats", "--bounce-detail", "0", "--deferral-detail", "0", "--reject-detail", "0"]
    return subprocess.run(command, input=raw(path), capture_output=True, check=False).stdout.decode("utf-8", "replace")


def number(text: str) -> int:
    """4321, 65k, 7m: a figure as pflogsumm shortens it."""
    return int(text.rstrip("kmg")) * {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1], 1)


def grand(text: str, name: str) -> str:
    match = re.search(rf"^ +(\d+[kmg]?) +{name}", text, re.MULTILINE)
    return match[1] if match else "0"


def shortened(value: int) -> str:
    """As pflogsumm does it (adj_int_units)."""
    if value > 1024**2 * 10 * 1024:
        return f"{value / 1024**3:.0f}g"
    for unit, size in (("m", 1024**2), ("k", 1024)):
        if value > size * 512 * (1 if unit == "k" else 20):
            return f"{value / size:.0f}{unit}"
    return str(value)


def hourly(text: str) -> dict[str, list[int]]:
    """The table of hours; a log of several days shows averages, which are left alone."""
    rows = re.findall(r"^ +\d{4}-\d{4} +(\d+)k? +(\d+)k? +(\d+)k? +(\d+)k? +(\d+)k? *$", text, re.MULTILINE)
    return {
        name: [int(r[i]) for r in rows] for i, name in enumerate(("received", "delivered", "deferred", "bounced", "rejected"))
    }


def listing(text: str, title: str) -> dict[str, int]:
    """A list of mailboxes, small ones with the number as it is."""
    match = re.search(rf"^{re.escape(title)}\n-+\n((?: .*\n)+)", text, re.MULTILINE)
    rows = re.findall(r"^ +(\d+[kmg]?) +(\S+)$", match[1] if match else "", re.MULTILINE)
    return {who: number(count) for count, who in rows}


def postfix_logs(shared: Path) -> list[Path]:
    named = ("0ced7103", "1a1c6329", "21c0bc90", "74ffac34")
    public = [shared / "logs" / "postfix" / f"postfix-{n}.log.gz" for n in named]
    return sorted((shared / "incidents").glob("*/*alpha*mail*log")) + [p for p in public if p.exists()]


def test_totals_and_hours_are_those_of_pflogsumm(shared: Path, tmp_path: Path) -> None:
    """On every log whose lines pflogsumm reads as they are meant (`WHY_PFLOGSUMM_DIFFERS` of the peers' tests names the others)."""
    compared = with_hours = 0
    for n, path in enumerate(postfix_logs(shared)):
        text = raw(path).decode("utf-8", "replace")
        if "exim" in path.name or any(re.search(why, text) for why in WHY_PFLOGSUMM_DIFFERS):
            continue
        told, ours = pflogsumm(path), counted(tmp_path / str(n), path, mta="postfix")
        if not ours.totals["received"]:
            continue
        compared += 1
        names = ["received", "delivered", "forwarded", "deferred", "bounced", "held", "discarded"]
        if text.count(": connect from ") == text.count(": disconnect from "):  # it counts a connection when it ends
            names.append("connections")
        for name in names:
            assert shortened(ours.totals[name]) == grand(told, name), f"{path.name}: {name}"
        refused = ours.totals["rejected"] + ours.totals["refused_for_now"]
        assert shortened(refused) == grand(told, "rejected"), path.name
        deferrals = re.search(r"deferred +\((\d+[km]?) +deferrals", told)
        assert shortened(ours.totals["deferrals"]) == (deferrals[1] if deferrals else "0"), path.name
        ids = re.findall(r" (\w+): (?:client|uid)=", text)
        if len(ids) != len(set(ids)):  # lines that were published twice: it counts the size of an id once
            continue
        for name, label in (("bytes_received", "bytes received"), ("bytes_delivered", "bytes delivered")):
            theirs = number(grand(told, label))
            assert ours.totals[name] == pytest.approx(theirs, rel=0.01, abs=1024), f"{path.name}: {name}"
        if "Per-Hour Traffic Summary" in told and ours.totals["received"] < 10_000:
            with_hours += 1
            assert ours.hours == hourly(told), path.name
    assert compared >= 8
    assert with_hours >= 6


def folded(theirs: dict[str, int]) -> dict[str, int]:
    """pflogsumm's mailboxes with our folding of addresses."""
    out: dict[str, int] = {}
    boxes = canonical_of(pl.Series("box", list(theirs), dtype=pl.String)).to_list()
    for box, count in zip(boxes, theirs.values(), strict=True):
        out[box] = out.get(box, 0) + count
    return out


def test_senders_and_recipients_are_those_of_pflogsumm_once_addresses_are_folded(shared: Path, tmp_path: Path) -> None:
    path = shared / "incidents" / "1_vacation_pingpong" / "mx1.alpha.example.mail.log"
    told, ours = pflogsumm(path), counted(tmp_path, path)
    tables = {t.id: t for t in ours.tables}
    for id, title in (("senders", "Senders by message count"), ("recipients", "Recipients by message count")):
        theirs = folded({who: n for who, n in listing(told, title).items() if who != "from=<>"})
        mine = {str(row[2]): row[0] for row in tables[id].rows}
        assert {who: n for who, n in mine.items() if not who.startswith("<>")} == theirs
    for id, title in (("senders-bytes", "Senders by message size"), ("recipients-bytes", "Recipients by message size")):
        theirs = folded({who: n for who, n in listing(told, title).items() if who != "from=<>"})
        mine = {str(row[2]): row[1] for row in tables[id].rows if not str(row[2]).startswith("<>")}
        assert mine.keys() == theirs.keys()
        for who, size in mine.items():
            assert size == pytest.approx(theirs[who], rel=0.01, abs=1024)


def test_the_time_of_connections_is_that_of_pflogsumm(shared: Path, tmp_path: Path) -> None:
    path = shared / "incidents" / "7_background" / "mx1.alpha.example.mail.log"
    match = re.search(r"^ *(\d+):(\d\d):(\d\d)  total connect time", pflogsumm(path), re.MULTILINE)
    assert match
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
    assert counted(tmp_path, path).totals["connection_seconds"] == seconds


# --- eximstats ----------------------------------------------------------------------------------------------------------


def eximstats(path: Path, *options: str) -> str:
    return subprocess.run([peer("eximstats"), *options], input=raw(path), capture_output=True, check=False).stdout.decode()


def exim_logs(shared: Path) -> list[Path]:
    public = [shared / "logs" / "exim" / f"exim-{n}.log.gz" for n in EXIM_PUBLIC]
    return sorted((shared / "incidents").glob("*/*mainlog")) + [p for p in public if p.exists()]


def offset_hours(root: Path) -> int:
    with store.looking(root) as archive:
        return (archive.ledger.logs()[0].offset_s or 0) // 3600


def test_totals_hours_transports_and_queue_times_are_those_of_eximstats(shared: Path, tmp_path: Path) -> None:
    """By hour and transport, eximstats counts a delivery once however many addresses it had (its lines with ->); here each counts."""
    queued = 0
    for n, original in enumerate(exim_logs(shared)):
        ours = counted(tmp_path / f"{n}-whole", original)
        told = eximstats(original, "-nr", "-ne")
        delivered = re.search(r"^  Delivered +\S+ +\d+ +(\d+)", told, re.MULTILINE)
        assert ours.totals["delivered"] == int(delivered[1] if delivered else 0), original.name
        path = tmp_path / str(n) / original.name.removesuffix(".gz")
        path.parent.mkdir()
        path.write_bytes(b"".join(line for line in raw(original).splitlines(keepends=True) if b" -> " not in line))
        told, ours = eximstats(path, "-nr", "-ne"), counted(tmp_path / f"{n}-once", path)
        received = re.search(r"^  Received +\S+ +(\d+)", told, re.MULTILINE)
        assert ours.totals["received"] == int(received[1] if received else 0), path.name
        for title, name in (("Messages received per hour", "received"), ("Deliveries per hour", "delivered")):
            part = told[told.find(title) :][:2500] if title in told else ""
            hours = [int(m) for m in re.findall(r"^\d\d-\d\d +(\d+)", part, re.MULTILINE)[:24]]
            shift = offset_hours(tmp_path / f"{n}-once")  # its hours are those on the log's own clock
            mine = [ours.hours[name][(h - shift) % 24] for h in range(24)]
            assert mine == (hours or [0] * 24), f"{path.name}: {title}"
        tables = {t.id: t for t in ours.tables}
        part = told[told.find("Time spent on the queue: all messages") : told.find("Time spent on the queue: messages with")]
        theirs = [int(m) for m in re.findall(r"^(?:Under|Over)? +\d+[mhd] +(\d+) ", part, re.MULTILINE)]
        if theirs and original.parent.parent.name == "incidents":
            queued += 1
            assert [row[1] for row in tables["queue-times"].rows] == theirs, path.name
        part = told[told.find("Deliveries by transport") : told.find("Messages received per hour")]
        theirs_by = {name: int(count) for name, count in re.findall(r"^  (\S+) +\S+ +(\d+)$", part, re.MULTILINE)}
        rows = tables["transports"].rows if "transports" in tables else ()
        by = {str(r[2]): r[0] for r in rows if not str(r[2]).startswith(":")}
        assert by == theirs_by, path.name
    assert queued >= 4


# --- what is unusual ----------------------------------------------------------------------------------------------------

DAY = dt.date(2026, 11, 24)


def known(*values: int) -> dict[dt.date, dict[str, int]]:
    return {day: {"received": value} for day, value in zip(days_before(DAY), values)}


def test_the_days_compared_with_are_the_day_before_and_the_same_weekday_of_four_weeks() -> None:
    assert days_before(DAY) == [dt.date(2026, 11, d) for d in (23, 17, 10, 3)] + [dt.date(2026, 10, 27)]


@pytest.mark.parametrize(
    ("value", "others", "is_unusual"),
    [
        (1000, (980, 1010, 990, 1020, 1005), False),
        (1300, (980, 1010, 990, 1020, 1005), False),  # within three tenths
        (2000, (980, 1010, 990, 1020, 1005), True),
        (100, (980, 1010, 990, 1020, 1005), True),
        (2000, (980, 9000, 990, 1020, 1005), True),  # one odd day among those compared with
        (2000, (400, 2500, 900, 1800, 1500), False),
        (3, (0, 1, 0, 0, 0), True),
        (2, (0, 1, 0, 0, 0), False),
        (9, (4, 5, 3, 6, 4), False),  # few, and chance does that
        (500, (10, 12), False),  # too few days to judge by
    ],
)
def test_unusual_is_what_neither_chance_nor_the_weekday_explains(value: int, others: tuple[int, ...], is_unusual: bool) -> None:
    [told] = compare(DAY, {"received": value}, known(*others))
    assert told.is_unusual is is_unusual


def test_what_is_unusual_comes_first_and_says_what_it_is_compared_with() -> None:
    others = {d: {"received": 1000, "bounced": 5} for d in days_before(DAY)}
    first, second = compare(DAY, {"received": 1001, "bounced": 60}, others)
    assert (first.name, first.is_unusual, second.is_unusual) == ("bounced", True, False)
    assert sentence(first, TOTALS["bounced"]) == "bounces: 60, 12 times the median of 5 days (5)"


def test_the_page_shows_every_table_with_its_cells_written(samples: Path, tmp_path: Path) -> None:
    told = counted(tmp_path, samples / "loop_postfix_exim", top=3)
    shown = view(DAY, "UTC", True, told, compare(DAY, told.totals, {}))
    assert {t.id for t in shown.tables} >= {"senders", "recipients", "to-domains", "transports", "queue-times", "connections"}
    assert all(len(t.rows) <= 10 and all(len(r) == len(t.columns) for r in t.rows) for t in shown.tables)
    senders = next(t for t in shown.tables if t.id == "senders")
    assert len(senders.rows) <= 3


def test_exchange_is_counted_too(samples: Path, tmp_path: Path) -> None:
    told = counted(tmp_path, samples / "exchange_autoreply")
    assert told.totals["received"] > 200
    assert told.totals["delivered"] > 200
    assert told.totals["bounced"] >= 1
    assert {t.id for t in told.tables} >= {"senders", "recipients", "from-domains", "to-domains"}
