"""Pairs and rings of new messages, on edges written by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import phase
from maillog_forensics.graph import build
from maillog_forensics.mail import Mail
from maillog_forensics.pairs import PairParameters, find_pairs
from maillog_forensics.rings import find_cycles
from tests import scale
from tests.conftest import make_graph

A, B, C, D = "a@a.example", "b@b.example", "c@c.example", "d@d.example"


def ping_pong(rng: random.Random, turns: int, lag: float, spread: float, *, start: float = 0.0) -> list[tuple[float, str, str]]:
    """A loop of two: `turns` messages, each `lag` seconds after the one before, give or take."""
    rows, at = [], start
    for i in range(turns):
        rows.append((at, (A, B)[i % 2], (B, A)[i % 2]))
        at += lag * rng.lognormvariate(0, spread)
    return rows


def loops_in(rows: list[tuple[float, str, str]], **columns: object):
    found, _ = find_pairs(make_graph(sorted(rows), **columns))
    return [loop for loop in found if loop.verdict == "loop"]


@pytest.mark.parametrize(
    ("turns", "lag", "spread"), [(12, 5, 0.05), (40, 8, 0.3), (200, 12, 0.2), (60, 3600, 0.1), (120, 600, 0.3)]
)
def test_two_machines_that_answer_each_other_are_found(turns: int, lag: float, spread: float) -> None:
    (loop,) = loops_in(ping_pong(random.Random(turns), turns, lag, spread))
    assert set(loop.members) == {A, B}
    assert len(loop.rows) >= 0.95 * turns


def test_several_messages_in_flight_are_found() -> None:
    rng = random.Random(2)
    rows = [row for k in range(3) for row in ping_pong(rng, 60, 30, 0.03, start=9.0 * k)]
    (loop,) = loops_in(rows)
    assert len(loop.rows) == 180


def test_a_loop_amid_people_is_cut_out_of_their_mail() -> None:
    rng = random.Random(9)
    people = [(t, *((A, B), (B, A))[i % 2]) for i, t in enumerate(sorted(rng.uniform(0, 80_000) for _ in range(14)))]
    loop_rows = ping_pong(rng, 60, 10, 0.1, start=100_000)
    (loop,) = loops_in([*people, *loop_rows])
    assert 58 <= len(loop.rows) <= 62


@pytest.mark.parametrize("seed", range(12))
def test_people_who_write_quickly_are_not_a_loop(seed: int) -> None:
    rng = random.Random(seed)
    rows, at = [], 0.0
    for i in range(rng.randint(6, 38)):
        rows.append((at, (A, B)[i % 2], (B, A)[i % 2]))
        at += min(590, rng.lognormvariate(4.6, 0.9))
    assert loops_in(rows) == []


def test_an_echo_probe_is_possible_at_most() -> None:
    rng = random.Random(4)
    rows = []
    for i in range(80):
        sent = 300.0 * i + rng.uniform(0, 3)
        rows += [(sent, A, B), (sent + 2 + rng.uniform(0, 1), B, A)]
    assert loops_in(rows) == []


def test_a_ticket_system_that_acknowledges_people_is_not_a_loop() -> None:
    rng = random.Random(6)
    rows, at = [], 0.0
    for _ in range(15):
        at += rng.lognormvariate(7.5, 1.3)
        rows += [(at, A, B), (at + 2, B, A)]
    assert loops_in(rows) == []


def acknowledged(rng: random.Random, count: int, gap: float, start: float) -> list[tuple[float, str, str]]:
    """A program A that writes when something happens, each of its messages answered by B after two seconds."""
    times = itertools.accumulate((rng.expovariate(1 / gap) for _ in range(count)), initial=start)
    return [row for at in times for row in ((at, A, B), (at + 2 + rng.uniform(0, 0.5), B, A))]


def test_a_burst_of_one_who_left_the_acknowledgements_alone_for_weeks_is_no_loop() -> None:
    even = ping_pong(random.Random(11), 24, 30, 0.1, start=2_000_000)
    assert loops_in(even), "such a stretch alone passes for a loop"
    assert loops_in([*acknowledged(random.Random(12), 40, 30_000, 0), *even]) == []


def test_acknowledgements_that_the_program_answers_by_chance_speak_for_nobody() -> None:
    """A loop goes on being one where the two wrote to each other before, if neither left a quick answer of the other's alone."""
    before = [(t, *((A, B), (B, A))[i % 2]) for i, t in enumerate(30_000.0 * n for n in range(30))]
    (loop,) = loops_in([*before, *ping_pong(random.Random(11), 24, 30, 0.1, start=2_000_000)])
    assert len(loop.rows) == 24


def test_marked_answers_need_only_a_few_turns() -> None:
    rows = ping_pong(random.Random(8), 8, 300, 0.5)
    assert loops_in(rows, is_automatic=[True] * 8)


