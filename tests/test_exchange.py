"""Exchange's records: tracking logs of every layout, exports with local dates, traces, and the ways such files get damaged."""

from __future__ import annotations

import csv
import datetime as dt
import io
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import accounts, cells, checking, intake, reading, records
from maillog_forensics.normalize import Plan
from tests.reading import normalized

SHARED = Path(__file__).parents[2] / "shared"
SAMPLES = Path(__file__).parents[1] / "sample_logs"

START = "date-time client-ip client-hostname server-ip server-hostname source-context connector-id source event-id internal-message-id message-id"
MIDDLE = (
    "recipient-address recipient-status total-bytes recipient-count related-recipient-address reference message-subject "
    "sender-address return-path message-info"
)
END = "directionality tenant-id original-client-ip original-server-ip custom-data"
LAYOUTS = {
    "2007": f"{START} {MIDDLE}".split(),
    "2010": f"{START} {MIDDLE} {END}".split(),
    "2013": f"{START} network-message-id {MIDDLE} {END}".split(),
    "2019": f"{START} network-message-id {MIDDLE} {END} transport-traffic-type log-id schema-version".split(),
}
DELIVER = {
    "date-time": "2026-03-17T08:00:01.250Z", "client-hostname": "EX01.alpha.example", "server-hostname": "EX02", "source": "STOREDRIVER",
    "event-id": "DELIVER", "internal-message-id": "77", "message-id": "<1@beta.example>", "recipient-address": "anna@alpha.example",
    "total-bytes": "1441", "recipient-count": "1", "message-subject": "Hello, Anna", "sender-address": "ben@beta.example",
    "return-path": "bounces@beta.example", "message-info": "2026-03-17T08:00:00.100Z;SRV=EX01:TOTAL=1",
}  # fmt: skip


@pytest.fixture(scope="module")
def plan() -> Plan:
    return reading.load()


def rows(layout: str, *records: dict[str, str], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.DictWriter(text, LAYOUTS[layout], restval="", lineterminator="\r\n", delimiter=delimiter).writerows(records)
    return text.getvalue()


def log(layout: str, *records: dict[str, str]) -> str:
    head = f"#Software: Microsoft Exchange Server\r\n#Version: 15.0\r\n#Log-type: Message Tracking Log\r\n#Fields: {','.join(LAYOUTS[layout])}\r\n"
    return head + rows(layout, *records)


@pytest.fixture
def read(plan: Plan, tmp_path: Path):
    """Text of a file to its events and report; the ledger is checked each time."""

    def run(text: str | bytes, name: str = "MSGTRK2026031708-1.LOG", **options) -> tuple[pl.DataFrame, accounts.InputReport]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        events, report = intake.take_in(str(path), plan, intake.Options(**options)).whole()
        assert report.about.lines == report.parsed + report.ignored + report.unrecognised + report.damaged
        return events, report

    return run


def told(events: pl.DataFrame) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if v is not None} for row in events.to_dicts()]


# --- the grammar and the published cases


def test_every_sample_is_read_as_promised_and_by_one_format_only() -> None:
    faults, _ = checking.check()
    assert [f for f in faults if f.startswith("exchange.grammar")] == []


