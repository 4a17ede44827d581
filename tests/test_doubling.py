"""Loops that grow with each turn."""

from __future__ import annotations

import heapq
import itertools
import random
from pathlib import Path

import pytest

from maillog_forensics import api, doubling
from maillog_forensics.findings import Kind, Severity
from tests.generator import generate, write
from tests.generator.lookalikes import LOOKALIKES
from tests.generator.loops import HARD


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


def broken(rng: random.Random, full_at: float) -> tuple[list[float], list[bool]]:
    """The same, answered once and twice, until the mailbox of the second side is full: the first still answers what it got, and a queue keeps one back."""
    waiting, rows = [(0.0, True)], list[tuple[float, bool]]()
    while waiting:
        at, up = heapq.heappop(waiting)
        rows.append((at, up))
        if up and at > full_at:
            continue
        for _ in range(2 if up else 1):
            heapq.heappush(waiting, (at + (15 if up else 40) * rng.lognormvariate(0, 0.15), not up))
    rows.append((rows[-1][0] + 400, True))
    return [t for t, _ in rows], [side for _, side in rows]


@pytest.mark.parametrize("seed", range(4))
def test_a_loop_that_grew_until_a_mailbox_was_full_is_read_from_what_grew(seed: int) -> None:
    times, up = broken(random.Random(seed), 360)
    found = doubling.find(times, up)
    assert found is not None
    assert found.begin <= 1 and 0.5 * len(times) < found.end < len(times)


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


def test_stamps_that_stand_still_after_a_long_wait_do_not_overflow() -> None:
    times = [0.0, 1_000.0, 2_000.0, *[1e7] * 200]
    doubling.find(times, [n % 3 == 0 for n in range(len(times))])
    got, mean = doubling._growth([0.0, 1.0, 1.0], 1e6)  # e to this power is no number
    assert got < 0 < mean


def claims(tmp_path: Path, mix: str, index: int, seed: int) -> tuple[dict, list[set[str]]]:
    scenario = generate(mix, index, seed)
    found = api.analyze([str(write(scenario, tmp_path))]).findings.incidents
    return scenario.truth, [set(i.members) for i in found if i.kind is Kind.MAIL_LOOP and i.severity is not Severity.INFO]


@pytest.mark.parametrize("turn", [0, 2, 3, 4])
def test_answers_that_double_are_found(tmp_path: Path, turn: int) -> None:
    """Of the first eight logs one is missed."""
    truth, found = claims(tmp_path, "hard", list(HARD).index("pair_doubling") + turn * len(HARD), 1)
    assert set(truth["loops"][0]["members"]) in found


BURSTS = [(kind, turn, 1) for kind in ("alarms", "bounce_answerers") for turn in range(3)] + [
    ("several_aliases", 12, 3), ("several_aliases", 13, 3), ("invitations", 5, 3), ("invitations", 10, 3), ("forwarded_burst", 19, 3),
    ("alarms", 15, 2), ("crossing_monitors", 1, 44),
]  # fmt: skip
"""Each was taken for a loop at some time."""


@pytest.mark.parametrize(("kind", "turn", "seed"), BURSTS)
def test_bursts_that_are_answered_or_passed_on_are_no_loop(tmp_path: Path, kind: str, turn: int, seed: int) -> None:
    _, found = claims(tmp_path, "lookalikes", list(LOOKALIKES).index(kind) + turn * len(LOOKALIKES), seed)
    assert found == []