@pytest.mark.parametrize("length", [3, 4, 5, 8])
def test_rings_of_new_messages_are_found_with_all_their_members(length: int) -> None:
    rng = random.Random(length)
    names = [f"m{i}@h{i}.example" for i in range(length)]
    rows, at = [], 0.0
    for i in range(12 * length):
        rows.append((at, names[i % length], names[(i + 1) % length]))
        at += 6 * rng.lognormvariate(0, 0.15)
    found, _ = find_cycles(make_graph(rows))
    loops = [f for f in found if f.verdict == "loop"]
    assert [set(loop.members) for loop in loops] == [set(names)]


def passed_on(rng: random.Random, turns: int, uneven: float = 0.1) -> list[tuple[float, str, str]]:
    """A ring A > B > C > A of which the logs don't show the last arrow."""
    rows, at = [], 0.0
    for _ in range(turns):
        rows += [(at, A, B), (at + 3 * rng.lognormvariate(0, 0.1), B, C)]
        at += 40 * rng.lognormvariate(0, uneven)
    return rows


def looks(sizes: list[int | None], subjects: list[str | None]) -> Mail:
    messages = pl.DataFrame(
        {"mid": range(len(sizes)), "size": sizes, "subject": subjects},
        schema={"mid": pl.UInt32, "size": pl.Int64, "subject": pl.String},
    )
    return Mail(messages.lazy(), pl.LazyFrame(), pl.LazyFrame())


def test_a_ring_with_a_hop_outside_the_logs_is_found() -> None:
    rows = passed_on(random.Random(5), 20)
    answers = looks([None] * 40, [("Absent: ", "Fwd: Absent: ")[i % 2] + "Offer" for i in range(40)])
    for mail in (None, answers):
        (loop,), _ = find_cycles(make_graph(rows), mail=mail)
        assert loop.members == (A, B, C)