def test_the_published_cases_are_right_in_98_of_100_facts() -> None:
    script = SHARED / "accept" / "cases.py"
    if not script.exists():
        pytest.skip("the cases are not here")
    program = f"{sys.executable} -c 'from maillog_forensics.cli import main; main()'"
    run = subprocess.run(
        [sys.executable, str(script), "--only", "exchange", "--min", "0.98", "--program", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


# --- tracking logs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("has_head", [True, False])
def test_each_layout_is_read_with_its_head_and_by_the_number_of_its_columns(read, layout: str, has_head: bool) -> None:
    events, report = read(log(layout, DELIVER) if has_head else rows(layout, DELIVER))
    assert report.parsed == 1 and report.damaged == 0 and report.format == "exchange"
    (row,) = told(events)
    assert row["time"] == dt.datetime(2026, 3, 17, 8, 0, 1, 250_000, dt.UTC)
    assert {k: row[k] for k in ("event", "outcome", "queue_id", "message_id", "sender", "recipient", "subject", "size", "host", "transport")} == {
        "event": "deliver", "outcome": "deliver", "queue_id": "77", "message_id": "1@beta.example", "sender": "bounces@beta.example",
        "recipient": "anna@alpha.example", "subject": "Hello, Anna", "size": 1441, "host": "EX02", "transport": "storedriver",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("MSGTRKMS2022091915-1.LOG", "msgtrkms"),
        ("MSGTRKMD20220919-2.log", "msgtrkmd"),
        ("msgtrk2022091915-1.log", "msgtrk"),
        ("copy.log", None),
    ],
)
def test_the_series_is_told_by_the_file_name(read, name: str, program: str | None) -> None:
    assert read(log("2019", DELIVER), name)[0]["program"].to_list() == [program]


@pytest.mark.parametrize(
    ("event_id", "source", "event"),
    [
        ("RECEIVE", "SMTP", "receive"), ("SUBMIT", "STOREDRIVER", "receive"), ("SEND", "SMTP", "deliver"), ("SENDEXTERNAL", "SMTP", "deliver"),
        ("FAIL", "ROUTING", "bounce"), ("DEFER", "SMTP", "defer"), ("DSN", "DSN", "dsn"), ("EXPAND", "ROUTING", "expand"), ("DROP", "AGENT", "discard"),
        ("THROTTLE", "MAILBOXRULE", "discard"), ("HARECEIVE", "SMTP", "notice"), ("HAREDIRECTFAIL", "SMTP", "notice"), ("RESUBMIT", "SAFETYNET", "notice"),
        ("RECEIVE", "SAFETYNET", "notice"), ("NOTIFYMAPI", "STOREDRIVER", "notice"), ("SOMETHINGNEW", "NOWHERE", "notice"),
    ],
)  # fmt: skip
def test_event_ids_become_events_and_shadow_copies_are_no_hops(read, event_id: str, source: str, event: str) -> None:
    events, _ = read(log("2019", DELIVER | {"event-id": event_id, "source": source}))
    assert events.select("event", "outcome").row(0) == (event, event_id.lower())


def test_send_and_deliver_of_one_local_delivery_can_be_told_apart_and_the_next_queue_is_named(read) -> None:
    context = "08DC1DB1;250 2.6.0 <1@beta.example> [InternalId=5124, Hostname=EX02.alpha.example] 1441 bytes in 0.1, 11 KB/sec Queued mail for delivery"
    send = DELIVER | {
        "event-id": "SEND",
        "source": "SMTP",
        "client-hostname": "EX01",
        "server-hostname": "EX02.alpha.example",
        "source-context": context,
    }
    events, _ = read(log("2019", send, DELIVER))
    assert events["outcome"].to_list() == ["send", "deliver"]
    assert events["next_queue_id"].to_list() == ["5124", None]
    assert events["relay_host"].to_list() == ["EX02.alpha.example", None]
    assert events["host"].to_list() == ["EX01", "EX02"]


def test_statuses_are_paired_with_recipients_by_position_in_spite_of_semicolons_inside_them(read) -> None:
    status = (
        "[{LED=501 5.1.4 Recipient address reserved by RFC 2606};{MSG=};{FQDN=mx.beta.example};{IP=192.0.2.1};{LRT=12/22/2020 2:28:06 AM}];"
        "[{LED=550 5.7.1 RESOLVER.RST.AuthRequired; authentication required};{MSG=};{FQDN=};{IP=};{LRT=}];[{LED=451-4.7.23 unable i{2b}};{MSG=};{FQDN=}]"
    )
    events, _ = read(
        log(
            "2019",
            DELIVER
            | {
                "event-id": "FAIL",
                "recipient-address": "a@b.example;c@d.example;e@f.example;g@h.example",
                "recipient-status": status,
            },
        )
    )
    assert events.select("recipient", "smtp_code", "dsn", "diagnostic", "relay_host", "relay_ip").rows() == [
        ("a@b.example", 501, "5.1.4", "501 5.1.4 Recipient address reserved by RFC 2606", "mx.beta.example", "192.0.2.1"),
        ("c@d.example", 550, "5.7.1", "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required", None, None),
        ("e@f.example", 451, "4.7.23", "451-4.7.23 unable i{2b}", None, None),
        ("g@h.example", None, None, None, None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("250 2.1.5 OK;550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", [(250, "2.1.5"), (550, "5.1.1")]),
        ("To;Cc", [(None, None), (None, None)]),
        ("5.2.121 Recipient's per hour message receive limit exceeded", [(None, "5.2.121"), (None, None)]),
        ("[{LED=450 4.4.316 Connection refused [Message=Socket error code 10061]", [(450, "4.4.316"), (None, None)]),
        ("[{LRT=};{LED=550 5.7.1 no};{FQDN=};{IP=}]", [(550, "5.7.1"), (None, None)]),
    ],
)
def test_bare_replies_kinds_of_recipients_and_cut_statuses(read, status: str, wanted: list[tuple]) -> None:
    events, _ = read(
        log("2019", DELIVER | {"event-id": "FAIL", "recipient-address": "a@b.example;c@d.example", "recipient-status": status})
    )
    assert events.select("smtp_code", "dsn").rows() == wanted


def test_the_null_reverse_path_is_empty_and_the_header_sender_is_kept_as_user(read) -> None:
    context = "MDB:1, Mailbox:2, Event:3, MessageClass:IPM.Note.Rules.ReplyTemplate.Microsoft, CreationTime:2026-03-17T08:00:00.000Z, ClientType:Transport"
    events, _ = read(
        log(
            "2019",
            DELIVER
            | {"event-id": "RECEIVE", "return-path": "<>", "sender-address": "orders@alpha.example", "source-context": context},
        )
    )
    assert events.select("sender", "user", "diagnostic").row(0) == (
        "",
        "orders@alpha.example",
        "IPM.Note.Rules.ReplyTemplate.Microsoft",
    )


def test_expansion_names_the_group_and_reports_name_what_they_answer(read) -> None:
    group = DELIVER | {
        "event-id": "EXPAND",
        "source": "ROUTING",
        "recipient-address": "a@alpha.example;b@alpha.example",
        "related-recipient-address": "all@alpha.example",
    }
    dsn = DELIVER | {"event-id": "DSN", "source": "DSN", "reference": "<0@alpha.example>", "return-path": "<>"}
    fork = DELIVER | {"event-id": "TRANSFER", "source": "ROUTING", "reference": "4711"}
    events, _ = read(log("2019", group, dsn, fork))
    assert events["orig_recipient"].to_list() == ["all@alpha.example", "all@alpha.example", None, None]
    assert events["reference"].to_list()[2] == "0@alpha.example"
    assert events["parent_queue_id"].to_list()[3] == "4711"


def test_who_dropped_a_message_and_the_loop_counter_of_a_rule_are_its_diagnostic(read) -> None:
    drop = DELIVER | {"event-id": "DROP", "source": "AGENT", "source-context": "Transport Rule Agent"}
    rule = DELIVER | {"event-id": "THROTTLE", "source": "MAILBOXRULE", "reference": "XLoopHeaderCount:1/1"}
    assert read(log("2019", drop, rule))[0]["diagnostic"].to_list() == ["Transport Rule Agent", "XLoopHeaderCount:1/1"]


def test_internal_id_zero_means_no_queue(read) -> None:
    assert read(log("2019", DELIVER | {"internal-message-id": "0"}))[0]["queue_id"].to_list() == [None]


# --- files as they come


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_with_and_without_a_byte_order_mark(read, codec: str) -> None:
    events, report = read(log("2019", DELIVER | {"message-subject": "Grüße"}).encode(codec))
    assert (events["subject"].to_list(), report.parsed) == (["Grüße"], 1)


def test_heads_that_recur_and_change_the_layout_in_the_middle(read) -> None:
    events, report = read(log("2010", DELIVER) + log("2019", DELIVER, DELIVER) + log("2007", DELIVER))
    assert events["subject"].to_list() == ["Hello, Anna"] * 4
    assert (report.parsed, report.ignored, report.damaged) == (4, 12, 0)


def test_chunks_make_no_difference(read) -> None:
    text = log("2019", *[DELIVER | {"internal-message-id": str(n)} for n in range(1, 300)])
    assert read(text)[0].equals(read(text, chunk_bytes=1000)[0])


def test_a_stray_quote_spoils_no_other_line_and_no_other_cell(read) -> None:
    odd = rows("2019", DELIVER).replace("STOREDRIVER", '"STOREDRIVER')
    events, report = read(log("2019", DELIVER) + odd + '"' + rows("2019", DELIVER) + rows("2019", DELIVER))
    assert report.parsed == 4
    assert events["subject"].to_list() == ["Hello, Anna"] * 4
    assert events["transport"].to_list() == ["storedriver"] * 4


def test_a_last_line_that_was_cut_is_damaged_and_the_rest_is_kept(read) -> None:
    _, report = read(log("2019", DELIVER) + rows("2019", DELIVER)[:90])
    assert (report.parsed, report.damaged) == (1, 1)


def test_a_quoted_head_with_semicolons(read) -> None:
    head = ";".join(f'"{n}"' for n in LAYOUTS["2019"])
    events, report = read(head + "\r\n" + rows("2019", DELIVER, delimiter=";"))
    assert (report.parsed, events["recipient"].to_list()) == (1, ["anna@alpha.example"])


def test_a_record_behind_a_log_shippers_stamp(read) -> None:
    events, _ = read(
        "".join(f"Mar 17 09:00:11 EX01[0]:{line}" for line in rows("2010", DELIVER, DELIVER).splitlines(keepends=True))
    )
    assert events["recipient"].to_list() == ["anna@alpha.example"] * 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("#Log-type: SMTP Receive Protocol Log\n#Fields: date-time,connector-id,session-id,sequence-number,local-endpoint,remote-endpoint,event,data,context\n"
         "2026-03-17T08:00:00.000Z,c,s,1,l,r,>,220 ready,\n", "SMTP protocol log"),
        ("#Log-type: EWS Logs\n#Fields: DateTime,RequestId,MajorVersion\n2026-03-17T08:00:00.000Z,1,2\n", "another service"),
        ("Timestamp               : 12/22/2020 9:28:06 AM\nEventId                 : FAIL\n", "Export-Csv"),
        ("# Message Tracking Log File\n# Exchange System Attendant Version 6.5.7638.1\n2009-1-5\t0:1:2 GMT\t1019\n", "2003"),
    ],
)  # fmt: skip
def test_other_logs_are_counted_and_set_aside_with_a_word(read, text: str, word: str) -> None:
    events, report = read(text, "other.log")
    assert (events.height, report.ignored) == (0, text.count("\n"))
    assert word in " ".join(report.about.problems)


