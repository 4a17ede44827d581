"""What an incident did to everybody else, measured. Zero is a finding too."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from maillog_forensics import signatures
from maillog_forensics.evidence import Place
from maillog_forensics.findings import Bin, Series
from maillog_forensics.graph import Graph
from maillog_forensics.mail import Mail

MAX_BINS = 240
_STEPS = (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)


@dataclass(frozen=True)
class Measured:
    """The figures of `findings.Harm`, with places instead of lines."""

    share_of_traffic: float
    bytes: int
    ndrs_sent: int
    innocent_recipients: int
    mailboxes_filled: tuple[str, ...]
    before_s: float | None
    during_s: float | None
    p95_before_s: float | None
    p95_during_s: float | None
    deferrals: int
    overload: tuple[Place, ...]
    reputation: tuple[Place, ...]


def measure(
    mail: Mail,
    graph: Graph,
    logicals: pl.Series,
    mids: pl.Series,
    members: tuple[str, ...],
    started: dt.datetime,
    ended: dt.datetime,
) -> Measured:
    """Measure the harm of one incident.

    Parameters
    ----------
    logicals, mids
        Its messages, logical and by queue.
    started, ended
        Its span; traffic is compared in the span, delays with an equally long time before.
    """
    span = max(ended - started, dt.timedelta(seconds=60))
    inside = graph.edges.filter(pl.col("sent").is_between(started, ended))
    total = inside["logical"].n_unique()
    own = inside.filter(pl.col("logical").is_in(logicals.implode()))["logical"].n_unique()
    parents = (
        mail.messages.filter(pl.col("parent").is_in(mids.implode()), pl.col("is_notification")).select("mid", "logical").collect()
    )
    ndr_edges = graph.edges.filter(pl.col("logical").is_in(graph.logicals(parents["mid"]).implode()))
    names = list(members)
    strangers = ndr_edges.filter(~pl.col("recipient").is_in(graph.numbers(names)))["recipient"].n_unique()
    nearby = (
        mail.deliveries.filter(pl.col("first").is_between(started - span, ended + dt.timedelta(minutes=30)))
        .select("mid", "first", "event", "delay_s", "to_box", *_TEXTS, *_TEXTS.values())
        .collect()
    )
    others = nearby.filter(~pl.col("mid").is_in(mids.implode()))
    handled = others.filter(pl.col("event") == "deliver", pl.col("delay_s").is_not_null())
    before = _enough(handled.filter(pl.col("first").is_between(started - span, started, closed="left"))["delay_s"])
    during = _enough(handled.filter(pl.col("first").is_between(started, ended))["delay_s"])
    near = nearby.filter(pl.col("first").is_between(started, ended + dt.timedelta(minutes=30)), pl.col("event") != "deliver")
    full, overload, reputation = [], [], []
    told = [  # what a reply says; and, where a message was given up, what it had waited for
        near.select("to_box", *_TEXTS),
        near.select("to_box", **_TEXTS),
    ]
    texts = pl.concat(told).drop_nulls("diagnostic")
    distinct = texts["diagnostic"].unique().head(3000).to_list()
    kinds = {t: m.kind for t in distinct if (m := signatures.meaning(t))}
    for row in texts.filter(pl.col("diagnostic").is_in(list(kinds))).sort("source", "line").head(5000).iter_rows(named=True):
        kind = kinds[row["diagnostic"]]
        if kind == "mailbox_full" and (row["to_box"] in names):
            full.append(row["to_box"])
        elif kind == "overload":
            overload.append((row["source"], row["line"], row["offset"]))
        elif kind == "reputation":
            reputation.append((row["source"], row["line"], row["offset"]))
    sizes = mail.stays(mids).group_by("logical").agg(pl.col("size").max())["size"]
    return Measured(
        share_of_traffic=own / total if total else 0.0,
        bytes=int(sizes.sum() or 0),
        ndrs_sent=parents["logical"].n_unique(),
        innocent_recipients=strangers,
        mailboxes_filled=tuple(dict.fromkeys(full)),
        before_s=_round(before.median()),
        during_s=_round(during.median()),
        p95_before_s=_round(before.quantile(0.95)),
        p95_during_s=_round(during.quantile(0.95)),
        deferrals=others.filter(pl.col("event") == "defer", pl.col("first").is_between(started, ended)).height,
        overload=tuple(overload[:5]),
        reputation=tuple(reputation[:5]),
    )


_TEXTS = {
    "diagnostic": "waited_for",
    "source": "waited_source",
    "line": "waited_line",
    "offset": "waited_offset",
}
"""Columns of what the last attempt said, and of what the last deferral before it did."""

_COMPARED = 20
"""Fewer deliveries say nothing about how fast mail usually goes."""


def _enough(delays: pl.Series) -> pl.Series:
    """The delays, or none where they are too few to compare with."""
    return delays if delays.len() >= _COMPARED else delays.clear()


def _round(value: object) -> float | None:
    return None if value is None else round(float(value), 3)  # type: ignore[arg-type]


def series(
    own: pl.DataFrame,
    everything: pl.DataFrame,
    first: dt.datetime,
    last: dt.datetime,
    started: dt.datetime,
    ended: dt.datetime,
    detail: str | None = None,
) -> Series:
    """Messages of the incident and all others over time.

    Parameters
    ----------
    own, everything
        Tables with a column `sent`, one row for each message; `everything` includes `own`.
    first, last
        Borders of the logs; a window of three spans around the incident is shown where they are much wider.
    detail
        Column of `own` whose values are counted apart in each step; rows without one are not.
    """
    span = max(ended - started, dt.timedelta(seconds=30))
    begin, end = max(first, started - 2 * span), min(last, ended + 2 * span)
    step = next((s for s in _STEPS if (end - begin).total_seconds() / s <= MAX_BINS), _STEPS[-1])
    every = f"{step}s"
    grid = (
        pl.datetime_range(begin, end, every, time_unit="us", time_zone="UTC", eager=True)
        .dt.truncate(every)
        .alias("time")
        .to_frame()
        .unique()
        .sort("time")
    )

    def counted(table: pl.DataFrame, name: str) -> pl.DataFrame:
        return (
            table.filter(pl.col("sent").is_between(begin, end))
            .group_by(time=pl.col("sent").dt.truncate(every))
            .agg(pl.len().alias(name))
        )

    table = (
        grid.join(counted(own, "mine"), on="time", how="left")
        .join(counted(everything, "all"), on="time", how="left")
        .fill_null(0)
    )
    details: dict[dt.datetime, dict[str, int]] = {}
    if detail:
        shares = (
            own.filter(pl.col("sent").is_between(begin, end), pl.col(detail).is_not_null())
            .group_by(time=pl.col("sent").dt.truncate(every), what=pl.col(detail))
            .agg(n=pl.len())
        )
        for when, what, n in shares.sort("time", "what").iter_rows():
            details.setdefault(when, {})[what] = n
    outside = table.filter((pl.col("time") < started - dt.timedelta(seconds=step)) | (pl.col("time") > ended))
    peak = table.filter(pl.col("mine") == pl.col("mine").max())
    bins = tuple(
        Bin(time=when, messages=mine, others=max(0, total - mine), detail=details.get(when, {}))
        for when, mine, total in table.select("time", "mine", "all").iter_rows()
    )
    return Series(
        step_s=step,
        bins=bins,
        baseline=round(sum(outside["mine"].to_list()) / outside.height, 4) if outside.height else 0.0,
        peak_at=peak["time"][0] if peak.height else None,
    )


def peak_per_minute(times: list[float]) -> float:
    """The most messages within any sixty seconds."""
    best, start = 0, 0
    for end, at in enumerate(times):
        while at - times[start] >= 60:
            start += 1
        best = max(best, end - start + 1)
    return float(best)
