"""The same figures as the programs that administrators trust: pflogsumm, eximstats and exigrep; where not, why, line by line."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import intake, normalize, reading

ENTRY = [sys.executable, "-c", "from maillog_forensics.cli import main; main()"]


def peer(name: str) -> str:
    """The path of a peer; the test skips where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt install {'pflogsumm' if name == 'pflogsumm' else 'exim4-base'})")
    return path


@pytest.fixture(scope="module")
def plan() -> normalize.Plan:
    return reading.load()


def raw(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def events_of(path: Path, plan: normalize.Plan, mta: str) -> pl.DataFrame:
    events, _ = intake.take_in(str(path), plan, intake.Options()).whole()
    return events.filter(pl.col("mta") == mta)


# --- pflogsumm --------------------------------------------------------------------------------------------------------

POSTFIX_EVENTS = {"received": "receive", "delivered": "deliver", "deferrals": "defer", "bounced": "bounce", "rejected": "reject"}

WHY_PFLOGSUMM_DIFFERS = {
    r"postfix\S*/discard\[\d+\]: ": "it counts what discard(8) threw away as delivered",
    r": to=[^<]\S*, relay=": "it wants <> around a recipient; these lines were edited by who published them",
    r"status=failed ": "it knows no status=failed, which a configuration of the soft_bounce kind or an editor wrote",
    r"milter-reject: DATA from .*: 550 5\.7\.1 Command rejected": "it knows milter-reject of END-OF-MESSAGE only by its cleanup line",
    r" postfix-[^\s/]+/": "it reads the syslog name postfix alone (unless --syslog-name says another)",
}


def pflogsumm(text: bytes) -> dict[str, int]:
    out = subprocess.run(
        [peer("pflogsumm"), "-h", "0", "-u", "0", "--detail", "0"], input=text, capture_output=True, check=False
    ).stdout.decode("utf-8", "replace")

    def figure(expression: str) -> int:
        match = re.search(expression, out, re.MULTILINE)
        return int(match.group(1).replace("k", "000")) if match else 0

    words = ("received", "delivered", "bounced", "rejected")
    return {w: figure(rf"^\s+(\d+k?)\s+{w}") for w in words} | {"deferrals": figure(r"deferred\s+\((\d+k?)")}


def postfix_figures(events: pl.DataFrame) -> dict[str, int]:
    counts = dict(
        events.filter((pl.col("event") != "receive") | pl.col("program").is_in(["smtpd", "pickup"]))
        .group_by("event")
        .len()
        .iter_rows()
    )
    return {name: counts.get(event, 0) for name, event in POSTFIX_EVENTS.items()}


def postfix_logs(shared: Path) -> list[Path]:
    """Every Postfix log of the recorded incidents, and public ones: the large ones and those in which the programs differ."""
    named = (
        "0ced7103",
        "147c042d",
        "1a1c6329",
        "20f92c5b",
        "21c0bc90",
        "74ffac34",
        "755b0198",
        "7e53eb87",
        "a4fda818",
        "d46a3ce0",
        "f127ffc9",
    )
    public = [shared / "logs" / "postfix" / f"postfix-{n}.log.gz" for n in named]
    return sorted((shared / "incidents").glob("*/*mail*log")) + [p for p in public if p.exists()]


def test_postfix_figures_are_those_of_pflogsumm_or_each_line_that_differs_has_a_reason(
    shared: Path, plan: normalize.Plan
) -> None:
    peer("pflogsumm")
    compared, equal = 0, 0
    for path in postfix_logs(shared):
        if "exim" in path.name:
            continue
        text = raw(path)
        events = events_of(path, plan, "postfix")
        ours, theirs = postfix_figures(events), pflogsumm(text)
        compared += 1
        if ours == theirs:
            equal += 1
            continue
        lines = text.decode("utf-8", "replace").split("\n")
        odd = {n: line for n, line in enumerate(lines, 1) if any(re.search(why, line) for why in WHY_PFLOGSUMM_DIFFERS)}
        without = "\n".join(line for n, line in enumerate(lines, 1) if n not in odd)
        rest = events.filter(~pl.col("line").is_in(list(odd)))
        assert postfix_figures(rest) == pflogsumm(without.encode()), f"{path.name}: {ours} here, {theirs} there"
    assert compared >= 16
    assert equal >= compared - 3


def test_the_lines_that_pflogsumm_leaves_out_are_read_here(shared: Path, plan: normalize.Plan, tmp_path: Path) -> None:
    """Each reason is real: alone, such a line is one event here, and another or none there."""
    path = shared / "logs" / "postfix" / "postfix-147c042d.log.gz"
    if not path.exists():
        pytest.skip("the public log is not here")
    odd = [line for line in raw(path).decode().split("\n") if re.search(r" postfix-\S+: \S+ reject: ", line)]
    assert odd
    for line in odd:
        assert pflogsumm(line.encode() + b"\n")["rejected"] == 0
        (tmp_path / "one.log").write_text(line + "\n")
        assert postfix_figures(events_of(tmp_path / "one.log", plan, "postfix"))["rejected"] == 1


# --- eximstats and exigrep --------------------------------------------------------------------------------------------


def eximstats(text: bytes) -> dict[str, int]:
    """Messages received, addresses delivered, messages delayed and failed, refusals for good and for now."""
    out = subprocess.run(
        [peer("eximstats"), "-nr", "-nt", "-ne", "-h0"], input=text, capture_output=True, check=False
    ).stdout.decode()

    def row(name: str) -> list[str]:
        match = re.search(rf"^  {name}\s+(.*)$", out, re.MULTILINE)
        return match.group(1).split() if match else []

    received, delivered = row("Received") or ["0"] * 7, row("Delivered") or ["0"] * 4
    rejects = sum(int(r[0]) for r in (row("Rejects"), row("Temp Rejects")) if r)
    return {
        "received": int(received[1]),
        "delayed": int(received[3]),
        "failed": int(received[5]),
        "delivered": int(delivered[2]),
        "rejected": rejects,
    }


def exim_figures(events: pl.DataFrame) -> dict[str, int]:
    came = events.filter(pl.col("event") == "receive")

    def messages(event: str) -> int:  # eximstats counts those whose arrival it has seen
        return events.filter(pl.col("event") == event).join(came, on="queue_id", how="semi")["queue_id"].n_unique()

    return {
        "received": came.height,
        "delayed": messages("defer"),
        "failed": messages("bounce"),
        "delivered": events.filter(pl.col("event") == "deliver").height,
        "rejected": events.filter(pl.col("event") == "reject").height,
    }


EXIM_PUBLIC = (
    "1ad2d6c5",
    "519d3cb9",
    "733e6450",
    "791d16f2",
    "864c4fef",
    "8dd64728",
    "a3147629",
    "dd0f1608",
    "e71d69b0",
    "f713b962",
)


def test_exim_figures_are_those_of_eximstats(shared: Path, plan: normalize.Plan) -> None:
    """Left out are c62755e2 (Exim by syslog) and 770710d3 (failed logins, which eximstats does not call refusals)."""
    public = [shared / "logs" / "exim" / f"exim-{n}.log.gz" for n in EXIM_PUBLIC]
    paths = sorted((shared / "incidents").glob("*/*mainlog")) + [p for p in public if p.exists()]
    assert len(paths) >= 9
    for path in paths:
        assert exim_figures(events_of(path, plan, "exim")) == eximstats(raw(path)), path


def test_failed_logins_are_the_refusals_that_eximstats_does_not_count(shared: Path, plan: normalize.Plan) -> None:
    path = shared / "logs" / "exim" / "exim-770710d3.log.gz"
    if not path.exists():
        pytest.skip("the public log is not here")
    lines = raw(path).decode("utf-8", "replace").split("\n")
    refused = events_of(path, plan, "exim").filter(pl.col("event") == "reject")["line"].to_list()
    odd = [n for n in refused if not eximstats(lines[n - 1].encode() + b"\n")["rejected"]]
    assert len(refused) - len(odd) == eximstats(raw(path))["rejected"]
    for n in odd:
        assert re.search("authenticator failed|SMTP (?:protocol|call)|dropped by|VRFY failed|refused connection", lines[n - 1]), (
            lines[n - 1]
        )


def test_eximstats_4_96_reads_no_ids_of_exim_4_97_and_this_program_does(
    shared: Path, plan: normalize.Plan, tmp_path: Path
) -> None:
    line = "2026-03-02 08:13:23 1vwyP5-000000001mi-2O4X <= anna@alpha.example H=mx1.alpha.example [192.0.2.10] P=esmtp S=554\n"
    (tmp_path / "mainlog").write_text(line)
    assert exim_figures(events_of(tmp_path / "mainlog", plan, "exim"))["received"] == 1
    version = subprocess.run([peer("eximstats"), "--version"], capture_output=True, text=True, check=False).stdout
    if eximstats(line.encode())["received"]:
        pytest.skip(f"this eximstats reads the new ids: {version.strip()}")


def trace(*args: str) -> str:
    result = subprocess.run([*ENTRY, "trace", *args], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


@pytest.mark.parametrize("name", ["1_vacation_pingpong", "2_quota_end", "10_self_routing", "7_background"])
def test_trace_lines_are_those_of_exigrep(shared: Path, name: str) -> None:
    path = shared / "incidents" / name / "mx.beta.example.exim_mainlog"
    text = path.read_text()
    ids = list(dict.fromkeys(re.findall(r"^\S+ \S+ (?:\[\d+\] )?(\S{6}-\S{6}-\S\S) <=", text, re.MULTILINE)))
    for queue_id in ids[len(ids) // 2 :][:1]:
        found = subprocess.run([peer("exigrep"), "-l", queue_id, str(path)], capture_output=True, text=True, check=False).stdout
        theirs = [line for line in found.split("\n") if f" {queue_id} " in line and not line.startswith("+++")]
        shown = trace(str(path), queue_id, "--lines").split("\n")
        ours = [m.group(1) for line in shown if (m := re.match(r"      .*?:\d+: (.*)", line)) and f" {queue_id} " in m.group(1)]
        assert theirs, f"exigrep finds nothing of {queue_id}"
        assert ours == theirs, queue_id


def test_a_trace_follows_a_message_from_host_to_host(shared: Path) -> None:
    """The message that starts the ring goes over three hosts, 49 passages, and every queue id leads to the next."""
    folder = shared / "incidents" / "3_forward_ring_3"
    text = (folder / "mx1.alpha.example.mail.log").read_text()
    queue_id = re.search(r" ([0-9A-F]{8,}): client=", text)
    assert queue_id
    shown = trace(str(folder), queue_id.group(1))
    hosts = re.findall(r"^  \S+ \S+Z  (\S+)  (\S+)  postfix", shown, re.MULTILINE)
    assert {h for h, _ in hosts} == {"mx1", "mx", "lists"} or len({h for h, _ in hosts}) == 3
    seen = [q for _, q in hosts]
    handed = re.findall(r", there (\S+?)(?:,|:|$)", shown, re.MULTILINE)
    assert handed
    assert set(handed) <= set(seen), "a passage leads to a stay that the trace does not show"


def test_a_trace_by_address_and_by_message_id_finds_the_same_message(shared: Path) -> None:
    folder = shared / "incidents" / "1_vacation_pingpong"
    by_id = trace(str(folder), "<19cad9be82b.28964768424@alpha.example>")
    assert "93BA798A0" in by_id and "1vwyP5-0001mi-2O" in by_id
    assert by_id == trace(str(folder), "93BA798A0")
