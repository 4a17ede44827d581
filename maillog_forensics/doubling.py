"""Loops that grow: who answers everything twice makes each turn twice as large, until something breaks.

The two neither take turns nor write as many messages as each other, so that `pair_verdicts` has no use for them. But each answer still
comes a steady time after what it answers: the i-th message of a side answers the i-th divided by the number of its answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from maillog_forensics import rhythm

_LEAST = 24
_AT_ONCE = 3
"""More answers to each message than so many were not seen."""
SPREAD, SPREADS = 0.5, 0.8
"""How uneven the lags of one side and of both together may be (see `rhythm.Lags`).

A burst that is acknowledged twice has lags that grow with the burst: theirs is 0.65 and more for two dozen messages."""
_TURNS = 3.0
_STRAYS = 12
"""Other mail before the first message of the loop."""
_GROWS = 10.0
"""Nats for times that grow denser at the rate that the lags and the number of answers make, against an even rate …"""
_GROWS_EACH = 0.3
"""… and so much of what a loop's times give in the mean."""
_EQUAL = 0.1
"""Sides as even as that, one of which answers once, are a program in bursts and its acknowledgements."""
_SLOWER = 0.7
"""The rate that median lags make is that of a loop without late answers, and its last turn is broken off."""
_EARLY_S = -2.0
"""Clocks and stamps may put an answer so long before its question."""


@dataclass(frozen=True)
class Doubling:
    """A stretch that grows: from which message on, how often each side answers, and after how long."""

    begin: int
    first: bool
    """Which of the two wrote the first message."""
    answers: tuple[int, int]
    """By the one who wrote first, and by the other."""
    lags: tuple[rhythm.Lags, rhythm.Lags]
    turns: float


def find(times: list[float], up: list[bool]) -> Doubling | None:
    """Find the growing loop in a stretch of mail between two mailboxes.

    Parameters
    ----------
    times, up
        Seconds, ascending, and which of the two wrote.

    Returns
    -------
    The reading with the steadiest lags, None where none is steady.
    """
    readings = [
        reading
        for begin in range(min(_STRAYS, len(times) - _LEAST) + 1)
        for answers in product(range(1, _AT_ONCE + 1), range(1, _AT_ONCE + 1))
        if max(answers) > 1 and (reading := _read(times[begin:], up[begin:], begin, answers))
    ]
    return min(readings, key=lambda r: sum(lag.spread for lag in r.lags), default=None)


def _read(times: list[float], up: list[bool], begin: int, answers: tuple[int, int]) -> Doubling | None:
    """A stretch read as a loop whose sides answer each message so often; None where the lags say otherwise."""
    mine, theirs = ([t for t, by in zip(times, up) if (by is up[0]) is own] for own in (True, False))
    if min(len(mine), len(theirs)) < _LEAST / 4:
        return None
    if min(answers) == 1 and abs(len(mine) - len(theirs)) <= _EQUAL * len(times):
        return None
    back = [t - theirs[i // answers[0]] for i, t in enumerate(mine[1:]) if i // answers[0] < len(theirs)]
    there = [t - mine[i // answers[1]] for i, t in enumerate(theirs) if i // answers[1] < len(mine)]
    if min(back, default=_EARLY_S) <= _EARLY_S or min(there, default=_EARLY_S) <= _EARLY_S:
        return None
    lags = rhythm.lags(back), rhythm.lags(there)
    if lags[0] is None or lags[1] is None:
        return None
    turns = (times[-1] - times[0]) / max(1.0, lags[0].median_s + lags[1].median_s)
    spreads = lags[0].spread, lags[1].spread
    if max(spreads) > SPREAD or sum(spreads) > SPREADS or turns < _TURNS:
        return None
    got, expected = _growth(times, _SLOWER * math.log(answers[0] * answers[1]) * turns)
    if got < max(_GROWS, _GROWS_EACH * expected):
        return None
    return Doubling(begin, up[0], answers, (lags[0], lags[1]), turns)


def _growth(times: list[float], powers: float) -> tuple[float, float]:
    """Nats for times that grow denser `powers` e-fold from first to last against an even rate, and what such times give in the mean."""
    whole = math.log(math.expm1(powers) / powers)
    span = times[-1] - times[0]
    got = sum(powers * (t - times[0]) / span for t in times) - len(times) * whole
    return got, len(times) * (powers / -math.expm1(-powers) - 1 - whole)
