"""Lists that only one member's server tells of."""

from __future__ import annotations

import random

from maillog_forensics import graph, lists
from tests.test_graph import mail_of

LIST, MEMBER = "team@lists.example", "rolf@a.example"


def found(rows: list[tuple[float, str, str, str, str]]) -> list[tuple[str, ...]]:
    mail = mail_of(sorted(rows))  # type: ignore[arg-type]
    loops, _ = lists.find_lists(graph.build(mail), mail)
    return [loop.members for loop in loops]


def seen_by_a_member(
    turns: int, *, wait_s: float, answered: float = 1.0, with_others: bool = True
) -> list[tuple[float, str, str, str, str]]:
    """What one member's server logs: copies of others' posts, his own posts, and these back."""
    rng, rows, at = random.Random(3), [], 0.0
    for turn in range(turns):
        if with_others:
            rows.append((at, "mx.a.example", f"other{turn}", LIST, MEMBER))
        if rng.random() < answered:
            wrote = at + wait_s * rng.lognormvariate(0, 0.1)
            rows.append((wrote, "mx.a.example", f"own{turn}", MEMBER, LIST))
            rows.append((wrote + 2, "mx.a.example", f"own{turn}", LIST, MEMBER))
        at += 60 * rng.lognormvariate(0, 0.2)
    return rows


def test_a_responder_on_a_list_elsewhere_is_a_loop_of_the_list() -> None:
    assert found(seen_by_a_member(30, wait_s=4)) == [(LIST, MEMBER)]


def test_a_member_who_answers_now_and_then_is_none() -> None:
    assert found(seen_by_a_member(60, wait_s=40, answered=0.2)) == []


def test_a_script_that_writes_to_an_alias_of_its_own_is_no_member() -> None:
    assert found(seen_by_a_member(60, wait_s=4, with_others=False)) == []
