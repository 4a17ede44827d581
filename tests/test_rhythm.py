"""Telling machines from people by when they answer."""

from __future__ import annotations

import random

from maillog_forensics import rhythm


def test_spread_of_a_machine_is_small_and_of_people_large() -> None:
    rng = random.Random(1)
    machine = rhythm.lags([rng.lognormvariate(2, 0.1) for _ in range(50)])
    person = rhythm.lags([rng.lognormvariate(5, 1.2) for _ in range(50)])
    assert machine and person
    assert machine.spread < 0.2 < 0.8 < person.spread


def test_lags_of_fewer_than_two_turns_say_nothing() -> None:
    assert rhythm.lags([5.0]) is None


def test_the_best_stretch_is_found_amid_other_mail() -> None:
    marks = [False, True, False, False, True, True, True, True, True, False, True, True, False, False, True]
    assert rhythm.best_rhythm(marks) == (4, 8)


def test_answers_are_aligned_with_three_messages_in_flight() -> None:
    rng = random.Random(3)
    asked = sorted(10 * i + rng.uniform(0, 1) for i in range(40))
    answered = [t + 31 + rng.uniform(0, 1) for t in asked]
    found = rhythm.align(asked, answered)
    assert found is not None
    lags, wander = found
    assert wander < 0.1
    assert all(30 < v < 34 for v in lags[:30])


def test_two_independent_streams_do_not_align() -> None:
    rng = random.Random(5)
    asked = sorted(rng.uniform(0, 4000) for _ in range(40))
    answered = sorted(rng.uniform(0, 4000) for _ in range(40))
    found = rhythm.align(asked, answered)
    assert found is None or found[1] > 0.4


def test_nothing_is_answered_before_it_was_asked() -> None:
    asked = [25.0 * k for k in range(12)]  # each arrives a second after what it is the answer to
    found = rhythm.align(asked, [at - 0.9 for at in asked])
    assert found is None or min(found[0]) > 20
