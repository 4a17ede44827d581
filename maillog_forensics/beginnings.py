"""How a loop began: its first messages, which greylisting or a queue may have kept far apart from the rest.

A detector sees a loop from where it turns at its usual pace. What went before is found by following it back: the message that
arrived one usual wait before a member wrote.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math

import polars as pl

from maillog_forensics.graph import Graph
from maillog_forensics.loops import Loop
from maillog_forensics.pair_sides import high

LOOK_BACK = dt.timedelta(hours=26)
PATIENCE, LEAST_S = 3.0, 15.0
"""So many times the usual wait, and at least so many seconds, may lie between an arrival and the answer to it."""


def followed_back(loop: Loop, graph: Graph) -> Loop:
    """The loop of new messages, from the first one that set off the others.

    Parameters
    ----------
    loop
        Its rows are rows of the graph's edges; its steps are in the order in which the messages ran.
    """
    before = {s.origin: p for p, s in zip([loop.steps[-1], *loop.steps[:-1]], loop.steps) if p.target == s.origin}
    if not before:
        return loop
    first = graph.edges["sent"][loop.rows[0]]
    begin = int(graph.edges["sent"].search_sorted(first - LOOK_BACK))
    numbers = dict(zip(graph.numbers(list(loop.members)), sorted(loop.members)))
    edges = graph.edges.slice(begin, loop.rows[-1] + 1 - begin).with_row_index("row", begin)
    edges = edges.filter(pl.col("sender").is_in(list(numbers)), pl.col("recipient").is_in(list(numbers)))
    seconds = {c: pl.col(c).dt.epoch("us") / 1e6 for c in ("sent", "arrived")}
    arrows: dict[tuple[str, str], list[tuple[float, float, int]]] = {(s.origin, s.target): [] for s in loop.steps}
    for row, sender, recipient, sent, arrived in edges.select("row", "sender", "recipient", **seconds).iter_rows():
        arrow = arrows.get((numbers[sender], numbers[recipient]))
        if arrow is not None and arrived is not None:
            arrow.append((sent, arrived, row))
    began = _set_off(loop, before_of={k: (p.origin, p.target) for k, p in before.items()}, arrows=arrows)
    inside = set(loop.rows)
    for step in loop.steps:  # who is in a loop writes to the next for no other reason
        more = [
            (sent, row)
            for sent, _, row in arrows[step.origin, step.target]
            if began <= sent and row < loop.rows[0] and row not in inside
        ]
        loop.rows += [row for _, row in more]
        step.times = sorted(step.times + [sent for sent, _ in more])
    loop.rows.sort()
    return loop


def _set_off(
    loop: Loop, before_of: dict[str, tuple[str, str]], arrows: dict[tuple[str, str], list[tuple[float, float, int]]]
) -> float:
    """When the first message was sent, in seconds."""
    inside = set(loop.rows)
    own = {arrow: [m for m in messages if m[2] in inside] for arrow, messages in arrows.items()}
    open_ones: list[tuple[float, tuple[str, str]]] = []
    patience: dict[tuple[str, str], float] = {}
    for arrow, messages in own.items():
        cause = before_of.get(arrow[0])
        arrivals = sorted(arrived for _, arrived, _ in own[cause]) if cause else []
        waits = [sent - arrivals[k - 1] if (k := bisect.bisect_right(arrivals, sent)) else math.inf for sent, _, _ in messages]
        known = [w for w in waits if w < math.inf]
        if known:
            patience[arrow] = max(PATIENCE * high(known), LEAST_S)
            open_ones += [(sent, arrow) for (sent, *_), w in zip(messages, waits) if w > patience[arrow]]
    began = min((sent for messages in own.values() for sent, *_ in messages), default=math.inf)
    while open_ones:
        sent, arrow = open_ones.pop()
        began = min(began, sent)
        cause = before_of.get(arrow[0])
        if cause is None or arrow not in patience:
            continue
        near = [m for m in arrows[cause] if m[2] not in inside and 0 <= sent - m[1] <= patience[arrow]]
        if near:
            latest = max(near, key=lambda m: m[1])
            inside.add(latest[2])
            open_ones.append((latest[0], cause))
    return began
