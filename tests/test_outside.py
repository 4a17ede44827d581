"""Members of a loop whose names may be forged, and messages that only look as if they came round."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pytest

from maillog_forensics import api
from maillog_forensics.findings import Incident, Kind

START = dt.datetime(2026, 3, 2, 8)


class Log:
    """Postfix lines of the host mx1."""

    def __init__(self) -> None:
        self.rng, self.at, self.ids, self.lines = random.Random(1), 0.0, 0, list[str]()

    def wait(self, low: float, high: float) -> None:
        self.at += self.rng.uniform(low, high)

    def mail(self, client: str, sender: str, to: str, *, mid: str = "", size: int = 900, user: str = "") -> None:
        self.ids += 1
        when, qid = START + dt.timedelta(seconds=self.at), f"4fX{self.ids:05X}"
        login = f", sasl_method=PLAIN, sasl_username={user}" if user else ""
        said = (
            f"smtpd[7]: {qid}: client={client}{login}" if client else f"pickup[7]: {qid}: uid=1000 from=<{sender}>",
            f"cleanup[8]: {qid}: message-id=<{mid or f'm{self.ids}@x.example'}>",
            f"qmgr[9]: {qid}: from=<{sender}>, size={size}, nrcpt=1 (queue active)",
            f"local[10]: {qid}: to=<{to}>, relay=local, delay=0.3, delays=0.1/0/0/0.2, dsn=2.0.0, status=sent (delivered to mailbox)",
            f"qmgr[9]: {qid}: removed",
        )
        self.lines += [f"{when:%b %e %H:%M:%S} mx1 postfix/{line}" for line in said]

    def loops(self, folder: Path) -> list[Incident]:
        (folder / "mail.log").write_text("\n".join(self.lines) + "\n")
        return [i for i in api.analyze([str(folder)], year=2026).findings.incidents if i.kind is Kind.MAIL_LOOP]


@pytest.mark.parametrize(
    ("client", "user", "is_outside"),
    [
        ("mail.evil.example[203.0.113.66]", "", True),
        ("unknown[203.0.113.66]", "", True),
        ("mail.evil.example[203.0.113.66]", "anna", False),
        ("ws7.alpha.example[203.0.113.7]", "", False),
        ("unknown[10.1.2.3]", "", False),
    ],
)
def test_a_mailbox_here_that_writes_only_from_outside_may_be_forged(
    tmp_path: Path, client: str, user: str, is_outside: bool
) -> None:
    log = Log()
    for _ in range(40):
        log.mail(client, "anna@alpha.example", "bob@alpha.example", user=user)
        log.wait(1, 3)
        log.mail("", "bob@alpha.example", "anna@alpha.example")
        log.wait(6, 9)
    (loop,) = log.loops(tmp_path)
    assert [o.sender for o in loop.from_outside] == ["anna@alpha.example"] * is_outside
    assert any(f.name == "perhaps forged" for f in loop.confidence.factors) is is_outside
    assert loop.confidence.level != "proven" or not is_outside


@pytest.mark.parametrize("pause_s", [60, 86400])
def test_a_growing_report_under_one_message_id_is_no_message_that_comes_back(tmp_path: Path, pause_s: int) -> None:
    log = Log()
    for k in range(5):
        log.mail(
            "cron.alpha.example[10.1.2.3]",
            "cron@alpha.example",
            "anna@alpha.example",
            mid="report@alpha.example",
            size=900 + 350 * k,
        )
        log.at += pause_s
    assert log.loops(tmp_path) == []


def test_what_a_collector_takes_from_a_mailbox_and_sends_to_it_again_is_a_loop(tmp_path: Path) -> None:
    log = Log()
    for k in range(20):
        log.mail(
            "pop.alpha.example[10.1.2.3]", "ann@beta.example", "anna@alpha.example", mid="one@beta.example", size=900 + 350 * k
        )
        log.wait(290, 310)
    (loop,) = log.loops(tmp_path)
    assert loop.members == ("anna@alpha.example",)
