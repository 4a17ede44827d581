"""Messages that come round again, and honest mail that also comes back: from content filters, and over several aliases."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest

from maillog_forensics import api
from maillog_forensics.findings import Incident, Kind

START = dt.datetime(2026, 3, 2, 8)
FILTERS = ("filter1.in.example", "filter2.in.example")


class Gate:
    """Postfix lines of a host and of those that it hands mail to."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.lines, self.ids = rng, list[tuple[float, str]](), 0

    def pass_on(self, at: float, host: str, mid: str, to: str, size: int, client: str, relay: str, own: str = "") -> str:
        """One stay of a message; the queue id that the next host answers, which is the one it has there."""
        own, answered = own or self._id(), self._id()
        ends = f"relay={relay}[192.0.2.9]:25, delay=0.4, delays=0.1/0/0.1/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {answered})"
        said = (
            f"postfix/smtpd[7]: {own}: client={client}[192.0.2.8]",
            f"postfix/cleanup[8]: {own}: message-id=<{mid}>",
            f"postfix/qmgr[9]: {own}: from=<ann@out.example>, size={size}, nrcpt=1 (queue active)",
            f"postfix/smtp[10]: {own}: to=<{to}>, {ends}",
            f"postfix/qmgr[9]: {own}: removed",
        )
        self.lines += [(at, f"{host} {line}") for line in said]
        return answered

    def _id(self) -> str:
        self.ids += 1
        return f"4fX{self.ids:05X}"

    def filtered(self, count: int) -> None:
        """Mail that goes from the gate to each filter and back, and then to the store."""
        for k in range(count):
            at, own, client, size = 100.0 * k, "", "mx.out.example", self.rng.randint(2_000, 40_000)
            mid, to = f"m{k}@out.example", f"u{k % 9}@in.example"
            for relay in (*FILTERS, "store.in.example"):
                given = self.pass_on(at, "gate", mid, to, size, client, relay, own)
                at, size = at + 1, size + self.rng.randint(290, 320)
                if relay in FILTERS:
                    own = self.pass_on(at, relay.partition(".")[0], mid, to, size, "gate.in.example", "gate.in.example", given)
                    at, client, size = at + 1, relay, size + self.rng.randint(290, 320)

    def tossed(self, at: float, count: int) -> None:
        """A message that the gate and another server hand to each other."""
        own, size = "", 3_000
        for _ in range(count):
            given = self.pass_on(
                at, "gate", "tossed@out.example", "lost@in.example", size, "other.in.example", "other.in.example", own
            )
            own = self.pass_on(
                at + 1, "other", "tossed@out.example", "lost@in.example", size + 300, "gate.in.example", "gate.in.example", given
            )
            at, size = at + 2, size + 600

    def subscribed_to_each_other(self, count: int) -> None:
        """A message that two lists of a host send each other, and each to its readers."""
        lists = {
            "staff@in.example": [f"reader{k}@in.example" for k in range(5)],
            "crew@in.example": [f"reader{k}@in.example" for k in range(3, 9)],
        }
        names, sender, size = list(lists), "ann@out.example", 3_000
        for k in range(count):
            own, name = self._id(), names[k % 2]
            recipients = [name] if not k else [name, *lists[names[(k + 1) % 2]]]
            said = (
                f"postfix/smtpd[7]: {own}: client=localhost[127.0.0.1]",
                f"postfix/cleanup[8]: {own}: message-id=<round@out.example>",
                f"postfix/qmgr[9]: {own}: from=<{sender}>, size={size}, nrcpt={len(recipients)} (queue active)",
                *(
                    f"postfix/local[10]: {own}: to=<{to}>, relay=local, delay=0.3, delays=0.1/0/0/0.2, dsn=2.0.0, status=sent ("
                    + (f"delivered to command: mailman post {to.partition('@')[0]})" if to == name else "delivered to mailbox)")
                    for to in recipients
                ),
                f"postfix/qmgr[9]: {own}: removed",
            )
            self.lines += [(5.0 * k, f"gate {line}") for line in said]
            sender, size = name.replace("@", "-bounces@"), size + 480

    def found(self, folder: Path, hosts: tuple[str, ...]) -> list[Incident]:
        for host in hosts:
            told = [f"{(START + dt.timedelta(seconds=at)):%b %e %H:%M:%S} {line}\n" for at, line in self.lines]
            (folder / f"{host}.log").write_text("".join(line for line in told if line[16:].startswith(host + " ")))
        return [i for i in api.analyze([str(folder)], year=2026).findings.incidents if i.kind is Kind.MAIL_LOOP]


@pytest.mark.parametrize("hosts", [("gate",), ("gate", "filter1", "filter2")])
def test_mail_that_content_filters_on_other_hosts_hand_back_is_no_loop(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    gate = Gate(random.Random(1))
    gate.filtered(40)
    assert gate.found(tmp_path, hosts) == []


@pytest.mark.parametrize("hosts", [("gate",), ("gate", "filter1", "filter2", "other")])
def test_what_comes_back_more_often_than_from_content_filters_is_a_loop(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    gate = Gate(random.Random(2))
    gate.filtered(40)
    gate.tossed(500.5, 12)
    (loop,) = gate.found(tmp_path, hosts)
    assert loop.members == ("lost@in.example",)
    assert loop.messages == 1


@pytest.mark.parametrize("is_refused_here", [True, False])
def test_messages_that_a_hop_limit_ends_soon_are_a_loop_also_when_there_are_many(tmp_path: Path, is_refused_here: bool) -> None:
    """No content filter: the message is refused after the last pass, or handed to the same host as every time, which refuses it."""
    gate = Gate(random.Random(3))
    for k in range(8):
        at, size = 300.0 * k, 4_000
        for _ in range(5):
            gate.pass_on(at, "gate", f"m{k}@out.example", "lost@in.example", size, "far.other.example", "far.other.example")
            at, size = at + 3, size + 610
        refused = f"4fZ{k:05X}"
        gate.pass_on(at, "gate", f"m{k}@out.example", "lost@in.example", size, "far.other.example", "far.other.example", refused)
        gate.lines = (
            gate.lines
            if not is_refused_here
            else [
                (
                    t,
                    line.replace("dsn=2.0.0, status=sent", "dsn=5.4.6, status=bounced").split(" (250")[0]
                    + " (554 5.4.6 Too many hops)",
                )
                if f"{refused}: to=" in line
                else (t, line)
                for t, line in gate.lines
            ]
        )
    (loop,) = gate.found(tmp_path, ("gate",))
    assert loop.messages == 8


def test_who_reads_what_two_lists_send_each_other_is_no_member(tmp_path: Path) -> None:
    gate = Gate(random.Random(4))
    gate.subscribed_to_each_other(24)
    (loop,) = gate.found(tmp_path, ("gate",))
    assert set(loop.members) == {"staff@in.example", "crew@in.example"}
