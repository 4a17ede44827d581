"""A storm of one server to many mailboxes: who sent how many to whom, by which codes, and the innocents it hit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maillog_forensics import api
from maillog_forensics.findings import Findings, Kind, StormType
from maillog_forensics.report import render
from maillog_forensics.storm_drafts import is_of_loop
from maillog_forensics.storms import Storm


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A server accepts ninety messages with as many forged senders for recipients that don't exist, and returns each."""
    start, lines = dt.datetime(2026, 3, 5, 10, tzinfo=dt.UTC), []
    for n in range(90):
        code, why = [("5.1.1", "unknown user"), ("5.2.2", "mailbox full")][n % 3 == 0]
        at, a, b = start + dt.timedelta(seconds=4 * n), f"4A{n:08X}", f"4B{n:08X}"

        def log(seconds: int, program: str, text: str, at: dt.datetime = at) -> None:
            lines.append(f"{(at + dt.timedelta(seconds=seconds)).isoformat()} mx1 postfix/{program}[100]: {text}")

        log(0, "smtpd", f"{a}: client=spam.example[203.0.113.9]")
        log(0, "cleanup", f"{a}: message-id=<{n}@spam.example>")
        log(0, "qmgr", f"{a}: from=<person{n}@home{n}.example>, size=900, nrcpt=1 (queue active)")
        log(
            1,
            "local",
            f"{a}: to=<x{n}@alpha.example>, relay=local, delay=0.1, delays=0.1/0/0/0, dsn={code}, status=bounced ({why})",
        )
        log(1, "cleanup", f"{b}: message-id=<b{n}@mx1.alpha.example>")
        log(1, "bounce", f"{a}: sender non-delivery notification: {b}")
        log(1, "qmgr", f"{b}: from=<>, size=2900, nrcpt=1 (queue active)")
        log(1, "qmgr", f"{a}: removed")
        log(
            2,
            "smtp",
            f"{b}: to=<person{n}@home{n}.example>, relay=mx.home{n}.example[198.51.100.{n}]:25, delay=0.4, delays=0/0/0.2/0.2, dsn=2.0.0, status=sent (250 ok)",
        )
        log(2, "qmgr", f"{b}: removed")
    path = tmp_path_factory.mktemp("storm") / "mail.log"
    Path(path).write_text("\n".join(lines) + "\n")
    return api.analyze([str(path)]).findings


def test_one_server_to_many_is_a_storm_that_names_the_server_and_counts_the_innocents(found: Findings) -> None:
    (storm,) = [i for i in found.incidents if i.kind is Kind.NDR_STORM]
    assert storm.messages == 90 and storm.headline.startswith("mx1 sent 90 bounces to 90 mailboxes")
    assert storm.harm.innocent_recipients == 89
    assert any("mx1 notified 90 mailboxes" in f.words for f in storm.confidence.factors)
    assert storm.origins == {"mx1": 90}


def test_its_codes_are_counted_over_time_and_drawn(found: Findings) -> None:
    (storm,) = [i for i in found.incidents if i.kind is Kind.NDR_STORM]
    assert storm.codes == {"5.1.1": 60, "5.2.2": 30}
    assert storm.series
    assert {c: sum(b.detail.get(c, 0) for b in storm.series.bins) for c in storm.codes} == storm.codes
    assert "Status codes over time" in render(found) and "layer1" in render(found)


@pytest.mark.parametrize("answered", [True, False])
def test_acknowledgements_of_ones_own_mail_are_no_storm_and_as_many_unasked_notifications_are(
    tmp_path: Path, answered: bool
) -> None:
    """Ninety null senders from one mailbox in an hour: a desk that answers each mail, or a server that returns what was never sent."""
    start, lines = dt.datetime(2026, 3, 5, 10, tzinfo=dt.UTC), []
    for n in range(90):
        at = start + dt.timedelta(seconds=40 * n)
        mails = [(f"4A{n:08X}", "person@alpha.example", "desk@beta.example", 0)] if answered else []
        for queue_id, sender, to, after in [*mails, (f"4B{n:08X}", "", "person@alpha.example", 2)]:
            when = (at + dt.timedelta(seconds=after)).isoformat()
            client = "ws1.alpha.example[192.0.2.5]" if sender else "mx.beta.example[203.0.113.9]"
            relay = "mx.beta.example[203.0.113.9]:25" if sender else "virtual"
            program = "smtp" if sender else "virtual"
            lines += [
                f"{when} mx1 postfix/smtpd[100]: {queue_id}: client={client}",
                f"{when} mx1 postfix/cleanup[100]: {queue_id}: message-id=<{queue_id}@x.example>",
                f"{when} mx1 postfix/qmgr[100]: {queue_id}: from=<{sender}>, size={900 + n * n}, nrcpt=1 (queue active)",
                f"{when} mx1 postfix/{program}[100]: {queue_id}: to=<{to}>, relay={relay}, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (ok)",
                f"{when} mx1 postfix/qmgr[100]: {queue_id}: removed",
            ]
    path = tmp_path / "mail.log"
    path.write_text("\n".join(lines) + "\n")
    storms = [i for i in api.analyze([str(path)]).findings.incidents if i.kind is Kind.NDR_STORM]
    assert len(storms) == (0 if answered else 1)


