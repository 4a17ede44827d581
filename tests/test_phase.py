"""Telling a schedule from a loop by its phase."""

from __future__ import annotations

import random

import pytest

from maillog_forensics import phase


def echoed(rng: random.Random, period: float, turns: int, late: float = 0.0) -> tuple[list[float], list[float]]:
    """A probe by the clock, a share of which a queue delays, and the echoes of it."""
    probes, echoes = [], []
    for i in range(turns):
        at = period * i + abs(rng.gauss(0.6, 0.3)) + (rng.lognormvariate(4, 0.8) if rng.random() < late else 0.0)
        probes.append(at)
        echoes.append(at + rng.lognormvariate(0.7, 0.2))
    return sorted(probes), sorted(echoes)


def ping_pong(rng: random.Random, lags: tuple[float, float], spread: float, turns: int) -> tuple[list[float], list[float]]:
    """Two machines that answer each other."""
    at, ours, theirs = 0.0, [], []
    for _ in range(turns):
        ours.append(at)
        at += lags[0] * rng.lognormvariate(0, spread) + rng.lognormvariate(-0.7, 0.6)
        theirs.append(at)
        at += lags[1] * rng.lognormvariate(0, spread) + rng.lognormvariate(-0.7, 0.6)
    return ours, theirs


@pytest.mark.parametrize("late", [0.0, 0.2])
@pytest.mark.parametrize("period", [30.0, 300.0, 3600.0])
def test_a_probe_by_the_clock_is_a_schedule_also_where_queues_delay_some(period: float, late: float) -> None:
    for seed in range(10):
        clock = phase.clock(*echoed(random.Random(seed), period, 40, late))
        assert clock and clock.is_round
        assert clock.period_s == period
        assert phase.believed(clock, None, 40)


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("lags", [(28.0, 1.0), (57.0, 2.0), (290.0, 9.0), (3000.0, 600.0)])
def test_a_loop_whose_period_is_near_a_round_one_is_none(lags: tuple[float, float], spread: float) -> None:
    """Also where it turns every half minute, minute, five minutes or hour: nearly all, since chance may keep the phase of a short one."""
    claimed = 0
    for seed in range(20):
        ours, theirs = ping_pong(random.Random(seed), lags, spread, 40)
        for clock in (phase.clock(ours, theirs), phase.clock(theirs, ours)):
            claimed += phase.believed(clock, None, 40)
    assert claimed <= 2


def test_a_period_that_is_not_round_is_fitted() -> None:
    rng = random.Random(5)
    clock = phase.clock([437.0 * i + rng.uniform(0, 2) for i in range(40)])
    assert clock and not clock.is_round
    assert abs(clock.period_s - 437) < 0.2
    assert phase.believed(clock, None, 40)


def test_a_schedule_that_now_and_then_skips_a_turn_keeps_its_phase() -> None:
    rng = random.Random(6)
    clock = phase.clock([300.0 * i + rng.uniform(0, 2) for i in range(60) if i % 17])
    assert clock and clock.is_round
    assert phase.believed(clock, None, 40)


def test_few_mails_by_the_clock_tell_where_both_sides_keep_to_one() -> None:
    """Seven mails each way, as two monitors of one period write them: neither of them alone would tell."""
    rng = random.Random(1)
    ours, theirs = ([60.0 * i + at + rng.uniform(0, 1) for i in range(7)] for at in (0, 21))
    one, other = phase.clock(ours, theirs), phase.clock(theirs, ours)
    assert phase.believed(one, other, 7)
    assert not phase.believed(one, None, 7)


def test_too_few_or_too_quick_for_a_schedule() -> None:
    assert phase.clock([60.0 * i for i in range(phase.LEAST - 1)]) is None
    assert phase.clock([2.0 * i for i in range(50)]) is None
