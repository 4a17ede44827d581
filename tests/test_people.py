"""What people do, and evidence against it."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from maillog_forensics import people


def times_of(gaps: list[float]) -> list[float]:
    return list(itertools.accumulate(gaps, initial=0.0))


@pytest.mark.parametrize(("gap", "run"), [(15, 4), (60, 8), (300, 17), (7200, 60)])
def test_the_longest_alternation_that_was_seen_is_worth_what_the_rarest_of_so_many_is(gap: float, run: int) -> None:
    times, turns = times_of([gap] * (run - 1)), [i % 2 == 0 for i in range(run)]
    assert people.rarity(times, turns, people.ALTERNATING) == pytest.approx(people.RARITY)


def test_mail_that_goes_one_way_only_is_no_alternation() -> None:
    times = times_of([10.0] * 20)
    assert people.rarity(times, [True] * 21, people.BOTH_WAYS) == 0
    assert people.rarity(times, None, people.ONE_WAY) > people.RARITY


@pytest.mark.parametrize("table", [people.ALTERNATING, people.BOTH_WAYS, people.ONE_WAY])
def test_people_write_no_fewer_messages_when_more_time_is_allowed(table: tuple[tuple[float, float], ...]) -> None:
    assert list(table) == sorted(table)
    assert [n for _, n in table] == sorted(n for _, n in table)


def evidence(draw, count: int = 40, seed: int = 1, against=people.against_people) -> float:
    """The median over thirty samples of `count` lags."""
    rng = random.Random(seed)
    return sorted(against([draw(rng) for _ in range(count)]) for _ in range(30))[15]


def test_steady_lags_speak_for_a_machine_and_uneven_ones_do_not() -> None:
    assert evidence(lambda r: r.lognormvariate(3, 0.15)) > 20
    assert evidence(lambda r: r.lognormvariate(5, 0.8)) < 0
    assert evidence(lambda r: r.lognormvariate(5, 1.2)) < 0


def test_a_machine_whose_mail_waits_in_a_queue_now_and_then_is_still_one() -> None:
    assert evidence(lambda r: 20 * r.lognormvariate(0, 0.1) + (r.random() < 0.3) * r.lognormvariate(math.log(300), 0.8)) > 8


def test_times_without_memory_and_bursts_of_people_are_chance() -> None:
    assert evidence(lambda r: r.expovariate(0.01), against=people.against_chance) < 0
    assert evidence(lambda r: r.lognormvariate(4, 1.2), against=people.against_chance) < 0
    assert evidence(lambda r: r.lognormvariate(4, 0.2), against=people.against_chance) > 15


def test_a_schedule_that_is_answered_keeps_to_its_own_pace_and_a_loop_to_what_came_in() -> None:
    rng = random.Random(4)
    probe = [300.0 * i + rng.uniform(0, 2) for i in range(40)]
    echo = [t + 20 * rng.lognormvariate(0, 0.4) for t in probe]
    assert people.against_own_pace(probe, echo) < -20
    at, mine, theirs = 0.0, [], []
    for _ in range(40):
        at += 40 * rng.lognormvariate(0, 0.1)
        mine.append(at)
        at += 60 * rng.lognormvariate(0, 0.2)
        theirs.append(at)
    assert people.against_own_pace(mine, theirs) > 5


def test_two_that_answer_each_other_keep_in_step_and_independent_ones_do_not() -> None:
    rng = random.Random(5)
    assert people.kept_in_step([i % 2 == 0 for i in range(30)]) == pytest.approx(30 * math.log(2))
    apart = sorted(people.kept_in_step([rng.random() < 0.5 for _ in range(60)]) for _ in range(99))
    assert apart[94] < 5


def merged(mine: list[float], theirs: list[float]) -> tuple[list[float], list[bool]]:
    rows = sorted([(t, True) for t in mine] + [(t, False) for t in theirs])
    return [t for t, _ in rows], [up for _, up in rows]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_who_answers_writes_while_he_owes_answers(in_flight: int) -> None:
    rng = random.Random(7)
    mine, theirs = [], []
    for _ in range(in_flight):
        at = rng.uniform(0, 100)
        for _ in range(30):
            mine.append(at)
            theirs.append(at + 40 * rng.lognormvariate(0, 0.2))
            at = theirs[-1] + 60 * rng.lognormvariate(0, 0.5)
    assert people.held_back(*merged(mine, theirs), True) > 4
    assert people.held_back(*merged(mine, theirs), False) > 4


def test_who_writes_at_random_writes_as_often_while_nothing_is_owed() -> None:
    told = []
    for seed in range(30):
        rng = random.Random(seed)
        mine = times_of([rng.expovariate(0.01) for _ in range(30)])
        told.append(people.held_back(*merged(mine, [t + 40 * rng.lognormvariate(0, 0.2) for t in mine]), True))
    assert sorted(told)[24] < 1


@pytest.mark.parametrize(("mine", "theirs"), [([], []), ([1.0], [2.0]), ([5.0, 5.0, 5.0], [5.0])])
def test_holding_back_needs_time_to_tell(mine: list[float], theirs: list[float]) -> None:
    assert people.held_back(*merged(mine, theirs), True) == 0


def test_answers_within_seconds_are_no_peoples() -> None:
    assert people.at_once([3, 4, 2, 5, 3, 4]) > 5
    assert people.at_once([3, 40, 2, 50, 30, 45]) == 0
    assert people.at_once([]) == 0


def test_one_step_of_growing_sizes_is_needed_to_tell_the_amount() -> None:
    assert people.even_sizes([5199, 24743, 23430, 22288]) < 2  # two of three steps alike: by chance
    assert people.even_sizes([1000 + 500 * k for k in range(8)]) == 4
    assert people.even_sizes([1090, 1086, 1094, 1084]) == 4


def test_many_mails_of_one_size_are_no_persons_of_few_words() -> None:
    rng = random.Random(8)
    machine = [2100 + rng.randint(-6, 6) for _ in range(40)]
    brief = [rng.choice((1900, 1930, 2200, 2600)) + rng.randint(0, 60) for _ in range(40)]
    assert people.alike_sizes(machine) == 8
    assert people.alike_sizes(machine[:4]) < 3
    assert people.alike_sizes(brief) == people.alike_sizes([None] * 40) == 0


def passed_on(rng: random.Random, in_flight: int, turns: int) -> list[tuple[bool, int | None]]:
    """Several messages that two mailboxes send to and fro, each time 900 bytes larger, in any order."""
    sizes, own = [rng.randint(1_000, 30_000) for _ in range(in_flight)], [k % 2 == 0 for k in range(in_flight)]
    rows: list[tuple[bool, int | None]] = []
    for _ in range(turns):
        k = rng.randrange(in_flight)
        rows.append((own[k], sizes[k]))
        sizes[k], own[k] = sizes[k] + 900 + rng.randint(-5, 5), not own[k]
    return rows


@pytest.mark.parametrize("in_flight", [1, 3])
def test_mails_made_of_what_came_in_are_told_by_their_sizes(in_flight: int) -> None:
    rows = passed_on(random.Random(in_flight), in_flight, 60)
    assert people.passed_on_sizes(rows) > 5
    assert people.passed_on_sizes([(not own, size) for own, size in rows]) > 5


@pytest.mark.parametrize("seed", range(6))
def test_mails_that_are_acknowledged_with_a_quotation_are_not_made_of_the_acknowledgements(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [int(rng.lognormvariate(8.5, 0.8)) for _ in range(40)]
    rows = [row for size in sizes for row in ((True, size), (False, size + 700 + rng.randint(-6, 6)))]
    assert people.passed_on_sizes(rows) == 0
    assert people.passed_on_sizes([(not own, size) for own, size in rows]) > 5
    assert people.passed_on_sizes([(own, 900 + rng.randint(-6, 6)) for own, _ in rows]) < 2
    assert people.passed_on_sizes([(own, None) for own, _ in rows]) == 0
