"""Members of a loop whose names may be forged, and messages that only look as if they came round."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.written import Log


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
        log.mail("anna@alpha.example", "bob@alpha.example", client=client, user=user)
        log.wait(1, 3)
        log.mail("bob@alpha.example", "anna@alpha.example")
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
            "cron@alpha.example",
            "anna@alpha.example",
            client="cron.alpha.example[10.1.2.3]",
            mid="report@alpha.example",
            size=900 + 350 * k,
        )
        log.at += pause_s
    assert log.loops(tmp_path) == []


def test_what_a_collector_takes_from_a_mailbox_and_sends_to_it_again_is_a_loop(tmp_path: Path) -> None:
    log = Log()
    for k in range(20):
        log.mail(
            "ann@beta.example",
            "anna@alpha.example",
            client="pop.alpha.example[10.1.2.3]",
            mid="one@beta.example",
            size=900 + 350 * k,
        )
        log.wait(290, 310)
    (loop,) = log.loops(tmp_path)
    assert loop.members == ("anna@alpha.example",)
