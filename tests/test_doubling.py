"""Loops that grow with each turn."""

from __future__ import annotations

import itertools
import random

import pytest

from maillog_forensics import doubling


def growing(rng: random.Random, answers: tuple[int, int], turns: int) -> tuple[list[float], list[bool]]:
    """A loop whose sides answer each message so often, the first after 40 s and the second after 15 s."""
    rows, wave, up = [(0.0, True)], [0.0], False
    for _ in range(turns):
        count, lag = (answers[0], 40) if up else (answers[1], 15)
        wave = sorted(at + lag * rng.lognormvariate(0, 0.1) for at in wave for _ in range(count))
        rows += [(at, up) for at in wave]
        up = not up
    rows.sort()
    return [t for t, _ in rows], [side for _, side in rows]


@pytest.mark.parametrize(("answers", "turns"), [((1, 2), 11), ((2, 2), 7), ((2, 1), 10)])
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_that_grows_is_read_with_its_growth(answers: tuple[int, int], turns: int, seed: int) -> None:
    found = doubling.find(*growing(random.Random(seed), answers, turns))
    assert found is not None
    assert found.begin <= 1  # the message that set it off may be read as other mail
    assert found.answers[0] * found.answers[1] >= 2


def test_other_mail_before_it_is_left_out() -> None:
    times, up = growing(random.Random(3), (2, 2), 7)
    found = doubling.find([-300.0, -200.0, *times], [False, True, *up])
    assert found is not None and found.begin == 2


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_bursts_that_are_acknowledged_do_not_grow(each: int, seed: int) -> None:
    rng = random.Random(seed)
    sent = list(itertools.accumulate(rng.expovariate(1 / 20) for _ in range(60)))
    rows = sorted([(t, True) for t in sent] + [(t + 5 * rng.lognormvariate(0, 0.1), False) for t in sent for _ in range(each)])
    assert doubling.find([t for t, _ in rows], [side for _, side in rows]) is None


def test_short_mail_is_no_growth() -> None:
    assert doubling.find([0.0, 1.0, 2.0], [True, False, True]) is None
    assert doubling.find([], []) is None
    assert doubling.find([5.0] * 40, [n % 3 == 0 for n in range(40)]) is None