# --- exports and traces

NAMES = (
    "Timestamp",
    "EventId",
    "Source",
    "MessageId",
    "Recipients",
    "RecipientStatus",
    "MessageSubject",
    "Sender",
    "ReturnPath",
    "MessageInfo",
)


def export(*records: tuple[str, ...], delimiter: str = ",") -> str:
    lines = [delimiter.join(f'"{c}"' for c in record) for record in (NAMES, *records)]
    return "#TYPE Selected.System.Management.Automation.PSCustomObject\r\n" + "\r\n".join(lines) + "\r\n"


def event(stamp: str, info: str = "", recipients: str = "a@b.example", status: str = "") -> tuple[str, ...]:
    return (stamp, "FAIL", "SMTP", "<1@beta.example>", recipients, status, "s", "ben@beta.example", "<>", info)


@pytest.mark.parametrize(
    ("stamp", "delimiter"),
    [
        ("4/6/2021 2:46:03 PM", ","), ("06/04/2021 14:46:03", ","), ("06.04.2021 14:46:03", ";"), ("6.4.2021 14.46.03", ";"),
        ("2021-04-06 14:46:03", ";"), ("2021. 04. 06. 14:46:03", ";"), ("06-04-2021 14:46:03", ";"), ("2021/4/6 14:46:03", ","),
    ],
)  # fmt: skip
def test_dates_of_a_culture_are_settled_by_the_utc_stamps_in_the_records(read, stamp: str, delimiter: str) -> None:
    events, report = read(
        export(event(stamp, "2021-04-06T12:46:02.426Z;SRV=ex01:TOTAL-HUB=0.453"), delimiter=delimiter), "export.csv"
    )
    assert events["time"].to_list() == [dt.datetime(2021, 4, 6, 12, 46, 3, tzinfo=dt.UTC)]
    assert report.basis.zone == "+02:00" and "UTC stamp" in report.basis.zone_basis


