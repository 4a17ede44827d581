"""What users write on the command line: times, lengths of time, lists of kinds."""

from __future__ import annotations

import datetime as dt
import re

from maillog_forensics.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KINDS = {"loop": "mail_loop", "storm": "ndr_storm"}


def duration_s(text: str, option: str) -> float:
    """Seconds in 90s, 30m, 4h, 1d, or a bare number of seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text.strip())
    if not match or float(match.group(1)) <= 0:
        raise UsageError(f"{option} {text}: not a length of time; write for instance {option} 4h")
    if not match.group(2) and float(match.group(1)) < 60:
        raise UsageError(f"{option} {text}: hours or seconds? write {option} {text.strip()}h or {option} {text.strip()}s")
    return float(match.group(1)) * _UNITS[match.group(2) or "s"]


def size_bytes(text: str | None, option: str) -> int | None:
    """Bytes in 500M, 1.5G, or a bare number of bytes (powers of 1024)."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or float(match.group(1)) <= 0:
        raise UsageError(f"{option} {text}: not a size; write for instance {option} 1500M or {option} 2G")
    return int(float(match.group(1)) * 1024 ** " KMGT".index(match.group(2).upper() or " "))


def moment(text: str | None, option: str) -> dt.datetime | None:
    """An ISO 8601 time; UTC where it names no zone."""
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{option} {text}: not a time; write for instance {option} 2026-03-02T08:00 (UTC) or {option} 2026-03-02T08:00+08:00"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def span(since: str | None, until: str | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The times of --since and --until: a span that is empty would look like a quiet day."""
    begin, end = moment(since, "--since"), moment(until, "--until")
    if begin and end and begin >= end:
        raise UsageError(f"--since {since} --until {until}: nothing is between them; the first must be the earlier one")
    return begin, end


def kinds(text: str | None) -> frozenset[str]:
    """Kinds of incidents in --fail-on: loop, storm."""
    words = names(text)
    for word in words:
        if word not in _KINDS:
            raise UsageError(f"--fail-on {text}: {word!r} is no kind of incident; write loop, storm or loop,storm")
    return frozenset(_KINDS[w] for w in words)


def names(text: str | None) -> tuple[str, ...]:
    """Words of a list with commas."""
    return tuple(w.strip() for w in (text or "").split(",") if w.strip())
