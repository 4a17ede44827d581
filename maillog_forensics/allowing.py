"""Known-good pairs: listed with a reason and an expiry date, left out of the alarms, and counted."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from maillog_forensics.errors import UsageError


@dataclass(frozen=True)
class Allowed:
    """Mailboxes (or patterns such as `probe*@alpha.example`) that may write to each other in a rhythm, until a day."""

    members: tuple[str, ...]
    reason: str
    expires: dt.date

    def covers(self, members: tuple[str, ...], day: dt.date) -> bool:
        """Whether every one of `members` is listed, and the entry still holds on `day` (that of the incident)."""
        return day <= self.expires and all(any(fnmatchcase(m, p.lower()) for p in self.members) for m in members)


def read(path: Path) -> list[Allowed]:
    """Read a list of allowed pairs.

    Parameters
    ----------
    path
        TOML with blocks `[[allow]]` of `members`, `reason` and `expires`.

    Raises
    ------
    UsageError
        When the file can't be read, or an entry lacks its members, reason or expiry date.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({(error.strerror or str(error)).lower()})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error})") from error
    if strange := sorted(data.keys() - {"allow"}):
        raise UsageError(f"{path}: {strange[0]!r} means nothing here; write blocks [[allow]] with members, reason and expires")
    entries = []
    for number, entry in enumerate(data.get("allow", []), 1):
        members, reason, expires = entry.get("members"), entry.get("reason"), entry.get("expires")
        if not (isinstance(members, list) and members and all(isinstance(m, str) for m in members)):
            raise UsageError(f'{path}: entry {number} needs members = ["a@x.example", "b@y.example"]')
        if not (isinstance(reason, str) and reason.strip()):
            raise UsageError(f'{path}: entry {number} needs a reason = "…"')
        if not isinstance(expires, dt.date):
            raise UsageError(f"{path}: entry {number} needs the day it ends, expires = 2027-01-31")
        entries.append(Allowed(tuple(members), reason, expires.date() if isinstance(expires, dt.datetime) else expires))
    return entries
