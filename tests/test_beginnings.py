"""How far back a loop goes: greylisting and queues keep its first messages apart from the rest."""

from __future__ import annotations

import datetime as dt
import random

import polars as pl

from maillog_forensics import beginnings
from maillog_forensics.graph import Graph
from maillog_forensics.pairs import find_pairs
from maillog_forensics.rings import find_cycles
from tests.conftest import make_graph

A, B, C = "a@a.example", "b@b.example", "c@c.example"


def greylisted(members: list[str], turns: int, late: float, held: int) -> Graph:
    """A loop whose first `held` messages arrive `late` seconds after they were sent."""
    rng, at, rows, waits = random.Random(3), 0.0, [], []
    for i in range(turns):
        rows.append((at, members[i % len(members)], members[(i + 1) % len(members)]))
        waits.append(late if i < held else 0.2)
        at += waits[-1] + 6 * rng.lognormvariate(0, 0.2)
    graph = make_graph(rows)
    delay = pl.Series([dt.timedelta(seconds=w) for w in waits])
    return Graph(graph.edges.with_columns(arrived=graph.edges["sent"] + delay), graph.boxes, graph.stays)


def test_a_pair_begins_with_the_message_that_was_greylisted() -> None:
    (loop,), _ = find_pairs(greylisted([A, B], 40, 900, 2))
    assert len(loop.rows) == 40


def test_a_short_pair_half_of_which_was_greylisted_is_found_by_its_waits_after_arrival() -> None:
    (loop,), _ = find_pairs(greylisted([A, B], 14, 600, 2))
    assert loop.verdict == "loop" and len(loop.rows) == 14


def test_a_ring_begins_with_the_message_that_set_off_the_first_one_seen_in_step() -> None:
    graph = greylisted([A, B, C], 60, 1500, 3)
    (loop,), _ = find_cycles(graph)
    assert len(beginnings.followed_back(loop, graph).rows) == 60
    assert sum(len(s.times) for s in loop.steps) == 60


def test_mail_of_the_members_hours_before_is_no_part_of_it() -> None:
    graph = greylisted([A, B, C], 60, 0.2, 0)
    early = make_graph([(-30000.0, A, B), (-20000.0, B, C), (0.0, C, A)])
    edges = pl.concat([early.edges.head(2).with_columns(logical=pl.lit(900, pl.UInt32) + pl.col("logical")), graph.edges])
    both = Graph(edges.sort("sent"), graph.boxes, graph.stays)
    (loop,), _ = find_cycles(both)
    assert len(beginnings.followed_back(loop, both).rows) == 60
