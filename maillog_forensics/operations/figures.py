"""The figures of a day: totals, hours, and tables of who, where to and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from maillog_forensics.language import mark, say, translated
from maillog_forensics.operations import sessions
from maillog_forensics.operations.facts import Facts, Lives, box_domain, client, facts, reasons_of

Kind = Literal["text", "count", "bytes", "seconds"]

HOURLY = ("received", "delivered", "deferred", "bounced", "rejected")


@dataclass(frozen=True)
class Table:
    """One table of figures; `left_out` rows are not shown, and the column `ranked` ranks."""

    id: str
    title: str
    columns: tuple[tuple[str, Kind], ...]
    rows: tuple[tuple[object, ...], ...]
    left_out: int = 0
    note: str = ""
    ranked: int = 0


@dataclass(frozen=True)
class Figures:
    """What a day's operations came to.

    Attributes
    ----------
    totals
        By name (see `TOTALS`); counts and bytes.
    hours
        For each of `HOURLY` 24 counts.
    tables
        Those that have rows.
    """

    totals: dict[str, int]
    hours: dict[str, list[int]]
    tables: tuple[Table, ...] = field(default=())


TOTALS = {
    "received": mark("messages received"),
    "delivered": mark("deliveries"),
    "forwarded": mark("forwarded by an alias or .forward"),
    "deferred": mark("messages deferred"),
    "deferrals": mark("deferrals"),
    "bounced": mark("bounces"),
    "expired": mark("returned after too long in the queue"),
    "rejected": mark("refused for good"),
    "refused_for_now": mark("refused for now"),
    "reject_warnings": mark("refusals that were only warned of"),
    "held": mark("put on hold"),
    "discarded": mark("discarded"),
    "bytes_received": mark("bytes received"),
    "bytes_delivered": mark("bytes delivered"),
    "senders": mark("senders"),
    "sender_domains": mark("domains of senders"),
    "recipients": mark("recipients"),
    "recipient_domains": mark("domains of recipients"),
    "connections": mark("connections"),
    "connection_seconds": mark("seconds of connections"),
    "failed_logins": mark("failed logins"),
    "notifications": mark("notifications sent (non-delivery and delay)"),
    "warnings": mark("warnings and errors"),
}


def figures(day: Iterable[pl.DataFrame], lives: Lives, *, zone: str = "UTC", top: int = 10) -> Figures:
    """Count a day.

    Parameters
    ----------
    day, lives, zone
        As in `facts`.
    top
        Rows that each table shows at most.

    Notes
    -----
    `received`, `delivered`, `forwarded`, `deferred`, `deferrals`, `bounced`, `held`, `discarded` and the bytes are counted as
    pflogsumm counts them for Postfix, `received`, `delivered` and the time in the queue as eximstats does for Exim; `rejected`
    and `refused_for_now` add up to pflogsumm's rejected. Addresses are folded (SRS, VERP, BATV, plus tags, letter case).
    """
    f = facts(day, lives, zone)
    talks = sessions.talks(f)
    troubles = sessions.troubles(f)
    later = _for_now()
    totals = {
        "received": f.arrivals.height,
        "delivered": f.deliveries.height,
        "forwarded": f.forwardings.height,
        "deferred": f.deferrals.select(pl.struct("host_key", "key").n_unique()).item() if f.deferrals.height else 0,
        "deferrals": f.deferrals.height,
        "bounced": f.bounces.height,
        "expired": f.rest.filter(pl.col("event") == "expire").height,
        "rejected": f.refusals.filter(~later).height,
        "refused_for_now": f.refusals.filter(later).height,
        "reject_warnings": f.rest.filter(pl.col("outcome") == "reject_warning").height,
        "held": f.rest.filter(pl.col("event") == "hold").height,
        "discarded": f.rest.filter(pl.col("event") == "discard").height,
        "bytes_received": int(f.arrivals["message_size"].sum() or 0),
        "bytes_delivered": int(f.deliveries["message_size"].sum() or 0),
        "senders": f.arrivals["from_box"].drop_nulls().n_unique(),
        "sender_domains": f.arrivals.select(box_domain("from_box")).to_series().n_unique(),
        "recipients": f.deliveries["box"].drop_nulls().n_unique(),
        "recipient_domains": f.deliveries.select(box_domain("box")).to_series().n_unique(),
        "connections": talks.height,
        "connection_seconds": round(talks["seconds"].sum() or 0),
        "failed_logins": f.failed_logins.height,
        "notifications": f.rest.filter(pl.col("event") == "dsn").height,
        "warnings": troubles.height,
    }
    refused = f.refusals
    parts = {
        "received": f.arrivals,
        "delivered": f.deliveries,
        "deferred": f.deferrals,
        "bounced": f.bounces,
        "rejected": refused,
    }
    hours = {name: _hours(parts[name]) for name in HOURLY}
    tables = [
        *_people(f, top), *_places(f, top), *_reasons(f, top), *sessions.tables(f, talks, troubles, top), *_queue(f), *_relayed(f, top)
    ]  # fmt: skip
    return Figures(totals, hours, tuple(t for t in tables if t.rows))


def _for_now() -> pl.Expr:
    """Whether a refusal asks the other side to come again."""
    code = pl.coalesce(pl.col("smtp_code").cast(pl.String), "dsn", pl.col("diagnostic").str.extract(r"^(4|5)\d\d", 1))
    words = pl.col("outcome").str.contains("temporarily").fill_null(False)
    return code.str.starts_with("4").fill_null(False) | words


def _hours(rows: pl.DataFrame) -> list[int]:
    counts = dict(rows.group_by("hour").len().iter_rows())
    return [counts.get(h, 0) for h in range(24)]


def listed(
    id: str, title: str, rows: pl.DataFrame, columns: Sequence[tuple[str, Kind]], top: int, note: str = "", by: int = 0
) -> Table:
    """The first `top` rows of a grouped table whose columns stand in the order of `columns`; `by` is the column that ranks."""
    names = rows.columns
    first = rows
    if rows.height > top and (least := rows[names[by]].top_k(top).min()) is not None:  # only they, and their equals, are sorted
        first = rows.filter(pl.col(names[by]) >= least)
    ranked = first.sort(
        [names[by], *(n for n in names if n != names[by])], descending=[True] + [False] * (len(names) - 1), nulls_last=True
    )
    return Table(id, title, tuple(columns), tuple(ranked.head(top).rows()), max(0, rows.height - top), note, by)


_COUNT: tuple[tuple[str, Kind], ...] = ((mark("messages"), "count"), (mark("bytes"), "bytes"))


def _sized(rows: pl.DataFrame, who: pl.Expr) -> pl.DataFrame:
    """Messages and bytes of each `who`."""
    known = rows.select(who=who, size=pl.col("message_size")).drop_nulls("who")
    return known.group_by("who").agg(n=pl.len(), bytes=pl.col("size").sum()).select("n", "bytes", "who")


def _people(f: Facts, top: int) -> list[Table]:
    shown = pl.when(pl.col("from_box") == "").then(pl.lit(say("<> (notifications)"))).otherwise("from_box")
    senders, boxes = _sized(f.arrivals, shown), _sized(f.deliveries, pl.col("box"))
    columns = (*_COUNT, (mark("mailbox"), "text"))
    return [
        listed("senders", mark("Senders by messages"), senders, columns, top),
        listed("senders-bytes", mark("Senders by bytes"), senders, columns, top, by=1),
        listed("recipients", mark("Recipients by messages"), boxes, columns, top),
        listed("recipients-bytes", mark("Recipients by bytes"), boxes, columns, top, by=1),
    ]


def _places(f: Facts, top: int) -> list[Table]:
    to = box_domain("box").alias("who")
    deliveries = f.deliveries.select(to, "message_size", "delay_s").group_by("who").agg(
        n=pl.len(), bytes=pl.col("message_size").sum(), mean=pl.col("delay_s").mean(), longest=pl.col("delay_s").max()
    )  # fmt: skip
    deferrals = f.deferrals.select(who=pl.col("recipient").str.to_lowercase()).select(box_domain("who")).rename({"who": "who"})
    domains = deliveries.join(deferrals.group_by("who").len("deferrals"), on="who", how="full", coalesce=True)
    domains = domains.select(
        pl.col("n").fill_null(0), pl.col("bytes").fill_null(0), pl.col("deferrals").fill_null(0), "mean", "longest", "who"
    )
    relay = pl.coalesce("relay_host", "relay_ip", pl.lit("local"))
    hops = f.deliveries.filter(relay.is_not_null())
    columns = (*_COUNT, (mark("host"), "text"))
    domain_columns: tuple[tuple[str, Kind], ...] = (
        *_COUNT, (mark("deferrals"), "count"), (mark("delay on average"), "seconds"), (mark("longest"), "seconds"), (mark("domain"), "text"),
    )  # fmt: skip
    return [
        listed("to-domains", mark("Delivered to domains"), domains, domain_columns, top),
        listed("from-domains", mark("Received from domains"), _sized(f.arrivals, box_domain("from_box")), (*_COUNT, (mark("domain"), "text")), top),
        listed("from-hosts", mark("Received from hosts"), _sized(f.arrivals, client()), columns, top),
        listed("from-hosts-bytes", mark("Received from hosts, by bytes"), _sized(f.arrivals, client()), columns, top, by=1),
        listed("to-hosts", mark("Delivered to hosts"), _sized(hops, relay), columns, top),
        listed("transports", mark("Deliveries by transport"), _sized(f.deliveries, pl.col("transport")), (*_COUNT, (mark("transport"), "text")), top),
    ]  # fmt: skip


def _reasons(f: Facts, top: int) -> list[Table]:
    def grouped(rows: pl.DataFrame, who: pl.Expr) -> pl.DataFrame:
        table = rows.select("source", "line", who=who, reason=reasons_of(rows["diagnostic"])).group_by("reason")
        first = pl.format("{}:{}", pl.col("source").first(), pl.col("line").first())
        return table.agg(n=pl.len(), whom=pl.col("who").drop_nulls().n_unique(), example=first).select(
            "n", "whom", "reason", "example"
        )

    columns: tuple[tuple[str, Kind], ...] = (
        (mark("times"), "count"),
        (mark("addresses"), "count"),
        (mark("reason"), "text"),
        (mark("first line"), "text"),
    )
    by_client = ((mark("times"), "count"), (mark("clients"), "count"), (mark("reason"), "text"), (mark("first line"), "text"))
    clients = f.refusals.select(who=pl.coalesce(pl.col("client_ip"), "client_host")).drop_nulls().group_by("who").agg(n=pl.len())
    return [
        listed("deferral-reasons", mark("Why mail was deferred"), grouped(f.deferrals, pl.col("recipient")), columns, top),
        listed("bounce-reasons", mark("Why mail was returned"), grouped(f.bounces, pl.col("recipient")), columns, top),
        listed("reject-reasons", mark("Why mail was refused at the door"), grouped(f.refusals, pl.coalesce("client_ip", "client_host")), by_client, top),  # type: ignore[arg-type]
        listed("rejected-clients", mark("Who was refused most"), clients.select("n", "who"), ((mark("times"), "count"), (mark("client"), "text")), top),
    ]  # fmt: skip


_QUEUED = ((60, mark("under 1 min")), (300, mark("1 to 5 min")), (900, mark("5 to 15 min")), (1800, mark("15 to 30 min")), (3600, mark("30 to 60 min")),
           (10800, mark("1 to 3 h")), (21600, mark("3 to 6 h")), (43200, mark("6 to 12 h")), (86400, mark("12 to 24 h")))  # fmt: skip
_LONGER = mark("a day and more")


def _queue(f: Facts) -> list[Table]:
    """How long messages that left the queue had been in it, in eximstats' steps."""
    known = f.removals.filter(pl.col("queued_s").is_not_null())
    step = pl.coalesce(
        *(pl.when(pl.col("queued_s") < s).then(pl.lit(n)) for n, (s, _) in enumerate(_QUEUED)), pl.lit(len(_QUEUED))
    )
    counts = (
        known.select(step=step, is_remote=pl.col("is_remote"))
        .group_by("step")
        .agg(all=pl.len(), remote=pl.col("is_remote").sum())
    )
    names = [*(name for _, name in _QUEUED), _LONGER]
    rows = tuple((translated(names[s]), n, r) for s, n, r in counts.sort("step").iter_rows())
    columns: tuple[tuple[str, Kind], ...] = (
        (mark("time in the queue"), "text"),
        (mark("messages"), "count"),
        (mark("with a remote recipient"), "count"),
    )
    return [Table("queue-times", mark("Time in the queue"), columns, rows, ranked=1)]


def _relayed(f: Facts, top: int) -> list[Table]:
    """Mail that came from another host and went to another host, not through an alias: eximstats' relayed messages."""
    kept = pl.col("orig_recipient").is_null() | (
        pl.col("orig_recipient").str.to_lowercase() == pl.col("recipient").str.to_lowercase()
    )
    rows = f.deliveries.filter(
        pl.col("came_from").is_not_null(), pl.coalesce("relay_host", "relay_ip").is_not_null(), kept,
        ~pl.coalesce("relay_ip", pl.lit("")).is_in(["127.0.0.1", "::1"]),
    )  # fmt: skip
    pairs = rows.group_by("came_from", "from_box", relay=pl.coalesce("relay_host", "relay_ip"), to=pl.col("box")).agg(n=pl.len())
    columns: tuple[tuple[str, Kind], ...] = (
        (mark("messages"), "count"), (mark("from host"), "text"), (mark("sender"), "text"), (mark("to host"), "text"), (mark("recipient"), "text"),
    )  # fmt: skip
    note = say("%(n)s in all", n=rows.height)
    return [listed("relayed", mark("Relayed"), pairs.select("n", "came_from", "from_box", "relay", "to"), columns, top, note)]
