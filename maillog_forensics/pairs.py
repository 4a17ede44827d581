"""Loops of new messages between two mailboxes: each answer is a message of its own, and nothing links the turns.

The pairs that wrote to each other are narrowed down in polars to the stretches of mail in which two people would be a rarity;
the few that remain are examined one by one, and `pair_verdicts` judges what was measured.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import polars as pl

from maillog_forensics import answers_each, doubling, people, rhythm, runs
from maillog_forensics.findings import LoopType
from maillog_forensics.graph import Graph
from maillog_forensics.loops import Loop
from maillog_forensics.mail import Mail
from maillog_forensics.pair_sides import PairParameters
from maillog_forensics.pair_verdicts import is_in_turn, judge

_COLUMNS = (
    "row",
    "second",
    "arrived",
    "clock",
    "up",
    "is_null",
    "is_automatic",
    "is_linked",
    "is_notification",
    "size",
    "subject",
)
_MOST_IN_TURN, _MOST_IN_FLIGHT, _MOST_GROWN = 1.5, 6.0, 2.0
"""So many times larger the whole around a proved stretch may be unexamined: of several in flight a part may happen to take turns; what grew is most of it."""
_SLACK = 0.6
"""Part of the evidence asked for that a stretch must show at the quick look before it is examined."""


@dataclass
class PairSearch:
    """What `find_pairs` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    truncated: int = 0


def find_pairs(
    graph: Graph, parameters: PairParameters = PairParameters(), mail: Mail | None = None
) -> tuple[list[Loop], PairSearch]:
    """Find two-party loops of new messages.

    Parameters
    ----------
    graph
        The mail graph; its edges are sorted by `sent`.
    mail
        For the sizes and subjects of the few messages that are examined; without it, they tell nothing.
    parameters
        Thresholds.

    Returns
    -------
    loops, search
        Loops with `verdict` "loop" are alarms; others are possible ones, with the look-alike that they may be.

    Notes
    -----
    Pairs are kept when both wrote at least twice; each pair's history is cut where a gap exceeds a scale, coarse scales
    first, and each stretch is held against what honest mail explains: two people, a person or a program whose mail a
    machine acknowledges, two independent senders, two schedulers. Cost: one sort, then linear in the
    messages of the pairs that are left. Known false positives: two schedulers of one period in opposite directions, and
    echo probes, are told from loops by their phase only and are reported as possible where fewer than 12 turns are there.

    References
    ----------
    J. P. Eckmann et al., Entropy of dialogues (PNAS 2004), on human reply times; Sanna Passino & Heard (2020), on the
    phase of automated events.
    """
    search = PairSearch()
    table = _both_ways(graph.edges, parameters, search)
    striking = _striking(table, parameters)
    keys = striking.select("key").unique().sort("key")
    search.truncated = max(0, keys.height - parameters.max_pairs)
    pairs = table.join(keys.head(parameters.max_pairs), on="key", how="semi", maintain_order="left")
    facts = graph.edges[pairs["row"]].select("mid", "arrived", "is_null", "is_automatic", "is_linked", "is_notification")
    pairs = _with_looks(_linked_to_each_other(pl.concat([pairs, facts], how="horizontal"), graph, mail), mail)
    spans: dict[int, list[tuple[int, int]]] = {}
    for key, begin, end in striking.sort("scale", "begin", descending=[True, False]).select("key", "begin", "end").iter_rows():
        spans.setdefault(key, []).append((begin, end))
    loops: list[Loop] = []
    histories = _on_own_clock(pairs).group_by("key", maintain_order=True).agg("us", *_COLUMNS)
    for key, times, *columns in histories.iter_rows():
        names = (graph.name(key >> 32), graph.name(key & 0xFFFFFFFF))
        stretches = [range(bisect_left(times, begin), bisect_right(times, end)) for begin, end in spans[key]]
        loops += _examine_pair(names, dict(zip(_COLUMNS, columns)), stretches, parameters, search)
    return loops, search


