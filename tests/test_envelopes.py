"""How records begin: every stamp, host and wrapping that syslog daemons, journald and containers put around a line."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from maillog_forensics import intake, normalize, reading
from tests.reading import facts, states

SHARED = Path(__file__).parents[2] / "shared"
TEXT = "postfix/qmgr[77]: 93BA798A0: removed"


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


@pytest.mark.parametrize(
    ("line", "host", "wall"),
    [
        (f"Mar  2 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"Mar 02 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"Mar 2 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22.123 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22.123"),
        (f"<22>Mar  2 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22  {TEXT}", "", "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22 {TEXT}", None, "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22 2001:db8::25 {TEXT}", "2001:db8::25", "2000-03-02 08:13:22"),
        ("Mar  2 08:13:22 mx1 postfix/qmgr: 93BA798A0: removed", "mx1", "2000-03-02 08:13:22"),
        ("Mar  2 08:13:22 mx1 postfix/qmgr[77]: [ID 197553 mail.info] 93BA798A0: removed", "mx1", "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22 mx1 mail:info {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"2026-03-02T08:13:22.100580+01:00 mx1 {TEXT}", "mx1", "2026-03-02 07:13:22.100580"),
        (f"2026-03-02T08:13:22+0000 mx1 {TEXT}", "mx1", "2026-03-02 08:13:22"),
        (f"2026-03-02T08:13:22Z mx1 {TEXT}", "mx1", "2026-03-02 08:13:22"),
        (f"2026-03-02 08:13:22 mx1 {TEXT}", "mx1", "2026-03-02 08:13:22"),
        ("<22>1 2026-03-02T08:13:22.003Z mx1 postfix/qmgr 77 - - 93BA798A0: removed", "mx1", "2026-03-02 08:13:22.003"),
        ('<22>1 2026-03-02T08:13:22Z mx1 postfix/qmgr - - [a@1 b="]"] 93BA798A0: removed', "mx1", "2026-03-02 08:13:22"),
        (f"Mon 2026-03-02 08:13:22 UTC mx1 {TEXT}", "mx1", "2026-03-02 08:13:22"),
        (f"1772439202.003 mx1 {TEXT}", "mx1", "2026-03-02 08:13:22.003"),
        (f"2026-03-02T08:13:23.9Z stdout F Mar  2 08:13:22 mx1 {TEXT}", "mx1", "2026-03-02 08:13:23.9"),
        (f"2026-03-02T08:13:22.123456789Z Mar  2 08:13:22 mx1 {TEXT}", "mx1", "2026-03-02 08:13:22.123456"),
        (f"mail-1  | Mar  2 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"2026-03-02T08:13:22+00:00 node smtp-out[985]: Mar 02 08:13:22 mx1 {TEXT}", "mx1", "2026-03-02 08:13:22"),
        (f"2026-03-02T08:13:22Z stdout F {TEXT}", None, "2026-03-02 08:13:22"),
        (f"\ufeffMar  2 08:13:22 mx1 {TEXT}", "mx1", "2000-03-02 08:13:22"),
        (f"Mar  2 08:13:22 mx1 {TEXT},,,,,,", "mx1", "2000-03-02 08:13:22"),
    ],
)
def test_whatever_stands_in_front_the_record_is_the_same(plan: normalize.Plan, line: str, host: str | None, wall: str) -> None:
    (event,) = facts(plan, line)
    assert (event["event"], event["queue_id"], event["program"], event.get("host")) == ("remove", "93BA798A0", "qmgr", host)
    assert event["_wall"] == dt.datetime.fromisoformat(wall)


def journal(message: object, **more: str) -> str:
    return json.dumps(
        {"__REALTIME_TIMESTAMP": "1772439202003000", "_HOSTNAME": "mx1", "SYSLOG_IDENTIFIER": "postfix/qmgr", "MESSAGE": message}
        | more
    )


def test_the_journal_as_json(plan: normalize.Plan) -> None:
    (event,) = facts(plan, journal("93BA798A0: removed", _PID="77"))
    assert (event["queue_id"], event["host"], event["_wall"]) == (
        "93BA798A0",
        "mx1",
        dt.datetime.fromisoformat("2026-03-02 08:13:22.003"),
    )


def test_text_that_journald_wrote_as_bytes_is_text_again(plan: normalize.Plan) -> None:
    lines = [journal(list(text)) for text in ("warning: é\x1b[0m".encode(), b"warning: \xff|")]
    assert [e["diagnostic"] for e in facts(plan, *lines)] == ["é\x1b[0m", "\\xff|"]


def test_a_journal_entry_without_its_text_is_damaged(plan: normalize.Plan) -> None:
    assert states(plan, journal(None), journal(None, SYSLOG_IDENTIFIER="sshd")) == ["damaged", "ignored"]


def test_dockers_json_holds_a_line_of_syslog(plan: normalize.Plan) -> None:
    line = json.dumps({"log": f"Mar  2 09:13:22 mx1 {TEXT}\n", "stream": "stdout", "time": "2026-03-02T08:13:22.5Z"})
    (event,) = facts(plan, line)
    assert (event["queue_id"], event["_wall"]) == ("93BA798A0", dt.datetime.fromisoformat("2026-03-02 08:13:22.5"))


def export(*messages: bytes, binary: bool = False) -> bytes:
    def field(text: bytes) -> bytes:
        return b"MESSAGE\n" + len(text).to_bytes(8, "little") + text if binary else b"MESSAGE=" + text

    head = b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1772439202003000\n_HOSTNAME=mx1\nSYSLOG_IDENTIFIER=postfix/qmgr\n"
    return b"\n".join(head + field(text) + b"\nPRIORITY=6\n" for text in messages)


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 64])
@pytest.mark.parametrize("binary", [False, True])
def test_the_journals_export_counts_every_line(plan: normalize.Plan, tmp_path: Path, chunk_bytes: int, binary: bool) -> None:
    path = tmp_path / "journal.export"
    path.write_bytes(export(*[b"93BA798A%d: removed" % n for n in range(5)], binary=binary))
    events, report = intake.take_in(str(path), plan, intake.Options(chunk_bytes=chunk_bytes)).whole()
    assert events["queue_id"].to_list() == [f"93BA798A{n}" for n in range(5)]
    lines = path.read_bytes().split(b"\n")
    assert all(lines[n - 1].startswith(b"MESSAGE") for n in events["line"])
    assert (report.parsed, report.ignored, report.about.lines) == (report.about.lines - 4, 4, len(lines) - 1)
    assert report.format == "postfix"


# --- lines that stand for several, and lines that are gone


def test_a_line_that_names_what_it_repeats_counts_as_often(plan: normalize.Plan) -> None:
    lines = ["Mar  2 08:13:22 mx1 postfix/smtpd[7]: connect from x.example[192.0.2.1]"]
    lines.append("Mar  2 08:14:22 mx1 postfix/smtpd[7]: message repeated 3 times: [ connect from x.example[192.0.2.1]]")
    assert [e["line"] for e in facts(plan, *lines)] == [1, 2, 2, 2]
    assert states(plan, *lines) == ["parsed", "parsed"]


def test_the_bsd_way_repeats_the_hosts_last_line(plan: normalize.Plan) -> None:
    lines = [f"Mar  2 08:13:22 mx1 {TEXT}", "Mar  2 08:13:22 mx2 sshd[1]: x", "Mar  2 08:13:52 mx1 last message repeated 2 times"]
    assert [(e["line"], e.get("queue_id")) for e in facts(plan, *lines)] == [(1, "93BA798A0"), (3, "93BA798A0"), (3, "93BA798A0")]
    (alone,) = facts(plan, lines[2])
    assert (alone["event"], alone["outcome"]) == ("notice", "last message repeated")


def test_a_line_that_claims_a_billion_repetitions_costs_little(plan: normalize.Plan) -> None:
    line = "Mar  2 08:14:22 mx1 postfix/smtpd[7]: message repeated 1000000000 times: [ connect from x.example[192.0.2.1]]"
    assert len(facts(plan, line)) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "rsyslogd[851]: imjournal: 12345 messages lost due to rate-limiting (20000 allowed within 600 seconds)",
        "rsyslogd-2177: imuxsock begins to drop messages from pid 12105 due to rate-limiting",
        "rsyslogd: imuxsock[pid: 1, name: postfix/smtpd]: begin to drop messages due to rate-limiting",
        "systemd-journald[391]: Suppressed 1234 messages from postfix@-.service",
        "systemd-journal[55]: Suppressed 2 messages from /system.slice/postfix.service",
    ],
)
def test_a_log_daemon_that_dropped_lines_confesses_it(plan: normalize.Plan, text: str) -> None:
    (event,) = facts(plan, f"Mar  2 08:13:22 mx1 {text}")
    assert (event["event"], event["outcome"]) == ("notice", "log lines suppressed")
    assert "mta" not in event


def test_after_a_block_of_nul_bytes_the_record_is_whole_and_what_stood_before_is_lost(plan: normalize.Plan) -> None:
    lines = [
        "\0" * 40 + f"Mar  2 08:13:22 mx1 {TEXT}",
        f"Mar  2 08:13:22 mx1 postfix/sm{chr(0) * 9}Mar  2 08:13:22 mx1 {TEXT}",
        "\0" * 9,
    ]
    assert states(plan, *lines) == ["parsed", "damaged", "damaged"]
    assert [e["line"] for e in facts(plan, *lines)] == [1, 2]


def test_other_programs_lines_are_set_aside_and_strange_lines_are_told(plan: normalize.Plan) -> None:
    lines = [
        "Mar  2 08:13:22 mx1 sshd[1]: x",
        "Mar  2 08:13:22 mx1 -- MARK --",
        "",
        "who wrote this",
        "Mar  2 08:13:22 mx1 postfix/smt",
    ]
    assert states(plan, *lines) == ["ignored", "ignored", "ignored", "unrecognised", "damaged"]


@pytest.mark.parametrize("name", ["postfix_envelopes", "exim_syslog"])
def test_the_published_envelopes_are_opened(plan: normalize.Plan, name: str) -> None:
    path = SHARED / "cases" / f"{name}.jsonl"
    if not path.exists():
        pytest.skip("../shared/cases is not here")
    for case in map(json.loads, path.read_text("utf-8").splitlines()):
        expect, (event,) = case["expect"], facts(plan, case["line"])
        keys = {"program": "program", "queue_id": "queue_id", "sender": "sender", "size": "size", "instance": "instance",
                "client_ip": "client_ip", "orig_queue_id": "parent_queue_id", "log_host": "host"}  # fmt: skip
        if name == "postfix_envelopes":
            assert {k: str(expect[k]) for k in keys if k in expect} == {
                k: str(event.get(c)) for k, c in keys.items() if k in expect
            }
        else:
            assert event.get("queue_id") == expect.get("message_id")
            assert event["_wall"] == dt.datetime.fromisoformat(expect["timestamp"])
