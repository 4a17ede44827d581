"""Where the marks of an axis stand, and what they say."""

from __future__ import annotations

import datetime as dt

from maillog_forensics.language import day_of_month

NICE_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    86400,
    172800,
    604800,
    1209600,
    2592000,
)
"""Lengths of time in seconds that people use."""


def value_ticks(peak: float, count: int = 4) -> list[float]:
    """From zero in steps of 1, 2 or 5 times a power of ten; the last is at or above `peak`."""
    peak = max(1.0, float(peak))
    power = 1.0
    while True:
        for factor in (1, 2, 5):
            if peak / (power * factor) <= count:
                step = power * factor
                n = int(-(-peak // step))
                return [i * step for i in range(n + 1)]
        power *= 10


def time_ticks(begin: float, end: float, count: float) -> list[tuple[float, str]]:
    """Round times between `begin` and `end`, at most some `count`, with labels."""
    step = next((s for s in NICE_S if (end - begin) / s <= max(2.0, count)), NICE_S[-1])
    out = []
    at = -(-begin // step) * step
    while at <= end:
        time = dt.datetime.fromtimestamp(at, dt.UTC)
        midnight = time.hour == time.minute == time.second == 0
        out.append(
            (at, day_of_month(time) if step >= 86400 or midnight else f"{time:%H:%M}" if step >= 60 else f"{time:%H:%M:%S}")
        )
        at += step
    return out
