"""Loops that grow: who answers everything twice makes each turn twice as large, until something breaks.

The two neither take turns nor write as many messages as each other, so that `pair_verdicts` has no use for them. But each answer still
comes a steady time after what it answers: the i-th message of a side answers the i-th divided by the number of its answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from maillog_forensics import rhythm
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.pair_sides import PairParameters

_LEAST = 24
_AT_ONCE = 3
"""More answers to each message than so many were not seen."""
_SPREAD, _SPREADS = 0.5, 0.8
"""How uneven the lags of one side and of both together may be (see `rhythm.Lags`).

A burst that is acknowledged twice has lags that grow with the burst: theirs is 0.65 and more for two dozen messages."""
_TURNS, _STEADY, _STEADY_TURNS = 3.0, 0.3, 2.5
"""Turns that it takes, and fewer where the spreads of both together are no larger than that."""
_PARTS = (1.0, 0.85, 0.7, 0.55)
"""Parts of a stretch, from its beginning, that may be what grew: a full mailbox or a limit breaks most loops that grow, not all at once."""
_PART_COSTS = 2.0
"""Nats more that it takes where a part was picked, and where it begins with several messages."""
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
    """A stretch that grows: from which message to which, how often each side answers, and after how long."""

    begin: int
    end: int
    first: bool
    """Which of the two wrote the first message."""
    answers: tuple[int, int]
    """By the one who wrote first, and by the other."""
    lags: tuple[rhythm.Lags, rhythm.Lags]
    turns: float
    growth: float
    """Nats for times that grow denser at the rate that all this makes, against an even rate …"""
    needed: float
    """… and how many it takes."""


def judge(names: tuple[str, str], data: dict[str, list[Any]], span: list[int], parameters: PairParameters) -> Loop | None:
    """The loop in one stretch of a pair's history that grows with each turn; None where there is none."""
    span = [k for k in span if not data["is_notification"][k]]
    found = find([data["second"][k] for k in span], [bool(data["up"][k]) for k in span])
    if found is None:
        return None
    span, steps = span[found.begin : found.end], []
    members = names if found.first else names[::-1]
    for side, origin, target, lags in zip((found.first, not found.first), members, members[::-1], found.lags):
        mine = [k for k in span if data["up"][k] is side]
        nulls, linked = (sum(data[name][k] for k in mine) for name in ("is_null", "is_linked"))
        signs = sum(data["is_automatic"][k] or data["is_linked"][k] for k in mine)
        steps.append(Step(origin, target, [data["second"][k] for k in mine], lags, nulls, signs, linked))
    spread = max(lags.spread for lags in found.lags)
    words = said(
        "%(a)s answers each message %(m)s times and %(b)s %(n)s times, each after a time of its own: every turn is %(factor)s times as many",
        a=members[0],
        b=members[1],
        m=found.answers[0],
        n=found.answers[1],
        factor=found.answers[0] * found.answers[1],
    )
    denser = said("evidence for messages that come faster with each turn, against an even rate")
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (said("growing from turn to turn"), round(spread, 2), f"<= {_SPREAD:g}", True, words),
        (said("growth"), round(found.growth, 1), f">= {found.needed:.3g}", True, denser),
    ]
    name = said("program whose mails are acknowledged")
    look = LookAlike(name=name, ruled_out=True, reason=said("acknowledgements do not make further messages, after a steady time"))
    linked = any(s.linked >= parameters.marked_share * len(s.times) for s in steps)
    period = sum(lags.median_s for lags in found.lags)
    rows = [data["row"][k] for k in span]
    level: Literal["proven", "likely"] = "proven" if linked else "likely"
    return Loop(
        LoopType.AUTO_RESPONSE,
        members,
        rows,
        steps,
        level,
        0.9,
        factors,
        [look],
        turns=round(found.turns),
        period_s=period,
        grows=True,
    )


