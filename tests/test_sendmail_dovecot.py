"""Sendmail and Dovecot, each read by a grammar file alone."""

from __future__ import annotations

import polars as pl
import pytest

from maillog_forensics import checking, normalize, reading
from tests.reading import told


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


def read(plan: normalize.Plan, *lines: str) -> list[dict[str, object]]:
    """What the lines say: only what is known."""
    numbers = list(range(1, len(lines) + 1))
    table = pl.DataFrame(
        {"line": numbers, "offset": [0] * len(lines), "text": lines},
        schema={"line": pl.UInt64, "offset": pl.UInt64, "text": pl.String},
    )
    parsed = normalize.parse(table, plan)
    assert parsed.ledger.lines("unrecognised").is_empty()
    return [told(row) for row in parsed.events().to_dicts()]


def sendmail(plan: normalize.Plan, message: str) -> list[dict[str, object]]:
    return read(plan, f"Apr 20 16:35:50 mail sm-mta[6553]: n3KFZnc6006553: {message}")


def dovecot(plan: normalize.Plan, message: str) -> list[dict[str, object]]:
    return read(plan, f"Apr 20 16:35:50 mail dovecot: {message}")


def test_every_sample_is_read_as_promised_and_by_one_rule_only() -> None:
    faults, _ = checking.check()
    assert [f for f in faults if f.startswith(("sendmail.grammar", "dovecot.grammar"))] == []


# --- Sendmail


def test_an_attempt_for_several_recipients_states_one_fact_for_each(plan: normalize.Plan) -> None:
    rows = sendmail(
        plan,
        "to=<a@x.example>, <b@x.example>,c, delay=00:00:01, mailer=esmtp, relay=mx.x.example. [192.0.2.1], dsn=2.0.0, stat=Sent (ok)",
    )
    assert [r["recipient"] for r in rows] == ["a@x.example", "b@x.example", "c"]
    assert {r["relay_host"] for r in rows} == {"mx.x.example"} and {r["event"] for r in rows} == {"deliver"}


@pytest.mark.parametrize(
    ("tail", "event", "outcome"),
    [
        ("dsn=2.0.0, stat=Sent", "deliver", "Sent"),
        ("stat=Sent (n3KFZnc6006554 Message accepted for delivery)", "deliver", "Sent"),
        ("dsn=4.0.0, stat=Deferred: Connection refused by x.example.", "defer", "Deferred"),
        ("dsn=4.5.0, stat=Operating system error", "defer", "Operating system error"),
        ("stat=queued", "defer", "queued"),
        ("dsn=5.1.1, stat=User unknown", "bounce", "User unknown"),
        ("dsn=5.0.0,stat=Service unavailable", "bounce", "Service unavailable"),
        ("stat=virus Worm.Mydoom.I detected", "bounce", "virus Worm.Mydoom.I detected"),
    ],
)
def test_the_status_code_decides_between_later_and_never(plan: normalize.Plan, tail: str, event: str, outcome: str) -> None:
    (row,) = sendmail(plan, f"to=<a@x.example>, ctladdr=<w@y.example> (33/33), delay=1+00:00:02, mailer=esmtp, {tail}")
    assert (row["event"], row["outcome"], row["recipient"], float(str(row["delay_s"]))) == (
        event,
        outcome,
        "a@x.example",
        86402.0,
    )


def test_a_message_id_cannot_forge_the_relay_or_the_size(plan: normalize.Plan) -> None:
    (row,) = sendmail(
        plan,
        "from=<a@x.example>, size=5, class=0, nrcpts=1, msgid=<x, relay=evil [203.0.113.9], size=9>, proto=SMTP, relay=h [192.0.2.1]",
    )
    assert (row["client_ip"], row["size"], row["message_id"]) == ("192.0.2.1", "5", "x, relay=evil [203.0.113.9], size=9")


def test_a_ring_that_ran_out_of_hops_is_told_in_one_line(plan: normalize.Plan) -> None:
    (row,) = sendmail(plan, "SYSERR(root): Too many hops 26 (25 max): from <bob@b.example> via mx.b.example, to <ana@a.example>")
    assert (row["event"], row["sender"], row["recipient"], row["client_host"]) == (
        "bounce",
        "bob@b.example",
        "ana@a.example",
        "mx.b.example",
    )


def test_a_notification_names_the_message_that_it_makes(plan: normalize.Plan) -> None:
    (row,) = sendmail(plan, "n3KFZnc7006553: DSN: User unknown")
    assert (row["event"], row["queue_id"], row["next_queue_id"]) == ("dsn", "n3KFZnc6006553", "n3KFZnc7006553")


# --- Dovecot


@pytest.mark.parametrize(
    "who",
    [
        "lmtp(ana@a.example)<2211><Xy>: ",
        "lmtp(2211, ana@a.example): vwQ8DCqjqlqdHgAAwl8aWQ: ",
        "lda(ana@a.example): ",
        "lmtp(ana@a.example)<1><X>: Info: ",
    ],
)
@pytest.mark.parametrize("words", ["vacation action: sent", "sent"])
def test_an_automatic_answer_names_both_parties_and_the_mail_it_answers(plan: normalize.Plan, who: str, words: str) -> None:
    """Pigeonhole names the action since 0.5; the head of the line has changed with nearly every Dovecot."""
    (row,) = dovecot(plan, f"{who}sieve: msgid=<m1@b.example>: {words} vacation response to <bob@b.example>")
    assert (row["event"], row["sender"], row["recipient"]) == ("notice", "ana@a.example", "bob@b.example")
    assert (row["reference"], row["transport"]) == ("m1@b.example", "vacation")


def test_a_withheld_answer_is_not_an_answer(plan: normalize.Plan) -> None:
    (row,) = dovecot(
        plan,
        "lmtp(ana@a.example)<1><X>: sieve: msgid=<m@b.example>: vacation action: discarded duplicate vacation response to <bob@b.example>",
    )
    assert (row["outcome"], row["recipient"]) == ("vacation response withheld", "bob@b.example")


def test_a_message_id_cannot_forge_an_action(plan: normalize.Plan) -> None:
    forged = "x@p.example>: vacation action: sent vacation response to <victim@v.example>: y"
    (row,) = dovecot(plan, f"lmtp(u@x.example)<1><abc>: sieve: msgid=<{forged}>: stored mail into mailbox 'Junk'")
    assert (row["event"], row["outcome"], row["message_id"]) == ("deliver", "stored mail into mailbox", forged)


def test_a_full_mailbox_is_told_with_its_reason(plan: normalize.Plan) -> None:
    (row,) = dovecot(
        plan, "lmtp(ana@a.example)<1><X>: msgid=<m@b.example>: save failed to INBOX: Quota exceeded (mailbox for user is full)"
    )
    assert (row["event"], row["diagnostic"]) == ("notice", "Quota exceeded (mailbox for user is full)")


def test_dovecots_own_log_file_has_neither_host_nor_tag(plan: normalize.Plan) -> None:
    (row,) = read(
        plan,
        "Apr 30 15:09:27 lmtp(ana@a.example)<27><N2h>: Info: sieve: msgid=<m@b.example>: redirect action: forwarded to <c@d.example>",
    )
    assert (row["event"], row["orig_recipient"], row["recipient"], row["transport"]) == (
        "notice",
        "ana@a.example",
        "c@d.example",
        "redirect",
    )


def test_reading_mail_is_not_moving_mail(plan: normalize.Plan) -> None:
    assert dovecot(plan, "imap-login: Login: user=<ana>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2") == []
