"""What time it was: the zone and the missing year of log stamps, decided once for a file and written down with the reason.

BSD stamps have no year and no zone; Exim's own files have no zone by default. Both are often *proved* by the lines
themselves: Postfix writes the UTC second into the Message-IDs it makes, and into long queue ids; Exim writes it into
every message id. Only where nothing proves it, the file's age and the user's word decide.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import polars as pl

from maillog_forensics.errors import UsageError

_BASE62 = {c: n for n, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")}
_BASE52 = {c: n for n, c in enumerate("0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz")}
_PROOFS_WANTED = 40
_EARLIEST, _LATEST = dt.datetime(1970, 1, 1), dt.datetime(2200, 1, 1)  # noqa: DTZ001  (no mail log is older or younger)


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
    zone_basis: str = "nothing in the file tells: taken as UTC (say --tz to change)"
    offset_s: int | None = 0
    last_year: int | None = None
    year_basis: str = "in the stamps"


def epoch_of_id(queue_id: str) -> int | None:
    """The UTC second that an Exim message id or a long Postfix queue id carries, or None."""
    if re.fullmatch(r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}", queue_id):
        return _number(queue_id[:6], _BASE62)
    if match := re.fullmatch(r"([0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{6,7})[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{4}z[0-9A-Za-z]+", queue_id):
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


def naive(events: pl.DataFrame) -> pl.DataFrame:
    """Turn stamps into `_wall`: what the stamp says, and `_utc`: whether it says it in UTC.

    BSD stamps fall into the leap year 2000 and get `_yearless`; the year comes in with `settle`.
    """
    stamp = pl.col("stamp")
    fraction = stamp.str.extract(r"[.,]([0-9]{1,6})[0-9]*", 1).str.pad_end(6, "0").cast(pl.Int64, strict=False).fill_null(0)
    out = []
    for part in events.partition_by("stamp_kind"):
        which = part["stamp_kind"][0]
        if which == "bsd":
            text = pl.concat_str(pl.lit("2000 "), stamp.str.slice(0, 4), stamp.str.extract(r"^.{3} +([0-9]+) ", 1).str.pad_start(2, "0"),
                                 pl.lit(" "), stamp.str.extract(r"([0-9]{2}:[0-9]{2}:[0-9]{2})", 1))  # fmt: skip
            wall = _leapless(text).str.strptime(pl.Datetime("us"), "%Y %b %d %H:%M:%S", strict=False)
            part = part.with_columns(_wall=wall + pl.duration(microseconds=fraction), _utc=False, _yearless=True)
        elif which == "epoch_us":
            wall = stamp.cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
            part = part.with_columns(_wall=wall, _utc=True, _yearless=False)
        elif which == "epoch_s":
            wall = (stamp.cast(pl.Float64, strict=False) * 1e6).round().cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
            part = part.with_columns(_wall=wall, _utc=True, _yearless=False)
        elif which == "":
            part = part.with_columns(_wall=pl.lit(None, dtype=pl.Datetime("us")), _utc=False, _yearless=False)
        else:
            text = stamp.str.slice(0, 19).str.replace("T", " ")
            wall = _leapless(text).str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S", strict=False)
            written = stamp.str.slice(19).str.extract(r"(Z|[+-][0-9]{2}:?[0-9]{2})$", 1)
            shift = pl.coalesce(_offset(written), _offset(pl.col("zone")) if "zone" in part.columns else None)
            part = part.with_columns(
                _wall=wall + pl.duration(microseconds=fraction) - pl.duration(seconds=shift.fill_null(0)),
                _utc=shift.is_not_null(),
                _yearless=False,
            )
        out.append(part.with_columns(_wall=_sane(pl.col("_wall"))))
    if not out:
        return events.with_columns(
            _wall=pl.lit(None, dtype=pl.Datetime("us")), _utc=pl.lit(False), _yearless=pl.lit(False)
        )
    return pl.concat(out).sort("line", maintain_order=True).drop("stamp", "stamp_kind", "zone", strict=False)


def _leapless(text: pl.Expr) -> pl.Expr:
    """A leap second counts as the one before it."""
    return text.str.replace(r":60$", ":59")


def _sane(time: pl.Expr) -> pl.Expr:
    """NULL for a time at which no mail log was written: a forged or broken stamp."""
    return pl.when((time >= _EARLIEST) & (time < _LATEST)).then(time)


def _offset(text: pl.Expr) -> pl.Expr:
    """Seconds east of Greenwich in Z, UTC, +01:00, +0100."""
    digits = text.str.replace(":", "", literal=True)
    seconds = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 3600 + digits.str.slice(3, 2).cast(pl.Int64, strict=False) * 60
    return pl.when(text.is_in(["Z", "UTC", "GMT"])).then(0).when(text.str.starts_with("-")).then(-seconds).otherwise(seconds)


def proofs(events: pl.DataFrame) -> pl.DataFrame:
    """Lines that prove the clock: columns line, _wall, _yearless, _turn, epoch. At most a few dozen, from the file's beginning and end."""
    need = [c for c in ("line", "_wall", "_yearless", "_utc", "_turn", "event", "queue_id", "message_id", "mta") if c in events.columns]
    if "queue_id" not in need:
        return pl.DataFrame(schema=_PROOFS)
    rows = events.select(need).filter(~pl.col("_utc"), pl.col("_wall").is_not_null())
    if "event" in need:
        rows = rows.filter(pl.col("event").is_in(["receive", "queue"]))
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


