"""Loops of new messages between two mailboxes: each answer is a message of its own, and nothing links the turns.

The pairs that wrote to each other are narrowed down in polars; the few that remain are examined one by one.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import polars as pl

from maillog_forensics import rhythm
from maillog_forensics.findings import LookAlike, LoopType


@dataclass(frozen=True)
class PairParameters:
    """Thresholds of `find_pairs`; `rhythm` has those of human behaviour."""

    window_s: float = 4 * 3600
    """Longest gap between a message and its answer: slow loops turn once an hour, and a queue may add as much."""
    scales_s: tuple[float, ...] = (14400, 3600, 600, 120, 30)
    """Gaps at which a pair's history is cut into stretches, from coarse to fine; only those up to `window_s` are used."""
    min_messages: int = 8
    min_marked: int = 5
    """Enough, when the log itself says of both sides that machines wrote."""
    run_margin: float = 1.35
    """A run must be so many times longer than the longest that people were seen to write at that gap."""
    min_in_flight: int = 16
    """Messages needed where several are in flight and alternation proves nothing."""
    quick_s: float = 15.0
    """A side that answers within this was never seen to be a person more than 4 times in a row."""
    min_share: float = 0.7
    """Part of a stretch that must keep the rhythm."""
    mixed_gap_s: float = 120.0
    """Where jitter has mixed several messages in flight, only changes as quick as this tell."""
    at_once_s: float = 10.0
    min_quick: int = 12
    """So many answers within `at_once_s`, from both sides, are no person's, whatever delays lie between them."""
    max_wander: float = 0.4
    """With several messages in flight: standard deviation of the lags against the time between messages."""
    far_spread: float = 0.65
    """… but not any: what varies more than this is people, however long they keep at it."""
    far_margin: float = 2.5
    """A run so many times longer than people's needs no regularity: jitter, retries and skewed clocks spoil it."""
    max_pairs: int = 200_000
    """Budget: pairs beyond it are not examined, and the report says so."""


@dataclass
class Step:
    """One arrow of a loop, before it becomes an `Arrow` of the findings."""

    origin: str
    target: str
    times: list[float]
    lags: rhythm.Lags | None
    null_sender: int = 0
    marked: int = 0
    linked: int = 0
    program: str = ""
    host: str = ""


@dataclass
class Loop:
    """A loop as a detector hands it on.

    Attributes
    ----------
    rows
        Indices into the table of edges: its messages, in time order.
    factors
        (name, value, threshold, supports, words) for the confidence.
    level
        proven, likely or possible.
    """

    type: LoopType
    members: tuple[str, ...]
    rows: list[int]
    steps: list[Step]
    level: Literal["proven", "likely", "possible"]
    score: float
    factors: list[tuple[str, float | str, str, bool, str]] = field(default_factory=list)
    look_alikes: list[LookAlike] = field(default_factory=list)
    turns: int = 0
    period_s: float | None = None
    copies: int = 0
    messages: int | None = None
    transfers: int | None = None
    lead_in: list[int] = field(default_factory=list)
    verdict: str = "loop"


