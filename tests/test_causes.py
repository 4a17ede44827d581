"""Who wrote null-sender messages that no log links: the mailbox whose mail they follow in step."""

from __future__ import annotations

import random

import polars as pl
import pytest

from maillog_forensics import graph
from maillog_forensics.rings import find_cycles
from tests.test_graph import mail_of

A, B, C = "ann@a.example", "bob@b.example", "cid@c.example"


def ring(turns: int, stray: str = "", client: str = "mx.c.example") -> graph.Graph:
    """A > B > C > A, the last with the null sender, as the log of A's and B's host shows it; every other turn `stray` writes to A."""
    rng, at, rows = random.Random(4), 0.0, []
    for turn in range(turns):
        for sender, recipient in ((A, B), (B, C), ("", A)):
            rows.append((at, "mx.a.example", f"{turn}{recipient}", sender, recipient))
            at += 9 * rng.lognormvariate(0, 0.2)
        if stray and turn % 2:
            rows.append((at - 1, "mx.a.example", f"stray{turn}", stray, A))
    mail = mail_of(rows)  # type: ignore[arg-type]
    hosts = pl.when(pl.col("from_box") == "").then(pl.lit(client)).otherwise(pl.lit("mx.elsewhere.example"))
    return graph.build(type(mail)(mail.messages.with_columns(client_host=hosts), mail.deliveries, mail.attempts))


def authors(built: graph.Graph) -> dict[str, int]:
    """How many null-sender messages each mailbox wrote."""
    named = built.with_names(built.edges).filter("is_null")
    return dict(named.group_by("sender").len().iter_rows())


@pytest.mark.parametrize("client", ["mx.c.example", "ws7.c.example"])
def test_a_null_sender_answer_to_a_third_one_is_bound_to_the_mailbox_that_got_the_mail_before(client: str) -> None:
    built = ring(20, client=client)
    assert authors(built) == {C: 20}
    assert built.edges.filter("is_null")["is_inferred"].all()
    (loop,), _ = find_cycles(built)
    assert loop.verdict == "loop" and set(loop.members) == {A, B, C} and len(loop.rows) == 60


def test_from_another_place_than_any_mailbox_lives_at_it_stays_with_the_host_that_handed_it_over() -> None:
    assert authors(ring(20, client="out.provider.example")) == {"mailer-daemon@out.provider.example": 20}


def test_a_few_are_not_enough() -> None:
    assert set(authors(ring(3))) == {"mailer-daemon@mx.c.example"}


def test_other_mail_between_does_not_hide_it() -> None:
    assert authors(ring(20, stray="dan@d.example")) == {C: 20}


def test_null_senders_at_random_are_bound_to_nobody_by_step() -> None:
    rng = random.Random(7)
    rows = [(rng.uniform(0, 9000), "mx.a.example", f"m{i}", B, C) for i in range(40)]
    rows += [(rng.uniform(0, 9000), "mx.a.example", f"n{i}", "", A) for i in range(40)]
    mail = mail_of(sorted(rows))  # type: ignore[arg-type]
    named = pl.when(pl.col("from_box") == "").then(pl.lit("mx.c.example")).otherwise(pl.lit("mx.b.example"))
    built = graph.build(type(mail)(mail.messages.with_columns(client_host=named), mail.deliveries, mail.attempts))
    assert authors(built) == {"mailer-daemon@mx.c.example": 40}
