"""Drafts of rules: they are in the language, and take the line that they were drafted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from maillog_forensics import checking, proposing

LINES = [
    "Mar  2 08:13:22 mx1 spamthing[12]: 4F1A2C0D31: score 7.2 for <anna@alpha.example> from mx.beta.example[192.0.2.7]:2525",
    "Mar  2 08:13:22 mx1 mygateway[12]: rule [a{b}] matched 3 times, from=<bob@beta.example> to=<anna@alpha.example>",
    "Mar  2 08:13:22 mx1 mygateway: nothing to see \\ here",
]


@pytest.mark.parametrize("line", LINES)
def test_a_draft_can_be_loaded_and_takes_its_own_sample(line: str, tmp_path: Path) -> None:
    text = proposing.propose(line)
    (tmp_path / "mine.grammar").write_text(text)
    faults, _ = checking.check(tmp_path)
    assert faults == []
    assert "rule" in checking.explain(line, tmp_path)
    assert "unrecognised" not in checking.explain(line, tmp_path)


def test_a_draft_names_what_it_understands() -> None:
    pattern, values = proposing.draft("4F1A2C0D31: score 7.2 for <anna@alpha.example> from mx.beta.example[192.0.2.7]")
    assert values == {
        "queue_id": "4F1A2C0D31",
        "recipient": "anna@alpha.example",
        "client_host": "mx.beta.example",
        "client_ip": "192.0.2.7",
    }
    assert "{_:float}" in pattern


def test_a_line_that_is_known_needs_no_draft() -> None:
    assert "already" in proposing.propose("Mar  2 08:13:27 mx1 postfix/qmgr[9006]: 93BA798A0: removed")


def test_a_line_that_is_no_record_gets_none() -> None:
    assert "no envelope fits" in proposing.propose("hello")
