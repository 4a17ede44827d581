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
from maillog_forensics.stamps import EARLIEST, LATEST, sane


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


@dataclass(frozen=True)
class Evidence:
    """What one file tells of its clock.

    Attributes
    ----------
    seen
        Result of `proofs.found`.
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


def moment(wall: dt.datetime, is_utc: bool, is_yearless: bool, turn: int, basis: TimeBasis, turns: int) -> dt.datetime | None:
    """As `time`, for one stamp: a file has two whose times its report tells, and a table for them costs more than the file."""
    if not is_utc and is_yearless and basis.last_year is not None:
        try:
            first = wall.replace(year=basis.last_year - turns + turn, day=1)
            wall = first + dt.timedelta(days=wall.day - 1)
        except (ValueError, OverflowError):
            return None
    at: dt.datetime | None = wall
    if not is_utc and basis.offset_s is not None:
        at = wall - dt.timedelta(seconds=basis.offset_s)
    elif not is_utc and basis.zone not in ("in the stamps", "UTC"):
        at = _localized(wall, basis.zone)
    return at.replace(tzinfo=dt.UTC) if at and EARLIEST <= at < LATEST else None


def _localized(wall: dt.datetime, zone: str) -> dt.datetime | None:
    """UTC of a time on the wall; the earlier one where the clock was put back, None where it was put forward over it."""
    utc = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
    return utc.replace(tzinfo=None) if utc.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall else None
