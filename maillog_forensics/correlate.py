"""From events to messages and deliveries, and the links between them.

A *message* is one stay of a mail in one queue; its key is host, queue id and epoch, since queue ids are used again.
A *logical* message is what its sender would call one message: the same Message-ID on every host and in every pass.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import addresses, schema

KEY = ["_id", "epoch"]

MESSAGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "mid": pl.UInt32,
    "host_key": pl.String,
    "host": pl.String,
    "instance": pl.String,
    "mta": pl.String,
    "queue_id": pl.String,
    "epoch": pl.UInt32,
    "first": schema.TIME,
    "last": schema.TIME,
    "message_id": pl.String,
    "logical": pl.String,
    "sender": pl.String,
    "size": pl.Int64,
    "recipients": pl.Int32,
    "client_host": pl.String,
    "client_ip": pl.String,
    "user": pl.String,
    "subject": pl.String,
    "removed": pl.Boolean,
    "is_notification": pl.Boolean,
    "parent": pl.UInt32,
    "reference": pl.String,
    "source": pl.String,
    "line": pl.UInt64,
    "offset": pl.UInt64,
    "lines": pl.UInt32,
}
"""One row for each stay in a queue. `parent` is the mid of the message that this one answers or returns."""

DELIVERIES: dict[str, pl.DataType | type[pl.DataType]] = {
    "mid": pl.UInt32,
    "recipient": pl.String,
    "orig_recipient": pl.String,
    "attempts": pl.UInt32,
    "first": schema.TIME,
    "last": schema.TIME,
    "event": schema.EVENT,
    "outcome": pl.String,
    "transport": pl.String,
    "relay_host": pl.String,
    "relay_ip": pl.String,
    "next_queue_id": pl.String,
    "dsn": pl.String,
    "smtp_code": pl.Int16,
    "diagnostic": pl.String,
    "delay_s": pl.Float64,
    "source": pl.String,
    "line": pl.UInt64,
    "offset": pl.UInt64,
    "waited_for": pl.String,
    "waited_line": pl.UInt64,
    "waited_offset": pl.UInt64,
    "waited_source": pl.String,
}
"""One row for each recipient of a message; outcome and diagnostic are those of the last attempt, `waited_for` is what the
last deferral said (the reason, where the last attempt only says that the retry time is over)."""

_MADE_BY_EXIM = r"^E([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})@"
_DELIVERY_EVENTS = ("deliver", "defer", "bounce", "expire", "discard")


@dataclass(frozen=True)
class Mail:
    """What correlation makes of the events.

    Attributes
    ----------
    messages, deliveries
        Tables of `MESSAGES` and `DELIVERIES`.
    attempts
        Events that belong to no message: refusals at the door, notices.
    until
        Last time of any event, by `host_key`: a log that stops is no end.
    """

    messages: pl.DataFrame
    deliveries: pl.DataFrame
    attempts: pl.DataFrame
    until: dict[str, dt.datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """What `gather` makes of the events of some queue ids: messages whose links are still open.

    Attributes
    ----------
    messages
        As `MESSAGES`, but for `mid` and `parent`; with `stay`, the number of the row, and what the links are made of:
        `parent_queue_id` and `is_report`.
    deliveries
        As `DELIVERIES`, but with `stay` for `mid`.
    notices
        Notifications that a line tells: host_key, next_queue_id, time, stay of the message they tell of.
    attempts, until
        As in `Mail`.
    """

    messages: pl.DataFrame
    deliveries: pl.DataFrame
    notices: pl.DataFrame
    attempts: pl.DataFrame
    until: dict[str, dt.datetime]


def bucket() -> pl.Expr:
    """A number that is the same for all events of one queue id: events of different numbers can be gathered apart.

    Hosts don't count, so that two inputs which tell the same are in one bucket; nor do queue ids where there is none.
    """
    own = pl.coalesce("queue_id", "message_id", pl.concat_str(pl.col("sender", "recipient", "client_ip").fill_null("-")))
    return own.hash()


def correlate(events: pl.DataFrame) -> Mail:
    """Put messages together: `gather`, then `link`.

    Parameters
    ----------
    events
        Table of `schema.EVENTS`; any order of files, lines of one file in order.
    """
    return link([gather(events)])


def gather(events: pl.DataFrame) -> Gathered:
    """Put the messages and deliveries of some queue ids together.

    Parameters
    ----------
    events
        Table of `schema.EVENTS` with all events of these queue ids, one input after the other, lines in order.

    Notes
    -----
    One sort of numbers and two group-bys: n log n. Ties of one-second stamps are broken by the order of the lines. Hosts and
    queue ids are compared by a hash of 64 bits.
    """
    keyed = _with_epochs(events)
    # Exchange's shadow copies, safety net and agents' records are no stays in a queue: every message would look doubled
    inside = keyed.filter(
        pl.col("key").is_not_null(), (pl.col("mta") != "exchange").fill_null(True) | (pl.col("event") != "notice")
    )
    messages = _messages(inside).with_row_index("stay")
    inside = inside.join(messages.select(*KEY, "stay"), on=KEY, how="left", maintain_order="left")
    deliveries = _deliveries(inside)
    notices = inside.filter(pl.col("event") == "dsn", pl.col("next_queue_id").is_not_null()).select(
        "host_key", "next_queue_id", "time", "stay"
    )
    attempts = keyed.filter(
        pl.col("event").is_in(["reject", "notice", "hold", "release"])
        | (pl.col("key").is_null() & (pl.col("event") != "session"))
    ).select(*schema.EVENTS)
    until = dict(keyed.group_by("host_key").agg(pl.col("time").max()).sort("host_key").iter_rows())
    return Gathered(messages.drop("key", "_id"), deliveries, notices, attempts, until)


def link(parts: list[Gathered]) -> Mail:
    """Number the messages of all parts by their time, and link them.

    Returns
    -------
    Mail

    Notes
    -----
    Links are as-of joins over narrow tables: n log n.
    """
    shift, apart = 0, []
    for part in parts:
        moved = pl.col("stay") + shift
        apart.append([part.messages.with_columns(moved), part.deliveries.with_columns(moved), part.notices.with_columns(moved)])
        shift += part.messages.height
    messages, deliveries, notices = (pl.concat(tables, how="diagonal_relaxed") for tables in zip(*apart))
    messages = messages.sort("first", "source", "line", "queue_id").with_row_index("mid")
    number = messages.select("stay", "mid").sort("stay")["mid"]
    deliveries = deliveries.with_columns(mid=number.gather(deliveries["stay"])).sort("mid", maintain_order=True)
    notices = notices.with_columns(mid=number.gather(notices["stay"]))
    messages = _link(messages, deliveries, notices)
    until: dict[str, dt.datetime] = {}
    for part in parts:
        until |= {host: max(at, until.get(host, at)) for host, at in part.until.items()}
    attempts = pl.concat([part.attempts for part in parts]).sort("time", "source", "line", "recipient", maintain_order=True)
    return Mail(
        schema.conform(messages, MESSAGES, "messages"),
        schema.conform(deliveries.drop("stay"), DELIVERIES, "deliveries"),
        attempts,
        dict(sorted(until.items())),
    )


def _with_epochs(events: pl.DataFrame) -> pl.DataFrame:
    """Add host_key, key, `_id` (a number for both) and epoch: an id that is given out again after `removed` begins a new life."""
    folder = pl.col("source").str.replace(r"[^/\\]*$", "")
    keyed = events.filter(pl.col("time").is_not_null()).with_columns(
        host_key=pl.coalesce("host", folder),
        key=pl.coalesce("queue_id", pl.when(pl.col("message_id") != "").then(pl.lit("<") + pl.col("message_id") + ">")),
    )
    keyed = keyed.with_columns(_id=pl.struct("host_key", "key").hash())
    order = keyed.select("_id", "time").with_row_index().sort("_id", "time", "index")["index"]
    keyed = keyed[order]
    gone = (pl.col("event") == "remove").cast(pl.UInt32)
    before = gone.cum_sum().over("_id") - gone
    begins = (pl.col("event") == "receive") | ((pl.col("event") == "queue") & pl.col("message_id").is_not_null())
    return keyed.with_columns(epoch=pl.when(begins).then(before).forward_fill().over("_id").fill_null(0))


def _known(column: str) -> pl.Expr:
    return pl.col(column).drop_nulls().first()


def _messages(inside: pl.DataFrame) -> pl.DataFrame:
    about = pl.col("event").is_in(["receive", "queue"])
    sender = pl.coalesce(
        pl.col("sender").filter(pl.col("event") == "queue").drop_nulls().first(),
        pl.col("sender").filter(pl.col("event") == "receive").drop_nulls().first(),
        _known("sender"),
    )
    table = inside.group_by(KEY, maintain_order=True).agg(
        pl.col("host_key", "key").first(),
        _known("host"),
        _known("mta"),
        pl.coalesce(pl.col("instance").filter(pl.col("event") == "queue").drop_nulls().last(), _known("instance")).alias(
            "instance"
        ),
        _known("queue_id"),
        first=pl.col("time").min(),
        last=pl.col("time").max(),
        message_id=_known("message_id"),
        sender=sender,
        size=pl.col("size").filter(about).drop_nulls().last(),
        recipients=pl.col("recipients").drop_nulls().max(),
        client_host=pl.col("client_host").filter(about).drop_nulls().first(),
        client_ip=pl.col("client_ip").filter(about).drop_nulls().first(),
        user=_known("user"),
        subject=_known("subject"),
        # Exchange: a FAIL refers to the report that is to come, a DSN to what it reports on
        reference=pl.col("reference").filter(~pl.col("event").is_in(["bounce", "defer"])).drop_nulls().first(),
        is_report=((pl.col("event") == "dsn") & (pl.col("mta") == "exchange")).fill_null(False).any(),
        removed=(pl.col("event") == "remove").any(),
        parent_queue_id=pl.col("parent_queue_id").filter(pl.col("event") == "receive").drop_nulls().first(),
        source=pl.col("source").first(),
        line=pl.col("line").first(),
        offset=pl.col("offset").first(),
        lines=pl.len(),
    )
    given = pl.col("message_id").is_not_null() & (pl.col("message_id") != "")
    own = pl.concat_str("host_key", pl.lit("/"), pl.col("key"), pl.lit("/"), pl.col("epoch").cast(pl.String))
    # Exim does not log the Message-ID that it makes itself, E + message id + @host; the next host does
    made = (
        pl.when((pl.col("mta") == "exim") & ~given).then("queue_id").otherwise(pl.col("message_id").str.extract(_MADE_BY_EXIM, 1))
    )
    logical = pl.coalesce(pl.lit("exim ") + made, pl.when(given).then("message_id"), own)
    return table.with_columns(logical=logical)


def _deliveries(inside: pl.DataFrame) -> pl.DataFrame:
    rows = inside.filter(pl.col("event").is_in(_DELIVERY_EVENTS), pl.col("recipient").is_not_null())
    return (
        rows.sort("stay", "time", maintain_order=True)
        .group_by("stay", "recipient", "orig_recipient", maintain_order=True)
        .agg(
            attempts=pl.len(),
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            **{
                name: pl.col(c).filter(pl.col("event") == "defer").last()
                for name, c in (
                    ("waited_for", "diagnostic"),
                    ("waited_line", "line"),
                    ("waited_offset", "offset"),
                    ("waited_source", "source"),
                )
            },
            **{c: pl.col(c).last() for c in ("event", "outcome", "diagnostic", "source", "line", "offset")},
            **{
                c: pl.col(c).drop_nulls().last()
                for c in ("transport", "relay_host", "relay_ip", "next_queue_id", "dsn", "smtp_code", "delay_s")
            },
        )
    )


def _link(messages: pl.DataFrame, deliveries: pl.DataFrame, notices: pl.DataFrame) -> pl.DataFrame:
    """Fill `parent` and `is_notification` from the links that the logs write down.

    Postfix's `non-delivery notification: NEW`, Exim's `R=PARENT` on an arrival, Exchange's `reference`.
    """
    lives = messages.select("mid", "host_key", "queue_id", "first", "last").filter(pl.col("queue_id").is_not_null())

    def life(rows: pl.DataFrame, queue_column: str, at: str) -> pl.DataFrame:
        """The message that had the id in `queue_column` when the row was written: the latest that began before."""
        left = rows.filter(pl.col(queue_column).is_not_null()).with_columns(_at=pl.col(at) + pl.duration(seconds=120)).sort("_at")
        right = lives.select("host_key", "queue_id", other="mid", began="first").sort("began")
        return left.join_asof(
            right,
            left_on="_at",
            right_on="began",
            by_left=["host_key", queue_column],
            by_right=["host_key", "queue_id"],
            strategy="backward",
            check_sortedness=False,
        ).drop("_at")

    by_notice = life(notices.select("host_key", "next_queue_id", "time", parent="mid"), "next_queue_id", "time").select(
        mid="other", parent="parent", is_notification=pl.lit(True)
    )
    children = messages.filter(pl.col("parent_queue_id").is_not_null()).select(
        "mid", "host_key", "parent_queue_id", "first", "sender", "user", "mta"
    )
    daemon = pl.col("user").fill_null("").str.contains(r"(?i)^(debian-)?exim\d*$|^mailnull$|^mail$")
    # an autoreply transport may run as the Exim user too: only what failed, or is late, is notified of
    failed = (
        deliveries.filter(pl.col("event").is_in(["bounce", "expire", "defer"])).select("mid", has_failed=pl.lit(True)).unique()
    )
    by_parent = (
        life(children, "parent_queue_id", "first")
        .filter(pl.col("other") != pl.col("mid"))
        .join(failed, left_on="other", right_on="mid", how="left")
        .select(
            "mid",
            parent="other",
            is_notification=(pl.col("sender") == "") & daemon & (pl.col("mta") == "exim") & pl.col("has_failed").fill_null(False),
        )
    )
    links = (
        pl.concat([by_notice, by_parent])
        .drop_nulls("mid")
        .group_by("mid")
        .agg(pl.col("parent").first(), pl.col("is_notification").any())
    )
    by_id = messages.filter(pl.col("message_id").is_not_null()).group_by("message_id").agg(_parent=pl.col("mid").first())
    double = pl.col("sender").str.contains(r"(?i)^(double-bounce|mailer-daemon|postmaster)@").fill_null(False)
    return (
        messages.join(links, on="mid", how="left")
        .join(by_id, left_on="reference", right_on="message_id", how="left")
        .with_columns(
            parent=pl.coalesce("parent", pl.when(pl.col("_parent") != pl.col("mid")).then("_parent")),
            is_notification=pl.col("is_notification").fill_null(False)
            | pl.col("is_report")
            | (double & pl.col("parent").is_not_null())
            | (pl.col("sender").str.starts_with("double-bounce@").fill_null(False)),
        )
        .drop("_parent", "parent_queue_id", "is_report", "stay")
        .sort("mid")
    )


def mailboxes(mail: Mail) -> Mail:
    """Add canonical mailboxes: `from_box` to messages, `to_box` and `final_box` to deliveries.

    `to_box` is the address that the sender wrote to (before aliases and vacation transports), `final_box` the one that it
    was handed on to.
    """
    local = pl.col("sender") + pl.lit("@") + pl.col("host_key")  # a bare login is a mailbox of its host
    qualified = pl.when(pl.col("sender").str.contains("@") | (pl.col("sender") == "")).then("sender").otherwise(local)
    messages = mail.messages.with_columns(_full=qualified)
    messages = messages.with_columns(from_box=addresses.canonical_of(messages["_full"])).drop("_full")
    written = pl.when(pl.col("orig_recipient").str.contains("@")).then("orig_recipient").otherwise("recipient")
    deliveries = mail.deliveries.with_columns(_written=mail.deliveries.select(written).to_series())
    deliveries = deliveries.with_columns(
        to_box=addresses.canonical_of(deliveries["_written"]), final_box=addresses.canonical_of(deliveries["recipient"])
    ).drop("_written")
    return Mail(messages, deliveries, mail.attempts, mail.until)