def test_summer_time_inside_one_export(read) -> None:
    winter = [event(f"3/27/2021 10:0{n}:05 AM", f"2021-03-27T09:0{n}:04.000Z;SRV=a") for n in range(5)]
    summer = [event(f"3/28/2021 10:0{n}:05 AM", f"2021-03-28T08:0{n}:04.000Z;SRV=a") for n in range(4)]
    events, report = read(export(*winter, *summer), "export.csv")
    assert events["time"].dt.hour().to_list() == [9] * 5 + [8] * 4
    assert report.basis.zone == "+01:00 and +02:00"


def test_without_proof_another_days_date_decides_and_the_zone_is_the_users(read) -> None:
    events, report = read(export(event("3/4/2021 2:46:03"), event("13/4/2021 2:46:03")), "export.csv", tz="Asia/Manila")
    assert events["time"].to_list()[0] == dt.datetime(2021, 4, 2, 18, 46, 3, tzinfo=dt.UTC)
    assert report.about.problems == []


def test_dates_that_nothing_settles_are_said_aloud(read) -> None:
    _, report = read(export(event("3/4/2021 2:46:03 PM")), "export.csv")
    assert "day or the month first" in report.about.problems[0]


def test_dates_that_carry_their_zone_need_no_proof(read) -> None:
    events, _ = read(export(event("2021-04-06T14:46:03.5000000+02:00"), event("2021-04-06T12:46:03.5000000Z")), "export.csv")
    assert events["time"].to_list() == [dt.datetime(2021, 4, 6, 12, 46, 3, 500_000, dt.UTC)] * 2