def _linked_to_each_other(pairs: pl.DataFrame, graph: Graph, mail: Mail | None) -> pl.DataFrame:
    """The same, linked only where it is the sender's own message and its parent one of the other: what a list sends on has a parent by anybody."""
    if mail is None or not pairs["is_linked"].any():
        return pairs
    sides = pl.col("key") // (1 << 32), pl.col("key") % (1 << 32)
    linked = (
        pairs.lazy()
        .filter("is_linked", ~pl.col("is_null"))
        .select(
            "row",
            "mid",
            own=pl.when("up").then(sides[0]).otherwise(sides[1]),
            other=pl.when("up").then(sides[1]).otherwise(sides[0]),
        )
        .join(graph.stays.lazy(), on="mid")
    )
    told_parents = mail.messages.select("mid", pl.col("parent").cast(pl.UInt32)).drop_nulls()
    parents = pl.concat([told_parents, graph.answers.lazy().select("mid", parent="asked")])
    asked = parents.join(graph.stays.lazy(), on="mid").join(
        graph.stays.lazy().select(parent="mid", asked="logical"), on="parent"
    )  # whichever stay of the message is linked
    born = linked.join(asked.select("logical", "asked").unique(), on="logical").collect()
    wrote = graph.edges.lazy().filter(pl.col("logical").is_in(pl.concat([born["logical"], born["asked"]]).unique().implode()))
    authors = wrote.select(asked="logical", author=pl.col("sender").cast(pl.UInt64)).unique()
    first = wrote.sort("sent", "mid").group_by("logical").agg(first=pl.col("sender").first().cast(pl.UInt64))
    own = born.lazy().join(authors, on="asked").join(first, on="logical").filter(
        pl.col("author") == pl.col("other"), pl.col("first") == pl.col("own")
    )  # fmt: skip
    return pairs.with_columns(
        is_linked=pl.col("is_linked") & (pl.col("is_null") | pl.col("row").is_in(own.collect()["row"].implode()))
    )


def _on_own_clock(pairs: pl.DataFrame) -> pl.DataFrame:
    """The same with `second` and `arrived` in seconds, and `clock`: seconds that stand still while the latest message waits in a queue.

    Answers follow arrivals: greylisting and queues make a machine's look uneven, and tear a loop apart.
    """
    sent, arrived = pl.col("us") / 1e6, pl.col("arrived").dt.epoch("us") / 1e6
    pairs = pairs.with_columns(second=sent, arrived=pl.max_horizontal(arrived, sent))
    came = (
        pl.when(pl.col("arrived").shift() <= pl.col("second")).then(pl.col("arrived").shift()).otherwise(pl.col("second").shift())
    )
    within = pl.col("key") == pl.col("key").shift()
    return pairs.with_columns(clock=pl.when(within).then(pl.col("second") - came).otherwise(0.0).fill_null(0.0).cum_sum())


def _with_looks(pairs: pl.DataFrame, mail: Mail | None) -> pl.DataFrame:
    """The same with the sizes of the messages, bytes, and their subjects, NULL where not logged."""
    if mail is None or pairs.is_empty():
        return pairs.with_columns(size=pl.lit(None, pl.Int64), subject=pl.lit(None, pl.String))
    looks = mail.messages.select("mid", "size", "subject").join(pairs.lazy().select("mid").unique(), on="mid", how="semi")
    return pairs.lazy().join(looks, on="mid", how="left", maintain_order="left").collect()


def _both_ways(edges: pl.DataFrame, parameters: PairParameters, search: PairSearch) -> pl.DataFrame:
    """key, us, row, up, signs: the mail of pairs of which both wrote, by pair and, as the edges are, by time; `up`: the one with the lower number wrote."""
    low, high = pl.min_horizontal("sender", "recipient"), pl.max_horizontal("sender", "recipient")
    pairs = (
        edges.lazy()
        .with_row_index("row")
        .filter(pl.col("sender") != pl.col("recipient"))
        .select(
            "row",
            us=pl.col("sent").dt.epoch("us"),
            key=low.cast(pl.UInt64) * (1 << 32) + high,
            up=pl.col("sender") < pl.col("recipient"),
            signs=pl.col("is_automatic") | pl.col("is_linked"),
        )
    ).collect()
    pairs = runs.numbered(pairs.sort("key", maintain_order=True), pl.col("key").rle_id().diff().fill_null(1) > 0)
    kept = _mutual(runs.sizes(pairs, "up"), parameters)
    search.candidates = int(kept.sum())
    return runs.only(pairs, kept)


def _mutual(sizes: pl.DataFrame, parameters: PairParameters) -> pl.Series:
    """Whether both wrote at least twice, and enough."""
    ups = pl.col("up")
    return sizes.select((pl.min_horizontal(ups, pl.col("n") - ups) >= 2) & (pl.col("n") >= parameters.min_marked)).to_series()


def _striking(table: pl.DataFrame, parameters: PairParameters) -> pl.DataFrame:
    """key, scale, begin, end: the stretches of pairs, at each scale, that might pass for a machine's."""
    found = []
    for scale in sorted((s for s in parameters.scales_s if s <= parameters.window_s), reverse=True) or [parameters.window_s]:
        border = (pl.col("key") != pl.col("key").shift()) | (pl.col("us").diff() > scale * 1e6)
        table = runs.numbered(table, border.fill_null(True))
        table = runs.only(table, _mutual(runs.sizes(table, "up"), parameters))
        if table.is_empty():
            break
        found.append(_promising(table, parameters).with_columns(scale=pl.lit(float(scale))))
    return pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(("key", "scale", "begin", "end"), pl.Int64))


