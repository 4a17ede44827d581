"""The messages and deliveries of all logs, in tables that need not fit into memory.

A *message* is one stay of a mail in one queue; its key is host, queue id and epoch, since queue ids are used again.
A *logical* message is what its sender would call one message: the same Message-ID on every host and in every pass.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from maillog_forensics import schema
from maillog_forensics.scratch import Folder
from maillog_forensics.times import EPOCH

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
    "from_box": pl.String,
}
"""One row for each stay in a queue, in the order of `mid` and of `first`. `parent` is the mid of the message that this one answers or
returns, `from_box` the sender's canonical mailbox (see `addresses`)."""

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
    "to_box": pl.String,
    "final_box": pl.String,
}
"""One row for each recipient of a message; outcome and diagnostic are those of the last attempt, `waited_for` is what the
last deferral said (the reason, where the last attempt only says that the retry time is over). `to_box` is the canonical mailbox that the
sender wrote to (before aliases and vacation transports), `final_box` the one that it was handed on to. In the order of `mid`."""


@dataclass(frozen=True)
class Mail:
    """What correlation makes of the events.

    Attributes
    ----------
    messages, deliveries
        Tables of `MESSAGES` and `DELIVERIES`, in memory or in files.
    attempts
        Events that belong to no message: refusals at the door, notices. Table of `schema.EVENTS`, in no order.
    until
        Last time of any event, by `host_key`: a log that stops is no end.
    ahead
        Seconds by which the clocks of hosts were ahead, by `host_key`; they are off all times already (`skew.on_one_clock`).
    folder
        Where the files are; they go when nobody holds on to it.
    """

    messages: pl.LazyFrame
    deliveries: pl.LazyFrame
    attempts: pl.LazyFrame
    until: dict[str, dt.datetime] = field(default_factory=dict)
    folder: Folder | None = None
    ahead: dict[str, float] = field(default_factory=dict)

    def stays(self, mids: pl.Series | Sequence[int]) -> pl.DataFrame:
        """The messages with these numbers, in their order."""
        return _of(self.messages, mids)

    def told(self, mids: pl.Series | Sequence[int]) -> pl.DataFrame:
        """The deliveries of these messages."""
        return _of(self.deliveries, mids)

    @property
    def handed_on(self) -> pl.LazyFrame:
        """The deliveries of mail that an alias, a forward or a group handed to another mailbox; what a responder was given went to nobody."""
        is_other = pl.col("to_box") != pl.col("final_box")
        return self.deliveries.filter(is_other, pl.col("to_box") != "", pl.col("outcome").ne_missing("autoreply"))

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Names of the hosts that the logs are of, in small letters."""
        names = self.messages.select(pl.col("host").drop_nulls().str.to_lowercase().unique()).collect()
        return frozenset(names["host"].to_list())

    @cached_property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """First and last time of any message, or the epoch where there is none."""
        (span,) = self.messages.select(pl.col("first").min(), pl.col("last").max()).collect().iter_rows()
        return span[0] or EPOCH, span[1] or EPOCH


def _of(table: pl.LazyFrame, mids: pl.Series | Sequence[int]) -> pl.DataFrame:
    """The rows of some messages; of files, only those parts are read that may have them."""
    wanted = pl.Series("mid", mids, dtype=pl.UInt32).unique()
    near = pl.col("mid").is_between(wanted.min(), wanted.max()) if wanted.len() else pl.lit(False)
    return table.filter(near, pl.col("mid").is_in(wanted.implode())).collect()
