"""Loops in which one side answers each message several times, and one of its answers goes round."""

from __future__ import annotations

from pathlib import Path

import pytest

from maillog_forensics import api
from tests.generator import generate, write
from tests.generator.loops import HARD


@pytest.mark.parametrize("seed", [31, 32])
def test_a_receipt_and_an_absence_notice_for_each_message_are_one_loop_with_all_its_messages(tmp_path: Path, seed: int) -> None:
    scenario = generate("hard", list(HARD).index("pair_told_twice"), seed)
    write(scenario, tmp_path)
    (told,) = [loop for loop in scenario.truth["loops"] if loop["kind"] == "auto_response"]
    found = api.analyze([str(tmp_path)]).findings.incidents
    (loop,) = [i for i in found if set(i.members) == set(told["members"])]
    assert loop.messages == pytest.approx(told["messages"], rel=0.06)
    (words,) = [f.words for f in loop.confidence.factors if "goes round" in f.words]
    assert " answers each message 2 times; " in words and words.split()[0] in loop.members
    counts = sorted(arrow.messages for arrow in loop.arrows)
    assert counts[1] >= 1.5 * counts[0] and sum(counts) == pytest.approx(loop.messages, abs=2)
