"""A month of three servers' logs, handed out night by night to a real logrotate, for the tests of the archive."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.generator import loops
from tests.generator.exim import Exim
from tests.generator.places import Stage
from tests.generator.postfix import Postfix

START = dt.datetime(2025, 12, 11, tzinfo=dt.UTC)
"""The month crosses a New Year, which stamps without a year do not tell."""
DAYS = 31
_MTAS = (lambda: Postfix("bsd", True), lambda: Postfix("rfc3339", False), lambda: Exim(False, True))

CONFIG = """
{folder}/*/*.log {{
    su root root
    rotate 60
    missingok
    notifempty
    compress
    delaycompress
    {how}
}}
"""


@dataclass(frozen=True)
class Day:
    """What each server logged on a day, by the path of its log, and when the day ended."""

    date: dt.date
    lines: dict[str, bytes]

    @property
    def end(self) -> float:
        """POSIX seconds."""
        return dt.datetime.combine(self.date + dt.timedelta(days=1), dt.time(), dt.UTC).timestamp()


@cache
def month(mails: int = 1500, seed: int = 4) -> tuple[Day, ...]:
    """Days with ordinary mail, and loops: one over midnight, one for three days, one within an hour."""
    rng = random.Random(seed)
    start = START.timestamp()
    stage = Stage(rng, start, start + DAYS * 86400 - 3600, 3, kinds=("postfix",))
    for host, make in zip(stage.ours, _MTAS, strict=True):
        host.mta = make()
    for kind, at in ((loops.pair_real, 5.995), (loops.pair_slow, 9.3), (loops.forwarding_kept, 20.4), (loops.pair_growing, 21.2)):
        stage.facts["t0"] = start + at * 86400
        kind(stage)
    stage.crowd.chatter(mails)
    stage.world.run()
    by_day: dict[dt.date, dict[str, list[bytes]]] = {}
    for host in stage.ours:
        for body in host.mta.write(host, stage.world.end, rng).values():
            path = f"{host.name}/{'main' if isinstance(host.mta, Exim) else 'mail'}.log"
            for date, line in _dated(body):
                by_day.setdefault(date, {}).setdefault(path, []).append(line)
    return tuple(Day(d, {p: b"".join(lines) for p, lines in by_day[d].items()}) for d in sorted(by_day))


_STAMP = re.compile(rb"(?:(\d{4})-(\d\d)-(\d\d)[T ]|([A-Z][a-z]{2}) +(\d+) )")
_MONTHS = {m: n for n, m in enumerate(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1)}


def _dated(body: bytes) -> Iterator[tuple[dt.date, bytes]]:
    for line in body.splitlines(keepends=True):
        match = _STAMP.match(line)
        assert match, line
        if match[1]:
            yield dt.date(int(match[1]), int(match[2]), int(match[3])), line
        else:
            number = _MONTHS[match[4].decode()]
            yield dt.date(START.year + (number < START.month), number, int(match[5])), line


def append(folder: Path, path: str, data: bytes, at: float) -> None:
    """Let a server write; the file's time of change is the time of the month."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "ab") as file:
        file.write(data)
    os.utime(target, (at, at))


def logrotate() -> str | None:
    """The real one, or None."""
    return shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")


def rotate(folder: Path, work: Path, *, is_copied: bool = False) -> None:
    """A night: logs are renamed and begun anew, or copied and emptied; older ones are compressed."""
    program = logrotate()
    assert program
    config = work / "logrotate.conf"
    config.write_text(CONFIG.format(folder=folder, how="copytruncate" if is_copied else "create 0644 root root"))
    config.chmod(0o644)
    for path in [folder, *folder.iterdir()]:
        path.chmod(0o755)
    subprocess.run([program, "--force", "--state", work / "logrotate.state", config], check=True, capture_output=True)
