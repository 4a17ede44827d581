"""The mail graph: each logical message once, by numbers; names come back for those that matter."""

from __future__ import annotations

import datetime as dt

import polars as pl

from maillog_forensics import graph, schema
from maillog_forensics.mail import DELIVERIES, MESSAGES, Mail

START = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)


def mail_of(rows: list[tuple[int, str, str, str, str]]) -> Mail:
    """Mail from (second, host, Message-ID, from, to); each row is a stay in a queue of its own."""
    at = [START + dt.timedelta(seconds=s) for s, *_ in rows]
    messages = pl.DataFrame(
        {
            "mid": range(len(rows)), "host_key": [h for _, h, *_ in rows], "host": [h for _, h, *_ in rows], "mta": "postfix",
            "queue_id": [f"Q{i}" for i in range(len(rows))], "first": at, "last": at, "logical": [m for _, _, m, *_ in rows],
            "message_id": [m for _, _, m, *_ in rows], "sender": [a for *_, a, _ in rows], "from_box": [a for *_, a, _ in rows],
            "size": [100 + i for i in range(len(rows))], "is_notification": False, "client_host": "x.example",
        }
    )  # fmt: skip
    told = pl.DataFrame(
        {
            "mid": range(len(rows)),
            "to_box": [b for *_, b in rows],
            "final_box": [b for *_, b in rows],
            "first": at,
            "last": at,
            "event": "deliver",
        }
    )
    tables = schema.conform(messages, MESSAGES, "messages"), schema.conform(told, DELIVERIES, "deliveries")
    return Mail(*(t.lazy() for t in tables), pl.LazyFrame())


ROWS = [
    (0, "mx1", "one@a.example", "ann@a.example", "bob@b.example"),
    (1, "mx2", "one@a.example", "ann@a.example", "bob@b.example"),
    (5, "mx2", "two@b.example", "bob@b.example", "ann@a.example"),
    (6, "mx1", "two@b.example", "bob@b.example", "ann@a.example"),
    (9, "mx1", "three@a.example", "ann@a.example", "cid@c.example"),
]


def test_a_message_that_passes_two_hosts_is_one_edge() -> None:
    built = graph.build(mail_of(ROWS))
    named = built.with_names(built.edges).select("sender", "recipient", "logical").rows()
    assert named == [
        ("ann@a.example", "bob@b.example", 0),
        ("bob@b.example", "ann@a.example", 2),
        ("ann@a.example", "cid@c.example", 4),
    ]
    assert built.stays["logical"].to_list() == [0, 0, 2, 2, 4]


def test_names_sizes_and_hosts_come_back_for_the_edges_that_are_asked_for() -> None:
    mail = mail_of(ROWS)
    built = graph.build(mail)
    row = built.named(built.edges[[1]], mail).row(0, named=True)
    assert (row["sender"], row["recipient"], row["size"], row["host"]) == ("bob@b.example", "ann@a.example", 102, "mx2")
    assert built.mids(pl.Series([2], dtype=pl.UInt32)).to_list() == [2, 3]
    assert built.logicals(pl.Series([3, 1], dtype=pl.UInt32)).sort().to_list() == [0, 2]
    assert [built.name(n) for n in built.numbers(["cid@c.example", "nobody@x.example"])] == ["cid@c.example"]
