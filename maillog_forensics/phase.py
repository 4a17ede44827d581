"""Telling a schedule from a loop by its phase: a clock keeps it, while in a loop the delays of all turns add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from maillog_forensics import people

ROUND_PERIODS = (15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
"""Periods that people give to schedulers (seconds)."""
SCHEDULE_NATS, BOTH_NATS = 3.0, 2.0
"""From here on a schedule is believed, whatever else is said of a sender, or of two together: one or two loops in a hundred come so far by chance."""
LEAST, LEAST_ALONE = 5, 8
"""So few times keep a phase by chance; what tells two schedulers in opposite directions alone, tells one alone only where there are more."""
_NEAR = 0.2
"""How far the median step may be from a round period, as a part of it."""
_JITTER = (0.3, 0.1)
"""Standard deviation of a schedule's times: at least so many seconds, since stamps are whole, at most so large a part of the period."""
_LATE, _FEW = (0.02, 0.12, 0.3, 0.5), 12
"""Share of mails that a queue or a retry brings at any time of the period; of few times a large share proves nothing."""
_FITTED = 2.5
"""Price in nats of a period that was fitted; a round one is not."""
_ROOT_2PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Clock:
    """The schedule that explains some times best.

    Attributes
    ----------
    nats
        For it, against waiting a while after the message before, or after what came in: about 0.4 for each message of a
        schedule, and below 0 where the phase drifts.
    """

    period_s: float
    is_round: bool
    nats: float


def believed(one: Clock | None, other: Clock | None, times: int) -> bool:
    """Whether the one of two senders is a scheduler, of whose messages there are `times`, or both are, in opposite directions."""
    alone = one is not None and times >= LEAST_ALONE and one.nats >= SCHEDULE_NATS
    return alone or all_believed([one, other])


def all_believed(clocks: Sequence[Clock | None]) -> bool:
    """Whether several senders together are schedulers: of a loop that one of them drives by the clock, the others only follow."""
    return all(clocks) and sum(c.nats for c in clocks if c) >= BOTH_NATS


def clock(mine: Sequence[float], theirs: Sequence[float] = ()) -> Clock | None:
    """The schedule that explains best when `mine` were written (seconds, ascending); None for too few, or quicker than schedules are.

    Notes
    -----
    Each model gives the density per second of the next message. A schedule has a round period, or the one that fits best;
    its times spread about their phase, a share of them is late, and it rarely skips a period. Else a message is written some
    time after the one before, or after the latest of `theirs` (seconds, ascending), whichever is the more even. Queues that delay single messages
    spoil two of the steps from one message to the next, and only one of the phases.
    """
    steps = [b - a for a, b in pairwise(mine)]
    moving = sorted(step for step in steps if step > 0)
    if len(moving) < LEAST - 1 or moving[len(moving) // 2] < people.SHORTEST_CLOCK_S:
        return None
    usual = moving[len(moving) // 2]
    fitted = _fitted_period(mine, usual)
    tried = [(_scheduled(mine, float(p)), float(p), True) for p in ROUND_PERIODS if abs(p - usual) <= _NEAR * p]
    tried.append((_scheduled(mine, fitted) - _FITTED, fitted, False))
    best, period, is_round = max(tried)
    waits = people.waits(mine, theirs)
    free = max(_waited(values) / len(values) for values in (steps, waits) if len(values) >= 3)
    return Clock(period, is_round, len(steps) * (best / len(mine) - free))


def _waited(waits: Sequence[float]) -> float:
    """Log likelihood of waiting times that are spread about a centre as evenly, or unevenly, as they are."""
    return people.likelihood(people.log_times(waits), 1e-6, 1.6, (0.02, 0.12, 0.3, 0.6), grain_s=0.6)[1]


def _fitted_period(times: Sequence[float], usual: float) -> float:
    """Slope of a line through the times against the number of their period; those far from it are left out."""
    turns = [0]
    for a, b in pairwise(times):
        turns.append(turns[-1] + max(0, round((b - a) / usual)))
    kept, slope = list(zip(turns, times)), usual
    for _ in range(4):
        i0, t0 = sum(i for i, _ in kept) / len(kept), sum(t for _, t in kept) / len(kept)
        spread = sum((i - i0) ** 2 for i, _ in kept)
        if spread == 0:
            break
        slope = sum((i - i0) * (t - t0) for i, t in kept) / spread
        rest = [t - t0 - slope * (i - i0) for i, t in zip(turns, times)]
        middle = sorted(rest)[len(rest) // 2]
        far = 3 * max(sorted(abs(r - middle) for r in rest)[len(rest) // 2], _JITTER[0])
        kept = [(i, t) for i, t, r in zip(turns, times, rest) if abs(r - middle) <= far]
    return slope if slope > 0 else usual


def _scheduled(times: Sequence[float], period: float) -> float:
    """Log likelihood per second of times spread about a phase of the period, and of the numbers of periods between them."""
    phases = sorted((t - times[0]) % period for t in times)
    n, around = len(phases), [*phases, *(p + period for p in phases)]
    half = max(2, math.ceil(n / 2))
    at = min(range(n), key=lambda i: around[i + half - 1] - around[i])
    centre, width = sum(around[at : at + half]) / half, around[at + half - 1] - around[at]
    off = [(p - centre + period / 2) % period - period / 2 for p in phases]
    low, high = min(_JITTER[0], _JITTER[1] * period), _JITTER[1] * period
    best, best_middle = -math.inf, 0.0
    for late in _LATE if n >= _FEW else _LATE[:2]:
        spread, middle, total = min(max(width, low), high), 0.0, -math.inf
        for _ in range(12):
            on_time = [(1 - late) * math.exp(-min(0.5 * ((v - middle) / spread) ** 2, 700.0)) / (spread * _ROOT_2PI) for v in off]
            before, total = total, sum(math.log(d + late / period) for d in on_time)
            if total - before < 0.02:
                break
            own = [d / (d + late / period) for d in on_time]
            weight = sum(own) or 1.0
            middle = sum(w * v for w, v in zip(own, off)) / weight
            spread = min(max(math.sqrt(sum(w * (v - middle) ** 2 for w, v in zip(own, off)) / weight), low), high)
        if total > best:
            best, best_middle = total, middle
    turns = [math.floor((t - times[0] - centre - best_middle) / period + 0.5) for t in times]
    jumps = [abs(b - a) for a, b in pairwise(turns)]
    one = min(max((jumps.count(1) + 1) / (n + 1), 0.5), 0.98)
    return best + sum(math.log(one) if jump == 1 else math.log(1 - one) - max(1, jump) * math.log(2) for jump in jumps)
