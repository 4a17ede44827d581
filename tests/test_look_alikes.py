"""Honest mail that looks like a loop, and loops that look like honest mail, each as one server logs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maillog_forensics.findings import Ending
from tests.written import Log

ANNA, BOB, DESK = "anna@alpha.example", "bob@beta.example", "support@ticketco.example"
BETA, TICKETCO, SHARED = "mx.beta.example[192.0.2.20]", "mx.ticketco.example[192.0.2.30]", "mx.provider.example[192.0.2.40]"


def polled(log: Log, turns: int, *, begins_by_hand: bool) -> None:
    """What a ticket system that fetches its mail each minute and an absence notice write each other."""
    log.at = 7200.0
    if begins_by_hand:
        log.at += 23.4
        log.mail(ANNA, DESK, client="ws7.alpha.example[10.1.2.3]", user="anna", relay="mx.ticketco.example")
    for turn in range(1, turns + 1):
        log.at = 7200.0 + 60.0 * turn + log.rng.uniform(1, 4)
        log.mail(DESK, ANNA, client=TICKETCO, size=2400)
        log.wait(1, 3)
        log.mail(ANNA, DESK, relay="mx.ticketco.example", size=1100)


@pytest.mark.parametrize("begins_by_hand", [True, False])
def test_a_program_that_fetches_by_the_clock_is_no_probe_where_a_message_off_it_began_the_loop(
    tmp_path: Path, begins_by_hand: bool
) -> None:
    log = Log()
    log.mail("carla@alpha.example", "dora@alpha.example", client="ws8.alpha.example[10.1.2.4]")  # the logs begin long before
    polled(log, 60, begins_by_hand=begins_by_hand)
    found = log.findings(tmp_path)
    told = found.incidents if begins_by_hand else found.possible
    assert [set(i.members) for i in told] == [{ANNA, DESK}]
    assert bool(found.incidents) is begins_by_hand


@pytest.mark.parametrize("pace_s", [1.2, 4.0, 30.0])
def test_a_batch_of_documents_that_are_acknowledged_is_no_alarm(tmp_path: Path, pace_s: float) -> None:
    log, acks = Log(), list[float]()
    for _ in range(120):
        log.at += pace_s + log.rng.expovariate(5 / pace_s)
        sent = log.at
        log.mail("docs@alpha.example", BOB, relay="mx.beta.example", size=int(90_000 * log.rng.lognormvariate(0, 0.8)))
        acks.append(sent + 6 * log.rng.lognormvariate(0, 0.3))
    for log.at in acks:
        log.mail(BOB, "docs@alpha.example", client=BETA, size=1500)
    assert log.findings(tmp_path).incidents == ()


def test_a_person_who_books_rooms_that_accept_at_once_is_no_alarm(tmp_path: Path) -> None:
    log = Log(2)
    rooms = ("room1@alpha.example", "room2@alpha.example")
    for _ in range(60):
        log.at += 35 * log.rng.lognormvariate(0, 0.7)
        written = log.at
        log.mail(ANNA, rooms, client="ws7.alpha.example[10.1.2.3]", user="anna", size=8100 + log.rng.randrange(300))
        for room in rooms:
            log.at = written + 3 * log.rng.lognormvariate(0, 0.3)
            log.mail(room, ANNA, size=6900)
        log.at = written
    assert log.findings(tmp_path).incidents == ()


def test_two_people_who_chat_for_an_hour_are_no_alarm(tmp_path: Path) -> None:
    """Their pace alone is rare; with no machine among them it takes more."""
    log = Log(3)
    for turn in range(58):
        log.at += 50 * log.rng.lognormvariate(0, 0.9)
        size = int(3000 * log.rng.lognormvariate(0, 0.8))
        if turn % 2:
            log.mail(ANNA, BOB, client="ws7.alpha.example[10.1.2.3]", user="anna", relay="mx.beta.example", size=size)
        else:
            log.mail(BOB, ANNA, client=BETA, size=size)
    assert log.findings(tmp_path).incidents == ()


def test_who_gets_a_copy_of_each_answer_is_no_member(tmp_path: Path) -> None:
    log = Log()
    for _ in range(40):
        log.mail(BOB, ANNA, client=BETA)
        log.wait(2, 4)
        qid = log.mail(ANNA, "boss@alpha.example")
        log.line(
            f"smtp[11]: {qid}: to=<{BOB}>, relay=mx.beta.example[192.0.2.20]:25, delay=0.4, delays=0.1/0/0.1/0.2, dsn=2.0.0, "
            "status=sent (250 2.0.0 Ok: queued as 4Y1)"
        )
        log.wait(5, 9)
    (loop,) = log.loops(tmp_path)
    assert set(loop.members) == {ANNA, BOB}


def test_absence_notices_of_a_mailbox_here_are_no_bounces(tmp_path: Path) -> None:
    log = Log()
    for customer in range(130):
        log.wait(20, 400)
        log.mail(f"customer{customer}@web.example", "info@alpha.example", client=SHARED)
        log.wait(0.5, 1.5)
        log.mail("", f"customer{customer}@web.example", relay="mx.provider.example")
    assert log.findings(tmp_path).incidents == ()


def test_null_senders_of_a_provider_are_of_the_domain_in_their_message_ids(tmp_path: Path) -> None:
    """Both answer with the null sender, and the partner's server bears another name than its domain."""
    log = Log()
    log.mail(ANNA, BOB, client="ws7.alpha.example[10.1.2.3]", user="anna", relay="mx.provider.example")
    for turn in range(40):
        log.wait(8, 14)
        log.mail("", ANNA, client=SHARED, mid=f"r{turn}@beta.example")
        log.wait(0.5, 1.5)
        log.mail("", BOB, relay="mx.provider.example", mid=f"s{turn}@alpha.example")
    found = log.findings(tmp_path)
    assert [set(i.members) for i in found.incidents] == [{ANNA, BOB}]