def _promising(table: pl.DataFrame, parameters: PairParameters) -> pl.DataFrame:
    """key, begin, end of runs that are long at their pace, or of which a side answers at a steady lag, or that are marked."""
    same = pl.col("run") == pl.col("run").shift()
    gap = (pl.when(same).then(pl.col("us").diff()) / 1e6).alias("gap")
    flip = (same & (pl.col("up") != pl.col("up").shift())).alias("flip")
    lag = pl.col("gap").add(1.0).log().cast(pl.Float32)
    steady = [
        pl.min_horizontal(
            *(v.quantile(b) - v.quantile(a) for a, b in ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0)))
        ).alias(name)
        for name, v in (("steady_up", lag.filter(pl.col("flip") & pl.col("up"))), ("steady_down", lag.filter(pl.col("flip") & ~pl.col("up"))))
    ]  # fmt: skip
    runs = (
        table.lazy()
        .with_columns(gap, flip)
        .group_by("run")
        .agg(
            pl.col("key").first(), pl.col("signs").sum(), *steady, begin=pl.col("us").first(), end=pl.col("us").last(),
            n=pl.len(), flips=pl.col("flip").sum(), usual=pl.col("gap").quantile(0.9),
        )
        .collect()
    )  # fmt: skip
    half = pl.col("flips") / 2
    even = sum((half * (0.45 / (pl.col(c) / 1.35).clip(0.03, 0.45)).log()).fill_null(0.0) for c in ("steady_up", "steady_down"))
    rare = people.RARITY * pl.max_horizontal(
        (pl.col("flips") + 1) / _longest(people.ALTERNATING), pl.col("n") / _longest(people.BOTH_WAYS)
    )
    return runs.filter(
        (rare + even >= _SLACK * parameters.people_nats) & (pl.col("n") >= parameters.min_messages)
        | (pl.col("signs") >= 0.25 * pl.col("n"))
    ).select("key", "begin", "end")


def _longest(table: Sequence[tuple[float, float]]) -> pl.Expr:
    """`people.longest` of the column `usual`, as an expression."""
    at = pl.col("usual").clip(table[0][0], table[-1][0]).log()
    out: pl.Expr = pl.lit(float(table[0][1]))
    for (x0, y0), (x1, y1) in pairwise(table):
        low, high = pl.lit(x0).log(), pl.lit(x1).log()
        out = out + (at.clip(low, high) - low) / (high - low) * (y1 - y0)
    return out


def _examine_pair(
    names: tuple[str, str], data: dict[str, list[Any]], spans: list[range], parameters: PairParameters, search: PairSearch
) -> list[Loop]:
    """The loops in some stretches of a pair's history; what one took is not looked at again."""
    taken = [False] * len(data["row"])
    at = {r: k for k, r in enumerate(data["row"])}
    found: list[Loop] = []
    for span in spans:
        loop = examine(names, data, [k for k in span if not taken[k]], parameters)
        if loop is None:
            continue
        first, last = at[loop.rows[0]], at[loop.rows[-1]]
        if loop.verdict == "loop":
            first, last = _with_the_rest(first, last, data, taken)
            if _is_refuted(names, data, [*range(first, last + 1)], loop, parameters):
                continue
            notices = loop.type is not LoopType.NOTIFICATION  # those of answers that were refused when it broke are no part of it
            whole = [k for k in range(first, last + 1) if not (notices and data["is_notification"][k])]
            loop.rows = [data["row"][k] for k in whole]
            if loop.answers_each > 1:
                answers_each.count_all(loop, names, data, whole)
        else:
            search.set_aside[loop.verdict] = search.set_aside.get(loop.verdict, 0) + 1
        taken[first : last + 1] = [True] * (last + 1 - first)
        found.append(loop)
    return found


def _is_refuted(
    names: tuple[str, str], data: dict[str, list[Any]], whole: list[int], loop: Loop, parameters: PairParameters
) -> bool:
    """Whether the two go on around a stretch as honest mail does, so that its rhythm was chance."""
    if loop.grows:  # what grew is most of it
        return len(whole) > _MOST_GROWN * len(loop.rows)
    most = _MOST_IN_TURN if is_in_turn([data["up"][k] for k in whole], parameters) else _MOST_IN_FLIGHT
    again = answers_each.find if loop.answers_each > 1 else judge
    return len(whole) > most * len(loop.rows) and again(names, data, whole, parameters, len(whole)) is None


