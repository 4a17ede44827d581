"""Loops in which one side answers each message several times: an absence notice and a ticket's receipt, say.

Of such a side's answers one alone goes round: where the rest is left out, the two take turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from maillog_forensics.language import said
from maillog_forensics.loops import Loop
from maillog_forensics.pair_sides import PairParameters
from maillog_forensics.pair_verdicts import judge

_REGULAR = 0.8
"""Part of the turns in which the one side wrote once, and the other so many times."""
_A_KIND = 0.25
"""Part of a side's messages that are of one kind, where there are two."""


def find(
    names: tuple[str, str], data: dict[str, list[Any]], stretch: list[int], parameters: PairParameters, within: int
) -> Loop | None:
    """The loop in a stretch of a pair's history, as `pair_verdicts.judge` finds it where one answer to each message is left; its rows are those that were."""
    for span in _thinned(stretch, data):
        if len(span) >= parameters.min_marked and (loop := judge(names, data, span, parameters, within)):
            _tell(loop, names, data, stretch, span)
            return loop
    return None


def _tell(loop: Loop, names: tuple[str, str], data: dict[str, list[Any]], stretch: list[int], span: list[int]) -> None:
    """Say what all else that is said of the loop leaves out."""
    kept = set(span)
    left_out = [k for k in stretch if k not in kept]
    loop.answers_each = round(2 * len(stretch) / len(span) - 1)
    words = said(
        "%(who)s answers each message %(n)s times; one of these answers goes round, the others are left out of what is measured here",
        who=names[not data["up"][left_out[0]]],
        n=loop.answers_each,
    )
    loop.factors.append((said("answers left out"), len(left_out), said("of %(n)s", n=len(stretch)), True, words))


def _thinned(stretch: list[int], data: dict[str, list[Any]]) -> Iterator[list[int]]:
    """The stretch with the last of several answers in a row, and with one kind of answer where the log tells of two."""
    up = data["up"]
    ups = sum(up[k] for k in stretch)
    often = 2 * ups > len(stretch)
    if max(ups, len(stretch) - ups) < 1.5 * min(ups, len(stretch) - ups):
        return
    turns = [(side, list(rows)) for side, rows in groupby(stretch, key=lambda k: up[k])]
    lengths = {side: Counter(len(rows) for by, rows in turns if by is side) for side in (True, False)}
    if all(c and c.most_common(1)[0][1] >= _REGULAR * c.total() for c in lengths.values()) and (
        lengths[not often].most_common(1)[0][0] == 1
    ):
        yield [rows[-1] for _, rows in turns]
    theirs = [k for k in stretch if up[k] is often]
    for is_null in (False, True):
        kind = {k for k in theirs if data["is_null"][k] is is_null}
        if _A_KIND * len(theirs) <= len(kind) <= (1 - _A_KIND) * len(theirs):
            yield [k for k in stretch if up[k] is not often or k in kind]


def count_all(loop: Loop, names: tuple[str, str], data: dict[str, list[Any]], whole: list[int]) -> None:
    """Let the steps of a loop have all messages of `whole`, those that were left out as well."""
    loop.steps = [
        replace(
            step,
            times=[data["second"][k] for k in mine],
            null_sender=sum(data["is_null"][k] for k in mine),
            marked=sum(data["is_automatic"][k] or data["is_linked"][k] for k in mine),
            linked=sum(data["is_linked"][k] for k in mine),
        )
        for step in loop.steps
        for mine in [[k for k in whole if data["up"][k] is (step.origin == names[0])]]
    ]