def test_an_export_of_exactly_the_default_size_is_called_cut(read) -> None:
    _, report = read(export(*[event("2021-04-13 02:46:03")] * 1000), "export.csv")
    assert ["exactly 1000 records" in p for p in report.about.problems] == [True]
    assert read(export(*[event("2021-04-13 02:46:03")] * 999), "export.csv")[1].about.problems == []


def test_lists_that_the_export_lost_are_no_addresses_and_are_said_aloud(read) -> None:
    events, report = read(
        export(event("2021-04-13 02:46:03", "", "System.String[]", "System.Collections.ArrayList")), "export.csv"
    )
    assert events.select("recipient", "diagnostic").row(0) == (None, None)
    assert "System.String[]" in report.about.problems[0]


@pytest.mark.parametrize(
    "joined", ["{a@b.example, c@d.example}", "a@b.example c@d.example", "a@b.example|c@d.example", "a@b.example; c@d.example"]
)
def test_lists_as_people_join_them(read, joined: str) -> None:
    events, _ = read(export(event("2021-04-13 02:46:03", "", joined)), "export.csv")
    assert events["recipient"].to_list() == ["a@b.example", "c@d.example"]
    assert events["sender"].to_list() == ["", ""]


def test_message_traces_are_utc_and_state_what_became_of_each_recipient(read) -> None:
    head = "Received,SenderAddress,RecipientAddress,Subject,Status,ToIP,FromIP,Size,MessageId\n"
    lines = [f"{when},ben@beta.example,anna@alpha.example,s,{status},,192.0.2.1,5,<1@x>\n" for when, status in
             (("2022-09-05T18:10:13.4907658", "Delivered"), ("2022-09-05T18:10:14Z", "Failed"), ("9/25/2022 6:10:15 PM", "Pending"))]  # fmt: skip
    events, _ = read(head + "".join(lines), "trace.csv")
    assert events["event"].to_list() == ["deliver", "bounce", "defer"]
    assert events["time"].dt.hour().to_list() == [18, 18, 18]
    json = '{"MessageId":"<1@x>","Received":"/Date(1658751973240)/","SenderAddress":"b@c","RecipientAddress":"a@b","Subject":null,"Status":"Expanded",'
    events, report = read(json + '"ToIP":null,"FromIP":"192.0.2.1","Size":7,"MessageTraceId":"g"}\n', "trace.json")
    assert (report.format, events.select("event", "size").row(0)) == ("exchange-online", ("expand", 7))
    assert events["time"].to_list() == [dt.datetime(2022, 7, 25, 12, 26, 13, 240_000, dt.UTC)]