@dataclass
class PairSearch:
    """What `find_pairs` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    truncated: int = 0


def find_pairs(edges: pl.DataFrame, parameters: PairParameters = PairParameters()) -> tuple[list[Loop], PairSearch]:
    """Find two-party loops of new messages.

    Parameters
    ----------
    edges
        Table of `graph.EDGES`, sorted by `sent`.
    parameters
        Thresholds.

    Returns
    -------
    loops, search
        Loops with `verdict` "loop" are alarms; others are possible ones, with the look-alike that they may be.

    Notes
    -----
    Pairs are kept when both wrote at least twice; each pair's history is cut where a gap exceeds a scale, coarse scales
    first, and each stretch is tested: do both sides answer like machines (marked as such by the log, or more regular or
    quicker and longer than people), alternating, and without following a clock? Cost: one sort, then linear in the
    messages of the pairs that are left. Known false positives: two schedulers of one period in opposite directions, and
    echo probes, are told from loops by their phase only and are reported as possible where fewer than 12 turns are there.

    References
    ----------
    J. P. Eckmann et al., Entropy of dialogues (PNAS 2004), on human reply times; Sanna Passino & Heard (2020), on the
    phase of automated events.
    """
    search = PairSearch()
    table = edges.with_row_index("row").filter(pl.col("sender") != pl.col("recipient"))
    table = table.with_columns(
        low=pl.min_horizontal("sender", "recipient"), high=pl.max_horizontal("sender", "recipient")
    ).with_columns(up=pl.col("sender") == pl.col("low"))
    counts = table.group_by("low", "high").agg(ups=pl.col("up").sum(), downs=(~pl.col("up")).sum())
    kept = counts.filter(pl.min_horizontal("ups", "downs") >= 2, pl.col("ups") + pl.col("downs") >= parameters.min_marked)
    table = table.join(kept.select("low", "high"), on=["low", "high"], how="semi")
    table = table.with_columns(second=pl.col("sent").dt.epoch("us") / 1e6).sort("low", "high", "sent", "order")
    search.candidates = kept.height
    table = _lively(table, parameters)
    busy = table.group_by("low", "high").len()
    if busy.height > parameters.max_pairs:
        search.truncated = busy.height - parameters.max_pairs
        busy = busy.sort("len", "low", "high", descending=[True, False, False]).head(parameters.max_pairs)
        table = table.join(busy, on=["low", "high"], how="semi", maintain_order="left")
    loops: list[Loop] = []
    columns = ["row", "second", "up", "is_null", "is_automatic", "is_linked", "size", "transport", "host", "is_notification"]
    for (low, high), part in table.partition_by("low", "high", as_dict=True, maintain_order=True).items():
        found = _examine_pair(str(low), str(high), part.select(columns).to_dict(as_series=False), parameters, search)
        loops += found
    return loops, search


def _lively(table: pl.DataFrame, parameters: PairParameters) -> pl.DataFrame:
    """The runs of each pair (no gap above the window) that are long enough for any test: most pairs have none."""
    second = pl.col("second")
    border = (
        (pl.col("low") != pl.col("low").shift())
        | (pl.col("high") != pl.col("high").shift())
        | (second - second.shift() > parameters.window_s)
    )
    runs = table.with_columns(_run=border.fill_null(True).cum_sum())
    signs = (pl.col("is_automatic") | pl.col("is_linked")).sum()
    long_enough = (
        runs.group_by("_run")
        .agg(n=pl.len(), ups=pl.col("up").sum(), signs=signs)
        .filter(
            pl.min_horizontal(pl.col("ups"), pl.col("n") - pl.col("ups")) >= 2,
            (pl.col("n") >= parameters.min_messages)
            | ((pl.col("n") >= parameters.min_marked) & (pl.col("signs") >= 0.5 * pl.col("n"))),
        )
    )
    return runs.join(long_enough.select("_run"), on="_run", how="semi", maintain_order="left").drop("_run")


def _examine_pair(low: str, high: str, data: dict[str, list[Any]], parameters: PairParameters, search: PairSearch) -> list[Loop]:
    times: list[float] = data["second"]
    taken = [False] * len(times)
    found: list[Loop] = []
    for scale in parameters.scales_s:
        if scale > parameters.window_s:
            continue
        start = 0
        for i in range(1, len(times) + 1):
            if i < len(times) and times[i] - times[i - 1] <= scale:
                continue
            stretch = [k for k in range(start, i) if not taken[k]]
            start = i
            if len(stretch) < parameters.min_marked:
                continue
            loop = examine(low, high, data, stretch, parameters)
            if loop is None:
                continue
            at = {r: k for k, r in enumerate(data["row"])}
            first, last = at[loop.rows[0]], at[loop.rows[-1]]
            if loop.verdict == "loop":
                first, last = _with_the_rest(first, last, times, taken)
                loop.rows = data["row"][first : last + 1]
            taken[first : last + 1] = [True] * (last + 1 - first)
            if loop.verdict != "loop":
                search.set_aside[loop.verdict] = search.set_aside.get(loop.verdict, 0) + 1
            found.append(loop)
    return found


def _with_the_rest(first: int, last: int, times: list[float], taken: list[bool]) -> tuple[int, int]:
    """The run around a loop that was proved by a part of it: further messages of the two that follow as closely.

    Where several messages are in flight, only a stretch in which they happen to alternate is proved at first.
    """
    gaps = sorted(b - a for a, b in pairwise(times[first : last + 1]))
    border = max(2 * gaps[int(0.95 * (len(gaps) - 1))], 15.0)
    while first > 0 and not taken[first - 1] and times[first] - times[first - 1] <= border:
        first -= 1
    while last + 1 < len(times) and not taken[last + 1] and times[last + 1] - times[last] <= border:
        last += 1
    return first, last


def examine(low: str, high: str, data: dict[str, list[Any]], stretch: list[int], parameters: PairParameters) -> Loop | None:
    """Test one stretch of a pair's history; None where nothing speaks for a machine on both sides."""
    times, up = data["second"], data["up"]
    ups = [k for k in stretch if up[k]]
    downs = [k for k in stretch if not up[k]]
    if len(ups) < 2 or len(downs) < 2:
        return None
    gaps = [(times[b] - times[a], up[b], j) for j, (a, b) in enumerate(itertools.pairwise(stretch), 1) if up[a] != up[b]]
    in_flight = len(gaps) < 0.75 * (len(stretch) - 1)
    mixed = False
    if in_flight:
        stretch = _densest(stretch, times)
        ups, downs = [k for k in stretch if up[k]], [k for k in stretch if not up[k]]
        gaps = [(times[b] - times[a], up[b], j) for j, (a, b) in enumerate(pairwise(stretch), 1) if up[a] != up[b]]
        if len(stretch) < parameters.min_in_flight:
            return None
        forward = rhythm.align([times[k] for k in downs], [times[k] for k in ups])
        backward = rhythm.align([times[k] for k in ups], [times[k] for k in downs])
        aligned = forward and backward and max(forward[1], backward[1]) <= parameters.max_wander
        if aligned and forward and backward:
            lag_up, lag_down = rhythm.lags(forward[0]), rhythm.lags(backward[0])
        else:
            mixed = True  # jitter has mixed them up; only a very long run of quick changes between the two can tell
            lag_up = rhythm.lags([g for g, by_up, _ in gaps if by_up])
            lag_down = rhythm.lags([g for g, by_up, _ in gaps if not by_up])
        span = stretch
    else:
        lag_up = rhythm.lags([g for g, by_up, _ in gaps if by_up])
        lag_down = rhythm.lags([g for g, by_up, _ in gaps if not by_up])
        if lag_up is None or lag_down is None:
            return None
        keep = []
        where = []
        for gap, by_up, j in gaps:
            lag = lag_up if by_up else lag_down
            ratio = abs(_log_ratio(gap, lag.median_s))
            keep.append(ratio <= max(3.0 * min(lag.spread, 0.6), 0.9) or abs(gap - lag.median_s) <= 2)
            where.append(j)
        first, last = rhythm.best_rhythm(keep)
        if last < first:
            return None
        span = stretch[where[first] - 1 : where[last] + 1]
        span = _widened(span, stretch, times, up)
        if len(span) < parameters.min_share * len(stretch) and len(span) < 40:
            return None  # a regular-looking piece picked out of an irregular stretch proves nothing; a finer scale may find it
        inside = [(times[b] - times[a], up[b]) for a, b in pairwise(span) if up[a] != up[b]]
        lag_up = rhythm.lags([g for g, b in inside if b])
        lag_down = rhythm.lags([g for g, b in inside if not b])
    if lag_up is None or lag_down is None or len(span) < parameters.min_marked:
        return None
    return _judge(low, high, data, span, lag_up, lag_down, in_flight, mixed, parameters)