def find(times: list[float], up: list[bool]) -> Doubling | None:
    """Find the growing loop in a stretch of mail between two mailboxes.

    Parameters
    ----------
    times, up
        Seconds, ascending, and which of the two wrote.

    Returns
    -------
    The reading of which the lags tell the most narrowly when the next message comes, None where none is steady.
    """
    for in_waves, part in product((False, True), _PARTS):
        more = _PART_COSTS * (part < 1) + _PART_COSTS * in_waves
        n = math.ceil(part * len(times))
        if n < _LEAST or 2 * times[n // 2] <= times[0] + times[n - 1]:  # most of what grows is in its second half
            continue
        readings = []
        for begin in range(min(_STRAYS, n - _LEAST) + 1):
            if not _may_grow(times[begin:n]):
                continue
            mine, theirs = (
                [t for t, by in zip(times[begin:n], up[begin:n]) if (by is up[begin]) is own] for own in (True, False)
            )
            for answers in product(range(1, _AT_ONCE + 1), range(1, _AT_ONCE + 1)):
                if max(answers) > 1 and (reading := _read(mine, theirs, begin, up[begin], answers, more, in_waves)):
                    readings.append(reading)
        if readings:
            return min(readings, key=lambda r: sum(math.log(_width_s(lag)) for lag in r.lags))
    return None


def _width_s(lags: rhythm.Lags) -> float:
    """Seconds within which they tell when the next message comes: whoever reads too many answers into it finds long lags, as even by ratio."""
    return max(1.0, lags.median_s) * max(0.02, lags.spread)


def _read(
    mine: list[float], theirs: list[float], begin: int, first: bool, answers: tuple[int, int], more: float, in_waves: bool
) -> Doubling | None:
    """A stretch read as a loop whose sides answer each message so often; None where the lags say otherwise.

    It begins with one message; `in_waves`, with all of a side's before the first of the other, of a turn that is not the loop's first.
    """
    if min(len(mine), len(theirs)) < _LEAST / 4:
        return None
    n = len(mine) + len(theirs)
    if min(answers) == 1 and abs(len(mine) - len(theirs)) <= _EQUAL * n:
        return None
    answering = mine[sum(t <= theirs[0] for t in mine) if in_waves else 1 :]
    if _is_early(answering, theirs, answers[0]) or _is_early(theirs, mine, answers[1]):
        return None
    back = [t - theirs[i // answers[0]] for i, t in enumerate(answering) if i // answers[0] < len(theirs)]
    there = [t - mine[i // answers[1]] for i, t in enumerate(theirs) if i // answers[1] < len(mine)]
    lags = rhythm.lags(back), rhythm.lags(there)
    if lags[0] is None or lags[1] is None:
        return None
    times = sorted(mine + theirs)
    turns = (times[-1] - times[0]) / max(1.0, lags[0].median_s + lags[1].median_s)
    spreads = lags[0].spread, lags[1].spread
    if max(spreads) > _SPREAD or sum(spreads) > _SPREADS or turns < (_STEADY_TURNS if sum(spreads) <= _STEADY else _TURNS):
        return None
    if _are_acknowledgements(mine, theirs, min(spreads)) or _are_acknowledgements(theirs, mine, min(spreads)):
        return None
    got, expected = _growth(times, _SLOWER * math.log(answers[0] * answers[1]) * turns)
    needed = max(_GROWS, _GROWS_EACH * expected) + more
    return Doubling(begin, begin + n, first, answers, (lags[0], lags[1]), turns, got, needed) if got >= needed else None


def _are_acknowledgements(asked: list[float], answered: list[float], spread: float) -> bool:
    """Whether each of nearly as many follows one of the other side's, more evenly than `spread`."""
    n = min(len(asked), len(answered))
    if abs(len(asked) - len(answered)) > _EQUAL * (len(asked) + len(answered)) or _is_early(answered, asked, 1):
        return False
    lags = rhythm.lags([b - a for a, b in zip(asked[:n], answered[:n])])
    return lags is not None and lags.spread <= spread


def _is_early(answered: list[float], asked: list[float], each: int) -> bool:
    """Whether an answer would have come before what it answers, where each is answered so often."""
    return not answered or any(t - asked[i // each] <= _EARLY_S for i, t in enumerate(answered[: each * len(asked)]))


def _whole(powers: float) -> float:
    """Logarithm of what a density that grows `powers` e-fold over a span adds up to, against an even one."""
    return powers + math.log(-math.expm1(-powers)) - math.log(powers)


_RATES = tuple((powers, _whole(powers)) for powers in (0.25 * 1.15**k for k in range(50)))


def _may_grow(times: list[float]) -> bool:
    """Whether any rate of growth would give the nats that it takes: most stretches need not be read in all the ways there are."""
    span = times[-1] - times[0]
    if span <= 0:
        return False
    middle = (sum(times) / len(times) - times[0]) / span
    return len(times) * max(powers * middle - whole for powers, whole in _RATES) >= _GROWS - 0.5


def _growth(times: list[float], powers: float) -> tuple[float, float]:
    """Nats for times that grow denser `powers` e-fold from first to last against an even rate, and what such times give in the mean."""
    whole = _whole(powers)
    span = times[-1] - times[0]
    got = sum(powers * (t - times[0]) / span for t in times) - len(times) * whole
    return got, len(times) * (powers / -math.expm1(-powers) - 1 - whole)