def test_a_historical_search_has_all_recipients_in_one_cell(read) -> None:
    head = "origin_timestamp_utc,sender_address,recipient_status,message_subject,total_bytes,message_id\n"
    cell = '"anna@alpha.example##Receive, Deliver;""F L<f.l""@beta.example##Receive, Fail;all@alpha.example##Expand"'
    events, _ = read((head + f"2021-03-23T10:00:09.3284899Z,ben@beta.example,{cell},s,1,<1@x>\n").encode("utf-16-le"), "hist.csv")
    assert events.select("recipient", "event", "outcome").rows() == [
        ("anna@alpha.example", "deliver", "deliver"), ('"F L<f.l"@beta.example', "bounce", "fail"), ("all@alpha.example", "expand", "expand"),
    ]  # fmt: skip


# --- separated values


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"])), min_size=2, max_size=6),
        min_size=1,
    ),
    st.sampled_from(",;\t"),
)
def test_cells_are_split_as_the_standard_library_splits_them(table: list[list[str]], delimiter: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerows(table)
    lines = pl.Series(text.getvalue().split("\r\n")[:-1])
    assert cells.split(lines, delimiter).to_list() == table


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.sampled_from('",;ab \t{}[]=#'), max_size=40), min_size=1, max_size=8))
def test_no_line_whatever_stands_in_it_breaks_the_reader_or_leaves_the_ledger(plan: Plan, texts: list[str]) -> None:
    lines = [",".join(LAYOUTS["2019"]), *texts]
    table = pl.DataFrame(
        {"line": range(1, len(lines) + 1), "offset": 0, "text": lines}, schema_overrides={"line": pl.UInt64, "offset": pl.UInt64}
    )
    reader = records.recognise(table, plan, "x", None)
    assert reader is not None
    assert reader.parse(table).ledger.table()["line"].to_list() == list(range(1, len(lines) + 1))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.none() | st.text(st.sampled_from("<> \tab@é"), max_size=12), min_size=1, max_size=8))
def test_the_quick_way_to_an_id_gives_what_the_pattern_gives(ids: list[str | None]) -> None:
    cell = pl.Series("c", ids, dtype=pl.String)
    stripped = pl.col("c").str.strip_chars(" \t")
    expected = cell.to_frame().select(stripped.str.extract(r"<\s*([^<>]*?)\s*>", 1).fill_null(stripped)).to_series()
    assert records._id(cell).to_list() == expected.to_list()


# --- the sample


def test_the_sample_is_what_its_generator_writes(tmp_path: Path) -> None:
    script = (SAMPLES / "make_exchange_sample.py").read_text("utf-8")
    (tmp_path / "make.py").write_text(script, "utf-8")
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True, capture_output=True)
    made = {
        p.relative_to(tmp_path / "exchange_autoreply"): p.read_bytes() for p in (tmp_path / "exchange_autoreply").rglob("*.LOG")
    }
    kept = {
        p.relative_to(SAMPLES / "exchange_autoreply"): p.read_bytes() for p in (SAMPLES / "exchange_autoreply").rglob("*.LOG")
    }
    assert made == kept


def test_the_sample_tells_of_120_replies_and_the_limit_that_ended_them() -> None:
    events, reports = normalized([str(SAMPLES / "exchange_autoreply")])
    assert sum(r.damaged + r.unrecognised for r in reports) == 0
    sent = events.filter(
        pl.col("recipient") == "support@beta.example", pl.col("outcome") == "sendexternal", pl.col("sender") == ""
    )
    last = (
        events.filter(pl.col("event") == "bounce", pl.col("recipient") == "support@beta.example")
        .select("dsn", "smtp_code")
        .rows()
    )
    assert (sent.height, last) == (119, [("5.2.121", 550)])


def test_a_quoted_local_part_with_separators_is_one_recipient() -> None:
    """RFC 5321 lets whoever sends write `"a;b@c"@d.example`: no part of it is a recipient of its own."""
    table = pl.DataFrame(
        {
            "c": [
                '"x;ceo@a.example;y"@b.example',
                'ann@a.example;"p;q@r"@b.example;bob@a.example',
                '"x;y@z.example',
                'a"b;c"@d.example',
            ]
        }
    )
    guarded = table.select(records._guarded(pl.col("c")))["c"].to_list()
    assert [len(cell.split(";")) for cell in guarded] == [1, 3, 2, 2]
