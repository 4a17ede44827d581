"""Whether two mailboxes that wrote to each other in turn are machines: measured values against thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from maillog_forensics import rhythm
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.language import mark, said
from maillog_forensics.loops import Loop, Step


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


def judge(
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
    """Judge one stretch of a pair's history; None where nothing speaks for machines.

    Parameters
    ----------
    data
        Columns of the pair's messages; `up` tells which of the two wrote.
    span
        Indices of the messages that keep the rhythm.
    lag_up, lag_down
        How quickly and how regularly each of them answers.
    in_flight, mixed
        Several messages are under way at once; jitter has mixed them up, so that lags tell nothing.
    """
    times, up = data["second"], data["up"]
    n = len(span)
    ups, downs = [k for k in span if up[k]], [k for k in span if not up[k]]
    if abs(len(ups) - len(downs)) > max(2, 0.2 * n) or min(len(ups), len(downs)) < 2:
        return None
    gaps = sorted(times[b] - times[a] for a, b in pairwise(span))
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
                said("regularity"),
                round(worst, 3),
                f"<= {limit:.2f}",
                regular,
                said(
                    "the less regular side varies by %(spread)s (standard deviation of the log lag); "
                    "people do not go below %(limit)s in runs of %(n)s",
                    spread=round(worst, 2),
                    limit=round(limit, 2),
                    n=n,
                ),
            )
        )
    factors.append(
        (
            said("run length"),
            n,
            f">= {parameters.run_margin * human + 2:.0f}",
            long_run,
            said(
                "%(n)s messages, one answering the other, nearly all within %(s)s s; people were seen to write %(human)s at such gaps",
                n=n,
                s=round(usual_gap),
                human=round(human),
            ),
        )
    )
    for s in steps:
        if s.marked:
            factors.append(
                (
                    said("marked %(who)s", who=s.origin),
                    s.marked,
                    said("of %(n)s", n=len(s.times)),
                    s.marked >= 0.6 * len(s.times),
                    said(
                        "%(n)s of %(all)s messages of %(who)s carry the null reverse-path, a logged parent, or a responder's transport",
                        n=s.marked,
                        all=len(s.times),
                        who=s.origin,
                    ),
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
        words = said(
            "the times drift (residual %(drift)s of the change per turn, clock: 0.7; correlation %(correlation)s, clock: -0.5)",
            drift=round(c.drift, 2),
            correlation=round(c.correlation, 2),
        )
        surely = all(k.is_round and k.drift < 0.9 and k.correlation < -0.25 for k in known)
        if follows and (surely or not both_marked):
            verdict = said("echo probe or schedulers of one period")
            out.append(
                LookAlike(
                    name=verdict,
                    ruled_out=False,
                    reason=said(
                        "the messages keep to a clock of %(s)s s; a loop's phase drifts",
                        s=round(c.period_s, 1),
                    ),
                )
            )
        else:
            why = said("the log marks the answers as automatic on both sides") if follows else words
            out.append(LookAlike(name=said("echo probe or schedulers of one period"), ruled_out=True, reason=why))
    caused = [s for s in steps if s.marked >= 0.6 * len(s.times)]
    if one_marked and not both_marked and verdict == "loop":
        other = next(s for s in steps if s not in caused)
        drifts = bool(known) and len(ups) >= 6 and max(c.drift for c in known) >= 0.95
        if not has_notifications:  # a bounce follows its message by itself; another null sender is a responder's
            drifts = drifts or (len(ups) >= 8 and all(not c.is_round and c.correlation > -0.3 for c in known))
        name = said("regular sender and its answers")
        if drifts or (other.lags and other.lags.median_s <= parameters.quick_s):
            why = said(
                mark("%(who)s writes because it was answered: the phase drifts")
                if drifts
                else mark("%(who)s writes because it was answered: it answers within seconds"),
                who=other.origin,
            )
            out.append(LookAlike(name=name, ruled_out=True, reason=why))
        else:
            verdict = name
            out.append(
                LookAlike(
                    name=name,
                    ruled_out=False,
                    reason=said("nothing shows that %(who)s writes because it was answered", who=other.origin),
                )
            )
    quick = max(s.lags.median_s for s in steps if s.lags)
    out.append(
        LookAlike(
            name=said("people writing quickly"),
            ruled_out=True,
            reason=said(
                mark("%(n)s messages with a slower side answering in %(s)s s, more regularly than people do")
                if regular
                else mark("%(n)s messages with a slower side answering in %(s)s s, longer than people keep up"),
                n=n,
                s=round(quick),
            ),
        )
    )
    out.append(
        LookAlike(
            name=said("ticket acknowledgement"),
            ruled_out=True,
            reason=said("both sides answer every time: %(up)s and %(down)s messages", up=len(ups), down=len(downs)),
        )
    )
    return out, verdict
