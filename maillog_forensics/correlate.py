"""From the events of some queue ids to their messages and deliveries; `linking` makes one of all that is gathered."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from maillog_forensics import schema

_NEEDED = (
    "time", "source", "line", "offset", "mta", "host", "instance", "event", "queue_id", "message_id", "sender", "recipient",
    "orig_recipient", "client_host", "client_ip", "relay_host", "relay_ip", "size", "recipients", "delay_s", "dsn", "smtp_code",
    "outcome", "diagnostic", "parent_queue_id", "next_queue_id", "subject", "user", "transport", "reference",
)  # fmt: skip
"""Columns of the events table that messages and deliveries are made of."""

_MADE_BY_EXIM = r"^E([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})@"
_GROUPS_IN_GROUPS = 5
_DELIVERY_EVENTS = ("deliver", "defer", "bounce", "expire", "discard")


@dataclass(frozen=True)
class Gathered:
    """What `gather` makes of the events of some queue ids: messages whose links are still open.

    Attributes
    ----------
    messages
        As `mail.MESSAGES`, but for `mid`, `parent` and the mailbox; with `stay`, the number of the row, and what the links are made
        of: `parent_queue_id` and `is_report`.
    deliveries
        As `mail.DELIVERIES`, but with `stay` for `mid`, and without mailboxes.
    notices
        Notifications that a line tells: host_key, next_queue_id, time, stay of the message they tell of.
    attempts, until
        As in `mail.Mail`.
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
    own = pl.when(pl.col("message_id") != "").then(pl.lit("<") + pl.col("message_id") + ">")
    # Exchange's numbers begin anew with each queue database, and no line says that a message is gone: the Message-ID tells them apart
    numbered = (events["mta"] == "exchange").any()
    ids = pl.when(pl.col("mta") == "exchange").then(pl.concat_str("queue_id", own.fill_null(""))) if numbered else pl.lit(None)
    keyed = events.select(
        *_NEEDED,
        host_key=host_key() if events["host"].has_nulls() else pl.col("host"),
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


def host_key() -> pl.Expr:
    """What tells hosts apart: the name in the line, or else the folder that the log is in."""
    return pl.coalesce("host", pl.col("source").str.replace(r"[^/\\]*$", ""))


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
    rows = _with_expanded(rows, inside)
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


def _with_expanded(rows: pl.DataFrame, inside: pl.DataFrame) -> pl.DataFrame:
    """Deliveries with the address that was written to, where lines of their own tell of groups and forwards (EXPAND, REDIRECT).

    A group may stand in a group, and a mailbox forward to one. Who is only looked up under another of his addresses (RESOLVE)
    is the same mailbox, which the delivery names as it answers.
    """
    key = pl.col("recipient").str.to_lowercase()
    told = inside.filter(pl.col("event") == "expand", pl.col("recipient") != pl.col("orig_recipient"))
    above = (
        told.select("stay", _of=key, _above="orig_recipient", _is_other=(pl.col("outcome") != "resolve").fill_null(True))
        .unique(["stay", "_of"], keep="first", maintain_order=True)
        .filter(pl.col("_of") != pl.col("_above").str.to_lowercase())
    )
    if above.is_empty():
        return rows
    known = rows.filter(pl.col("orig_recipient").is_null()).select("stay", _to=key).unique(maintain_order=True)
    known = known.with_columns(_of="_to", _written=pl.lit(None, dtype=pl.String))
    for _ in range(_GROUPS_IN_GROUPS):
        known = known.join(above, on=["stay", "_of"], how="left", maintain_order="left").select(
            "stay",
            "_to",
            _of=pl.col("_above").str.to_lowercase(),
            _written=pl.when("_is_other").then("_above").otherwise("_written"),
        )
    written = known.filter(pl.col("_written").str.to_lowercase() != pl.col("_to")).select("stay", "_to", "_written")
    found = rows.with_columns(_to=key).join(written, on=["stay", "_to"], how="left", maintain_order="left")
    return found.with_columns(orig_recipient=pl.coalesce("orig_recipient", "_written")).drop("_to", "_written")
