"""Recorded incidents of real servers: found with the right figures, and nothing else is claimed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maillog_forensics import api
from maillog_forensics.findings import Ending, Findings, Kind, LoopType, Severity, StormType


@pytest.fixture(scope="module")
def findings_of(samples: Path):
    """Findings of a sample folder, worked out once."""
    cache: dict[str, Findings] = {}

    def analyzed(name: str) -> Findings:
        if name not in cache:
            cache[name] = api.analyze([str(samples / name)]).findings
        return cache[name]

    return analyzed


def alarms(findings: Findings):
    """Incidents that are more than a line."""
    return [i for i in findings.incidents if i.severity is not Severity.INFO]


def test_two_vacation_programs_are_one_loop_of_259_messages_ended_by_the_sending_limit(findings_of) -> None:
    (loop,) = alarms(findings_of("loop_postfix_exim"))
    assert loop.type is LoopType.AUTO_RESPONSE
    assert loop.members == ("anna@alpha.example", "bob@beta.example")
    assert loop.messages == 259
    assert loop.ended_by.reason is Ending.SENDING_LIMIT
    assert loop.ended_by.side == "ours", "the logs of the host that refused are among the inputs"
    assert "sending rate" in loop.ended_by.evidence[0].text
    assert loop.confidence.level == "proven"


def test_a_ring_of_three_forwards_is_twelve_messages_and_588_transfers_ended_by_the_hop_limit(findings_of) -> None:
    (ring,) = alarms(findings_of("ring_three_hosts"))
    assert ring.type is LoopType.FORWARDING
    assert ring.members == ("sales@alpha.example", "verkauf@beta.example", "info@gamma.example")
    assert (ring.messages, ring.transfers) == (12, 588)
    assert ring.ended_by.reason is Ending.HOP_LIMIT
    assert (ring.started.year, ring.ended.year) == (2025, 2026)


def test_bounces_of_forged_mail_are_a_backscatter_storm_to_the_forged_address(findings_of) -> None:
    (storm,) = alarms(findings_of("backscatter_storm"))
    assert (storm.kind, storm.type) == (Kind.NDR_STORM, StormType.BACKSCATTER)
    assert storm.members == ("victim@alpha.example",)
    assert storm.messages == 190
    assert storm.codes == {"5.1.1": 190}
    assert storm.series and sum(b.detail.get("5.1.1", 0) for b in storm.series.bins) == 190, (
        "the codes over time are drawn from this"
    )


def test_proper_responders_and_people_are_left_alone(findings_of) -> None:
    findings = findings_of("quiet_day")
    assert alarms(findings) == []
    assert sum(s.candidates for s in findings.searches) > 0, "silence must show that it looked"


def test_an_exchange_rule_and_a_ticket_robot_are_a_loop(findings_of) -> None:
    (loop,) = alarms(findings_of("exchange_autoreply"))
    assert set(loop.members) == {"orders@alpha.example", "support@beta.example"}
    assert abs(loop.messages - 241) <= 1
    assert loop.ended_by.reason is Ending.SENDING_LIMIT


@pytest.mark.parametrize(
    "name", ["loop_postfix_exim", "ring_three_hosts", "backscatter_storm", "quiet_day", "exchange_autoreply"]
)
def test_the_ledger_adds_up_to_every_line(findings_of, name: str) -> None:
    for item in findings_of(name).inputs:
        assert item.parsed + item.ignored + item.unrecognised + item.damaged == item.lines


@pytest.mark.parametrize("name", ["loop_postfix_exim", "ring_three_hosts", "backscatter_storm", "exchange_autoreply"])
def test_every_evidence_line_stands_where_it_is_said_to_stand(findings_of, name: str) -> None:
    for incident in findings_of(name).incidents:
        assert incident.evidence
        for e in incident.evidence:
            with open(e.source, "rb") as file:
                file.seek(e.offset)
                line = file.readline().rstrip(b"\r\n").decode("utf-8", "backslashreplace")
            assert line[:2000] == e.text


def test_the_same_input_gives_the_same_findings_but_for_the_run_block(samples: Path) -> None:
    first, second = (
        api.analyze([str(samples / "backscatter_storm")]).findings.model_dump_json(exclude={"run"}) for _ in range(2)
    )
    assert first == second


def test_every_recorded_incident_is_scored_without_a_fault(shared: Path, tmp_path: Path) -> None:
    faults = []
    for truth in sorted((shared / "incidents").glob("*.truth.json")):
        name = truth.name.removesuffix(".truth.json")
        out = tmp_path / f"{name}.json"
        out.write_text(api.analyze([str(shared / "incidents" / name)]).findings.model_dump_json(by_alias=True))
        run = subprocess.run(
            [sys.executable, str(shared / "accept" / "score.py"), str(truth), str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            faults.append(run.stdout)
    assert not faults, "\n".join(faults)


def test_the_same_events_in_another_format_give_the_same_incident(shared: Path) -> None:
    names = [p.name for p in (shared / "incidents_other_formats").iterdir()]
    for name in sorted(names):
        truth = json.loads((shared / "incidents" / f"{name}.truth.json").read_text())
        for log in sorted((shared / "incidents_other_formats" / name).iterdir()):
            found = api.analyze([str(log)], year=int(truth["ended"][:4])).findings
            assert found.inputs[0].unrecognised == 0, log
            wanted = [set(loop["members"]) for loop in truth["loops"]]
            for incident in alarms(found):
                if incident.kind is Kind.MAIL_LOOP:
                    assert any(set(incident.members) <= w for w in wanted), (log, incident.headline)
