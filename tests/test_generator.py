"""The generator of labelled logs: the same seed gives the same bytes, and the logs agree with each other and with the truth."""

from __future__ import annotations

import csv
import datetime as dt
import math
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generator import MIXES, Scenario, generate, write
from tests.generator.exim import seconds_of
from tests.generator.lookalikes import LOOKALIKES
from tests.generator.loops import HARD, PLAIN
from tests.generator.people import answer_time, chat_gap
from tests.generator.world import srs, unsrs

KINDS = [("plain", i) for i in range(len(PLAIN))] + [("hard", i) for i in range(len(HARD))]
ENDS = {"quota", "sending_limit", "hop_limit", "stopped", "none"}
_EXIM_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\S* (?:\[\d+\] )?(\w{6}-\w{6,11}-\w{2,4}) <= ", re.MULTILINE)
_ACCEPTED = re.compile(r"(?:250 2\.0\.0 Ok: queued as (\w+)|250 OK id=([\w-]+)|InternalId=(\d+), Hostname=)")


def _text(scenario: Scenario, part: str = "") -> str:
    return "".join(body.decode() for path, body in scenario.files.items() if part in path)


def _message_ids(scenario: Scenario) -> set[str]:
    """Message-IDs that any of the logs shows."""
    text = _text(scenario)
    found = set(re.findall(r"message-id=<([^>]+)>", text)) | set(re.findall(r" id=(\S+@\S+)", text))
    for path, body in scenario.files.items():
        if path.endswith(".LOG"):
            rows = csv.reader(line for line in body.decode().splitlines() if not line.startswith("#"))
            found |= {row[10].strip("<>") for row in rows}
    return found | {f"E{queue_id}" for _, queue_id in _EXIM_LINE.findall(text)}


@pytest.mark.parametrize("mix", MIXES)
def test_same_seed_same_bytes_other_seed_other_bytes(mix: str) -> None:
    """Nothing but mix, number and seed decides what is written."""
    one, two, other = generate(mix, 3, 7), generate(mix, 3, 7), generate(mix, 3, 8)
    assert one == two
    assert one.files != other.files


def test_does_not_depend_on_string_hashing(tmp_path: Path) -> None:
    """Two interpreters with different hash seeds write the same files."""
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.generator", str(tmp_path / seed), "--mix", "hard", "--count", "3", "--seed", "5"]
        root = Path(__file__).parent.parent
        subprocess.run(command, check=True, cwd=root, env={"PYTHONHASHSEED": seed, "PATH": ""}, capture_output=True)
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*") if p.is_file())
    assert len(files) > 6
    assert all((tmp_path / "1" / p).read_bytes() == (tmp_path / "2" / p).read_bytes() for p in files)


@pytest.mark.parametrize(("mix", "index"), KINDS)
def test_every_kind_of_loop_is_written_with_its_truth(mix: str, index: int) -> None:
    """Each kind gives logs, at least one loop, members that the logs name, and an end that the scale knows."""
    scenario = generate(mix, index, 11)
    text = _text(scenario).lower()
    assert 50 < text.count("\n") < 20_000
    assert scenario.truth["loops"]
    for loop in scenario.truth["loops"]:
        assert loop.get("ended_by", "none") in ENDS
        assert len(loop["members"]) + len(loop["optional_members"]) >= 2
        assert all(member.lower() in text for member in loop["members"])


@pytest.mark.parametrize("index", range(len(LOOKALIKES)))
def test_lookalikes_hold_no_loop_and_say_what_they_are(index: int) -> None:
    """Harmless traffic has an empty list of loops and a note on each thing that resembles one."""
    scenario = generate("lookalikes", index, 11)
    assert scenario.truth["loops"] == [] and scenario.truth["storms"] == []
    assert scenario.truth["benign"]
    assert _text(scenario).count("\n") > 200


@pytest.mark.parametrize(("mix", "index"), KINDS)
def test_messages_of_a_loop_are_in_the_logs(mix: str, index: int) -> None:
    """The truth counts messages that the written logs show: no more of them, and no fewer."""
    scenario = generate(mix, index, 12)
    shown = _message_ids(scenario)
    for loop in scenario.truth["loops"]:
        assert len(set(loop["message_ids"])) == loop["messages"] <= loop["messages_written"]
        assert all(m in shown or m.partition("@")[0] in shown for m in loop["message_ids"])


