"""OCSF 1.8.0: Email Activity (class 4009, profile `host`) for events.

Addresses that OCSF's own pattern for them does not take (bare logins, domains without a dot, what a spammer wrote) and
values without an attribute are in `unmapped`, under their names in the events table; the null reverse-path is `sender: ""`
there.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics.dialects.tree import Tree
from maillog_forensics.dialects.values import ip, known, sentence

VERSION = "1.8.0"
CATEGORY, CLASS = 4, 4009
_SEND, _RECEIVE, _RELAY, _OTHER = 1, 2, 5, 99
_ACTIVITIES = {
    **dict.fromkeys(("receive", "reject"), _RECEIVE),
    **dict.fromkeys(("deliver", "defer", "bounce", "expire", "discard"), _SEND),
    **dict.fromkeys(("queue", "expand", "dsn"), _RELAY),
}
_ADDRESS = r"^[a-zA-Z0-9!#$%&'*+-/=?^_`{|}~.]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+$"
_INFORMATIONAL = 1
_SERVER = 1
_UNKNOWN = 0
_FAILED = ("bounce", "reject", "expire", "discard")
_UNMAPPED = ("offset", "instance", "delay_s", "orig_recipient", "recipients", "user", "transport", "reference", "parent_queue_id",
             "next_queue_id")  # fmt: skip


def event() -> Tree:
    """An event as OCSF Email Activity."""
    name = pl.col("event").cast(pl.String)
    activity = name.replace_strict(_ACTIVITIES, default=_OTHER, return_dtype=pl.Int64)
    failed = name.is_in(_FAILED)
    status = pl.when(failed).then(2).when(name == "deliver").then(1).when(name == "defer").then(99)
    captions = pl.when(failed).then(pl.lit("Failure")).when(name == "deliver").then(pl.lit("Success"))
    return {
        "activity_id": activity,
        "activity_name": pl.when(activity == _OTHER).then(name),
        "category_uid": pl.lit(CATEGORY),
        "class_uid": pl.lit(CLASS),
        "type_uid": CLASS * 100 + activity,
        "severity_id": pl.lit(_INFORMATIONAL),
        "time": pl.col("time").dt.epoch("ms"),
        "message": sentence(),
        "direction_id": pl.lit(_UNKNOWN),
        "status_id": status,
        "status": captions.when(name == "defer").then(pl.lit("Deferred")),
        "status_code": pl.coalesce("dsn", pl.col("smtp_code").cast(pl.String)),
        "status_detail": pl.col("diagnostic"),
        "message_trace_uid": pl.col("queue_id"),
        "protocol_name": pl.lit("SMTP"),
        "command": known("helo"),
        "email": {
            "from": _address("sender"),
            "to": pl.concat_list(_address("recipient")).list.drop_nulls(),
            "message_uid": pl.col("message_id"),
            "size": pl.col("size"),
            "subject": pl.col("subject"),
        },
        "src_endpoint": {"hostname": known("client_host"), "ip": ip("client_ip")},
        "dst_endpoint": {"hostname": known("relay_host"), "ip": ip("relay_ip")},
        "device": {"hostname": known("host"), "type_id": pl.when(known("host").is_not_null()).then(_SERVER)},
        "metadata": {
            "version": pl.lit(VERSION),
            "product": {"name": pl.coalesce("mta", pl.lit("mail server"))},
            "profiles": pl.concat_list(pl.lit("host")),
            "log_name": pl.col("source"),
            "log_provider": pl.col("program"),
            "event_code": name,
            "uid": pl.concat_str("source", pl.col("line").cast(pl.String), name, "recipient", separator=":", ignore_nulls=True),
        },
        "unmapped": {
            "sender": _unfit("sender"),
            "recipient": _unfit("recipient"),
            "client_ip": pl.when(ip("client_ip").is_null()).then("client_ip"),
            "relay_ip": pl.when(ip("relay_ip").is_null()).then("relay_ip"),
            "line": pl.col("line"),
            **{c: pl.col(c) for c in _UNMAPPED},
        },
    }


def _address(column: str) -> pl.Expr:
    return pl.when(pl.col(column).str.contains(_ADDRESS)).then(column)


def _unfit(column: str) -> pl.Expr:
    return pl.when(~pl.col(column).str.contains(_ADDRESS)).then(column)
