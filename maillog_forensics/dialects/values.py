"""Values that several dialects need in a form that their definitions accept."""

from __future__ import annotations

import polars as pl

_IP = (
    r"^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$"
    r"|^(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}$|^(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?$"
)
"""IPv4 without leading zeros, IPv6 in hexadecimal groups. What fits neither is kept as text elsewhere."""


def ip(column: str) -> pl.Expr:
    """The address where it is one: logs also write `unknown` and what a client claims."""
    return pl.when(pl.col(column).str.contains(_IP)).then(column)


def known(column: str) -> pl.Expr:
    """The text where something was logged that tells: neither empty nor `unknown`."""
    return pl.when(~pl.col(column).is_in(["", "unknown"])).then(column)


def iso(time: pl.Expr) -> pl.Expr:
    """RFC 3339 with microseconds, in UTC."""
    return time.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def short_list(*values: pl.Expr) -> pl.Expr:
    """The distinct values that are there; NULL where there is none."""
    together = pl.concat_list(values).list.drop_nulls().list.unique(maintain_order=True)
    return pl.when(together.list.len() > 0).then(together)


def sentence() -> pl.Expr:
    """What happened in one line: event, queue id, from, to, the mail server's own words."""
    parts = [
        pl.concat_str(pl.coalesce("program", "mta"), pl.lit(": "), pl.col("event").cast(pl.String), ignore_nulls=True),
        pl.col("queue_id"),
        pl.format("from <{}>", "sender"),
        pl.format("to <{}>", "recipient"),
        pl.coalesce(pl.format("{} ({})", "outcome", "diagnostic"), "outcome", "diagnostic"),
    ]
    return pl.concat_str(parts, separator=" ", ignore_nulls=True)