def test_what_is_put_into_the_queue_anew_has_not_come_back(tmp_path: Path) -> None:
    log, qid = Log(), ""
    for turn in range(10):
        qid = log.mail(
            ANNA, "far@far.example", client="" if qid else "ws7.alpha.example[10.1.2.3]", mid="one@alpha.example",
            size=2000 + 190 * turn, again=qid, is_late=turn < 9, relay="mx.far.example",
        )  # fmt: skip
        log.line(f"postsuper[12]: {qid}: requeued")
        log.at += 1200
    assert log.findings(tmp_path).incidents == ()


def test_a_hop_limit_of_which_the_log_names_only_the_queue_id_ends_the_loop(tmp_path: Path) -> None:
    log = Log()
    for turn in range(16):
        log.mail(
            "ann@gamma.example", "lost@alpha.example", client=BETA, relay="mx.beta.example", mid="one@gamma.example",
            size=3000 + 610 * turn,
        )  # fmt: skip
        log.wait(1, 2)
    log.line("smtpd[7]: A6768FFA35: client=" + BETA)
    log.line("cleanup[8]: warning: A6768FFA35: message rejected: hopcount exceeded")
    log.at += 9000
    log.mail("carla@alpha.example", "dora@alpha.example", client="ws8.alpha.example[10.1.2.4]")
    (loop,) = log.loops(tmp_path)
    assert loop.ended_by.reason is Ending.HOP_LIMIT
    assert "hopcount exceeded" in loop.ended_by.evidence[0].text


def test_a_reader_that_has_enough_of_a_report_ends_the_run_without_a_word(samples: Path) -> None:
    log = samples / "loop_postfix_exim"
    words = f'"$0" -c \'from maillog_forensics.cli import main; main()\' analyze {log} --report - 2>/dev/null; echo "rc $?" >&2'
    result = subprocess.run(["bash", "-c", f"({words}) | head -1", sys.executable], capture_output=True, check=False)
    assert result.stdout.startswith(b"<!doctype html>")
    assert result.stderr == b"rc 0\n"
