"""How numbers, sizes, times and lengths of time are written, on the page and in the terminal."""

from __future__ import annotations

import datetime as dt
import math

THIN = "\u202f"
"""Narrow no-break space: groups digits and stands before units."""


def number(value: float) -> str:
    """Digits in groups of three: 1,204; fractions as short as they are meaningful: 0.4, 12.1."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.2f}".rstrip("0") if abs(value) < 1 else f"{value:,.1f}".removesuffix(".0")


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """1 message, 2 messages."""
    return f"{number(count)} {noun if count == 1 else nouns or noun + 's'}"


def share_text(share: float) -> str:
    """Percent that never round to all or nothing when it is not: 99.9 %, < 0.1 %."""
    percent = share * 100
    if percent in (0, 100):
        return f"{percent:.0f} %"
    if percent < 0.1:
        return "< 0.1 %"
    if percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent < 10 or percent > 99 else f"{percent:.0f} %"


def bytes_text(size: float) -> str:
    """71 kB, 1.2 MB; powers of 1000."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes" if size != 1 else "1 byte"


def seconds_text(seconds: float) -> str:
    """A short length of time: 85 ms, 12.1 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 0:
        return "-" + seconds_text(-seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    seconds = round(seconds)
    for big, small, names in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if seconds >= big:
            whole, rest = divmod(round(seconds / small), big // small)
            return f"{whole} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
    return f"{seconds:.0f} s"


def day(time: dt.datetime) -> str:
    """5 March 2026."""
    return f"{time.day} {time:%B %Y}"


def clock(time: dt.datetime, since: dt.datetime | None = None) -> str:
    """2026-03-05 13:43:01; only the hour when it is on the day of `since`."""
    return f"{time:%H:%M:%S}" if since is not None and time.date() == since.date() else f"{time:%Y-%m-%d %H:%M:%S}"


def span(first: dt.datetime, last: dt.datetime) -> str:
    """5 March 2026, 12:00 – 15:30, or both days."""
    if first.date() == last.date():
        return f"{day(first)}, {first:%H:%M} – {last:%H:%M}"
    return f"{day(first)}, {first:%H:%M} – {day(last)}, {last:%H:%M}"