def test_mails_about_ever_new_things_do_not_come_back_from_whom_they_are_passed_on_to() -> None:
    rows = passed_on(random.Random(5), 20, 0.45)
    assert find_cycles(make_graph(rows))[0], "without the subjects it passes for a ring"
    fresh = looks([None] * 40, [("", "Fwd: ")[i % 2] + "abcdefghijklmnopqrst"[i // 2] * 6 for i in range(40)])
    assert find_cycles(make_graph(rows), mail=fresh)[0] == []


def test_a_message_that_is_sent_on_with_another_envelope_is_no_answer() -> None:
    graph = make_graph(passed_on(random.Random(5), 20))
    same = graph.edges.with_columns(logical=(pl.int_range(pl.len()) // 2 * 2).cast(pl.UInt32))
    assert find_cycles(graph)[0]
    assert find_cycles(dataclasses.replace(graph, edges=same))[0] == []


def test_a_clock_that_fits_by_chance_yields_to_waits_that_are_far_more_even(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ping_pong(random.Random(3), 60, 25, 0.15)
    monkeypatch.setattr(phase, "clock", lambda *_: phase.Clock(60.0, True, 9.0))
    monkeypatch.setattr(phase, "believed", lambda *_: True)
    assert loops_in(rows), "each side waits for what it got, its periods are sums of two waits"
    (possible,), _ = find_pairs(make_graph(rows), PairParameters(no_clock_nats=math.inf))
    assert possible.level == "possible"


def test_a_window_shorter_than_the_gap_hides_a_slow_loop() -> None:
    rows = ping_pong(random.Random(1), 60, 3600, 0.05)
    found, _ = find_pairs(make_graph(rows), PairParameters(window_s=600))
    assert found == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 500_000), st.sampled_from([A, B, C, D]), st.sampled_from([A, B, C, D])), min_size=0, max_size=80
    )
)
def test_detectors_stand_any_mail(rows: list[tuple[float, str, str]]) -> None:
    graph = make_graph(sorted(rows))
    pairs, search = find_pairs(graph)
    cycles, _ = find_cycles(graph)
    for loop in [*pairs, *cycles]:
        assert set(loop.rows) <= set(range(graph.edges.height))
        assert {graph.name(graph.edges["sender"][r]) for r in loop.rows} <= set(loop.members)
    assert search.candidates >= 0


def plain_search(rows: list[tuple[float, str, str]], window_s: float = 4 * 3600) -> set[frozenset[str]]:
    """Every ring of three to five mailboxes in which some token goes round four times at a very steady pace, by trying all of them.

    A slow oracle with code of its own: all orders of all mailboxes, each first message followed by the first later one on the next arrow.
    """
    names = sorted({n for _, a, b in rows for n in (a, b)})
    by_arrow: dict[tuple[str, str], list[float]] = {}
    for at, a, b in sorted(rows):
        by_arrow.setdefault((a, b), []).append(at)
    found = set()
    for length in (3, 4, 5):
        for members in itertools.permutations(names, length):
            if members[0] != min(members):
                continue
            arrows = [by_arrow.get((members[i], members[(i + 1) % length]), []) for i in range(length)]
            if any(len(a) < 4 for a in arrows):
                continue
            lags: list[list[float]] = [[] for _ in arrows]
            at, i = arrows[0][0], 0
            while True:
                i = (i + 1) % length
                later = [t for t in arrows[i] if t > at]
                if not later or later[0] - at > window_s:
                    break
                lags[i].append(later[0] - at)
                at = later[0]
            steady = all(len(v) >= 4 and max(v) <= 1.1 * min(v) for v in lags)
            if steady and sum(len(v) for v in lags) >= 0.9 * sum(len(a) for a in arrows) - 1:
                found.add(frozenset(members))
    return found


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.integers(3, 5), st.integers(6, 20), st.floats(2, 600), st.integers(0, 10_000), st.integers(0, 40))
def test_the_fast_search_misses_no_ring_that_the_plain_search_finds(
    length: int, turns: int, lag: float, seed: int, noise: int
) -> None:
    rng = random.Random(seed)
    names = [f"n{i}@h.example" for i in range(6)]
    own = [lag * rng.uniform(0.5, 2) for _ in range(length)]
    rows, at = [], 50_000.0
    for i in range(length * turns):
        rows.append((at, names[i % length], names[(i + 1) % length]))
        at += own[i % length] * rng.uniform(0.98, 1.02)
    rows += [(rng.uniform(0, 100_000), *rng.sample(names, 2)) for _ in range(noise)]
    wanted = plain_search(rows)
    cycles, _ = find_cycles(make_graph(sorted(rows)))
    got = {frozenset(c.members) for c in cycles}
    assert wanted <= got
    if noise == 0:
        assert frozenset(names[:length]) in wanted, "the oracle itself must see a ring without noise"


def plain_pairs(rows: list[tuple[float, str, str]]) -> dict[frozenset[str], list[int]]:
    """The pairs that answer each other 16 times without other mail between them, each side at lags even to 10 %, by trying every stretch.

    A slow oracle with code of its own: all beginnings and all ends of each pair's history.
    """
    found: dict[frozenset[str], list[int]] = {}
    for names in {frozenset((a, b)) for _, a, b in rows}:
        own = [(t, a, i) for i, (t, a, b) in enumerate(rows) if {a, b} == names]
        for first in range(len(own)):
            for last in range(len(own), first + 15, -1):
                stretch = own[first:last]
                steps = [(y[0] - x[0], y[1]) for x, y in itertools.pairwise(stretch)]
                lags = [[gap for gap, who in steps if who == name] for name in names]
                takes_turns = all(x[1] != y[1] for x, y in itertools.pairwise(stretch))
                if takes_turns and all(max(v) <= 1.1 * min(v) and min(v) >= 2 and max(v) <= 3600 for v in lags):
                    found[names] = max(found.get(names, []), [i for *_, i in stretch], key=len)
                    break
    return found


@settings(max_examples=60, deadline=None, print_blob=True)
@given(st.integers(20, 60), st.floats(3, 1500), st.floats(3, 1500), st.integers(0, 10**9), st.integers(0, 40))
def test_the_fast_search_misses_no_pair_that_the_plain_search_finds(
    turns: int, lag_a: float, lag_b: float, seed: int, noise: int
) -> None:
    rng = random.Random(seed)
    names = [f"n{i}@h.example" for i in range(4)]
    rows, at = [], 50_000.0
    for i in range(turns):
        rows.append((at, names[i % 2], names[1 - i % 2]))
        at += (lag_a, lag_b)[i % 2] * rng.uniform(0.97, 1.03)
    rows += [(rng.uniform(0, 150_000), *rng.sample(names, 2)) for _ in range(noise)]
    rows.sort()
    wanted = plain_pairs(rows)
    got = {frozenset(p.members): set(p.rows) for p in find_pairs(make_graph(rows))[0]}
    for pair, stretch in wanted.items():
        assert pair in got, f"{pair} answers each other {len(stretch)} times"
        assert len(got[pair] & set(stretch)) >= 0.9 * len(stretch)
    if noise == 0:
        assert frozenset(names[:2]) in wanted, "the oracle itself must see a loop without noise"


def test_loops_hidden_in_months_of_human_mail_are_found_and_nothing_else(tmp_path: Path) -> None:
    written = scale.write(tmp_path, 150_000)
    messages, deliveries = (pl.scan_parquet(tmp_path / f"{name}-*.parquet") for name in ("messages", "deliveries"))
    assert deliveries.collect().height == written
    graph = build(Mail(messages, deliveries, pl.LazyFrame()))
    found = [*find_pairs(graph)[0], *find_cycles(graph)[0]]
    assert len(found) == scale.LOOPS + scale.RINGS
    for loop in found:
        assert loop.verdict == "loop"
        assert all(m.startswith("user-") for m in loop.members)
        assert abs(len(loop.rows) - scale.TURNS) <= 0.05 * scale.TURNS
