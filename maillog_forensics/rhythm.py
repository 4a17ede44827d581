"""Telling machines from people by when they answer.

A loop of new messages leaves no mark but its rhythm: both sides answer, again and again, one after the other, and its phase
drifts as delays add up, while a schedule keeps its phase. What people do is in `people`.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from dataclasses import dataclass
from statistics import median

from maillog_forensics import people

ROUND_PERIODS = (15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Periods that people give to schedulers (seconds)."""


_TRIMMED_NORMAL = 0.70
"""Standard deviation of what is left of a normal distribution without its lowest and highest twelfth."""


@dataclass(frozen=True)
class Lags:
    """How one side answers."""

    count: int
    median_s: float
    spread: float
    """Standard deviation of the logarithm, after the slowest and quickest few per cent (queues, retries) are left out."""


@dataclass(frozen=True)
class Clock:
    """Whether a series of times follows a clock (its phase stays) or drifts, as delays add up in a loop."""

    period_s: float
    drift: float
    """Residual of a straight line through the times, against the change from turn to turn: about 0.7 for a clock, √(n/15) for a loop."""
    correlation: float
    """Of each period with the next: about -0.5 for a clock with jitter, 0 for a loop."""
    is_clock: bool
    is_round: bool


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


def clock(times: list[float]) -> Clock | None:
    """Test whether `times` (seconds, ascending) keep their phase; needs 5 of them.

    Notes
    -----
    Retries and lost turns would break the fit, so each step is first divided by the number of periods it spans.
    """
    steps = [b - a for a, b in itertools.pairwise(times) if b > a]
    if len(steps) < 4:
        return None
    period = median(steps)
    if period <= 0:
        return None
    index = [0]
    for step in (b - a for a, b in itertools.pairwise(times)):
        index.append(index[-1] + max(0, round(step / period)))
    n = len(times)
    mean_i, mean_t = sum(index) / n, sum(times) / n
    var = sum((i - mean_i) ** 2 for i in index)
    if var == 0:
        return None
    slope = sum((i - mean_i) * (t - mean_t) for i, t in zip(index, times)) / var
    rest = [t - mean_t - slope * (i - mean_i) for i, t in zip(index, times)]
    sd_rest = math.sqrt(sum(r * r for r in rest) / n)
    turns = [(b - a) - slope * (j - i) for a, b, i, j in zip(times, times[1:], index, index[1:])]
    sd_turn = math.sqrt(sum(d * d for d in turns) / len(turns))
    top = sum(a * b for a, b in itertools.pairwise(turns))
    bottom = sum(d * d for d in turns)
    correlation = top / bottom if bottom > 0 else 0.0
    drift = sd_rest / sd_turn if sd_turn > 0 else 0.0
    if slope < people.SHORTEST_CLOCK_S:
        return Clock(slope, drift, correlation, False, False)
    near = any(abs(slope - p) <= 0.004 * p + 0.05 for p in ROUND_PERIODS)
    if sd_turn < 1e-9:
        follows = True
    elif n >= 24:
        follows = (drift < 0.85 and correlation < -0.28) or (near and drift < 0.85 and correlation < -0.2)
    elif n >= 12:  # a loop's residual is hardly larger than a clock's yet: only a round period or both signs together tell
        follows = (drift < 0.75 and correlation < -0.38) or (near and drift < 0.85 and correlation < -0.2)
    else:
        follows = near and sd_rest < 0.02 * slope
    return Clock(slope, drift, correlation, follows, near)


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


def in_turn(asked: list[float], answered: list[float]) -> list[float]:
    """Lags when each answer belongs to the earliest question that is still open."""
    out, i = [], 0
    for at in answered:
        if i < len(asked) and asked[i] <= at:
            out.append(at - asked[i])
            i += 1
    return out


def align(asked: list[float], answered: list[float], max_in_flight: int = 8) -> tuple[list[float], float] | None:
    """Lags when several messages are in flight: the i-th answer belongs to the i-th question, shifted by some number.

    Returns
    -------
    lags, wander
        Of the best shift. `wander` is their standard deviation against the mean time between questions: small when the
        answers are caused by the questions, near or above 1 for two independent streams however large the shift.
        None where no shift is causal.
    """
    if len(asked) < 4 or len(answered) < 4:
        return None
    between = (asked[-1] - asked[0]) / (len(asked) - 1)
    best: tuple[list[float], float] | None = None
    for shift in range(-max_in_flight, max_in_flight + 1):
        values = [answered[i + shift] - asked[i] for i in range(len(asked)) if 0 <= i + shift < len(answered)]
        if len(values) < max(4, 0.75 * min(len(asked), len(answered))) or min(values) < -1:
            continue
        mean = sum(values) / len(values)
        wander = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)) / max(between, 0.5)
        if mean <= (max_in_flight + 1) * between and (best is None or wander < best[1]):
            best = (values, wander)
    return best


def next_after(times: list[float], at: float) -> int:
    """Index of the first of `times` that is not before `at`."""
    return bisect_left(times, at)
