"""From events to messages and deliveries, and the links between them.

A *message* is one stay of a mail in one queue; its key is host, queue id and epoch, since queue ids are used again.
A *logical* message is what its sender would call one message: the same Message-ID on every host and in every pass.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import addresses, schema

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

_NEEDED = (
    "time", "source", "line", "offset", "mta", "host", "instance", "event", "queue_id", "message_id", "sender", "recipient",
    "orig_recipient", "client_host", "client_ip", "relay_host", "relay_ip", "size", "recipients", "delay_s", "dsn", "smtp_code",
    "outcome", "diagnostic", "parent_queue_id", "next_queue_id", "subject", "user", "transport", "reference",
)  # fmt: skip
"""Columns of the events table that messages and deliveries are made of."""

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


def bucket(events: pl.DataFrame) -> pl.Series:
    """A number that is the same for all events of one queue id: events of different numbers can be gathered apart.

    Hosts don't count, so that two inputs which tell the same are in one bucket; nor do queue ids where there is none.
    """
    own = [pl.col(c) for c in ("queue_id", "message_id") if c in events.columns]
    others = [pl.col(c).fill_null("") for c in ("sender", "recipient", "client_ip") if c in events.columns]
    if not own and not others:
        return pl.Series([0], dtype=pl.UInt64).new_from_index(0, events.height)
    return events.select(pl.coalesce(*own, *([pl.concat_str(others)] if others else [])).fill_null("").hash()).to_series()


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
        Events with all those of these queue ids; columns of `schema.EVENTS` that nothing fills may miss. Lines of one second
        count in the order of the rows, or by `_input` and `line` where there is a column `_input`.

    Notes
    -----
    One sort of numbers and two group-bys: n log n. Ties of one-second stamps are broken by the order of the lines. Hosts and
    queue ids are compared by a hash of 64 bits.
    """
    missing = [c for c in (*_NEEDED, "host") if c not in events.columns]
    events = events.with_columns(pl.lit(None, dtype=schema.EVENTS[c]).alias(c) for c in missing)
    folder = pl.col("source").str.replace(r"[^/\\]*$", "")
    host_key = pl.coalesce("host", folder) if events["host"].has_nulls() else pl.col("host")
    own = pl.when(pl.col("message_id") != "").then(pl.lit("<") + pl.col("message_id") + ">")
    # Exchange's numbers begin anew with each queue database, and no line says that a message is gone: the Message-ID tells them apart
    numbered = (events["mta"] == "exchange").any()
    ids = pl.when(pl.col("mta") == "exchange").then(pl.concat_str("queue_id", own.fill_null(""))) if numbered else pl.lit(None)
    keyed = events.select(
        *_NEEDED,
        host_key=host_key,
        key=pl.coalesce(ids, "queue_id", own) if numbered or events["queue_id"].has_nulls() else pl.col("queue_id"),
        _n=pl.int_range(pl.len(), dtype=pl.UInt32),
        _input="_input" if "_input" in events.columns else pl.lit(0, dtype=pl.UInt32),
    )
    until = dict(keyed.group_by("host_key").agg(pl.col("time").max()).sort("host_key").iter_rows())
    told = pl.col("event").is_in(["reject", "notice", "hold", "release"])
    alone = keyed.filter(told | (pl.col("key").is_null() & (pl.col("event") != "session")))["_n"]
    # Exchange's shadow copies, safety net and agents' records are no stays in a queue: every message would look doubled
    stays = pl.col("key").is_not_null() & ((pl.col("mta") != "exchange").fill_null(True) | (pl.col("event") != "notice"))
    inside = _by_stay(keyed.filter(stays))
    notices = inside.filter(pl.col("event") == "dsn", pl.col("next_queue_id").is_not_null())
    return Gathered(
        _messages(inside),
        _deliveries(inside),
        notices.select("host_key", "next_queue_id", "time", "stay"),
        schema.conform(events[alone].select(c for c in events.columns if c in schema.EVENTS), schema.EVENTS, "events"),
        until,
    )


def link(parts: list[Gathered]) -> Mail:
    """Number the messages of all parts by their time, and link them.

    Parameters
    ----------
    parts
        Emptied on the way, so that nothing is held twice.

    Notes
    -----
    Links are as-of joins over narrow tables: n log n.
    """
    shift = 0
    apart: tuple[list[pl.DataFrame], ...] = ([], [], [], [])
    until: dict[str, dt.datetime] = {}
    while parts:
        part = parts.pop(0)
        moved = pl.col("stay") + shift
        for tables, table in zip(apart, (part.messages, part.deliveries, part.notices)):
            tables.append(table.with_columns(moved))
        apart[3].append(part.attempts)
        until |= {host: max(at, until.get(host, at)) for host, at in part.until.items()}
        shift += part.messages.height
        del part
    attempts, notices = _whole(apart[3]), _whole(apart[2])
    messages = _sorted(apart[0], "first", "source", "line", "queue_id").with_row_index("mid")
    number = messages.select("stay", "mid").sort("stay")["mid"]
    apart[1][:] = [table.with_columns(mid=number.gather(table["stay"])).drop("stay") for table in apart[1]]
    deliveries = _sorted(apart[1], "mid")
    notices = notices.with_columns(mid=number.gather(notices["stay"]))
    messages = _link(messages, deliveries, notices)
    return Mail(
        schema.conform(messages, MESSAGES, "messages"),
        schema.conform(deliveries, DELIVERIES, "deliveries"),
        attempts.sort("time", "source", "line", "recipient", maintain_order=True),
        dict(sorted(until.items())),
    )


