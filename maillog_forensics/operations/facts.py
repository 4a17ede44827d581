"""The day's events as the facts that are counted: arrivals, deliveries and the like, each with what is known of its message."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from maillog_forensics.addresses import canonical_of, domain
from maillog_forensics.correlate import Mail

_POSTFIX_ARRIVES_BY = ("smtpd", "pickup", "qmqpd")


@dataclass(frozen=True)
class Facts:
    """Tables with the columns of the events, and of the message: mid, from_box, message_size, came_from, first.

    Attributes
    ----------
    arrivals
        Messages that came, each once for each queue that it came to.
    deliveries, forwardings
        Recipients that were served, and those that became another message's (an alias, a .forward).
    deferrals, bounces
        Attempts that failed, for now and for good.
    refusals
        What was refused at the door.
    removals
        Messages that left a queue, with `queued_s` and `is_remote`: whether a recipient was on another host.
    rest
        Sessions, notices and what else was told.
    """

    arrivals: pl.DataFrame
    deliveries: pl.DataFrame
    forwardings: pl.DataFrame
    deferrals: pl.DataFrame
    bounces: pl.DataFrame
    refusals: pl.DataFrame
    removals: pl.DataFrame
    rest: pl.DataFrame


def facts(day: pl.DataFrame, mail: Mail, zone: str) -> Facts:
    """Sort the events of a day.

    Parameters
    ----------
    day
        Columns of the archive (`segments.SCHEMA`): events with the line that each was read from.
    mail
        Of a span that begins before the day, so that messages of the evening before are known.
    zone
        In which hours are counted.
    """
    folder = pl.col("source").str.replace(r"[^/\\]*$", "")
    day = day.with_columns(
        hour=pl.col("time").dt.convert_time_zone(zone).dt.hour(),
        host_key=pl.coalesce("host", folder),
        key=pl.coalesce("queue_id", pl.when(pl.col("message_id") != "").then(pl.lit("<") + pl.col("message_id") + ">")),
    )
    event = pl.col("event")
    arrives = (event == "receive") & ((pl.col("mta") != "postfix") | pl.col("program").is_in(_POSTFIX_ARRIVES_BY)).fill_null(True)
    delivered = _with_message(day.filter(event == "deliver"), mail).with_columns(
        box=canonical_of(pl.Series("box", day.filter(event == "deliver")["recipient"])) if day.height else pl.lit("")
    )
    forwarded = pl.col("diagnostic").str.contains(r"^forwarded as ").fill_null(False)
    return Facts(
        arrivals=_with_message(day.filter(arrives).unique(["source", "line"], keep="first", maintain_order=True), mail),
        deliveries=delivered.filter(~forwarded),
        forwardings=delivered.filter(forwarded),
        deferrals=_with_message(day.filter(event == "defer"), mail),
        bounces=_with_message(day.filter(event == "bounce"), mail),
        refusals=day.filter(event == "reject"),
        removals=_removals(day, mail),
        rest=day.filter(event.is_in(["session", "notice", "hold", "discard", "dsn", "expire"])),
    )


def _with_message(rows: pl.DataFrame, mail: Mail) -> pl.DataFrame:
    """Rows with what is known of the message that had the queue id at that time."""
    lives = mail.messages.select(
        "host_key",
        "mid",
        "from_box",
        "first",
        key=pl.coalesce("queue_id", pl.lit("<") + pl.col("message_id") + ">"),
        message_size="size",
        came_from=pl.coalesce(_named("client_host"), "client_ip"),
        at=pl.col("first"),
    ).filter(pl.col("key").is_not_null())
    joined = (
        rows.with_row_index("_row")
        .sort("time", "_row")
        .join_asof(
            lives.sort("at", "mid"), left_on="time", right_on="at", by=["host_key", "key"], strategy="backward", check_sortedness=False
        )
        .sort("_row")
        .drop("_row", "at", strict=False)
    )  # fmt: skip
    return joined.with_columns(
        from_box=pl.coalesce("from_box", canonical_of(joined["sender"])), message_size=pl.coalesce("message_size", "size")
    )


def _named(column: str) -> pl.Expr:
    """A host's name; NULL where the log says that it has none."""
    return pl.when(~pl.col(column).is_in(["unknown", ""])).then(pl.col(column))


def _removals(day: pl.DataFrame, mail: Mail) -> pl.DataFrame:
    gone = _with_message(day.filter(pl.col("event") == "remove"), mail)
    remote = mail.deliveries.filter(pl.col("event") == "deliver", pl.coalesce("relay_host", "relay_ip").is_not_null())
    remote = remote.select("mid", is_remote=pl.lit(True)).unique()
    return gone.join(remote, on="mid", how="left", maintain_order="left").with_columns(
        queued_s=pl.col("time").dt.epoch("s") - pl.col("first").dt.epoch("s"), is_remote=pl.col("is_remote").fill_null(False)
    )  # fmt: skip


def box_domain(column: str) -> pl.Expr:
    """The domain of a mailbox; a bare name is one of this host."""
    return domain(pl.col(column)).fill_null("(local)")


def client(local: str = "local") -> pl.Expr:
    """Who handed a message in: the name of the host, or its address, or that it was made here."""
    return pl.coalesce("came_from", pl.lit(local))


_MASKS = (
    (r"<[^<>]*>|[^\s<>@,;:()]+@[^\s<>,;:()]+", "<…>"),
    (r"\[[0-9a-fA-F.:]+\](?::\d+)?", "[…]"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", "…"),
    (r"\b[0-9A-F]{8,}\b|\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b|\b[0-9]{5,}\b", "…"),
    (r'"[^"]*"', '"…"'),
)


def reason(column: str = "diagnostic", limit: int = 140) -> pl.Expr:
    """The kind of a reason: its words without addresses, numbers of hosts, and ids."""
    text = pl.col(column).fill_null("no reason logged").str.slice(0, 400)
    for expression, mask in _MASKS:
        text = text.str.replace_all(expression, mask)
    return text.str.slice(0, limit)