_PROOFS: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.UInt64, "_wall": pl.Datetime("us"), "_yearless": pl.Boolean, "_turn": pl.Int32, "epoch": pl.Int64,
}  # fmt: skip


def rollovers(wall: pl.Series) -> pl.Series:
    """How many times the year has turned before each yearless stamp, in file order.

    A step back by more than half a year is a New Year; a step forward by as much is a late line of the old year.
    """
    step = wall.dt.epoch("us").diff().fill_null(0)
    half = 183 * 86_400_000_000
    turns = (step < -half).cast(pl.Int32) - (step > half).cast(pl.Int32)
    return turns.cum_sum().clip(lower_bound=0)


def decide(
    seen: pl.DataFrame,
    *,
    yearless: bool,
    zoneless: bool,
    last_wall: dt.datetime | None,
    turns: int,
    modified: float | None,
    tz: str | None = None,
    year: int | None = None,
) -> TimeBasis:
    """Settle zone and year of one file.

    Parameters
    ----------
    seen
        Result of `proofs`.
    last_wall
        Newest yearless stamp (in year 2000), `turns` the New Years that the file crosses.
    modified
        Modification time of the file (POSIX seconds), the last resort for the year.
    tz, year
        The user's word; `year` is that of the last line.

    Raises
    ------
    UsageError
        When `tz` names no zone.
    """
    if not zoneless and not yearless:
        return TimeBasis("in the stamps", "every stamp carries its zone", None)
    zone, zone_basis = "UTC", TimeBasis.zone_basis
    offset: int | None = 0
    proved_year = None
    gaps = []
    for row in seen.to_dicts():
        wall, epoch = row["_wall"], row["epoch"]
        utc = dt.datetime.fromtimestamp(epoch, dt.UTC).replace(tzinfo=None)
        if row["_yearless"]:
            for candidate in (utc.year, utc.year + 1, utc.year - 1):
                try:
                    shifted = wall.replace(year=candidate)
                except ValueError:
                    continue
                if abs((shifted - utc).total_seconds()) < 15 * 3600:
                    gaps.append((shifted - utc).total_seconds())
                    proved_year = candidate + turns - (row["_turn"] or 0)  # of the last line, not of this one
                    break
        else:
            gaps.append((wall - utc).total_seconds())
    # a message may wait before it is logged, and clocks differ a little: the smallest gap on the quarter-hour grid counts
    near = [round(g / 900) * 900 for g in gaps if abs(g - round(g / 900) * 900) < 120 and abs(g) < 15 * 3600]
    if tz:
        zone, zone_basis, offset = _named(tz)
    elif zoneless and near:
        offset = int(max(set(near), key=near.count))
        zone, zone_basis = _offset_name(offset), f"read from the lines: {len(near)} queue or message ids carry the UTC second"
    elif not zoneless:
        zone, zone_basis, offset = "in the stamps", "every stamp carries its zone", None
    if not yearless:
        return TimeBasis(zone, zone_basis, offset)
    if year is not None:
        return TimeBasis(zone, zone_basis, offset, year, "given with --year")
    if proved_year is not None:
        return TimeBasis(zone, zone_basis, offset, proved_year, "read from the lines: message ids carry the year")
    newest = dt.datetime.fromtimestamp(modified, dt.UTC).replace(tzinfo=None) if modified else None
    if newest is None or last_wall is None:
        this = newest.year if newest else 1970
        return TimeBasis(zone, zone_basis, offset, this, "unknown: nothing tells the year (say --year)")
    for candidate in range(newest.year, newest.year - 9, -1):
        try:
            if last_wall.replace(year=candidate) <= newest + dt.timedelta(days=1):
                return TimeBasis(zone, zone_basis, offset, candidate, "inferred: the last line can't be younger than the file's modification time")
        except ValueError:
            continue
    return TimeBasis(zone, zone_basis, offset, newest.year, "inferred from the file's modification time")


def _named(tz: str) -> tuple[str, str, int | None]:
    if match := re.fullmatch(r"([+-])([0-9]{2}):?([0-9]{2})", tz):
        seconds = int(match.group(2)) * 3600 + int(match.group(3)) * 60
        return tz, "given with --tz", -seconds if match.group(1) == "-" else seconds
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
    time = pl.when("_utc").then(pl.col("_wall").dt.replace_time_zone("UTC")).otherwise(local)
    time = _sane(time.dt.replace_time_zone(None)).dt.replace_time_zone("UTC")
    return events.with_columns(time=time).drop("_wall", "_utc", "_yearless", "_turn", strict=False)
