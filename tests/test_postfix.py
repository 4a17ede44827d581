"""Postfix's log, read by its grammar file alone: the published cases, real logs, hostile words, cut records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import checking, intake, normalize, reading
from tests.reading import facts, states

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


def read(plan: normalize.Plan, text: str, tag: str = "postfix/smtp[7]") -> dict[str, object]:
    events = facts(plan, f"Mar  2 08:13:22 mx1 {tag}: {text}")
    assert len(events) == 1, text
    return events[0]


# --- all of it


def test_every_sample_is_read_as_promised() -> None:
    faults, samples = checking.check()
    assert faults == []
    assert samples > 150


def test_the_published_cases_are_right_in_995_of_1000_facts() -> None:
    if not (SHARED / "cases" / "postfix.jsonl").exists():
        pytest.skip("../shared/cases is not here")
    program = f"{sys.executable} -c 'from maillog_forensics.cli import main; main()'"
    command = [sys.executable, SHARED / "accept" / "cases.py", "--only", "postfix", "--min", "0.995", "--program", program]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_real_logs_are_known_but_for_one_line_in_two_hundred(plan: normalize.Plan) -> None:
    files = sorted((SHARED / "logs" / "postfix").glob("*.gz"))
    if not files:
        pytest.skip("../shared/logs is not here")
    lines = unknown = 0
    for path in files:
        _, report = intake.take_in(str(path), plan, intake.Options()).whole()
        assert report.parsed + report.ignored + report.unrecognised + report.damaged == report.about.lines
        assert report.unrecognised <= 0.03 * report.about.lines, path.name
        lines, unknown = lines + report.about.lines, unknown + report.unrecognised
    assert unknown <= 0.005 * lines


# --- what matters to loops


RECORD = "4F1C2A: to=<a@b.example>, relay={}, delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status={}"


@pytest.mark.parametrize(
    ("relay", "transport", "host"),
    [
        ("vacation", "vacation", None),
        ("virtual", "virtual", None),
        ("none", "smtp", None),
        ("mx.b.example[192.0.2.1]:25", "smtp", "mx.b.example"),
        ("mx.b.example[2001:db8::1]:25", "smtp", "mx.b.example"),
        ("mail.b.example[private/dovecot-lmtp]", "smtp", "mail.b.example"),
        ("mail.b.example[dovecot/lmtp]", "smtp", "mail.b.example"),
        ("nonesuch.example[192.0.2.1]:25", "smtp", "nonesuch.example"),
    ],
)
def test_the_transport_is_what_carried_the_mail_out(plan: normalize.Plan, relay: str, transport: str, host: str | None) -> None:
    event = read(plan, RECORD.format(relay, "sent (ok)"))
    assert (event["transport"], event.get("relay_host")) == (transport, host)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("250 2.0.0 Ok: queued as 3A06F2BF244B", "3A06F2BF244B"),
        ("250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 3pJjgB6dpKz1JBPW", "3pJjgB6dpKz1JBPW"),
        ("250 OK id=1Zsxaq-0002Tc-H8", "1Zsxaq-0002Tc-H8"),
        (
            "250 2.6.0 <m@b.example> [InternalId=27389006448778, Hostname=ex1.b.example] Queued mail for delivery",
            "27389006448778",
        ),
        ("forwarded as 74964E02A1", "74964E02A1"),
        ("250 2.0.0 Ok: queued on mxback 1682952938-b", None),
        ("250 ok queued as mail-7.b.example", None),
    ],
)
def test_the_next_hops_id_is_taken_from_its_answer(plan: normalize.Plan, answer: str, expected: str | None) -> None:
    assert read(plan, RECORD.format("mx.b.example[192.0.2.1]:25", f"sent ({answer})")).get("next_queue_id") == expected


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("sent (delivered to maildir)", "deliver"),
        ("deferred (mail transport unavailable)", "defer"),
        ("bounced (mail forwarding loop for a@b.example)", "bounce"),
        ("sent (250 2.7.0 Ok, discarded, id=1-2 - INFECTED: Eicar)", "discard"),
        ("deliverable (250 2.1.5 Ok)", "notice"),
        ("undeliverable (550 5.1.1 no such user)", "notice"),
    ],
)
def test_what_happened_to_the_mail_and_the_mtas_own_word_for_it(plan: normalize.Plan, status: str, event: str) -> None:
    found = read(plan, RECORD.format("mx.b.example[192.0.2.1]:25", status))
    assert (found["event"], found["outcome"]) == (event, status.split()[0])


def test_a_notification_ties_the_message_to_its_bounce(plan: normalize.Plan) -> None:
    found = read(plan, "ADB01AECB: sender non-delivery notification: 382CCAED8", "postfix/bounce[7]")
    assert (found["event"], found["queue_id"], found["next_queue_id"]) == ("dsn", "ADB01AECB", "382CCAED8")


@pytest.mark.parametrize(
    ("text", "event", "outcome"),
    [
        ("D4F2023DB: removed", "remove", "removed by the operator"),
        ("D4F2023DB: placed on hold", "hold", "placed on hold by the operator"),
        ("D4F2023DB: released from hold", "release", "released from hold by the operator"),
        ("D4F2023DB: requeued", "release", "requeued by the operator"),
        ("Deleted: 115 messages", "notice", "by the operator"),
    ],
)
def test_the_operators_hand_is_told_apart_from_the_queue_managers(
    plan: normalize.Plan, text: str, event: str, outcome: str
) -> None:
    found = read(plan, text, "postfix/postsuper[7]")
    assert (found["event"], found["outcome"]) == (event, outcome)
    assert "outcome" not in read(plan, "D4F2023DB: removed", "postfix/qmgr[7]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("message-id=<a@b.example>", "a@b.example"),
        ("message-id=<>", ""),
        ("message-id=", ""),
        ("message-id=< a@b.example >", "a@b.example"),
        ("resent-message-id=<a@b.example> ", "a@b.example"),
        ("message-id=2021-01-25 10:00:05.006274", "2021-01-25 10:00:05.006274"),
        ("message-id=<a@b.example>+29A6080B", "<a@b.example>+29A6080B"),
        ("message-id==?UTF-8?B?PDE5?=", "=?UTF-8?B?PDE5?="),
    ],
)
def test_a_message_id_is_kept_as_it_was_written(plan: normalize.Plan, text: str, expected: str) -> None:
    assert read(plan, f"4F1C2A: {text}", "postfix/cleanup[7]")["message_id"] == expected


@pytest.mark.parametrize(
    ("tag", "instance", "program"),
    [
        ("postfix/smtp[7]", "postfix", "smtp"),
        ("postfix-out/smtp[7]", "postfix-out", "smtp"),
        ("postfix-192.0.2.3/polite/smtp[7]", "postfix-192.0.2.3", "smtp"),
        ("mail_out/bounce[3]", "mail_out", "bounce"),
        ("postfix/10025/smtpd[7]", "postfix", "smtpd"),
    ],
)
def test_the_program_is_the_last_part_of_the_tag(plan: normalize.Plan, tag: str, instance: str, program: str) -> None:
    found = read(plan, "warning: x", tag)
    assert (found["instance"], found["program"]) == (instance, program)


# --- hostile words


def test_no_helo_or_answer_forges_a_sender(plan: normalize.Plan) -> None:
    text = (
        "NOQUEUE: reject: RCPT from evil.example[192.0.2.9]: 550 5.7.1 x; from=<good@x.example> to=<x@x.example> proto=SMTP helo=<y>: no;"
        " from=<evil@evil.example> to=<ana@alpha.example> proto=ESMTP helo=<h>"
    )
    found = read(plan, text, "postfix/smtpd[7]")
    assert (found["sender"], found["recipient"], found["event"]) == ("evil@evil.example", "ana@alpha.example", "reject")


def test_no_subject_forges_a_client(plan: normalize.Plan) -> None:
    fake = "hi from good.example[192.0.2.1]; from=<good@x.example> to=<x@x.example> proto=SMTP helo=<y>"
    real = "from evil.example[192.0.2.9]; from=<evil@evil.example> to=<ana@alpha.example> proto=ESMTP helo=<h>"
    found = read(plan, f"4F1C2A: warning: header Subject: {fake} {real}", "postfix/cleanup[7]")
    assert (found["sender"], found["client_ip"], found["subject"]) == ("evil@evil.example", "192.0.2.9", fake)


def test_a_quoted_local_part_may_hold_what_ends_an_address(plan: normalize.Plan) -> None:
    odd = r'"a>, relay=none, status=sent (\"x"@b.example'
    found = read(plan, f"4F1C2A: to=<{odd}>, relay=local, delay=1, dsn=5.1.1, status=bounced (unknown user)")
    assert (found["recipient"], found["outcome"]) == (odd, "bounced")


@settings(max_examples=60, deadline=None)
@given(answer=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60))
def test_no_answer_changes_who_got_what(plan: normalize.Plan, answer: str) -> None:
    event = read(plan, RECORD.format("mx.b.example[192.0.2.1]:25", f"bounced (host said: {answer})"))
    assert {k: event[k] for k in ("queue_id", "recipient", "relay_ip", "dsn", "outcome", "event")} == {
        "queue_id": "4F1C2A", "recipient": "a@b.example", "relay_ip": "192.0.2.1", "dsn": "2.0.0", "outcome": "bounced", "event": "bounce",
    }  # fmt: skip


WHOLE = [
    ("smtp", RECORD.format("mx.b.example[192.0.2.1]:25", "sent (250 2.0.0 Ok: queued as 3A06F2BF244B)")),
    ("smtpd", "8D6FD98BA: client=mx.beta.example[198.51.100.25], sasl_method=PLAIN, sasl_username=ana"),
    ("cleanup", "93BA798A0: message-id=<19cad9be82b.28964768424@alpha.example>"),
    ("qmgr", "93BA798A0: from=<anna@alpha.example>, size=358, nrcpt=1 (queue active)"),
    ("bounce", "ADB01AECB: sender non-delivery notification: 382CCAED8"),
    ("pickup", "50C9998C6: uid=5001 from=<anna@alpha.example>"),
]
FREE = {"diagnostic", "user", "next_queue_id"}  # a name or a text at the line's end may be cut without a trace


@pytest.mark.parametrize(("program", "text"), WHOLE)
def test_a_record_that_was_cut_states_nothing_wrong(plan: normalize.Plan, program: str, text: str) -> None:
    """Wherever the line limit of a log daemon cuts: right facts, or none."""
    tag = f"Mar  2 08:13:22 mx1 postfix/{program}[7]: "
    whole = facts(plan, tag + text)[0]
    for end in range(len(text)):
        for event in facts(plan, tag + text[:end]):
            if event["event"] == "notice" or text[:end].endswith("message-id="):
                continue  # some words about the right message; an empty id can't be told from one that was cut
            assert not {k: v for k, v in event.items() if k not in FREE and v != whole.get(k)}, text[:end]
            if program == "smtp":
                assert event.get("next_queue_id") in (None, "3A06F2BF244B")


def test_two_records_on_one_line_are_damaged(plan: normalize.Plan) -> None:
    line = "Mar  2 08:13:22 mx1 postfix/qmgr[7]: 93BA798A0: from=<anMar  2 08:13:23 mx1 postfix/smtp[8]: 4F1C2A: removed"
    assert states(plan, line) == ["damaged"]
    assert facts(plan, line) == []
    record = (
        f"Mar  2 08:13:22 mx1 postfix/smtp[7]: {RECORD.format('none', 'deferred (conn')}Mar  2 08:13:23 mx1 postfix/smtp[8]: 4F"
    )
    assert [(e["event"], e["diagnostic"]) for e in facts(plan, record)] == [("defer", "conn")]


def test_lines_of_verbose_logging_are_known_and_state_nothing(plan: normalize.Plan) -> None:
    texts = [
        "< mx.b.example[192.0.2.1]: RCPT TO:<x@y.example>",
        "send attr sender = ",
        "master_notify: status 0",
        ">>> END RCPT <<<",
    ]
    assert states(plan, *[f"Mar  2 08:13:22 mx1 postfix/smtpd[7]: {t}" for t in texts]) == ["ignored"] * 4
