"""How numbers, sizes, times and lengths of time are written, on the page and in the terminal."""

from __future__ import annotations

import datetime as dt

from maillog_forensics.language import day, mark_n, say_n

THIN = "\u202f"
"""Narrow no-break space: groups digits and stands before units."""


_NOUNS = {
    "message": mark_n("%(n)s message", "%(n)s messages"),
    "notification": mark_n("%(n)s notification", "%(n)s notifications"),
    "turn": mark_n("%(n)s turn", "%(n)s turns"),
    "transfer": mark_n("%(n)s transfer", "%(n)s transfers"),
    "copy": mark_n("%(n)s copy", "%(n)s copies"),
    "mailbox": mark_n("%(n)s mailbox", "%(n)s mailboxes"),
    "outsider": mark_n("%(n)s outsider", "%(n)s outsiders"),
    "NDR": mark_n("%(n)s NDR", "%(n)s NDRs"),
    "server": mark_n("%(n)s server", "%(n)s servers"),
    "domain": mark_n("%(n)s domain", "%(n)s domains"),
    "line": mark_n("%(n)s line", "%(n)s lines"),
    "log line": mark_n("%(n)s log line", "%(n)s log lines"),
    "damaged line": mark_n("%(n)s damaged line", "%(n)s damaged lines"),
    "file": mark_n("%(n)s file", "%(n)s files"),
    "delivery": mark_n("%(n)s delivery", "%(n)s deliveries"),
    "incident": mark_n("%(n)s incident", "%(n)s incidents"),
    "search": mark_n("%(n)s search", "%(n)s searches"),
    "candidate": mark_n("%(n)s candidate", "%(n)s candidates"),
    "answer": mark_n("%(n)s answer", "%(n)s answers"),
}


def plural(count: int, noun: str) -> str:
    """1 message, 2 messages, in the language that is spoken."""
    return say_n(*_NOUNS[noun], count)


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
    return say_n("%(n)s byte", "%(n)s bytes", round(size))


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


def clock(time: dt.datetime, since: dt.datetime | None = None) -> str:
    """2026-03-05 13:43:01; only the hour when it is on the day of `since`."""
    return f"{time:%H:%M:%S}" if since is not None and time.date() == since.date() else f"{time:%Y-%m-%d %H:%M:%S}"


def span(first: dt.datetime, last: dt.datetime) -> str:
    """5 March 2026, 12:00 – 15:30, or both days."""
    if first.date() == last.date():
        return f"{day(first)}, {first:%H:%M} – {last:%H:%M}"
    return f"{day(first)}, {first:%H:%M} – {day(last)}, {last:%H:%M}"
