"""Telling machines from people by when they answer.

A loop of new messages leaves no mark but its rhythm: both sides answer, again and again, one after the other. What people do is in
`people`, what schedules do in `phase`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import median

_TRIMMED_NORMAL = 0.70
"""Standard deviation of what is left of a normal distribution without its lowest and highest twelfth."""


@dataclass(frozen=True)
class Lags:
    """How one side answers."""

    count: int
    median_s: float
    spread: float
    """Standard deviation of the logarithm, after the slowest and quickest few per cent (queues, retries) are left out."""


def lags(values: list[float]) -> Lags | None:
    """Median and spread of some lags in seconds; NULL for fewer than two."""
    if len(values) < 2:
        return None
    logs = sorted(math.log(max(v, 0.7)) for v in values)
    drop = len(logs) // 12 if len(logs) >= 12 else 0
    kept = logs[drop : len(logs) - drop] if drop else logs
    mean = sum(kept) / len(kept)
    spread = math.sqrt(sum((x - mean) ** 2 for x in kept) / max(1, len(kept) - 1))
    if drop:
        spread /= _TRIMMED_NORMAL
    return Lags(len(values), median(values), spread)


def is_near(lag_s: float, usual: Lags) -> bool:
    """Whether a lag is near the usual one: within a few spreads, or two seconds."""
    ratio = abs(math.log(max(lag_s, 0.7) / max(usual.median_s, 0.7)))
    return ratio <= max(3.0 * min(usual.spread, 0.6), 0.9) or abs(lag_s - usual.median_s) <= 2


def best_rhythm(marks: list[bool], penalty: float = 2.0) -> tuple[int, int]:
    """The stretch [first, last] of `marks` in which the rhythm is kept best: the maximal sum of +1 and -penalty."""
    best, best_at = 0.0, (0, -1)
    total, start = 0.0, 0
    for i, mark in enumerate(marks):
        total += 1.0 if mark else -penalty
        if total <= 0:
            total, start = 0.0, i + 1
        elif total > best:
            best, best_at = total, (start, i)
    return best_at


def in_turn(asked: list[float], answered: list[float], max_wander: float = 1.0) -> list[float]:
    """Lags when each answer belongs to the earliest question that is still open; none where they wander.

    What lies between the i-th question and the i-th answer of two that know nothing of each other is the sum of many gaps: it
    changes little from one to the next, and so looks even, but wanders far. Waits of a machine stay within about the time between
    two questions: `max_wander` is their standard deviation against it.
    """
    out, i = [], 0
    for at in answered:
        if i < len(asked) and asked[i] <= at:
            out.append(at - asked[i])
            i += 1
    if len(out) < 2:
        return out
    between = (asked[i - 1] - asked[0]) / (i - 1)
    mean = sum(out) / i
    wander = math.sqrt(sum((lag - mean) ** 2 for lag in out) / i)
    return out if wander <= max_wander * max(between, 0.5) else []


def align(asked: list[float], answered: list[float], max_in_flight: int = 8) -> tuple[list[float], float] | None:
    """Lags when several messages are in flight: the i-th answer belongs to the i-th question, shifted by some number.

    Returns
    -------
    lags, wander
        Of the best shift. `wander` is their standard deviation against the mean time between questions: small when the
        answers are caused by the questions, near or above 1 for two independent streams however large the shift.
        None where no shift is causal.
    """
    best = _aligned(asked, answered, max_in_flight)
    return best[:2] if best else None


def _shift(asked: list[float], answered: list[float], max_in_flight: int = 8) -> int | None:
    best = _aligned(asked, answered, max_in_flight)
    return best[2] if best else None


def _aligned(asked: list[float], answered: list[float], max_in_flight: int) -> tuple[list[float], float, int] | None:
    """As `align`, with the shift."""
    if len(asked) < 4 or len(answered) < 4:
        return None
    between = (asked[-1] - asked[0]) / (len(asked) - 1)
    best: tuple[list[float], float, int] | None = None
    for shift in range(-max_in_flight, max_in_flight + 1):
        values = [answered[i + shift] - asked[i] for i in range(len(asked)) if 0 <= i + shift < len(answered)]
        if len(values) < max(4, 0.75 * min(len(asked), len(answered))) or min(values) < -1:
            continue
        mean = sum(values) / len(values)
        if mean < 0:
            continue
        wander = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) / max(between, 0.5)
        if mean <= (max_in_flight + 1) * between and (best is None or wander < best[1]):
            best = (values, wander, shift)
    return best


def turns(mine: list[float], theirs: list[float]) -> tuple[list[float], list[float]] | None:
    """Lags from what came in to one's own answer, and how long before that answer the message was written that had been answered.

    Both sides are aligned as by `align`. None where either is not causal.
    """
    there, back = _shift(mine, theirs), _shift(theirs, mine)
    if there is None or back is None:
        return None
    lags, periods = [], []
    for i, at in enumerate(mine):
        j = i + there
        k = j + back
        if 0 <= j < len(theirs) and i < k < len(mine):
            lags.append(mine[k] - theirs[j])
            periods.append(mine[k] - at)
    return (lags, periods) if len(lags) >= 4 else None


def next_after(times: list[float], at: float) -> int:
    """Index of the first of `times` that is not before `at`."""
    return bisect_left(times, at)
