"""Messages, deliveries and their links, from small logs."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from maillog_forensics import addresses, graph, linking
from maillog_forensics.mail import Mail
from tests.reading import normalized
from tests.test_exchange import DELIVER, log

REUSED = """\
Mar  2 08:00:00 mx postfix/smtpd[1]: 4A1B2C3D4E: client=a.example[192.0.2.1]
Mar  2 08:00:00 mx postfix/cleanup[2]: 4A1B2C3D4E: message-id=<one@a.example>
Mar  2 08:00:00 mx postfix/qmgr[3]: 4A1B2C3D4E: from=<ann@a.example>, size=500, nrcpt=1 (queue active)
Mar  2 08:00:01 mx postfix/virtual[4]: 4A1B2C3D4E: to=<bob@b.example>, relay=virtual, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (delivered to maildir)
Mar  2 08:00:01 mx postfix/qmgr[3]: 4A1B2C3D4E: removed
Mar  2 08:01:02 mx postfix/smtpd[1]: 4A1B2C3D4E: client=c.example[192.0.2.3]
Mar  2 08:01:02 mx postfix/cleanup[2]: 4A1B2C3D4E: message-id=<two@c.example>
Mar  2 08:01:02 mx postfix/qmgr[3]: 4A1B2C3D4E: from=<cid@c.example>, size=700, nrcpt=1 (queue active)
Mar  2 08:01:03 mx postfix/virtual[4]: 4A1B2C3D4E: to=<dora@b.example>, relay=virtual, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (delivered to maildir)
Mar  2 08:01:03 mx postfix/qmgr[3]: 4A1B2C3D4E: removed
"""

BOUNCED = """\
Mar  2 08:00:00 mx postfix/smtpd[1]: AAAAAAAA01: client=a.example[192.0.2.1]
Mar  2 08:00:00 mx postfix/cleanup[2]: AAAAAAAA01: message-id=<one@a.example>
Mar  2 08:00:00 mx postfix/qmgr[3]: AAAAAAAA01: from=<ann@a.example>, size=500, nrcpt=1 (queue active)
Mar  2 08:00:01 mx postfix/local[4]: AAAAAAAA01: to=<nobody@b.example>, relay=local, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (unknown user: "nobody")
Mar  2 08:00:01 mx postfix/cleanup[2]: AAAAAAAA02: message-id=<20260302080001.AAAAAAAA02@mx.b.example>
Mar  2 08:00:01 mx postfix/bounce[5]: AAAAAAAA01: sender non-delivery notification: AAAAAAAA02
Mar  2 08:00:01 mx postfix/qmgr[3]: AAAAAAAA02: from=<>, size=2500, nrcpt=1 (queue active)
Mar  2 08:00:01 mx postfix/qmgr[3]: AAAAAAAA01: removed
Mar  2 08:00:02 mx postfix/smtp[6]: AAAAAAAA02: to=<ann@a.example>, relay=mx.a.example[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
Mar  2 08:00:02 mx postfix/qmgr[3]: AAAAAAAA02: removed
"""

FILTERED = """\
Mar  2 08:00:00 mx postfix/smtpd[1]: AAAAAAAA01: client=mx.a.example[192.0.2.1]
Mar  2 08:00:00 mx postfix/cleanup[2]: AAAAAAAA01: message-id=<one@a.example>
Mar  2 08:00:00 mx postfix/qmgr[3]: AAAAAAAA01: from=<>, size=500, nrcpt=1 (queue active)
Mar  2 08:00:01 mx postfix/smtpd[5]: AAAAAAAA02: client=localhost[127.0.0.1], orig_queue_id=AAAAAAAA01, orig_client=mx.a.example[192.0.2.1]
Mar  2 08:00:01 mx postfix/cleanup[2]: AAAAAAAA02: message-id=<one@a.example>
Mar  2 08:00:01 mx postfix/qmgr[3]: AAAAAAAA02: from=<>, size=900, nrcpt=1 (queue active)
Mar  2 08:00:01 mx postfix/smtp[6]: AAAAAAAA01: to=<bob@b.example>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, dsn=2.0.0, status=sent (250 Ok: queued as AAAAAAAA02)
Mar  2 08:00:01 mx postfix/qmgr[3]: AAAAAAAA01: removed
Mar  2 08:00:02 mx postfix/virtual[4]: AAAAAAAA02: to=<bob@b.example>, relay=virtual, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (delivered to maildir)
Mar  2 08:00:02 mx postfix/qmgr[3]: AAAAAAAA02: removed
"""


def correlated(tmp_path: Path, text: str, name: str = "mail.log") -> Mail:
    (tmp_path / name).write_text(text)
    events, _ = normalized([str(tmp_path / name)], year=2026)
    return linking.correlated(events)


def test_a_queue_id_that_is_used_again_is_two_messages(tmp_path: Path) -> None:
    mail = correlated(tmp_path, REUSED)
    assert mail.messages.select("epoch", "message_id", "sender", "size").collect().rows() == [
        (0, "one@a.example", "ann@a.example", 500),
        (1, "two@c.example", "cid@c.example", 700),
    ]
    assert mail.deliveries.collect()["recipient"].to_list() == ["bob@b.example", "dora@b.example"]


def test_a_number_that_exchange_gives_again_is_two_messages(tmp_path: Path) -> None:
    """A new queue database counts from the start, and no line of Exchange's tells that a message is gone."""
    received = {**DELIVER, "date-time": "2026-03-17T08:00:00.250Z", "source": "SMTP", "event-id": "RECEIVE"}
    later = {
        "message-id": "<2@beta.example>",
        "return-path": "cid@beta.example",
        "sender-address": "cid@beta.example",
        "recipient-address": "dora@alpha.example",
    }
    dates = ("2026-04-02T08:00:00.250Z", "2026-04-02T08:00:01.250Z")
    again = [{**row, **later, "date-time": at} for row, at in zip((received, DELIVER), dates)]
    mail = correlated(tmp_path, log("2019", received, DELIVER, *again), "MSGTRK2026031708-1.LOG")
    assert mail.messages.select("queue_id", "message_id", "sender").collect().rows() == [
        ("77", "1@beta.example", "bounces@beta.example"),
        ("77", "2@beta.example", "cid@beta.example"),
    ]
    assert mail.deliveries.select("mid", "recipient").collect().rows() == [(0, "anna@alpha.example"), (1, "dora@alpha.example")]


def test_a_notification_has_its_parent_and_is_bound_to_the_mailbox_that_failed(tmp_path: Path) -> None:
    mail = correlated(tmp_path, BOUNCED)
    child = mail.messages.filter(pl.col("sender") == "").collect()
    assert child["is_notification"].to_list() == [True]
    parent = mail.stays(child["parent"])
    assert parent["queue_id"].to_list() == ["AAAAAAAA01"]
    mails = graph.build(mail)
    back = mails.with_names(mails.edges.filter(pl.col("is_null")))
    assert back.select("sender", "recipient").rows() == [("nobody@b.example", "ann@a.example")]


def test_mail_that_comes_back_from_a_content_filter_answers_nothing(tmp_path: Path) -> None:
    """Else its recipient would be the author of what came to him with the null reverse-path."""
    mail = correlated(tmp_path, FILTERED)
    assert mail.messages.select("sender", "parent").collect().rows() == [("", None)] * 2
    edges = graph.build(mail).edges
    named = graph.build(mail).with_names(edges).select("sender", "recipient").rows()
    assert named == [("mailer-daemon@mx.a.example", "bob@b.example")]


def test_the_order_of_files_does_not_change_the_messages(tmp_path: Path) -> None:
    lines = BOUNCED.splitlines(keepends=True)
    (tmp_path / "mail.log.1").write_text("".join(lines[:5]))
    (tmp_path / "mail.log").write_text("".join(lines[5:]))
    events, _ = normalized([str(tmp_path / "mail.log"), str(tmp_path / "mail.log.1")], year=2026)
    assert linking.correlated(events).messages.collect().height == 2


def test_identities_behind_rewriting() -> None:
    raw = [
        "Anna@Alpha.Example", "SRS0=9k2B=QX=alpha.example=anna@forwarder.example", "SRS1=xy=relay.example==HHH=TT=alpha.example=anna@forwarder.example",
        "prvs=4567abcdef=anna@alpha.example", "anna+lists@alpha.example", "anna#alpha.example@autoreply.alpha.example", "team-bounces@gamma.example",
        "team-bounces+anna=alpha.example@gamma.example", "owner-team@gamma.example", "", "double-bounce@mx.alpha.example",
    ]  # fmt: skip
    want = ["anna@alpha.example"] * 6 + ["team@gamma.example"] * 3 + ["", "double-bounce@mx.alpha.example"]
    assert addresses.canonical_of(pl.Series("a", raw)).to_list() == want


def test_international_domains_meet_their_ascii_form() -> None:
    assert addresses.canonical_of(pl.Series(["jörg@bücher.example"])).to_list() == ["jörg@xn--bcher-kva.example"]
