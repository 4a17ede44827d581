"""The public API: `analyze`, and its steps `normalize`, `correlate`, `find_incidents`, `render`, with LazyFrames between them.

`from maillog_forensics import steps as mf`; docs/library.md shows what for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from maillog_forensics import __version__, allowing, api, compression, reading, rendering, schema, scratch
from maillog_forensics.accounts import InputReport
from maillog_forensics.api import Analysis, Normalized, analyze, normalize
from maillog_forensics.evidence import Lines
from maillog_forensics.findings import Findings, Run
from maillog_forensics.sources import Input

__all__ = ["Analysis", "Correlated", "Findings", "Normalized", "analyze", "correlate", "find_incidents", "normalize", "render"]


@dataclass(frozen=True)
class Correlated:
    """Messages put together.

    Attributes
    ----------
    messages
        Table of `mail.MESSAGES`.
    deliveries
        Table of `mail.DELIVERIES`.
    attempts
        Events that belong to no message: refusals at the door, notices.
    """

    messages: pl.LazyFrame
    deliveries: pl.LazyFrame
    attempts: pl.LazyFrame


def correlate(events: pl.LazyFrame | pl.DataFrame) -> Correlated:
    """Put the messages of events together.

    Parameters
    ----------
    events
        Table of `schema.EVENTS`, as `normalize` gives it or as it was written to Parquet; what two inputs tell counts once.
    """
    mail = reading.put_together(_sources(events)).mail
    return Correlated(*(scratch.holding(table, mail.folder) for table in (mail.messages, mail.deliveries, mail.attempts)))


def find_incidents(events: pl.LazyFrame | pl.DataFrame, *, window_s: float = 4 * 3600, allow: Path | None = None) -> Findings:
    """Find mail loops and NDR storms in events.

    Parameters
    ----------
    events
        As in `correlate`. Evidence has its text where the logs that `source` names still lie there, else file, line and offset.
    window_s
        Longest gap in seconds between a message and the answer to it.
    allow
        A file of known-good pairs (see `allowing`).

    Returns
    -------
    Findings
        The document that `render` takes. Of the inputs it knows only what the events tell: no hashes, no ledger.
    """
    done = reading.put_together(_sources(events))
    lines = Lines({r.about.path: r.about for r in done.reports})
    examined = api.examine(done, lines, window_s=window_s, allowed=allowing.read(allow) if allow else [])
    run = Run(
        version=__version__,
        command="find_incidents",
        started_at=dt.datetime.now(dt.UTC),
        elapsed_s=0.0,
        parameters={"window_s": window_s},
        libraries={"polars": pl.__version__},
    )
    return api.document(examined, run)


def render(findings: Findings, form: str = "html", *, lang: str = "en") -> str:
    """The report of some findings as text.

    Parameters
    ----------
    form
        html, md (for a ticket), txt (for a mail), json, or ocsf.json (OCSF Detection Findings, one a line).

    Raises
    ------
    UsageError
        When there is no such form.
    """
    return rendering.rendered(findings, f".{form}", lang=lang)


@dataclass
class _Told:
    """What a table holds of one input."""

    report: InputReport
    table: pl.DataFrame

    def events(self) -> Iterator[pl.DataFrame]:
        yield self.table


def _sources(events: pl.LazyFrame | pl.DataFrame) -> list[_Told]:
    whole = schema.conform(events.lazy().collect(), schema.EVENTS, "events")
    out = []
    for (name,), table in whole.partition_by("source", as_dict=True, maintain_order=True).items():
        report = InputReport(_input(str(name)), parsed=table["line"].n_unique(), events=table.height)
        report.first, report.last = table["time"].min(), table["time"].max()  # type: ignore[assignment]
        report.format = "+".join(table["mta"].drop_nulls().unique().sort().to_list()) or "unknown"
        out.append(_Told(report, table.sort("line", maintain_order=True)))
    return out


def _input(path: str) -> Input:
    """The log behind a table, if it is still there."""
    try:
        with open(path, "rb") as file:
            return Input(path, compression=compression.kind(file.read(16)))
    except OSError:
        return Input(path)