def _whole(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """The tables as one; the list lets go of them."""
    whole = pl.concat(tables, how="diagonal_relaxed")
    tables.clear()
    return whole


def _sorted(tables: list[pl.DataFrame], *by: str) -> pl.DataFrame:
    """As `_whole`, sorted; each column is let go of before the next is sorted, so that the table is never there twice."""
    columns = _whole(tables).get_columns()
    keys = pl.DataFrame([c for c in columns if c.name in by]).with_row_index("_at")
    order = keys.sort(*by, "_at")["_at"]
    del keys
    columns.reverse()
    done = []
    while columns:
        done.append(columns.pop().rechunk().gather(order))
    return pl.DataFrame(done)


def _by_stay(keyed: pl.DataFrame) -> pl.DataFrame:
    """Sort by host and queue id, then time; add `stay`, counted from 0, and `epoch`: an id that is given out again after `removed` begins a new life."""
    ids = keyed.select("time", "_input", "line", "_n", _id=pl.struct("host_key", "key").hash())
    order = ids.with_row_index("_at").sort("_id", "time", "_input", "line", "_n")
    keyed = keyed[order["_at"]]
    table = keyed.with_columns(_new=(order["_id"] != order["_id"].shift(1)).fill_null(True))
    gone = (pl.col("event") == "remove").cast(pl.UInt32)
    before = gone.cum_sum() - gone
    before -= pl.when("_new").then(before).forward_fill()
    begins = (pl.col("event") == "receive") | ((pl.col("event") == "queue") & pl.col("message_id").is_not_null())
    table = table.with_columns(epoch=pl.when(begins).then(before).when("_new").then(0).forward_fill().cast(pl.UInt32))
    starts = pl.col("_new") | (pl.col("epoch") != pl.col("epoch").shift(1)).fill_null(True)
    return table.with_columns(stay=(starts.cast(pl.UInt32).cum_sum() - 1).cast(pl.UInt32)).drop("_new", "_n", "_input")


def _known(column: str) -> pl.Expr:
    return pl.col(column).drop_nulls().first()


def _messages(inside: pl.DataFrame) -> pl.DataFrame:
    about = pl.col("event").is_in(["receive", "queue"])
    sender = pl.coalesce(
        pl.col("sender").filter(pl.col("event") == "queue").drop_nulls().first(),
        pl.col("sender").filter(pl.col("event") == "receive").drop_nulls().first(),
        _known("sender"),
    )
    table = inside.group_by("stay", maintain_order=True).agg(
        pl.col("host_key", "key", "epoch").first(),
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
    return table.with_columns(logical=logical).drop("key")


def _deliveries(inside: pl.DataFrame) -> pl.DataFrame:
    rows = inside.filter(pl.col("event").is_in(_DELIVERY_EVENTS), pl.col("recipient").is_not_null())
    return rows.group_by("stay", "recipient", "orig_recipient", maintain_order=True).agg(
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
    meant = messages.select(message_id="reference").drop_nulls().unique()
    by_id = messages.select("message_id", "mid").join(meant, on="message_id", how="semi", maintain_order="left")
    by_id = by_id.group_by("message_id").agg(_parent=pl.col("mid").first())
    answers = (
        messages.select("mid", "reference")
        .join(links, on="mid", how="left", maintain_order="left")
        .join(by_id, left_on="reference", right_on="message_id", how="left", maintain_order="left")
        .select("parent", "is_notification", "_parent")
    )
    double = pl.col("sender").str.contains(r"(?i)^(double-bounce|mailer-daemon|postmaster)@").fill_null(False)
    return (
        messages.hstack(answers)
        .with_columns(
            parent=pl.coalesce("parent", pl.when(pl.col("_parent") != pl.col("mid")).then("_parent")),
            is_notification=pl.col("is_notification").fill_null(False)
            | pl.col("is_report")
            | (double & pl.col("parent").is_not_null())
            | (pl.col("sender").str.starts_with("double-bounce@").fill_null(False)),
        )
        .drop("_parent", "parent_queue_id", "is_report", "stay")
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