def _arrives(when: dt.datetime, queue_id: str, sender: str, client: str, to: str, relay: str) -> list[str]:
    program = "virtual" if relay == "virtual" else "smtp"
    stamp = f"{when.isoformat()} mx1 postfix/"
    return [
        f"{stamp}smtpd[100]: {queue_id}: client={client}",
        f"{stamp}cleanup[100]: {queue_id}: message-id=<{queue_id}@x.example>",
        f"{stamp}qmgr[100]: {queue_id}: from=<{sender}>, size=900, nrcpt=1 (queue active)",
        f"{stamp}{program}[100]: {queue_id}: to=<{to}>, relay={relay}, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (ok)",
        f"{stamp}qmgr[100]: {queue_id}: removed",
    ]


@pytest.mark.parametrize(
    ("client", "taken_by", "mails", "storms"),
    [
        ("unknown[10.1.2.3]", "mx.home{n}.example", 90, 0),  # a mailing, and each answers once
        ("unknown[10.1.2.3]", "in.provider.example", 90, 0),  # all of them with one provider, whose hosts answer
        ("spam.example[203.0.113.77]", "mx.home{n}.example", 90, 1),  # somebody else in this mailbox's name
        ("unknown[10.1.2.3]", "in.provider.example", 3, 1),  # three mails provoke no ninety answers
        ("", "", 0, 1),
    ],
)
def test_what_a_mailing_provoked_is_no_storm_of_mail_that_was_never_sent(
    tmp_path: Path, client: str, taken_by: str, mails: int, storms: int
) -> None:
    start, lines = dt.datetime(2026, 3, 5, 10, tzinfo=dt.UTC), []
    for n in range(90):
        at, host = start + dt.timedelta(seconds=5 * n), taken_by.format(n=n)
        answers_from = f"out{n % 9}.provider.example" if "provider" in host else f"mail.home{n}.example"
        if n < mails:
            to = f"person{n}@home{n}.example"
            lines += _arrives(at, f"4A{n:08X}", "news@alpha.example", client, to, f"{host}[198.51.100.{n}]:25")
        answered = at + dt.timedelta(minutes=20, seconds=n % 7)
        lines += _arrives(answered, f"4B{n:08X}", "", f"{answers_from}[198.51.100.{n}]", "news@alpha.example", "virtual")
    path = tmp_path / "mail.log"
    path.write_text("\n".join(sorted(lines, key=lambda line: line.split()[0])) + "\n")
    findings = api.analyze([str(path)]).findings
    assert len([i for i in findings.incidents if i.kind is Kind.NDR_STORM]) == storms


@pytest.mark.parametrize(("returned", "is_loop"), [([1, 2, 3], True), ([1, 98, 99], False), ([], False)])
def test_bounces_of_what_a_loop_wrote_are_the_loop(returned: list[int], is_loop: bool) -> None:
    storm = Storm(
        "a@a.example", StormType.OUTBOUND_BOUNCES, [11, 12, 13], [21, 22, 23], [0.0, 1.0, 2.0], {}, {}, 1.0, returned=returned
    )
    loop: Any = SimpleNamespace(members=("a@a.example", "b@b.example"), verdict="loop", logicals=[1, 2, 3, 4], mids=[1, 2, 3, 4])
    assert is_of_loop(storm, [loop]) is is_loop
    loop.members = ("c@c.example", "b@b.example")
    assert not is_of_loop(storm, [loop])
