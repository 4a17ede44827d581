"""Loops through aliases, forwards and groups: what an address hands on, told by the log or not, and who answers it."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest

from maillog_forensics import api
from tests.generator.loops import HARD
from tests.generator.scenario import generate, write

START = dt.datetime(2026, 3, 2, 8)
FIELDS = (
    "date-time", "client-ip", "client-hostname", "server-ip", "server-hostname", "source-context", "connector-id", "source", "event-id",
    "internal-message-id", "message-id", "network-message-id", "recipient-address", "recipient-status", "total-bytes", "recipient-count",
    "related-recipient-address", "reference", "message-subject", "sender-address", "return-path", "message-info", "directionality",
    "tenant-id", "original-client-ip", "original-server-ip", "custom-data", "transport-traffic-type", "log-id", "schema-version",
)  # fmt: skip


class Server:
    """Postfix lines, or Exchange records, of one server; mail of a second's fraction."""

    def __init__(self, kind: str, seed: int = 1) -> None:
        self.kind, self.rng, self.at, self.ids = kind, random.Random(seed), 0.0, 0
        self.lines: list[str] = []

    def wait(self, low: float, high: float) -> None:
        self.at += self.rng.uniform(low, high)

    def mail(self, sender: str, written: str, handed: tuple[str, ...] = (), how: str = "EXPAND") -> None:
        """A message to an address, which hands it on to others, if any are given."""
        self.ids += 1
        if self.kind == "postfix":
            self._postfix(sender, written, handed or (written,))
        else:
            self._exchange(sender, written, handed, how)

    def _postfix(self, sender: str, written: str, recipients: tuple[str, ...]) -> None:
        qid = f"4fX{self.ids:05X}"
        said = [
            "smtpd[7]: QID: client=mx.other.example[192.0.2.8]",
            f"cleanup[8]: QID: message-id=<m{self.ids}@{sender.partition('@')[2]}>",
            f"qmgr[9]: QID: from=<{sender}>, size=2000, nrcpt={len(recipients)} (queue active)",
        ]
        for to in recipients:
            orig = "" if to == written else f" orig_to=<{written}>,"
            said.append(
                f"local[10]: QID: to=<{to}>,{orig} relay=local, delay=0.3, delays=0.1/0/0/0.2, dsn=2.0.0, status=sent (delivered to mailbox)"
            )
        when = START + dt.timedelta(seconds=self.at)
        self.lines += [
            f"{when:%b %e %H:%M:%S} mx1 postfix/{line.replace('QID', qid)}" for line in [*said, "qmgr[9]: QID: removed"]
        ]

    def _exchange(self, sender: str, written: str, handed: tuple[str, ...], how: str) -> None:
        when = START + dt.timedelta(seconds=self.at)
        base = {
            "date-time": f"{when.isoformat(timespec='milliseconds')}Z", "server-hostname": "EX01", "internal-message-id": str(self.ids),
            "message-id": f"<m{self.ids}@{sender.partition('@')[2]}>", "network-message-id": f"00000000-0000-0000-0000-{self.ids:012d}",
            "total-bytes": "4000", "message-subject": "Re: order", "sender-address": sender, "return-path": sender,
            "directionality": "Incoming",
        }  # fmt: skip
        rows = [base | {"source": "SMTP", "event-id": "RECEIVE", "recipient-address": written, "recipient-count": "1"}]
        if handed:
            members = {"recipient-address": ";".join(handed), "recipient-count": str(len(handed))}
            rows.append(base | members | {"source": "ROUTING", "event-id": how, "related-recipient-address": written})
        to = {"recipient-address": ";".join(handed or (written,)), "recipient-count": str(len(handed or (written,)))}
        rows.append(base | to | {"source": "STOREDRIVER", "event-id": "DELIVER"})
        self.lines += [",".join(row.get(name, "") for name in FIELDS) for row in rows]

    def members(self, folder: Path) -> list[set[str]]:
        """Members of each loop that is found, the surest first."""
        head = ["#Software: Microsoft Exchange Server", "#Log-type: Message Tracking Log", "#Fields: " + ",".join(FIELDS)]
        name = "mail.log" if self.kind == "postfix" else "MSGTRK20260302-1.LOG"
        lines = self.lines if self.kind == "postfix" else [*head, *self.lines]
        (folder / name).write_text("\n".join(lines) + "\n")
        return [set(i.members) for i in api.analyze([str(folder)], year=2026).findings.incidents]


TEAM, ROBOT = "team@a.example", "robot@b.example"
PEOPLE = tuple(f"p{k}@a.example" for k in range(5))


@pytest.mark.parametrize("kind", ["postfix", "exchange"])
@pytest.mark.parametrize("away", [1, 2])
def test_a_group_whose_members_answer_who_writes_to_it_is_one_loop(tmp_path: Path, kind: str, away: int) -> None:
    server = Server(kind)
    for _ in range(30):
        server.mail(ROBOT, TEAM, PEOPLE)
        for person in PEOPLE[:away]:
            server.wait(1, 3)
            server.mail(person, ROBOT)
        server.wait(3, 9)
    assert server.members(tmp_path) == [{ROBOT, TEAM, *PEOPLE[:away]}]


@pytest.mark.parametrize("kind", ["postfix", "exchange"])
def test_a_mailbox_that_forwards_is_told_where_the_one_it_forwards_to_answers(tmp_path: Path, kind: str) -> None:
    server = Server(kind)
    for _ in range(30):
        server.mail(ROBOT, "info@a.example", ("joe@c.example",), "REDIRECT")
        server.wait(1, 3)
        server.mail("joe@c.example", ROBOT)
        server.wait(3, 9)
    assert server.members(tmp_path) == [{ROBOT, "info@a.example", "joe@c.example"}]


def test_another_address_of_the_same_mailbox_is_no_member(tmp_path: Path) -> None:
    server = Server("exchange")
    for _ in range(30):
        server.mail(ROBOT, "joe.smith@a.example", ("joe@a.example",), "RESOLVE")
        server.wait(1, 3)
        server.mail("joe@a.example", ROBOT)
        server.wait(3, 9)
    assert server.members(tmp_path) == [{ROBOT, "joe@a.example"}]


def test_a_group_elsewhere_is_told_by_who_answers_for_it(tmp_path: Path) -> None:
    server = Server("postfix")
    for _ in range(30):
        server.mail(ROBOT, TEAM)
        for person in PEOPLE[:2]:
            server.wait(1, 3)
            server.mail(person, ROBOT)
        server.wait(3, 9)
    assert server.members(tmp_path) == [{ROBOT, TEAM, *PEOPLE[:2]}]


def test_agents_whose_mails_a_desk_tells_their_group_of_are_no_loop(tmp_path: Path) -> None:
    """A queue that is worked on: each agent's mail is told to all of them within seconds, and the next comes when somebody is done."""
    server = Server("postfix")
    for _ in range(150):
        server.mail(server.rng.choice(PEOPLE), "desk@b.example")
        server.wait(1, 3)
        server.mail("desk@b.example", TEAM, PEOPLE)
        server.at += server.rng.lognormvariate(4.5, 1.0)
    assert server.members(tmp_path) == []


@pytest.mark.parametrize("turn", range(3))
def test_generated_groups_are_found_with_all_members(tmp_path: Path, turn: int) -> None:
    scenario = generate("hard", list(HARD).index("group") + turn * len(HARD), 51)
    found = api.analyze([str(write(scenario, tmp_path))]).findings.incidents
    (truth,) = scenario.truth["loops"]  # type: ignore[misc]
    assert [set(i.members) for i in found] == [set(truth["members"])]
