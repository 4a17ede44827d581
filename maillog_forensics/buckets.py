"""Settled events of some queue ids to their messages, wherever a bucket is worked on: here or on a worker of a cluster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import polars as pl

from maillog_forensics import correlate, duplicates, linking, schema
from maillog_forensics.accounts import InputReport
from maillog_forensics.ahead import ahead
from maillog_forensics.correlate import Gathered
from maillog_forensics.mail import Mail
from maillog_forensics.spool import TABLES_BYTES, Spool

_EVENTS = {**schema.EVENTS, "_input": pl.UInt32}
_EVER = (dt.datetime(1, 1, 2, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


@dataclass(frozen=True)
class Bucket:
    """What the events of one bucket say.

    Attributes
    ----------
    gathered
        Messages and deliveries, links still open.
    repeated
        For each source the number of lines that an earlier one told.
    rejected, hosts, mtas
        Of the events that count, each once.
    """

    gathered: Gathered
    repeated: dict[str, int]
    rejected: int
    hosts: frozenset[str]
    mtas: frozenset[str]


@dataclass(frozen=True)
class Read:
    """All inputs read and their messages put together.

    Attributes
    ----------
    mail
        See `mail.Mail`.
    reports
        One for each input, in the order of `logfiles.expand`.
    rejected, hosts, mtas
        Of all events, each counted once though two inputs tell it.
    """

    mail: Mail
    reports: list[InputReport]
    rejected: int
    hosts: tuple[str, ...]
    mtas: tuple[str, ...]


def fill(
    events: pl.DataFrame,
    copies: dict[str, str] | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
    kept: Spool | None = None,
) -> Bucket:
    """Put the messages of one bucket together.

    Parameters
    ----------
    events
        Settled events with the number of their input in `_input`; of each input, lines in order.
    copies
        As `copies` gives them; None where there is one input only, which repeats nobody.
    kept
        Receives the events that count.
    """
    if since or until:
        events = events.filter((pl.col("time") >= (since or _EVER[0])) & (pl.col("time") <= (until or _EVER[1])))
    repeated: dict[str, int] = {}
    if copies is not None:
        whole = schema.conform(events, _EVENTS, "events")
        events, repeated = duplicates.drop(whole.sort("_input", "line", maintain_order=True), copies)
    if kept is not None:
        kept.add(schema.conform(events, _EVENTS, "events"))
    return Bucket(
        correlate.gather(events),
        repeated,
        int((events["event"] == "reject").sum()),
        frozenset(events["host"].unique().drop_nulls().to_list()),
        frozenset(events["mta"].unique().drop_nulls().to_list()),
    )


def read(
    settled: Iterable[pl.DataFrame],
    reports: list[InputReport],
    since: dt.datetime | None,
    until: dt.datetime | None,
    kept: Spool | None = None,
    budget_bytes: int = TABLES_BYTES,
) -> Read:
    """Messages of settled events, bucket by bucket; what two inputs tell counts once. See `fill` and `linking.link`.

    The next bucket is read while one is worked on, but where events are kept, which come in order.
    """
    known = copies(reports)
    work = (partial(fill, events, known, since, until, kept) for events in settled)
    return together((call() for call in work) if kept is not None else ahead(work, workers=1), reports, budget_bytes)


def together(buckets: Iterable[Bucket], reports: list[InputReport], budget_bytes: int = TABLES_BYTES) -> Read:
    """Number and link the messages of all buckets; the reports get the number of lines that did not count."""
    rejected = 0
    hosts: set[str] = set()
    mtas: set[str] = set()

    def gathered() -> Iterator[Gathered]:
        nonlocal rejected
        for bucket in buckets:
            rejected += bucket.rejected
            hosts.update(bucket.hosts)
            mtas.update(bucket.mtas)
            for report in reports:
                report.duplicates += bucket.repeated.get(report.about.path, 0)
            yield bucket.gathered
            del bucket

    mail = linking.link(gathered(), budget_bytes)
    return Read(mail, reports, rejected, tuple(sorted(hosts)), tuple(sorted(mtas)))


def copies(reports: list[InputReport]) -> dict[str, str] | None:
    """Sources whose bytes are those of an earlier one; None where there is one input only."""
    if len(reports) < 2:
        return None
    return duplicates.copies([(r.about.path, r.about.decompressed_sha256, r.about.decompressed_bytes) for r in reports])
