"""What time it was: the zone and the missing year of log stamps, decided once for a file and written down with the reason.

BSD stamps have no year and no zone; Exim's own files have no zone by default. Both are often *proved* by the lines
themselves: Postfix writes the UTC second into the Message-IDs it makes, and into long queue ids; Exim writes it into
every message id. Only where nothing proves it, the file's age and the user's word decide.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import polars as pl

from maillog_forensics.errors import UsageError
from maillog_forensics.language import mark, said
from maillog_forensics.stamps import sane
from maillog_forensics.years import Years

_BASE62 = {c: n for n, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")}
_BASE52 = {c: n for n, c in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}
_PROOFS_WANTED = 40


@dataclass(frozen=True)
class TimeBasis:
    """How the stamps of one file became UTC times.

    Attributes
    ----------
    zone
        "in the stamps", an IANA name, or a fixed offset such as "+02:00".
    zone_basis, year_basis
        Why, in words.
    offset_s
        Seconds to subtract from a stamp without zone; None where `zone` is an IANA name or the stamps carry one.
    last_year
        Year of the last stamp of the file; None where the stamps carry the year.
    """

    zone: str = "UTC"
    zone_basis: str = mark("nothing in the file tells: taken as UTC (say --tz to change)")
    offset_s: int | None = 0
    last_year: int | None = None
    year_basis: str = mark("in the stamps")
    shift: str = ""


def epoch_of_id(queue_id: str) -> int | None:
    """The UTC second that an Exim message id or a long Postfix queue id carries, or None."""
    if re.fullmatch(r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}", queue_id):
        return _number(queue_id[:6], _BASE62)
    if match := re.fullmatch(
        r"([0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{6,7})[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{4}z[0-9A-Za-z]+", queue_id
    ):
        return _number(match.group(1), _BASE52)
    return None


def _number(text: str, digits: dict[str, int]) -> int | None:
    value = 0
    for c in text:
        if c not in digits:
            return None
        value = value * len(digits) + digits[c]
    return value


def epoch_of_message_id(message_id: str, queue_id: str) -> int | None:
    """The UTC second in a Message-ID that Postfix made itself (`YYYYMMDDhhmmss.QUEUEID@host`; cleanup(8) uses gmtime)."""
    match = re.match(r"<?([0-9]{14})\.([0-9A-Za-z]+)@", message_id or "")
    if not match or match.group(2) != queue_id:
        return None
    try:
        return int(dt.datetime.strptime(match.group(1), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC).timestamp())
    except ValueError:
        return None


def proving(events: pl.DataFrame) -> pl.DataFrame:
    """Rows without a zone that may prove the clock, with the columns that `proofs` looks at."""
    known = ("line", "_wall", "_yearless", "_utc", "_turn", "event", "queue_id", "message_id", "mta")
    need = [c for c in known if c in events.columns]
    if events.is_empty() or "queue_id" not in need or events["_utc"].all():
        return pl.DataFrame(schema={"line": pl.UInt64})
    if "message_id" not in need and not (events["event"] == "receive").any():
        return pl.DataFrame(schema={"line": pl.UInt64})
    rows = events.select(need).filter(~pl.col("_utc"), pl.col("_wall").is_not_null())
    return rows.filter(_telling(rows.columns))


def proofs(rows: pl.DataFrame) -> pl.DataFrame:
    """Lines that prove the clock: columns line, _wall, _yearless, _turn, epoch. At most a few dozen, from the beginning and the end of `rows`."""
    if rows.height > 2 * _PROOFS_WANTED:
        rows = pl.concat([rows.head(_PROOFS_WANTED), rows.tail(_PROOFS_WANTED)])
    found = []
    for row in rows.to_dicts():  # a few dozen rows at most
        queue_id, message_id = row.get("queue_id") or "", row.get("message_id") or ""
        epoch = epoch_of_message_id(message_id, queue_id)
        if epoch is None and (row.get("mta") == "exim" or "z" in queue_id[8:12]):
            epoch = epoch_of_id(queue_id) if row.get("event") == "receive" else None
        if epoch is not None and 0 < epoch < 4_102_444_800:
            found.append({k: row.get(k) for k in _PROOFS} | {"epoch": epoch})
    return pl.DataFrame(found, schema=_PROOFS)


def _telling(columns: list[str]) -> pl.Expr:
    """Rows worth a closer look: with a Message-ID that begins with a time and this queue id, or a queue id that may hold a time."""
    own = pl.lit(False)
    if "message_id" in columns:
        same = pl.col("message_id").str.slice(15, pl.col("queue_id").str.len_chars()) == pl.col("queue_id")
        own = pl.col("message_id").str.contains(r"^[0-9]{14}\.[0-9A-Za-z]+@") & same
    timed = pl.col("queue_id").str.contains(r"^[0-9A-Za-z]{10,11}z|^[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-")
    if "event" in columns:
        timed &= pl.col("event") == "receive"
    return (own | timed).fill_null(False)


_PROOFS: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.UInt64, "_wall": pl.Datetime("us"), "_yearless": pl.Boolean, "_turn": pl.Int32, "epoch": pl.Int64,
}  # fmt: skip


class Watch:
    """What one file tells of its clock, gathered chunk by chunk.

    Attributes
    ----------
    turns
        New Years crossed so far.
    """

    def __init__(self) -> None:
        self._years = Years()
        self._zoneless = False
        self._first_proofs: list[pl.DataFrame] = []
        self._last_proofs: list[pl.DataFrame] = []
        self._leap_turns: set[int] = set()
        self._extremes: list[pl.DataFrame] = []

    @property
    def turns(self) -> int:
        """New Years crossed so far."""
        return self._years.turns

    def see(self, tables: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """Look at the raw events of the next chunk; they get `_turn`, the New Years before each line."""
        walls, tables = self._years.mark(tables)
        keys = ["_utc", "_yearless", "_turn"]
        self._zoneless |= not walls["_utc"].all()
        if walls["_yearless"].any() and (walls["_wall"].dt.month() == 2).any():
            leap = walls.filter("_yearless", pl.col("_wall").dt.month() == 2, pl.col("_wall").dt.day() == 29)
            self._leap_turns |= set(leap["_turn"].unique().to_list())
        ends = walls.group_by(keys).agg(pl.col("_wall").min(), _last=pl.col("_wall").max())
        self._extremes += [ends.select(*keys, "_wall"), ends.select(*keys, _wall="_last")]
        self._look_for_proofs(tables)
        return tables

    def _look_for_proofs(self, tables: list[pl.DataFrame]) -> None:
        found = [rows for table in tables if (rows := proving(table)).height]
        if not found:
            return
        telling = pl.concat(found, how="diagonal_relaxed").sort("line")
        if sum(t.height for t in self._first_proofs) < _PROOFS_WANTED:
            self._first_proofs.append(telling.head(2 * _PROOFS_WANTED))
        self._last_proofs.append(telling.tail(_PROOFS_WANTED))
        while len(self._last_proofs) > 1 and sum(t.height for t in self._last_proofs[1:]) >= _PROOFS_WANTED:
            del self._last_proofs[0]

    def evidence(self, written: tuple[dt.datetime, str] | None, next_began: dt.datetime | None) -> Evidence | None:
        """Everything seen, or None where no event was."""
        if not self._extremes:
            return None
        leap_turns = frozenset(self._years.turns - t for t in self._leap_turns)
        return Evidence(
            proofs(self._told()), self._years.met, self._zoneless,
            self._years.last_wall, self._years.turns, leap_turns, written, next_began,
        )  # fmt: skip

    def _told(self) -> pl.DataFrame:
        told = [*self._first_proofs, *self._last_proofs]
        return (
            pl.concat(told, how="diagonal_relaxed").unique(maintain_order=True)
            if told
            else pl.DataFrame(schema={"line": pl.UInt64})
        )

    def span(self, basis: TimeBasis) -> tuple[dt.datetime | None, dt.datetime | None]:
        """First and last time (UTC) of what was seen."""
        times = settle(pl.concat(self._extremes), basis, self.turns)["time"]
        return times.min(), times.max()  # type: ignore[return-value]


@dataclass(frozen=True)
class Evidence:
    """What one file tells of its clock.

    Attributes
    ----------
    seen
        Result of `proofs`.
    yearless, zoneless
        Whether stamps without a year, or without a zone, occur.
    last_wall
        Newest yearless stamp (in year 2000).
    turns
        New Years that the file crosses.
    leap_turns
        New Years between a 29 February and the file's end, for each 29 February in it.
    written
        When the file was last written (UTC), and in words how that is known: its modification time, or the time in a gzip header.
    next_began
        First line (UTC) of the next younger file of a rotated set.
    """

    seen: pl.DataFrame
    yearless: bool
    zoneless: bool
    last_wall: dt.datetime | None = None
    turns: int = 0
    leap_turns: frozenset[int] = frozenset()
    written: tuple[dt.datetime, str] | None = None
    next_began: dt.datetime | None = None


def decide(found: Evidence, *, tz: str | None = None, year: int | None = None) -> TimeBasis:
    """Settle zone and year of one file: the user's word first, then proof in the lines, then the file's age.

    Parameters
    ----------
    tz, year
        The user's word; `year` is that of the last line of the youngest file.

    Raises
    ------
    UsageError
        When `tz` names no zone.
    """
    if not found.zoneless and not found.yearless:
        return TimeBasis("in the stamps", mark("every stamp carries its zone"), None)
    gaps, years = _measure(found)
    basis = _zone(found, gaps, tz)
    if not found.yearless:
        return basis
    last_year, why = _year(found, years, year)
    return replace(basis, last_year=last_year, year_basis=why)


def _measure(found: Evidence) -> tuple[list[float], list[int]]:
    """Seconds between each proof's stamp and its UTC second; the year of the file's last line that each yearless one asks for."""
    gaps, years = [], []
    for row in found.seen.to_dicts():
        wall, utc = row["_wall"], dt.datetime.fromtimestamp(row["epoch"], dt.UTC).replace(tzinfo=None)
        if not row["_yearless"]:
            gaps.append((wall - utc).total_seconds())
            continue
        for candidate in (utc.year, utc.year + 1, utc.year - 1):
            shifted = _in_year(wall, candidate)
            if shifted and abs((shifted - utc).total_seconds()) < _FARTHEST_ZONE_S:
                gaps.append((shifted - utc).total_seconds())
                years.append(candidate + found.turns - (row["_turn"] or 0))
                break
    return gaps, years


_FARTHEST_ZONE_S = 15 * 3600
_QUARTER_S = 900


def _in_year(wall: dt.datetime, year: int) -> dt.datetime | None:
    try:
        return wall.replace(year=year)
    except ValueError:  # 29 February
        return None


def _zone(found: Evidence, gaps: list[float], tz: str | None) -> TimeBasis:
    # a message may wait before it is logged, and clocks differ a little: the commonest gap on the quarter-hour grid counts
    grid = [(g, round(g / _QUARTER_S) * _QUARTER_S) for g in gaps if abs(g) < _FARTHEST_ZONE_S]
    near = [q for g, q in grid if abs(g - q) < 120]
    if tz:
        return TimeBasis(*_named(tz))
    if not found.zoneless:
        return TimeBasis("in the stamps", mark("every stamp carries its zone"), None)
    if near:
        offset = int(max(sorted(set(near)), key=near.count))
        why = said("read from the lines: %(n)s queue or message ids carry the UTC second", n=len(near))
        return TimeBasis(_offset_name(offset), why, offset, shift=_shift(near, offset))
    return TimeBasis()


def _shift(near: list[int], offset: int) -> str:
    """A sentence where a good part of the proofs speaks for another zone: the clock was put forward or back within the file."""
    others = [q for q in near if q != offset]
    if len(others) < 3:
        return ""
    other = max(sorted(set(others)), key=others.count)
    return said(
        "the clock changes within this file: %(n)s lines prove %(zone)s, %(others)s prove %(other)s; "
        "all times were read as %(zone)s (summer time? say --tz with the name of the zone)",
        n=near.count(offset),
        zone=_offset_name(offset),
        others=others.count(other),
        other=_offset_name(other),
    )


def _year(found: Evidence, years: list[int], given: int | None) -> tuple[int, str]:
    """Year of the last line, and why."""
    if years and given is None:
        return max(sorted(set(years)), key=years.count), mark("read from the lines: message ids carry the year")
    limits = [(found.next_began, "the first line of the next file of its set")] if found.next_began else []
    limits += [found.written] if found.written and given is None else []
    moment, why = min(limits, default=(None, ""))
    newest = given if given is not None else moment.year if moment else None
    if newest is None:
        return 1970, mark("unknown: nothing tells the year (say --year)")
    why = _BOUNDS.get(why, f"inferred: the last line can't be younger than {why}") if why else mark("given with --year")
    for year in range(newest, newest - _YEARS_BACK, -1):
        if not all(calendar.isleap(year - turns) for turns in found.leap_turns):
            continue
        last = _in_year(found.last_wall, year) if found.last_wall else None
        if last and (moment is None or last <= moment + dt.timedelta(days=1)):
            return year, "given with --year" if year == given else why
    return newest, mark("given with --year") if given is not None else mark("unknown: no year fits (say --year)")


_BOUNDS = {
    "the file's modification time": mark("inferred: the last line can't be younger than the file's modification time"),
    "the time in its gzip header": mark("inferred: the last line can't be younger than the time in its gzip header"),
    "the date in the file's name": mark("inferred: the last line can't be younger than the date in the file's name"),
    "the first line of the next file of its set": mark(
        "inferred: the last line can't be younger than the first line of the next file of its set"
    ),
}
_YEARS_BACK = 13  # two leap years may lie eight years apart


def _named(tz: str) -> tuple[str, str, int | None]:
    if match := re.fullmatch(r"([+-])([0-9]{2}):?([0-9]{2})", tz):
        seconds = int(match.group(2)) * 3600 + int(match.group(3)) * 60
        return tz, mark("given with --tz"), -seconds if match.group(1) == "-" else seconds
    try:
        ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"--tz {tz}: no such time zone; write for instance --tz Asia/Manila or --tz +08:00") from error
    return tz, "given with --tz", None


def _offset_name(offset: int) -> str:
    if offset == 0:
        return "UTC"
    sign = "-" if offset < 0 else "+"
    return f"{sign}{abs(offset) // 3600:02d}:{abs(offset) // 60 % 60:02d}"


def settle(events: pl.DataFrame, basis: TimeBasis, turns: int) -> pl.DataFrame:
    """Give every event its UTC `time`.

    Parameters
    ----------
    events
        With _wall, _utc, _yearless and, for yearless stamps, _turn (New Years crossed before the line).
    turns
        New Years crossed in the whole file.
    """
    return events.with_columns(time=time(basis, turns)).drop("_wall", "_utc", "_yearless", "_turn", strict=False)


def time(basis: TimeBasis, turns: int) -> pl.Expr:
    """The UTC time of an event, from its columns _wall, _utc, _yearless and _turn; see `settle`."""
    wall = pl.col("_wall")
    if basis.last_year is not None:
        year = pl.lit(basis.last_year) - turns + pl.col("_turn")
        day = pl.datetime(year, wall.dt.month(), 1, time_unit="us") + pl.duration(days=wall.dt.day() - 1)
        dated = day + (wall - wall.dt.truncate("1d"))
        wall = pl.when("_yearless").then(dated).otherwise(wall)
    if basis.offset_s is not None:
        local = (wall - pl.duration(seconds=basis.offset_s)).dt.replace_time_zone("UTC")
    elif basis.zone not in ("in the stamps", "UTC"):
        local = wall.dt.replace_time_zone(basis.zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    else:
        local = wall.dt.replace_time_zone("UTC")
    moment = pl.when("_utc").then(pl.col("_wall").dt.replace_time_zone("UTC")).otherwise(local)
    return sane(moment.dt.replace_time_zone(None)).dt.replace_time_zone("UTC")
