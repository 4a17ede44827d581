"""Taking in one log from where it was left: its new lines become events by day, and its state goes forward.

What comes out is the same however often the log was looked at on the way. Two things see to that: lines near the end are
read once more the next time (a record may be unfinished, or refer to the line before), and everything that is remembered is
remembered for a line, not for a run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from maillog_forensics import accounts, clock, intake, proofs, schema, sources, stamps, watches
from maillog_forensics.archive import segments
from maillog_forensics.archive.identity import BLOCK_BYTES, File, Fingerprint
from maillog_forensics.archive.ledger import Log
from maillog_forensics.normalize import Plan
from maillog_forensics.years import Years

_TAIL_LINES = 64
"""Lines at the end that are read again; more than the parts of a long record lie apart."""
_HEAD_LINES = 400
"""A shorter log is read as a whole: its format is told by so many lines (see `intake`)."""
_PROOFS = 40
_PENDING_S = 24 * 3600
"""A last line without its end that nobody has touched for so long is all there will be."""


@dataclass(frozen=True)
class Entry:
    """What the user says about some logs.

    Attributes
    ----------
    name
        What they are called; their events' source begins with it.
    paths
        Files, folders, globs.
    tz, host, format
        The zone of stamps without one, the host of lines that name none, the name of a format; None: found out.
    """

    name: str
    paths: tuple[str, ...]
    tz: str | None = None
    host: str | None = None
    format: str | None = None


@dataclass
class Taken:
    """New events of one log, not yet part of the archive.

    Attributes
    ----------
    log
        Its state when they are.
    after
        Lines up to this one are in the archive and stay there.
    rows
        For each day (UTC), its new events in the order of the lines: rows of `segments.SCHEMA` that wait in temporary files.
    spans
        For each day, the times of its first and last new event.
    counts
        Columns quarter (see `quarter_text`), is_tail, state, len.
    shapes
        Unrecognised lines in kinds: is_tail, shape, count, line, sample.
    """

    log: Log
    after: int
    rows: dict[str, list[pl.LazyFrame]] = field(default_factory=dict)
    spans: dict[str, tuple[dt.datetime, dt.datetime]] = field(default_factory=dict)
    counts: pl.DataFrame = field(default_factory=pl.DataFrame)
    shapes: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True)
class _Chunk:
    """What was read of some lines: a file with their events, if there are any, whose clock is not settled yet, and their ledger."""

    events: Path | None
    ledger: pl.DataFrame


class Reading:
    """One passage over a log's new lines."""

    def __init__(self, file: File, log: Log, entry: Entry, plan: Plan, folder: Path) -> None:
        self.file, self.entry, self.plan, self.folder = file, entry, plan, folder
        self.log = replace(log, leap_turns=list(log.leap_turns), proofs=list(log.proofs), problems=[])
        self._last_wall: dt.datetime | None = None
        self._reader: accounts.Reader | None = None
        self._quarter = self.log.settled_quarter
        if log.is_whole or log.lines < _HEAD_LINES:
            self._begin_anew()
        self.about = sources.Input(file.path)
        self._chunks: list[_Chunk] = []
        self._strange: list[pl.DataFrame] = []
        self._places = pl.DataFrame(schema={"line": pl.UInt64, "offset": pl.UInt64})

    def _begin_anew(self) -> None:
        kept = {n: getattr(self.log, n) for n in ("id", "source", "path", "host", "first_year", "year_basis", "is_proved")}
        self.log = Log(self.log.place, self.log.first_line, **kept)

    def run(self) -> Taken:
        """Read, and settle what was read."""
        self._read()
        if self._decide():  # the zone came out only now: what is in the archive of this log lies in the wrong hours
            again = Reading(self.file, self.log, self.entry, self.plan, self.folder)
            again._begin_anew()
            again.log.is_proved = False
            again._read()
            again._decide()
            return again._settle()
        return self._settle()

    # --- reading ----------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        log, years = self.log, Years()
        years.turns = log.settled_turns
        years.last_wall = dt.datetime.fromisoformat(log.settled_wall) if log.settled_wall else None
        log.proofs = [p for p in log.proofs if p["line"] <= log.settled]
        options = intake.Options(format=self.entry.format)
        is_last = self.file.compression != "none" or _age_s(self.file) > _PENDING_S
        chunks = sources.chunks(
            self._bytes(is_last), self.about, line=log.resume_line, offset=log.resume_offset, only_whole=not is_last
        )
        reader = None
        for number, chunk in enumerate(intake.raw_chunks(self.file.path, self.about, self.plan, options, chunks)):
            reader = chunk.reader
            lines, ledger = (_behind(log.settled, t) for t in (chunk.lines, chunk.ledger.table()))
            log.lines = max(log.lines, int(lines["line"][-1]) if lines.height else 0)
            self._places = pl.concat([self._places, lines.select("line", "offset")]).tail(2 * _TAIL_LINES)
            strange = ledger.filter(pl.col("state") == "unrecognised")
            self._strange.append(lines.join(strange, on="line", how="semi", maintain_order="left"))
            tables = [t for table in chunk.tables if (t := _behind(log.settled, table)).height]
            if not tables:
                self._chunks.append(_Chunk(None, ledger))
                continue
            walls, tables = years.mark(tables)
            log.is_yearless |= years.met
            log.is_zoneless |= not walls["_utc"].all()
            log.proofs = _merged_proofs(log, tables)
            log.leap_turns = sorted({*log.leap_turns, *_leap_turns(walls)})
            raw = self.folder / f"raw-{log.id or 0}-{number}.arrow"
            _with_text(tables, lines).write_ipc(raw, compression="lz4")
            self._chunks.append(_Chunk(raw, ledger))
        log.turns, self._last_wall = years.turns, years.last_wall
        log.is_whole = reader is not None or self.about.encoding != "utf-8"
        log.problems = [*self.about.problems, *(reader.problems if reader else [])]
        self._reader = reader

    def _bytes(self, is_last: bool) -> Iterator[bytes]:
        """From where reading goes on; what is behind the last newline counts as taken in only where nobody will end it."""
        log = self.log
        print_ = Fingerprint.of(log)
        at = min(log.resume_offset, print_.size // BLOCK_BYTES * BLOCK_BYTES)
        skip, known = log.resume_offset - at, print_.size
        held = b""
        for piece in self.file.pieces(self.about, at):
            fresh = piece[max(0, known - at) :] if at < known else piece
            at += len(piece)
            end = fresh.rfind(b"\n") + 1
            if end:
                print_.update(held + fresh[:end])
                held = fresh[end:]
            else:
                held += fresh
            if skip < len(piece):
                yield piece[skip:]
            skip = max(0, skip - len(piece))
        if is_last and held:
            print_.update(held)
        print_.fill(log)

    # --- settling ---------------------------------------------------------------------------------------------------------

    def _decide(self) -> bool:
        """Settle zone and year; whether lines that are in the archive already need another one."""
        log, old = self.log, (self.log.zone, self.log.offset_s, self.log.first_year)
        was_proved, had = log.is_proved, log.settled > 0
        reader_basis = self._reader.basis if self._reader else None
        seen = pl.DataFrame([p | {"_wall": dt.datetime.fromisoformat(p["_wall"])} for p in log.proofs], schema=proofs.PROOFS)
        found = clock.Evidence(
            seen, log.is_yearless, log.is_zoneless, self._last_wall, log.turns,
            frozenset(log.turns - t for t in log.leap_turns), accounts.written(self.about),
        )  # fmt: skip
        basis = clock.decide(found, tz=self.entry.tz)
        year = basis.last_year - log.turns if basis.last_year is not None else None
        if log.first_year is not None and not basis.year_basis.startswith("read from the lines"):
            year = log.first_year  # said once, kept: a file's time of change moves on
        elif year is not None:
            log.year_basis = basis.year_basis
        log.first_year = year
        shown = reader_basis or basis
        log.zone, log.zone_basis, log.offset_s, log.shift = basis.zone, shown.zone_basis, basis.offset_s, shown.shift
        log.is_proved = "taken as UTC" not in basis.zone_basis
        if log.shift and log.shift not in log.problems:
            log.problems.append(log.shift)
        return had and not was_proved and old != (log.zone, log.offset_s, log.first_year)

    def _settle(self) -> Taken:
        """Give the events their times, and count the lines; the events themselves are read once, when they are written for good."""
        log, after = self.log, self.log.settled
        basis = clock.TimeBasis(
            log.zone, log.zone_basis, log.offset_s, None if log.first_year is None else log.first_year + log.turns
        )
        total = log.lines
        log.settled = 0 if log.is_whole or total < _HEAD_LINES else max(after, total - _TAIL_LINES)
        taken = Taken(log, after)
        time, counts = clock.time(basis, log.turns), []
        for chunk in self._chunks:
            dates = pl.DataFrame(schema=_DATES)
            if chunk.events:
                events = pl.read_ipc(chunk.events, columns=["line", "mta", *stamps.WALL, "_turn"])
                self._remember_turns(events)
                dates = events.select("line", time=time)
                if (dated := events.filter(dates["time"].is_not_null())).height:
                    self._name(events)
                    self._place(taken, chunk.events, time, dates.drop_nulls())
                    if log.format == "unknown":
                        log.format = "+".join(dated["mta"].drop_nulls().unique().sort().to_list()) or "unknown"
            counts.append(self._counts(chunk.ledger, dates))
        if not log.source:
            log.source = f"{log.place}/undated-{log.first_line[:8]}"
        if counts:
            when = pl.col("quarter").fill_null(pl.lit(log.first_quarter, dtype=pl.Int32)).cast(pl.Int64) * _QUARTER_S
            sums = pl.concat(counts).group_by(pl.from_epoch(when).dt.to_string(_QUARTER).fill_null(""), "is_tail", "state")
            taken.counts = sums.agg(pl.col("len").sum())
        strange = pl.concat(self._strange) if self._strange else pl.DataFrame()
        if strange.height:
            halves = [
                (False, strange.filter(pl.col("line") <= log.settled)),
                (True, strange.filter(pl.col("line") > log.settled)),
            ]
            taken.shapes = pl.concat(
                [accounts.shapes_of(rows).with_columns(is_tail=pl.lit(tail)) for tail, rows in halves if rows.height]
            )
        self._place_resume()
        return taken

    def _name(self, raw: pl.DataFrame) -> None:
        """The source: where it is from, what its clock showed at the first event, and the hash of its first line."""
        if self.log.source and "/undated-" not in self.log.source:
            return
        row = raw.filter(pl.col("_wall").is_not_null()).head(1)
        wall = row["_wall"][0] if row.height else None
        if wall is None:
            return
        year = self.log.first_year if row["_yearless"][0] and self.log.first_year else wall.year
        self.log.source = f"{self.log.place}/{year:04d}{wall:%m%d-%H%M%S}-{self.log.first_line[:8]}"

    def _place(self, taken: Taken, events: Path, time: pl.Expr, dates: pl.DataFrame) -> None:
        """Note which events of a file are of which day."""
        days = dates.group_by(day=pl.col("time").dt.date()).agg(a=pl.col("time").min(), b=pl.col("time").max())
        log = self.log
        rows = pl.scan_ipc(events, glob=False)
        missing = segments.SCHEMA.keys() - rows.collect_schema().keys() - {"time", "source"}
        rows = rows.with_columns(time=time, **{c: pl.lit(None, dtype=segments.SCHEMA[c]) for c in sorted(missing)})
        if log.host:
            rows = rows.with_columns(pl.col("host").fill_null(log.host))
        for day, first, last in days.sort("day").iter_rows():
            taken.rows.setdefault(str(day), []).append(rows.filter(pl.col("time").dt.date() == day))
            before = taken.spans.get(str(day), (first, last))
            taken.spans[str(day)] = min(first, before[0]), max(last, before[1])
            log.first, log.last = min(log.first or str(first), str(first)), max(log.last or str(last), str(last))

    def _remember_turns(self, events: pl.DataFrame) -> None:
        """The New Years and the last yearless stamp up to the last line that is final."""
        final = events.filter(pl.col("line") <= self.log.settled, "_yearless", pl.col("_wall").is_not_null()).tail(1)
        if final.height:
            self.log.settled_turns, self.log.settled_wall = int(final["_turn"][0]), final["_wall"][0].isoformat()

    def _counts(self, ledger: pl.DataFrame, dates: pl.DataFrame) -> pl.DataFrame:
        """Lines by quarter of an hour and state; a line that tells no time belongs to the time of the one before it."""
        log = self.log
        quarters = dates.group_by("line", maintain_order=True).agg(
            quarter=(pl.col("time").drop_nulls().first().dt.epoch("s") // _QUARTER_S).cast(pl.Int32), is_told=pl.lit(True)
        )
        if log.first_quarter is None:
            log.first_quarter = quarters["quarter"].drop_nulls().head(1).to_list()[0] if quarters["quarter"].count() else None
        is_timeless = pl.col("is_told") & pl.col("quarter").is_null() & (pl.col("state") == "parsed")
        table = ledger.sort("line").join(quarters, on="line", how="left", maintain_order="left").with_columns(
            state=pl.when(is_timeless).then(pl.lit("damaged")).otherwise("state"),
            quarter=pl.col("quarter").forward_fill().fill_null(pl.lit(self._quarter, dtype=pl.Int32)),
            is_tail=pl.col("line") > log.settled,
        )  # fmt: skip
        if table.height:
            self._quarter = table["quarter"][-1]
        final = table.filter(~pl.col("is_tail"))
        if final.height:
            log.settled_quarter = final["quarter"][-1]
        return table.group_by("quarter", "is_tail", "state").len()

    def _place_resume(self) -> None:
        log = self.log
        wanted = log.settled - _TAIL_LINES + 1
        row = self._places.filter(pl.col("line") >= max(1, wanted)).head(1)
        if log.settled and row.height and row["line"][0] <= log.settled + 1:
            log.resume_line, log.resume_offset = int(row["line"][0]), int(row["offset"][0])
        elif not log.settled:
            log.resume_line, log.resume_offset = 1, 0


_RAW: dict[str, pl.DataType | type[pl.DataType]] = {
    **{name: kind for name, kind in segments.SCHEMA.items() if name not in ("time", "source")}, **stamps.WALL, "_turn": pl.Int32,
}  # fmt: skip
_DATES: dict[str, pl.DataType | type[pl.DataType]] = {"line": pl.UInt64, "time": schema.TIME}
_QUARTER, _QUARTER_S = "%Y-%m-%dT%H:%M", 900
"""Every zone's offset from UTC is a multiple of it: lines that are counted so can be counted by the days of any zone."""


def quarter_text(quarter: int) -> str:
    """A quarter of an hour, counted from 1970 (UTC), as the ledger writes it: 2026-11-02T09:45."""
    return dt.datetime.fromtimestamp(quarter * _QUARTER_S, dt.UTC).strftime(_QUARTER)


def _behind(settled: int, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of lines that are not final yet; nearly always all."""
    return rows.filter(pl.col("line") > settled) if rows.height and rows["line"].min() <= settled else rows  # type: ignore[operator]


def _with_text(tables: list[pl.DataFrame], lines: pl.DataFrame) -> pl.DataFrame:
    """Events in the order of their lines, with the lines' text; of the columns of `_RAW` those that say something."""
    events = pl.concat(tables, how="diagonal_relaxed")
    events = schema.conform(events, {c: kind for c, kind in _RAW.items() if c in events.columns}, "events")
    events = events[events.select(pl.arg_sort_by("line", maintain_order=True)).to_series()]
    first = lines["line"][0] if lines.height else 0
    place = pl.when(pl.col("line") >= first).then(pl.col("line") - first)  # a record may have begun in the chunk before
    at = events.select(place.cast(pl.UInt32)).to_series()
    return events.with_columns(text=lines["text"].gather(at, null_on_oob=True))


def _merged_proofs(log: Log, tables: list[pl.DataFrame]) -> list[dict[str, Any]]:
    """The first lines that prove the clock, of all that was read so far."""
    wanted = _PROOFS - len(log.proofs)
    rows = watches.proving(tables) if wanted > 0 else None
    if rows is None:
        return log.proofs
    found = proofs.found(proofs.look(rows)).sort("line").head(wanted)
    return [*log.proofs, *(row | {"_wall": row["_wall"].isoformat()} for row in found.to_dicts())]


def _leap_turns(walls: pl.DataFrame) -> list[int]:
    """How many New Years came before each 29 February."""
    leap = walls.filter("_yearless", pl.col("_wall").dt.month() == 2, pl.col("_wall").dt.day() == 29)
    return leap["_turn"].unique().to_list()


def _age_s(file: File) -> float:
    return dt.datetime.now(dt.UTC).timestamp() - file.modified / 1e9
