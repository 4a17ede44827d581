"""Elastic Common Schema 9.4.0.

The envelope's sender goes to `email.sender.address`; `email.from.address` is that of the header, which mail logs do not
hold. What ECS has no field for is under `maillog.*`, as its guide for custom fields asks: a name of one's own at the top.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics.dialects.tree import Tree
from maillog_forensics.dialects.values import ip, iso, known, sentence, short_list

VERSION = "9.4.0"
_FAILED = ("bounce", "reject", "expire", "discard")
_NANOSECONDS = 1_000_000_000


def event() -> Tree:
    """An event as an ECS document of kind `event`, category `email`."""
    name = pl.col("event").cast(pl.String)
    outcome = pl.when(name.is_in(_FAILED)).then(pl.lit("failure")).when(name == "deliver").then(pl.lit("success"))
    return {
        "@timestamp": iso(pl.col("time")),
        "ecs": {"version": pl.lit(VERSION)},
        "message": sentence(),
        "event": {
            "kind": pl.lit("event"),
            "category": pl.concat_list(pl.lit("email")),
            "type": pl.concat_list(pl.lit("info")),
            "action": name,
            "outcome": outcome.otherwise(pl.lit("unknown")),
            "module": pl.col("mta"),
            "dataset": pl.lit("maillog.events"),
            "code": pl.col("dsn"),
            "reason": pl.col("diagnostic"),
            "duration": (pl.col("delay_s") * _NANOSECONDS).round().cast(pl.Int64, strict=False),
        },
        "log": {"file": {"path": pl.col("source")}},
        "host": {"name": pl.col("host"), "hostname": pl.col("host")},
        "process": {"name": pl.col("program")},
        "email": {
            "local_id": pl.col("queue_id"),
            "message_id": pl.col("message_id"),
            "sender": {"address": pl.when(pl.col("sender") != "").then("sender")},
            "to": {"address": short_list(pl.when(pl.col("recipient") != "").then("recipient"))},
            "subject": pl.col("subject"),
        },
        "source": {
            "address": pl.coalesce(known("client_host"), known("client_ip")),
            "domain": known("client_host"),
            "ip": ip("client_ip"),
            "user": {"name": pl.col("user")},
        },
        "destination": {
            "address": pl.coalesce(known("relay_host"), known("relay_ip")),
            "domain": known("relay_host"),
            "ip": ip("relay_ip"),
        },
        "related": {
            "hosts": short_list(known("host"), known("client_host"), known("relay_host")),
            "ip": short_list(ip("client_ip"), ip("relay_ip")),
            "user": short_list(known("user")),
        },
        "error": {"code": pl.when(pl.col("smtp_code") >= 400).then(pl.col("smtp_code").cast(pl.String))},
        "maillog": {
            "is_null_sender": pl.col("sender") == "",
            "outcome": pl.col("outcome"),
            **{c: pl.col(c) for c in ("line", "offset", "instance", "transport", "size", "recipients", "orig_recipient", "helo")},
            **{c: pl.col(c) for c in ("parent_queue_id", "next_queue_id", "reference", "smtp_code")},
        },
    }
