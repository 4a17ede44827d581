"""Hosts whose clocks differ: which one is wrong, and incidents told by one clock."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import api, linking, skew
from maillog_forensics.findings import Findings
from maillog_forensics.mail import Mail
from tests.reading import normalized

START = dt.datetime(2026, 3, 5, 10, tzinfo=dt.UTC)


class Logs:
    """Lines of several Postfix hosts, each by its own clock; `takes_s` is how long a hand-over lasts."""

    def __init__(self, takes_s: float = 0.5, **ahead: float) -> None:
        self.takes_s, self.ahead, self.lines, self.count = takes_s, ahead, {host: [] for host in ahead}, 0

    def relayed(self, at: float, by: str, to: str, sender: str, recipient: str) -> None:
        """Mail that is submitted at one host and put into a mailbox at the other, a second later."""
        self.count += 1
        first, second = f"4A{self.count:08X}", f"4B{self.count:08X}"
        inside = f"{by}.alpha.example[192.0.2.1]"
        self._stay(
            by,
            at,
            first,
            sender,
            "ws1.alpha.example[10.1.2.3]",
            f"to=<{recipient}>, relay={to}.alpha.example[192.0.2.9]:25",
            second,
        )
        self._stay(to, at + 0.5, second, sender, inside, f"to=<{recipient}>, relay=virtual", "")

    def _stay(self, host: str, at: float, queue_id: str, sender: str, client: str, record: str, onward: str) -> None:
        last = self.takes_s if onward else 0.5
        program, answer = ("smtp", f"250 2.0.0 Ok: queued as {onward}") if onward else ("virtual", "delivered to maildir")
        for after, daemon, text in (
            (0, "smtpd", f"client={client}"),
            (0, "cleanup", f"message-id=<{self.count}@alpha.example>"),
            (0, "qmgr", f"from=<{sender}>, size={900 + 150 * (self.count % 7)}, nrcpt=1 (queue active)"),
            (last, program, f"{record}, delay=0.5, delays=0.1/0/0/0.4, dsn=2.0.0, status=sent ({answer})"),
            (last, "qmgr", "removed"),
        ):
            stamp = START + dt.timedelta(seconds=at + after + self.ahead[host])
            self.lines[host].append(f"{stamp.isoformat(timespec='microseconds')} {host} postfix/{daemon}[9]: {queue_id}: {text}")

    def write(self, folder: Path) -> list[str]:
        for host, lines in self.lines.items():
            (folder / f"{host}.log").write_text("".join(f"{line}\n" for line in lines))
        return [str(folder / f"{host}.log") for host in self.lines]

    def mail(self, folder: Path) -> Mail:
        return linking.correlated(normalized(self.write(folder))[0])


def test_the_clock_that_most_hosts_agree_with_is_the_right_one(tmp_path: Path) -> None:
    logs = Logs(hub=240, east=0, west=0.5)
    for n in range(40):
        logs.relayed(60 * n, "hub", ("east", "west", "east")[n % 3], f"a{n}@alpha.example", f"b{n}@alpha.example")
    mail = logs.mail(tmp_path)
    assert skew.offsets(mail) == {"hub": pytest.approx(240, abs=1)}
    corrected = skew.on_one_clock(mail)
    first = corrected.messages.group_by("logical").agg(pl.col("first").max() - pl.col("first").min()).collect()["first"]
    assert first.max() < dt.timedelta(seconds=3)
    assert corrected.until["hub"] - corrected.until["west"] < dt.timedelta(minutes=3)


def test_clocks_that_agree_are_left_alone(tmp_path: Path) -> None:
    logs = Logs(hub=0, east=1)
    for n in range(9):
        logs.relayed(60 * n, "hub", "east", f"a{n}@alpha.example", f"b{n}@alpha.example")
    mail = logs.mail(tmp_path)
    assert skew.on_one_clock(mail) is mail


@pytest.mark.parametrize("ahead", [0.0, 60.0])
def test_a_slow_hand_over_is_no_wrong_clock(tmp_path: Path, ahead: float) -> None:
    logs = Logs(takes_s=5.0, hub=0, east=ahead)
    for n in range(20):
        logs.relayed(60 * n, "hub", "east", f"a{n}@alpha.example", f"b{n}@alpha.example")
    assert skew.offsets(logs.mail(tmp_path)) == ({"east": pytest.approx(ahead, abs=5)} if ahead else {})


def looped(folder: Path, ahead: float, after_s: float) -> Findings:
    """A loop of two hosts, a message every nine seconds or so, after other mail; the logs go on for some seconds."""
    logs, pair = Logs(one=0, two=ahead), [("one", "two"), ("two", "one")]
    box = {"one": "desk@alpha.example", "two": "office@alpha.example"}
    for n in range(30):
        logs.relayed(7 * n, *pair[0], f"a{n}@alpha.example", f"b{n}@alpha.example")
    at, rng = 1000.0, random.Random(5)
    for n in range(80):
        by, to = pair[n % 2]
        logs.relayed(at, by, to, box[by], box[to])
        at += (6, 12)[n % 2] + rng.gauss(0, 0.7)
    for n in range(3):
        logs.relayed(at - 9 + after_s * (n + 1) / 3, *pair[n % 2], f"c{n}@alpha.example", f"d{n}@alpha.example")
    return api.analyze(logs.write(folder)).findings


@pytest.mark.parametrize("ahead", [0.0, 300.0, -300.0])
@pytest.mark.parametrize(("after_s", "reason"), [(9.0, "ongoing"), (600.0, "quiet")])
def test_a_loop_lasts_as_long_as_it_lasted_and_ends_as_it_ended(
    tmp_path: Path, ahead: float, after_s: float, reason: str
) -> None:
    (loop,) = looped(tmp_path, ahead, after_s).incidents
    assert (loop.ended - loop.started).total_seconds() == pytest.approx(9 * 79, abs=20)
    assert loop.messages == 80
    assert loop.ended_by.reason == reason
