"""The tables that flow from stage to stage: one schema constant for each.

Times are UTC in microseconds. NULL means *not logged*, the empty string means *logged empty*: the null reverse-path
is ``""``. Every stage ends with `conform`, so a column that drifts is an error at the border where it drifted.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics.errors import SchemaError

SCHEMA_VERSION = 1
"""Version of the tables below; written into every file that holds one of them."""

TIME = pl.Datetime("us", "UTC")

EVENT_NAMES = (
    "session",
    "receive",
    "queue",
    "expand",
    "deliver",
    "defer",
    "bounce",
    "reject",
    "dsn",
    "hold",
    "release",
    "discard",
    "expire",
    "remove",
    "notice",
)
EVENT = pl.Enum(EVENT_NAMES)

EVENTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": TIME,
    "source": pl.String,
    "line": pl.UInt64,
    "offset": pl.UInt64,
    "mta": pl.String,
    "host": pl.String,
    "instance": pl.String,
    "program": pl.String,
    "event": EVENT,
    "queue_id": pl.String,
    "message_id": pl.String,
    "sender": pl.String,
    "recipient": pl.String,
    "orig_recipient": pl.String,
    "client_host": pl.String,
    "client_ip": pl.String,
    "relay_host": pl.String,
    "relay_ip": pl.String,
    "size": pl.Int64,
    "recipients": pl.Int32,
    "delay_s": pl.Float64,
    "dsn": pl.String,
    "smtp_code": pl.Int16,
    "outcome": pl.String,
    "diagnostic": pl.String,
    "parent_queue_id": pl.String,
    "next_queue_id": pl.String,
    "subject": pl.String,
    "user": pl.String,
    "helo": pl.String,
    # Beyond the contract of the design, because loops are told by them:
    "transport": pl.String,  # what carried a delivery out: Postfix's pipe service, Exim's T=, Exchange's source
    "reference": pl.String,  # Message-ID that this event refers to: Exchange's reference, the mail a Sieve vacation answered
}
"""One row for each fact that a line states."""

LINE_STATES = ("parsed", "ignored", "unrecognised", "damaged")
"""The ledger: every input line is in exactly one of these."""


def conform(table: pl.DataFrame, schema: dict[str, pl.DataType | type[pl.DataType]], name: str) -> pl.DataFrame:
    """Give `table` exactly the columns of `schema`, in order; missing ones are NULL.

    Raises
    ------
    SchemaError
        When `table` has a column that the schema does not know.
    """
    unknown = [c for c in table.columns if c not in schema]
    if unknown:
        raise SchemaError(f"table {name} has unknown columns {unknown}")
    return table.select(
        (pl.col(c).cast(t, strict=False) if c in table.columns else pl.lit(None, dtype=t)).alias(c) for c, t in schema.items()
    )


def empty(schema: dict[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """A table of `schema` without rows."""
    return pl.DataFrame(schema=schema)