def test_messages_of_a_pair_counted_from_the_log_alone() -> None:
    """Counting queue entries between the two in a Postfix log gives the number that the truth has."""
    checked = 0
    for seed in range(12):
        scenario = generate("plain", 0, seed)
        loop = scenario.truth["loops"][0]
        first, second = loop["members"]
        for path, body in scenario.files.items():
            log = body.decode()
            if "mail" not in path or "exim" in path or "10024" in log:
                continue
            senders = dict(re.findall(r"qmgr\[\d+\]: (\w+): from=<([^>]*)>", log))
            ids = dict(re.findall(r"cleanup\[\d+\]: (\w+): message-id=<([^>]*)>", log))
            between = {
                ids[q]
                for q, to in re.findall(r"\]: (\w+): to=<([^>]*)>", log)
                if (senders[q], to) in ((first, second), (second, first))
            }
            assert loop["messages"] - 2 <= len(between) <= loop["messages"]
            checked += 1
    assert checked >= 5


def test_exim_ids_tell_the_second_of_arrival() -> None:
    """The first six characters of an Exim id are the second of its <= line, by the clock of that server."""
    checked = 0
    for mix, index in KINDS:
        scenario = generate(mix, index, 13)
        for stamp, queue_id in _EXIM_LINE.findall(_text(scenario, "exim_mainlog")):
            from_id = seconds_of(queue_id)
            written = _seconds(stamp)
            assert 0 <= written - from_id <= 1
            checked += 1
    assert checked > 500


def test_next_hop_ids_agree_across_hosts() -> None:
    """An id that one server was given by another is an id in that other server's log."""
    checked = 0
    for index in range(len(PLAIN)):
        scenario = generate("plain", index, 14)
        logs = {host["host"]: host for host in scenario.truth["hosts"]}
        for path, body in scenario.files.items():
            if "mail.log" not in path and "maillog" not in path:
                continue
            for line in body.decode().splitlines():
                met = re.search(r"relay=(\S+?)\[.*status=sent \((.*)\)$", line)
                accepted = _ACCEPTED.search(met[2]) if met else None
                if met and accepted and met[1] in logs:
                    peer = met[1] if logs[met[1]]["mta"] != "exchange" else met[1].partition(".")[0] + "/"
                    assert next(filter(None, accepted.groups())) in _text(scenario, peer)
                    checked += 1
    assert checked > 200


def test_logs_end_with_the_scenario_and_run_forward() -> None:
    """Stamps of a Postfix log with RFC 3339 stamps never run backwards, and none is later than the end."""
    for index in range(len(PLAIN)):
        for body in generate("plain", index, 15).files.values():
            stamps = [line[:32] for line in body.decode().splitlines() if re.match(r"\d{4}-\d\d-\d\dT\S+\+00:00 ", line)]
            assert stamps == sorted(stamps)


def test_people_answer_as_people_do() -> None:
    """Half of the answers within 7.7 hours, about 30 % within one, about 1 % within a minute; quick exchanges are uneven."""
    rng = random.Random(1)
    times = [answer_time(rng) for _ in range(20_000)]
    assert 6 * 3600 < statistics.median(times) < 9.5 * 3600
    assert 0.25 < sum(t <= 3600 for t in times) / len(times) < 0.36
    assert 0.005 < sum(t <= 60 for t in times) / len(times) < 0.02
    gaps = [chat_gap(rng) for _ in range(5000)]
    assert max(gaps) < 600
    assert statistics.stdev(math.log(g) for g in gaps) >= 0.5


def test_rewritten_senders_find_back() -> None:
    """Sender rewriting is undone step by step."""
    first = srs("carla@alpha.example", "beta.example")
    second = srs(first, "gamma.example")
    third = srs(second, "delta.example")
    assert first.startswith("SRS0=") and second.startswith("SRS1=") and third.startswith("SRS1=")
    assert unsrs(second) == first == unsrs(third)
    assert unsrs(first) == "carla@alpha.example"
    assert unsrs("carla@alpha.example") is None


def test_written_as_folders_with_the_truth_beside(tmp_path: Path) -> None:
    """NAME/ has the logs, NAME.truth.json the truth, and the files are as old as their last line."""
    scenario = generate("plain", 0, 3)
    base = write(scenario, tmp_path)
    assert (tmp_path / f"{scenario.name}.truth.json").is_file()
    assert {str(p.relative_to(base)) for p in base.rglob("*") if p.is_file()} == set(scenario.files)
    assert all(abs(p.stat().st_mtime - scenario.ended_at) < 1 for p in base.rglob("*") if p.is_file())


def _seconds(stamp: str) -> int:
    return int(dt.datetime.fromisoformat(stamp).replace(tzinfo=dt.UTC).timestamp())
