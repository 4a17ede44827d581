"""What became of every line of one input: its ledger, its clock, its report."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field, replace

import polars as pl

from maillog_forensics import clock, journal, logfiles, records, schema, sources, watches
from maillog_forensics.clock import TimeBasis
from maillog_forensics.language import mark
from maillog_forensics.settlements import Settlement

Reader = records.Reader | journal.Export
_SHAPES_KEPT = 20


@dataclass
class Shape:
    """A kind of line that nothing knows: how often, and one of them."""

    shape: str
    count: int
    line: int
    sample: str


@dataclass
class InputReport:
    """What became of one input: the ledger adds up to `lines`."""

    about: sources.Input
    parsed: int = 0
    ignored: int = 0
    unrecognised: int = 0
    damaged: int = 0
    duplicates: int = 0
    """Among the parsed: lines that an earlier input told; filled in by who compares the inputs."""
    format: str = "unknown"
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    basis: TimeBasis = field(default_factory=TimeBasis)
    shapes: list[Shape] = field(default_factory=list)
    events: int = 0

    def undated(self, lines: int) -> None:
        """Count lines as damaged whose time exists in no calendar, and say so."""
        self.parsed, self.damaged = self.parsed - lines, self.damaged + lines
        if lines:
            whose = (
                "1 line has a time that does not exist or lies"
                if lines == 1
                else f"{lines} lines have times that do not exist or lie"
            )
            self.about.problems.append(f"{whose} outside the years 1970 to 2199; what they say is not counted")

    @property
    def recognised(self) -> bool:
        """Whether a line of a mail server was found in it."""
        return self.parsed > 0 and self.format != "unknown"


@dataclass(frozen=True)
class Told:
    """What one chunk adds to the account of its input."""

    counts: dict[str, int]
    """Lines by state."""
    shapes: tuple[Shape, ...]
    """Kinds of lines that nothing knows, the commonest first."""
    cut: tuple[int, ...]
    mtas: frozenset[str]
    events: int
    tables: list[pl.DataFrame]
    """The raw events, or those of them that tell about the clock."""


@dataclass(frozen=True)
class Format:
    """What whoever reads an input that is no syslog knows of it at the end."""

    name: str = ""
    basis: TimeBasis | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, reader: Reader | None) -> Format:
        """What `reader` knows by now."""
        return cls(reader.name, reader.basis, tuple(reader.problems)) if reader else cls()


class Account:
    """The ledger and the clock of one input, filled in chunk by chunk, wherever the chunks were read."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._shapes: dict[str, Shape] = {}
        self._mtas: set[str] = set()
        self._cut: list[int] = []
        self._events = 0
        self._watch = watches.Watch()

    @classmethod
    def of(cls, counts: Counter[str], shapes: list[Shape], mtas: set[str], events: int, watch: watches.Watch) -> Account:
        """The account of an input that was read in company; see `Told` for what goes into it."""
        one = cls()
        one._counts, one._shapes = counts, {kind.shape: kind for kind in shapes}
        one._mtas, one._events, one._watch = mtas, events, watch
        return one

    def add(self, chunk: Told) -> list[pl.DataFrame]:
        """Take the next chunk in; its raw events come back with `_turn`."""
        self._counts.update(chunk.counts)
        for kind in chunk.shapes:
            if (known := self._shapes.get(kind.shape)) is None:
                self._shapes[kind.shape] = replace(kind)
            else:
                known.count += kind.count
        self._mtas |= chunk.mtas
        self._cut += chunk.cut
        self._events += chunk.events
        return self._watch.see(chunk.tables) if chunk.tables else []

    def close(
        self, about: sources.Input, form: Format, *, tz: str | None, year: int | None, next_began: dt.datetime | None
    ) -> tuple[InputReport, Settlement]:
        """The report of the input, and how its events get their time; the user's word as in `intake.Options`."""
        report = InputReport(about, events=self._events)
        for state in schema.LINE_STATES:
            setattr(report, state, self._counts[state])
        basis = TimeBasis()
        if found := self._watch.evidence(written(about), next_began):
            basis = clock.decide(found, tz=tz, year=year)
            report.first, report.last = self._watch.span(basis)
        report.basis = form.basis or basis
        if report.basis.shift:
            about.problems.append(report.basis.shift)
        report.format = form.name or "+".join(sorted(self._mtas)) or "unknown"
        report.shapes = sorted(self._shapes.values(), key=lambda kind: (-kind.count, kind.line))[:_SHAPES_KEPT]
        about.problems += form.problems
        if not report.recognised and about.lines and not about.unreadable and not form.problems:
            about.problems.append(_unknown_sentence(self._shapes))
        return report, Settlement(about.path, basis, self._watch.turns, tuple(self._cut))


def written(about: sources.Input) -> tuple[dt.datetime, str] | None:
    """When an input was last written at the latest (UTC), and how that is known."""
    times = [(about.modified, "the file's modification time"), (about.packed, "the time in its gzip header")]
    known = [(dt.datetime.fromtimestamp(t, dt.UTC).replace(tzinfo=None), why) for t, why in times if t and 0 < t < _LAST_SECOND]
    if day := logfiles.date_in_name(about.path):
        known.append((dt.datetime.combine(day, dt.time.max), "the date in the file's name"))
    return min(known, default=None)


_LAST_SECOND = 4_102_444_800  # 2100: what a broken file system may tell beyond is no date


_MASKS = ((r"[^\s<>@]+@[^\s<>,;:()]+", "<addr>"), (r"\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}\b|\b\d{1,3}(?:\.\d{1,3}){3}\b", "<ip>"),
          (r"\b(?:[0-9A-F]{6,}|[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})\b", "<id>"), (r'"[^"]*"', '"…"'), (r"\d+", "0"))  # fmt: skip


def shapes_of(lines: pl.DataFrame) -> pl.DataFrame:
    """Cluster lines by what stays when addresses, ids and numbers are masked."""
    shape = pl.col("text").str.slice(0, 400)
    for expression, mask in _MASKS:
        shape = shape.str.replace_all(expression, mask)
    return (
        lines.with_columns(shape=shape.str.slice(0, 160))
        .group_by("shape")
        .agg(count=pl.len(), line=pl.col("line").min(), sample=pl.col("text").sort_by("line").first().str.slice(0, 400))
        .sort(["count", "line"], descending=[True, False])
        .head(200)
    )


def _unknown_sentence(shapes: dict[str, Shape]) -> str:
    sample = next(iter(shapes.values())).sample if shapes else ""
    if "HTTP/1." in sample and '" ' in sample:
        return mark(
            "this looks like a web server's log, not a mail log; name the mail server's log instead (for instance /var/log/mail.log)"
        )
    return mark(
        "no line of a mail server was recognised; try 'maillog-forensics formats explain LINE' with one of its lines, or name another file"
    )
