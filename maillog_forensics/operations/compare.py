"""What is unusual about a day: its totals beside those of the day before and of the same weekday in the four weeks before."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

WEEKS = 4
_UNUSUAL = 3.0
"""So many typical deviations away from the median."""
_FEWEST = 3
"""Days that a judgement needs; fewer are only shown."""
_TO_SIGMA = 1.4826
_SKIPPED = ("sender_domains", "recipient_domains", "connection_seconds")


@dataclass(frozen=True)
class Compared:
    """One total beside others.

    Attributes
    ----------
    before
        That of the day before; None where nothing is known of it.
    weekdays
        Those of the same weekday, newest first.
    median, score
        Of the days compared with; how many typical deviations the day lies above (or below) it. None where fewer than three
        days are known.
    """

    name: str
    value: int
    before: int | None
    weekdays: tuple[int, ...]
    median: float | None = None
    score: float | None = None

    @property
    def is_unusual(self) -> bool:
        """Whether it deserves a look."""
        return self.score is not None and abs(self.score) >= _UNUSUAL


def days_before(day: dt.date) -> list[dt.date]:
    """The day before, and the same weekday of the four weeks before."""
    return [day - dt.timedelta(days=1), *(day - dt.timedelta(weeks=w) for w in range(1, WEEKS + 1))]


def days_after(day: dt.date) -> list[dt.date]:
    """The days that are compared with a day; see `days_before`."""
    return [day + dt.timedelta(days=1), *(day + dt.timedelta(weeks=w) for w in range(1, WEEKS + 1))]


def compare(day: dt.date, totals: Mapping[str, int], known: Mapping[dt.date, Mapping[str, int]]) -> list[Compared]:
    """Compare a day's totals with earlier ones, what is unusual first.

    Parameters
    ----------
    known
        Totals of earlier days; those that are missing are left out.

    Notes
    -----
    The typical deviation is the largest of: the median absolute deviation times 1.4826 (which is a standard deviation, were the
    counts normal), the square root of the median (what chance alone does to counts), a tenth of the median, and 1. With three
    to five days to compare with, one odd day among them moves neither median nor deviation much. Bytes go by the second and
    third only as far as they are counts: their square root is not used.
    """
    yesterday, *same = days_before(day)
    out = []
    for name, value in totals.items():
        if name in _SKIPPED:
            continue
        weekdays = tuple(known[d][name] for d in same if d in known and name in known[d])
        before = known[yesterday].get(name) if yesterday in known else None
        others = [*weekdays, *([before] if before is not None else [])]
        if len(others) < _FEWEST:
            out.append(Compared(name, value, before, weekdays))
            continue
        median = statistics.median(others)
        spread = _TO_SIGMA * statistics.median(abs(o - median) for o in others)
        floor = 0.0 if name.startswith("bytes") else median**0.5
        score = (value - median) / max(spread, floor, 0.1 * median, 1.0)
        out.append(Compared(name, value, before, weekdays, float(median), score))
    return sorted(out, key=lambda c: (not c.is_unusual, -abs(c.score or 0) if c.is_unusual else 0))


def sentence(c: Compared, label: str) -> str:
    """What is unusual, in words, with what it is compared with."""
    from maillog_forensics.figures import bytes_text
    from maillog_forensics.language import number, say

    shown = bytes_text if c.name.startswith("bytes") else number
    known = {"what": label, "value": shown(c.value), "n": len(c.weekdays) + (c.before is not None)}
    if not c.median:
        return say("%(what)s: %(value)s; on the %(n)s days compared with, mostly none", **known)
    times, median = c.value / c.median, shown(c.median)
    if times >= 1.5:
        return say(
            "%(what)s: %(value)s, %(times)s times the median of %(n)s days (%(median)s)",
            times=round(times, 1),
            median=median,
            **known,
        )
    share = f"{times * 100:.0f} %"
    return say("%(what)s: %(value)s, %(share)s of the median of %(n)s days (%(median)s)", share=share, median=median, **known)
