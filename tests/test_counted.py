"""The numbers on the page are those of findings.json, and those that grep counts in the logs of the recorded incidents."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from maillog_forensics import api, figures
from maillog_forensics.findings import Findings, Incident, Severity
from maillog_forensics.language import number
from maillog_forensics.report import render
from tests.test_report import Tree


@pytest.fixture(scope="module")
def analyzed(shared: Path):  # type: ignore[no-untyped-def]
    """Findings of a recorded incident and the words of its page, worked out once."""

    @cache
    def of(name: str) -> tuple[Findings, str, str]:
        folder = shared / "incidents" / name
        found = api.analyze([str(folder)]).findings
        return found, Tree(render(found)).text, "".join(p.read_text("utf-8", "replace") for p in sorted(folder.iterdir()))

    return of


def alarms(found: Findings) -> list[Incident]:
    return [i for i in found.incidents if i.severity is not Severity.INFO]


def message_ids(log: str) -> set[str]:
    """All Message-IDs that Postfix (message-id=<…>) and Exim (id=…) write."""
    return {a or b for a, b in re.findall(r"message-id=<([^>]*)>|\bid=(\S+@\S+)", log)}


def counted(pattern: str, log: str) -> int:
    return len(re.findall(pattern, log, re.MULTILINE))


def test_two_vacation_programs(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("1_vacation_pingpong")
    (loop,) = alarms(found)
    assert loop.messages == len(message_ids(log)) == 259
    assert "messages, 100 % of all mail 259" in words
    refused = counted(r"sending rate for anna@alpha\.example exceeded.*in reply to RCPT TO", log)
    assert loop.harm.ndrs_sent == counted("non-delivery notification", log) == 0 and refused >= 1
    assert "NDRs, outsiders, full mailboxes 0" in words


def test_a_full_mailbox_ends_it_and_is_counted_as_filled(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("2_quota_end")
    (loop,) = alarms(found)
    others = message_ids(log) - {""}
    assert loop.messages == len(others) - 2 == 251, "the bounce at the end and the answer to it are no turns"
    assert counted(r"== bob@beta\.example .*mailbox is full", log) > 0
    assert loop.harm.mailboxes_filled == ("bob@beta.example",)
    first_full = re.search(r"^(\S+ \S+?)\.\d+ .*== bob@beta\.example .*mailbox is full", log, re.MULTILINE)
    told = re.search(r"Ended (\S+) by a full mailbox of ours", words)
    behind = re.search(r"The clock of mx\.beta\.example was (\d+) s behind", words)
    assert first_full and told and behind, "Exim's stamps are of a clock that was behind"
    seconds = [sum(int(n) * 60**k for k, n in enumerate(reversed(t[-8:].split(":")))) for t in (first_full[1], told[1])]
    assert seconds[1] - seconds[0] == pytest.approx(int(behind[1]), abs=1), "not when the queue gave it up"
    (proof,) = loop.ended_by.evidence
    assert f"tried first at 2026-03-09 {told[1]} and here for the last time" in proof.note and "mailbox is full" in proof.text
    assert "filled; 1 NDR sent 1 mailbox" in words and "Mailboxes filled bob@beta.example" in words


def test_a_ring_of_forwards(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("3_forward_ring_3")
    (ring,) = alarms(found)
    passages = counted(r"qmgr\[.*: from=<[^>]+>,.*queue active", log)
    assert ring.transfers == passages == 588
    assert ring.harm.ndrs_sent == counted("sender non-delivery notification", log) == 12
    bounced_to = {
        to
        for queue_id in re.findall(r"sender non-delivery notification: (\w+)", log)
        for to in re.findall(rf"{queue_id}: to=<([^>]*)>", log)
    }
    assert ring.harm.innocent_recipients == len(bounced_to) == 2
    for text in ("transfers, 49 for each message 588", "notified; 12 NDRs sent 2 outsiders"):
        assert text in words


@pytest.mark.parametrize(("name", "notices"), [("4_backscatter_storm", 1500), ("4b_backscatter_storm_background", 800)])
def test_backscatter(analyzed, name: str, notices: int) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed(name)
    (storm,) = alarms(found)
    ours = re.findall(r"sender non-delivery notification: (\w+)", log)
    to_victim = set(re.findall(r"(\w+): to=<victim@alpha\.example>", log)) & set(ours)
    assert storm.messages == len(to_victim) == notices
    assert storm.codes == {"5.1.1": notices} and storm.origins == {"mx": notices}
    assert f"of all mail {notices:,}" in words and f"Notifications {notices:,}" in words and f"5.1.1 {notices:,}" in words


def test_double_bounces(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("5_ndr_loop_double_bounce")
    storm = next(i for i in alarms(found) if i.kind.value == "ndr_storm")
    assert storm.messages == counted(r"to=<hostadmin@beta\.example>, orig_to=<postmaster>.*status=sent", log) == 600
    ghosts = set(re.findall(r"to=<(ghost\d+@alpha\.example)>", log))
    assert storm.harm.innocent_recipients == len(ghosts) == 205
    assert "notified as well 205 outsiders" in words and "Others who were sent notifications 205" in words


def test_a_list(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("6_list_vacation")
    (loop,) = alarms(found)
    assert loop.copies == counted(r"lists postfix/smtp\[.*status=sent", log) == 786
    assert loop.messages == counted(r"lists postfix/local\[.*: to=<team@gamma\.example>.*delivered to command", log) == 131
    assert "posts, 786 copies delivered 131" in words


def test_an_answered_mailer_daemon(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("9_mailerdaemon_loop")
    (loop,) = alarms(found)
    assert loop.harm.ndrs_sent == counted("sender non-delivery notification", log) == 140
    assert "no outsider, no mailbox filled 140 NDRs" in words


def test_mail_that_a_guard_stops_at_once(analyzed) -> None:  # type: ignore[no-untyped-def]
    found, words, log = analyzed("10_self_routing")
    postfix = counted(r"loops back to myself", log)
    exim = len(set(re.findall(r"(\S+) == \S+ .*remote host address is the local host", log)))
    assert sorted(i.messages for i in found.incidents) == sorted((postfix, exim)) == [10, 15]
    assert "A loop guard stopped 15 messages" in words and "A loop guard stopped 10 messages" in words


NAMES = ("1_vacation_pingpong", "1b_vacation_pingpong_background", "3_forward_ring_3", "4_backscatter_storm", "6_list_vacation")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_an_incident_stands_on_its_page_as_in_the_findings(analyzed, name: str) -> None:  # type: ignore[no-untyped-def]
    found, words, _ = analyzed(name)
    for i in alarms(found):
        h = i.harm
        for value in (i.messages, i.transfers, i.copies, i.turns, i.evidence_total, h.innocent_recipients, h.deferrals_during):
            assert number(value) in words
        assert figures.bytes_text(i.bytes) in words and figures.share_text(h.share_of_traffic) in words
        for seconds in (i.period_s, h.queue_delay_before_s, h.queue_delay_during_s, h.queue_delay_p95_during_s):
            assert seconds is None or figures.seconds_text(seconds) in words or i.kind.value == "ndr_storm"
        for a in i.arrows:
            assert f"{number(a.messages)} " in words
    t = found.traffic
    for value in (t.messages, t.deliveries, t.bounced, t.deferred, t.rejected, t.notifications, t.mailboxes):
        assert number(value) in words
    for item in found.inputs:
        ledger = f"Lines {item.lines:,} understood {item.parsed:,} known, ignored {item.ignored:,} not understood {item.unrecognised:,} damaged {item.damaged:,}"
        assert ledger in words and item.sha256 in words