def _with_the_rest(first: int, last: int, data: dict[str, list[Any]], taken: list[bool]) -> tuple[int, int]:
    """The run around a loop that was proved by a part of it: further messages of the two that follow as closely.

    Where several messages are in flight, only a stretch in which they happen to alternate is proved at first. What is close is
    measured again on what it grew to.
    """
    usual = 30.0
    while True:
        gaps = sorted(b - a for a, b in pairwise(data["clock"][first : last + 1]))
        usual = max(usual, 4 * gaps[int(0.95 * (len(gaps) - 1))])
        grown = _grown(first, -1, usual, data, taken), _grown(last, 1, usual, data, taken)
        if grown == (first, last):
            return grown
        first, last = grown


def _grown(at: int, step: int, usual: float, data: dict[str, list[Any]], taken: list[bool]) -> int:
    """How far the messages follow closely from `at` on. A pause (a queue that stood still) is no end where the two go on after it."""
    times, up = data["clock"], data["up"]

    def reach(at: int) -> int:
        while 0 <= at + step < len(times) and not taken[at + step] and abs(times[at + step] - times[at]) <= usual:
            at += step
        return at

    while True:
        at = reach(at)
        beyond = at + step
        if not 0 <= beyond < len(times) or taken[beyond] or abs(times[beyond] - times[at]) > max(10 * usual, 300.0):
            return at
        end = reach(beyond)
        ups = sum(up[min(beyond, end) : max(beyond, end) + 1])
        if min(ups, abs(end - beyond) + 1 - ups) < 2:
            return at
        at = end


def examine(names: tuple[str, str], data: dict[str, list[Any]], stretch: list[int], parameters: PairParameters) -> Loop | None:
    """Test one stretch of a pair's history, whole, then the part that keeps a rhythm; None where honest mail explains it."""
    times, up = data["clock"], data["up"]
    best: Loop | None = None
    for span in (_without_ends(stretch, times), _steadiest(stretch, times, up)):
        if len(span) < parameters.min_marked or best:
            continue
        best = judge(names, data, span, parameters, len(stretch))
    if best is None:
        whole = _without_ends(stretch, times)
        best = answers_each.find(names, data, whole, parameters, len(stretch)) or doubling.judge(names, data, whole, parameters)
    return best


def _without_ends(stretch: list[int], times: list[float]) -> list[int]:
    """The largest piece of a stretch without a gap far above the usual ones."""
    if len(stretch) < 3:
        return stretch
    gaps = sorted(times[b] - times[a] for a, b in pairwise(stretch))
    border = max(20 * gaps[len(gaps) // 2], 3 * gaps[int(0.93 * (len(gaps) - 1))], 120.0)
    pieces, piece = [], [stretch[0]]
    for a, b in pairwise(stretch):
        if times[b] - times[a] > border:
            pieces.append(piece)
            piece = []
        piece.append(b)
    return max([*pieces, piece], key=len)


def _steadiest(stretch: list[int], times: list[float], up: list[bool]) -> list[int]:
    """The part of a stretch in which the two take turns and answer near their usual lags."""
    turns = [(times[b] - times[a], up[b], j) for j, (a, b) in enumerate(pairwise(stretch), 1) if up[a] != up[b]]
    sides = {side: rhythm.lags([gap for gap, by, _ in turns if by is side]) for side in (True, False)}
    if sides[True] is None or sides[False] is None:
        return []
    keep = []
    for gap, by, _ in turns:
        lag = sides[by]
        assert lag is not None
        keep.append(rhythm.is_near(gap, lag))
    first, last = rhythm.best_rhythm(keep)
    if last < first:
        return []
    return _widened(stretch[turns[first][2] - 1 : turns[last][2] + 1], stretch, times, up)


def _widened(span: list[int], stretch: list[int], times: list[float], up: list[bool]) -> list[int]:
    """The span with its first and last turns, which jitter or a slow queue may have put out of the rhythm.

    It grows while the two go on in turn, and no gap is longer than nearly all within the span, times three.
    """
    gaps = sorted(times[b] - times[a] for a, b in pairwise(span))
    border = max(3 * gaps[int(0.93 * (len(gaps) - 1))], 30.0)
    first, last = stretch.index(span[0]), stretch.index(span[-1])

    def goes_on(a: int, b: int) -> bool:
        return up[stretch[a]] != up[stretch[b]] and times[stretch[b]] - times[stretch[a]] <= border

    while first > 0 and goes_on(first - 1, first):
        first -= 1
    while last + 1 < len(stretch) and goes_on(last, last + 1):
        last += 1
    return stretch[first : last + 1]
