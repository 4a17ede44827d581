"""What is printed to be typed: complete for every cause, quoted for real shells, and never deleting first."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import quoting, remedies
from maillog_forensics.findings import Kind, LoopType, Remedy, StormType
from maillog_forensics.remedies import CAUSES, Mta, RemedyFacts, cause_words
from tests.documents import HOSTILE

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="no bash here: the quoting is not proved in a real shell")
BOTH = (
    Mta("postfix", "mx1", ("4F1A2C0D31", "3Zq1bC2d3Fz9k", "; rm -rf /")),
    Mta("exim", "mx.beta.example", ("1vy9SO-0004jK-1q", "1w5Mut-000000000Ap-0G1H")),
    Mta("exchange", "EX01"),
)


def facts(
    cause: str = "responder_pair", members: tuple[str, ...] = ("anna@alpha.example", "bob@beta.example"), **changes: object
) -> RemedyFacts:
    kind = Kind.NDR_STORM if cause in list(StormType) else Kind.MAIL_LOOP
    given_ = RemedyFacts(
        kind=kind,
        type=StormType(cause) if kind is Kind.NDR_STORM else LoopType.AUTO_RESPONSE,
        cause=cause,
        members=members,
        mtas=BOTH,
        date=dt.date(2026, 3, 5),
        running=True,
    )
    return dataclasses.replace(given_, **changes)  # type: ignore[arg-type]


def shell(found: tuple[Remedy, ...]) -> list[Remedy]:
    """Those that are typed into a shell (not Exim configuration, not PowerShell)."""
    return [
        r
        for r in found
        if r.when == "now" and r.mta in ("Postfix", "Exim") and not re.search(r"^(loopstop:|defer )", r.commands, re.MULTILINE)
    ]


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_words_and_remedies_for_every_server(cause: str) -> None:
    words = cause_words(cause)
    assert words.title and words.explanation and words.mend
    found = remedies.remedies(facts(cause, ours=("anna@alpha.example",)))
    now, lasting = [r for r in found if r.when == "now"], [r for r in found if r.when == "lasting"]
    assert {r.mta for r in now} == {"Postfix", "Exim", "Exchange"} and lasting
    assert found == (*now, *lasting), "what is urgent comes first"
    assert all(r.title and r.commands for r in found)


def test_an_unknown_cause_gets_the_words_for_unknown() -> None:
    assert cause_words("../../etc/passwd") == cause_words("unknown")


@pytest.mark.parametrize("cause", CAUSES)
def test_hold_comes_before_delete(cause: str) -> None:
    """The first block on each server deletes nothing; where something is deleted the page warns."""
    found = [r for r in remedies.remedies(facts(cause)) if r.when == "now"]
    deleting = re.compile(r"postsuper -d|-Mrm|Remove-Message|DeleteMessage")
    for mta in ("Postfix", "Exim", "Exchange"):
        of_mta = [r for r in found if r.mta == mta]
        assert not deleting.search(of_mta[0].commands)
        assert all(r.warning for r in of_mta if deleting.search(r.commands))


def test_queue_ids_are_counted_and_only_real_ones_are_printed() -> None:
    first = remedies.remedies(facts())[0]
    assert first.touches == 3 and "4F1A2C0D31 3Zq1bC2d3Fz9k" in first.commands and "rm -rf" not in first.commands


def test_removing_in_exchange_never_makes_ndrs() -> None:
    for cause in CAUSES:
        for r in remedies.remedies(facts(cause)):
            for line in r.commands.splitlines():
                assert "Remove-Message" not in line or "-WithNDR $false" in line


@pytest.mark.parametrize("mta", ["postfix", "exim", "exchange"])
def test_only_our_own_servers_get_commands(mta: str) -> None:
    found = remedies.remedies(facts(mtas=(Mta(mta, "h"),)))
    assert {r.mta for r in found if r.when == "now"} == {remedies.MTAS[mta]}
    assert {r.mta for r in found} <= {remedies.MTAS[mta], "Dovecot Sieve", "Any server"}


# --- quoting ---------------------------------------------------------------------------------------------------------


@needs_bash
@pytest.mark.parametrize("word", [w for w in HOSTILE if "\0" not in w])
def test_bash_gets_the_word_back_unchanged(word: str) -> None:
    assert _printed(word) == word.encode("utf-8", "surrogatepass")


@needs_bash
@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40))
def test_bash_gets_any_word_back_unchanged(word: str) -> None:
    assert _printed(word) == word.encode("utf-8", "surrogatepass")


def _printed(word: str) -> bytes:
    done = subprocess.run(
        [str(BASH), "-c", f"printf %s {quoting.sh(word)}"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    )
    return done.stdout


_IN_A_CONFIGURATION = re.compile(r"^ *(?:senders|recipients|domains) +=(.*)$|^#  .*transport: (.*)$", re.MULTILINE)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("char", "!$%&'*/?^`{|}\\\":;<>,()[] \t\n")
def test_what_a_configuration_would_expand_is_never_printed_into_one(cause: str, char: str) -> None:
    """Exim expands `$`, and takes `*` for all and `!` for not; all of them may stand in an address (RFC 5322, 3.2.3)."""
    odd = (f"{char}anna@beta.example", f"an{char}na@gamma.example", f"bob@{char}beta.example", f"bob@be{char}ta.example")
    found = remedies.remedies(facts(cause, members=("anna@alpha.example", *odd), ours=("anna@alpha.example",)))
    fixed = remedies.remedies(facts(cause, members=("anna@alpha.example",), ours=("anna@alpha.example",)))
    for r in found:
        same = [f.commands for f in fixed if f.title == r.title and f.mta == r.mta]
        for printed in _IN_A_CONFIGURATION.findall(r.commands):
            text = "".join(printed)
            assert any(text in known for known in same), r.commands


def test_what_can_not_stand_in_a_configuration_is_counted_there() -> None:
    found = remedies.remedies(facts(members=("anna@alpha.example", "${run{/bin/id}}@beta.example")))
    left_out = [r for r in found if "are left out" in r.commands]
    assert {r.mta for r in left_out} == {"Postfix", "Exim"}
    assert all("# 1 address(es)" in r.commands for r in left_out)


@needs_bash
@pytest.mark.parametrize("cause", ["responder_pair", "forward_ring", "backscatter"])  # one for each group of recipes
def test_commands_with_hostile_addresses_are_sound_shell(cause: str) -> None:
    for members in (HOSTILE[:2], *((h, "bob@beta.example") for h in HOSTILE)):
        for r in shell(remedies.remedies(facts(cause, members=tuple(members)))):
            done = subprocess.run([str(BASH), "-n"], input=r.commands.encode("utf-8"), capture_output=True, check=False)
            assert done.returncode == 0, (r.commands, done.stderr)


def test_a_word_without_quotes_cannot_be_printed() -> None:
    env = remedies._environment()
    for template in ("{{ addresses | first }}", "{{ target }}"):
        with pytest.raises(ValueError, match="without quotes"):
            env.from_string(template).render(remedies._view(facts(), BOTH[0]))


@given(st.text(max_size=30))
def test_powershell_strings_end_where_they_should(word: str) -> None:
    """Outside of doubled quotes the literal holds no quote of any kind that PowerShell knows."""
    literal = quoting.powershell(word)
    for part in re.findall(r"'((?:[^'‘’‚‛]|['‘’‚‛]{2})*)'", literal):
        assert not re.search(r"(?<!['‘’‚‛])['‘’‚‛](?!['‘’‚‛])", part)
    rest = re.sub(r"'(?:[^'‘’‚‛]|''|‘‘|’’|‚‚|‛‛)*'", "", literal)
    assert re.fullmatch(r"[()+ ]*(?:\[char\](?:0x[0-9a-f]{4}|::ConvertFromUtf32\(0x[0-9a-f]+\))[()+ ]*)*", rest), literal


# --- in front of real filters ----------------------------------------------------------------------------------------


def _stub(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@needs_bash
@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq here: the filter is not run")
@pytest.mark.parametrize(
    "nasty", ["bob@beta.example", "-Rf@evil.example", "a'b\"c@evil.example", "$(id)`id`@evil.example", "\u202egnp@evil.example"]
)
def test_the_queue_filter_holds_the_loop_and_nobody_else(nasty: str, tmp_path: Path) -> None:
    def queued(queue_id: str, sender: str, *to: str) -> str:
        return json.dumps(
            {"queue_name": "active", "queue_id": queue_id, "sender": sender, "recipients": [{"address": t} for t in to]}
        )

    queue = "\n".join(
        [
            queued("A1", "anna@alpha.example", nasty),
            queued("A2", nasty, "Anna@Alpha.example"),
            queued("A3", "MAILER-DAEMON", "anna@alpha.example"),
            queued("B1", "anna@alpha.example", "carla@gamma.example"),
            queued("B2", "carla@gamma.example", "anna@alpha.example"),
            queued("B3", "anna@alpha.example", nasty, "dora@x.example"),
            queued("B4", "MAILER-DAEMON", "carla@gamma.example"),
        ]
    )
    (tmp_path / "queue.json").write_text(queue, "utf-8")
    _stub(tmp_path, "postqueue", f"cat {tmp_path}/queue.json")
    _stub(tmp_path, "postsuper", 'echo "$*"; cat')
    block = next(r for r in remedies.remedies(facts(members=("anna@alpha.example", nasty))) if "among the members" in r.title)
    done = subprocess.run(
        [str(BASH), "-c", block.commands],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.stdout.split() == ["-h", "-", "A1", "A2", "A3"]


@needs_bash
@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq here: the filter is not run")
def test_the_filter_by_recipient_and_the_one_for_bounces(tmp_path: Path) -> None:
    rows = [
        ("A1", "x@y.example", "Sales@alpha.example"),
        ("A2", "MAILER-DAEMON", "sales@alpha.example"),
        ("B1", "sales@alpha.example", "x@y.example"),
    ]
    (tmp_path / "queue.json").write_text(
        "\n".join(
            json.dumps({"queue_name": "hold", "queue_id": i, "sender": s, "recipients": [{"address": t}]}) for i, s, t in rows
        )
    )
    _stub(tmp_path, "postqueue", f"cat {tmp_path}/queue.json")
    _stub(tmp_path, "postsuper", 'echo "$*"; cat')
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for cause, title, want in (
        ("forward_ring", "all queued mail", ["-h", "-", "A1", "A2"]),
        ("backscatter", "all queued bounces", ["-h", "-", "A2"]),
    ):
        block = next(
            r
            for r in remedies.remedies(facts(cause, members=("sales@alpha.example",)))
            if title in r.title and r.mta == "Postfix"
        )
        done = subprocess.run([str(BASH), "-c", block.commands], capture_output=True, text=True, check=True, env=env)
        assert done.stdout.split() == want


@needs_bash
@pytest.mark.skipif(shutil.which("exiqgrep") is None, reason="no exiqgrep here: the patterns are not run")
@pytest.mark.parametrize("nasty", ["bob@beta.example", "a.b+c@evil.example", "(x)|y@evil.example"])
def test_exiqgrep_freezes_the_loop_and_nobody_else(nasty: str, tmp_path: Path) -> None:
    rows = [
        ("1vy9SO-0004jK-1q", "anna@alpha.example", nasty),
        ("1vy9SO-0004jK-2q", nasty, "anna@alpha.example"),
        ("1vy9SO-0004jK-3q", "", "anna@alpha.example"),
        ("1vy9SO-0004jK-4q", "anna@alpha.example", "carla@gamma.example"),
        ("1vy9SO-0004jK-5q", "xanna@alpha.example", nasty),
        ("1vy9SO-0004jK-6q", "", "carla@gamma.example"),
    ]
    listing = "".join(f" 2m   1.2K {i} <{s}>\n          {t}\n\n" for i, s, t in rows)
    (tmp_path / "queue.txt").write_text(listing)
    _stub(tmp_path, "exim", f'case "$1" in -bp*) cat {tmp_path}/queue.txt;; *) echo "$@";; esac')
    block = next(
        r for r in remedies.remedies(facts(members=("anna@alpha.example", nasty))) if r.title.startswith("freeze all mail among")
    )
    commands = block.commands.replace("exiqgrep ", f"exiqgrep -E {tmp_path}/exim ")
    done = subprocess.run(
        [str(BASH), "-c", commands],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert sorted(done.stdout.split()[1:]) == [
        "1vy9SO-0004jK-1q",
        "1vy9SO-0004jK-2q",
        "1vy9SO-0004jK-3q",
    ] and done.stdout.startswith("-Mf")