def _widened(span: list[int], stretch: list[int], times: list[float], up: list[bool]) -> list[int]:
    """The span with its first and last turns, which jitter or a slow queue may have put out of the rhythm.

    It grows while the two go on in turn, and no gap is longer than nearly all within the span, times three.
    """
    gaps = sorted(times[b] - times[a] for a, b in pairwise(span))
    border = max(3 * gaps[int(0.93 * (len(gaps) - 1))], 30.0)
    first, last = stretch.index(span[0]), stretch.index(span[-1])
    while (
        first > 0 and up[stretch[first - 1]] != up[stretch[first]] and times[stretch[first]] - times[stretch[first - 1]] <= border
    ):
        first -= 1
    while (
        last + 1 < len(stretch)
        and up[stretch[last + 1]] != up[stretch[last]]
        and times[stretch[last + 1]] - times[stretch[last]] <= border
    ):
        last += 1
    return stretch[first : last + 1]


def _densest(stretch: list[int], times: list[float]) -> list[int]:
    """The largest piece of a stretch without a gap far above the usual one."""
    gaps = sorted(times[b] - times[a] for a, b in pairwise(stretch))
    border = max(20 * gaps[len(gaps) // 2], 120.0)
    pieces, piece = [], [stretch[0]]
    for a, b in pairwise(stretch):
        if times[b] - times[a] > border:
            pieces.append(piece)
            piece = []
        piece.append(b)
    return max([*pieces, piece], key=len)


def _log_ratio(a: float, b: float) -> float:
    import math

    return math.log(max(a, 0.7) / max(b, 0.7))


def _judge(
    low: str,
    high: str,
    data: dict[str, list[Any]],
    span: list[int],
    lag_up: rhythm.Lags,
    lag_down: rhythm.Lags,
    in_flight: bool,
    mixed: bool,
    parameters: PairParameters,
) -> Loop | None:
    times, up = data["second"], data["up"]
    n = len(span)
    ups, downs = [k for k in span if up[k]], [k for k in span if not up[k]]
    if abs(len(ups) - len(downs)) > max(2, 0.2 * n) or min(len(ups), len(downs)) < 2:
        return None
    gaps = sorted(times[b] - times[a] for a, b in itertools.pairwise(span))
    usual_gap = gaps[int(0.93 * (len(gaps) - 1))]
    factors: list[tuple[str, float | str, str, bool, str]] = []
    steps = []
    for mailbox, other, mine, lag in ((low, high, ups, lag_up), (high, low, downs, lag_down)):
        to_daemon = other.startswith(("mailer-daemon@", "postmaster@"))  # people don't write there again and again
        signs = len(mine) if to_daemon else sum(data["is_automatic"][k] or data["is_linked"][k] for k in mine)
        theirs = downs if mine is ups else ups  # what this mailbox received: through a responder's transport?
        program = next((data["transport"][k] for k in theirs if data["transport"][k]), "") or ""
        steps.append(
            Step(
                mailbox,
                other,
                [times[k] for k in mine],
                lag,
                sum(data["is_null"][k] for k in mine),
                signs,
                sum(data["is_linked"][k] for k in mine),
                program,
                next((data["host"][k] for k in mine if data["host"][k]), "") or "",
            )
        )
    limit = rhythm.regularity_limit(n)
    human = rhythm.longest_human_run(usual_gap)
    both_marked = all(s.marked >= 0.6 * len(s.times) for s in steps)
    worst = max(s.lags.spread for s in steps if s.lags)
    regular = not mixed and all(s.lags and s.lags.spread <= limit for s in steps)
    longest = len(span) if not in_flight else 1 + sum(up[a] != up[b] for a, b in pairwise(span))
    bounded = not mixed and worst <= parameters.far_spread
    far_beyond = (bounded and longest >= parameters.far_margin * human + 2) or (
        mixed and n >= 50 and usual_gap <= parameters.mixed_gap_s and longest >= 2 * human + 2
    )
    flips = [(times[b] - times[a], up[b]) for a, b in pairwise(span) if up[a] != up[b]]
    at_once = [by_up for gap, by_up in flips if gap <= parameters.at_once_s]
    often_quick = (
        len(at_once) >= max(parameters.min_quick, 0.6 * len(flips)) and min(sum(at_once), len(at_once) - sum(at_once)) >= 4
    )
    far_beyond = far_beyond or often_quick
    steady = not mixed and all(s.lags and (s.lags.spread <= rhythm.loosest_spread(n) or s.lags.median_s <= 3) for s in steps)
    long_run = far_beyond or (longest >= parameters.run_margin * human + 2 and steady)
    one_marked = any(s.marked >= 0.6 * len(s.times) for s in steps)
    rest = [s.lags.spread for s in steps if s.lags and s.marked < 0.6 * len(s.times)]
    rest_limit = parameters.far_spread if longest >= parameters.run_margin * human + 2 else limit + 0.08
    rest_regular = all(spread <= rest_limit for spread in rest)
    if n >= parameters.min_messages or both_marked:
        factors.append(
            (
                "regularity",
                round(worst, 3),
                f"<= {limit:.2f}",
                regular,
                f"the less regular side varies by {worst:.2f} (standard deviation of the log lag); people do not go below {limit:.2f} in runs of {n}",
            )
        )
    factors.append(
        (
            "run length",
            n,
            f">= {parameters.run_margin * human + 2:.0f}",
            long_run,
            f"{n} messages, one answering the other, nearly all within {usual_gap:.0f} s; people were seen to write {human:.0f} at such gaps",
        )
    )
    for s in steps:
        if s.marked:
            what = "the null reverse-path, a logged parent, or a responder's transport"
            factors.append(
                (
                    f"marked {s.origin}",
                    s.marked,
                    f"of {len(s.times)}",
                    s.marked >= 0.6 * len(s.times),
                    f"{s.marked} of {len(s.times)} messages of {s.origin} carry {what}",
                )
            )
    enough = n >= parameters.min_messages
    if not (
        (both_marked and n >= parameters.min_marked)
        or (enough and (regular or long_run))
        or (enough and one_marked and rest_regular)
    ):
        return None
    look_alikes, verdict = _look_alikes(
        steps, times, ups, downs, n, parameters, both_marked, one_marked, regular, any(data["is_notification"][k] for k in span)
    )
    score = min(0.99, 0.45 + 0.2 * regular + 0.2 * long_run + 0.15 * both_marked + 0.08 * one_marked + min(0.1, n / 1000))
    proven = both_marked or (any(s.linked >= 0.6 * len(s.times) for s in steps) and (regular or long_run))
    level: Literal["proven", "likely", "possible"] = "possible" if verdict != "loop" else "proven" if proven else "likely"
    loop = Loop(
        LoopType.NOTIFICATION
        if any(data["is_notification"][k] for k in span) and sum(data["is_notification"][k] for k in span) > 0.3 * n
        else LoopType.AUTO_RESPONSE,
        (low, high),
        [data["row"][k] for k in span],
        steps,
        level,
        score if verdict == "loop" else min(score, 0.4),
        factors,
        look_alikes,
        turns=min(len(ups), len(downs)),
        period_s=(lag_up.median_s + lag_down.median_s),
        verdict=verdict,
    )
    if not up[span[0]]:
        loop.members = (high, low)
        loop.steps.reverse()
    return loop


def _look_alikes(
    steps: list[Step],
    times: list[float],
    ups: list[int],
    downs: list[int],
    n: int,
    parameters: PairParameters,
    both_marked: bool,
    one_marked: bool,
    regular: bool,
    has_notifications: bool,
) -> tuple[list[LookAlike], str]:
    """Honest traffic with two directions and a rhythm, ruled out or not."""
    out = []
    verdict = "loop"
    clocks = [rhythm.clock([times[k] for k in side]) for side in (ups, downs)]
    known = [c for c in clocks if c]
    follows = bool(known) and any(c.is_clock for c in known)
    if known:
        c = known[0]
        words = f"the times drift (residual {c.drift:.2f} of the change per turn, clock: 0.7; correlation {c.correlation:+.2f}, clock: -0.5)"
        surely = all(k.is_round and k.drift < 0.9 and k.correlation < -0.25 for k in known)
        if follows and (surely or not both_marked):
            verdict = "echo probe or schedulers of one period"
            out.append(
                LookAlike(
                    name=verdict,
                    ruled_out=False,
                    reason=f"the messages keep to a clock of {c.period_s:.1f} s; a loop's phase drifts",
                )
            )
        else:
            why = "the log marks the answers as automatic on both sides" if follows else words
            out.append(LookAlike(name="echo probe or schedulers of one period", ruled_out=True, reason=why))
    caused = [s for s in steps if s.marked >= 0.6 * len(s.times)]
    if one_marked and not both_marked and verdict == "loop":
        other = next(s for s in steps if s not in caused)
        drifts = bool(known) and len(ups) >= 6 and max(c.drift for c in known) >= 0.95
        if not has_notifications:  # a bounce follows its message by itself; another null sender is a responder's
            drifts = drifts or (len(ups) >= 8 and all(not c.is_round and c.correlation > -0.3 for c in known))
        name = "regular sender and its answers"
        if drifts or (other.lags and other.lags.median_s <= parameters.quick_s):
            why = "the phase drifts" if drifts else "it answers within seconds"
            out.append(LookAlike(name=name, ruled_out=True, reason=f"{other.origin} writes because it was answered: {why}"))
        else:
            verdict = name
            out.append(
                LookAlike(name=name, ruled_out=False, reason=f"nothing shows that {other.origin} writes because it was answered")
            )
    quick = max(s.lags.median_s for s in steps if s.lags)
    out.append(
        LookAlike(
            name="people writing quickly",
            ruled_out=True,
            reason=f"{n} messages with a slower side answering in {quick:.0f} s, "
            + ("more regularly than people do" if regular else "longer than people keep up"),
        )
    )
    out.append(
        LookAlike(
            name="ticket acknowledgement",
            ruled_out=True,
            reason=f"both sides answer every time: {len(ups)} and {len(downs)} messages",
        )
    )
    return out, verdict


def second(time: dt.datetime) -> float:
    """POSIX seconds of a UTC time."""
    return time.timestamp()
