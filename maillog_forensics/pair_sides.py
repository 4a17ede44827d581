"""What was measured of each side of a stretch of mail between two mailboxes: the ground of `pair_verdicts`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from maillog_forensics import people, rhythm, subjects
from maillog_forensics.loops import Step

_EARLY = 0.1
"""Part of the answers that come before the arrival of what they answer, where deliveries are in flight at the same time."""
DAEMONS = ("mailer-daemon@", "postmaster@")


@dataclass(frozen=True)
class PairParameters:
    """Thresholds of `find_pairs`. Evidence is in nats, see `people`, which has what people were measured to do."""

    window_s: float = 4 * 3600
    """Longest gap between a message and its answer: slow loops turn once an hour, and a queue may add as much."""
    scales_s: tuple[float, ...] = (14400, 3600, 600, 120, 30)
    """Gaps at which a pair's history is cut into stretches, from coarse to fine; only those up to `window_s` are used."""
    min_messages: int = 8
    min_marked: int = 6
    """Enough, when the log itself says of both sides that machines wrote: two absence notices that answer once stay below."""
    marked_share: float = 0.6
    people_nats: float = 18.0
    """Against two people: `people.RARITY` is the longest stretch seen in years, this is 600 times rarer."""
    length_alone_nats: float = 10.0
    """More, where nobody answers more steadily than people: what alone would tell is that they keep it up too long."""
    sender_nats: float = 7.0
    """Against a person whose mail a machine acknowledges: such pairs are few, so it takes less."""
    program_nats: float = 2.0
    """Against a program that writes at random and is acknowledged: it may write more often than people, but waits for no answer."""
    program_at_once_nats: float = 1.0
    """The same where its waits are those of a machine that answers at once."""
    held_back_most: float = 4.0
    """What holding back while nothing is owed tells at most, since programs space their mails too."""
    own_pace_nats: float = -2.5
    """Against a program that writes at a pace of its own: where its wait is much the longer one, the two can hardly be told."""
    ignored_nats: float = 0.7
    """For a person or program that is acknowledged, for each answer of the same kind that was left alone at another time …"""
    ignored_free: int = 2
    """… but so many: a loop's last answers are left alone too."""
    own_pace_each: float = 0.1
    """… and so much for each of its messages: stamps of whole seconds make what came in look less even than it is."""
    no_clock_nats: float = 8.0
    """Whose waits are so much more even than its period keeps to no clock: in two schedules they are as even."""
    fetched_nats: float = 2.0
    """Whose subjects are made of what it got, by so much, fetches it by the clock."""
    log_began_s: float = -math.inf
    """When the logs begin: what ran before tells nothing of how it began (seconds)."""
    quiet_before: float = 3.0
    """A stretch was begun by hand only where the two were silent for so many periods of its clock before …"""
    off_phase: float = 0.1
    """… and its first message is farther from its writer's phase than this, as a part of the period, and thrice as far as nearly all others …"""
    on_phase: float = 0.8
    """… which are such a part of them …"""
    least_phases: int = 5
    """… where there are so many."""
    least_sizes: int = 20
    """So many messages of sizes that nothing explains tell of a pace of one's own."""
    notifier_nats: float = 2.0
    """Against a server that returns other messages, which the logs don't show."""
    marked_apart_nats: float = 4.0
    apart_nats: float = 5.0
    """Against two that write independently of each other."""
    instant_s: float = 10.0
    """Who answers within this is taken for a machine, which anybody's mail may have set off."""
    uneven_nats: float = 3.0
    """What a side that answers as unevenly as people takes off at most: few messages tell little of it."""
    steady_nats: float = 5.0
    """… and so is who answers this much more steadily than people."""
    waiting_nats: float = 2.0
    """… or at lags of its own, if not as steady."""
    max_wander: float = 0.2
    """With several messages in flight: standard deviation of the lags against the time between messages."""
    alternating: float = 0.75
    """Part of the steps that change direction where only one message is in flight …"""
    most_ahead: int = 3
    """… and so many messages is neither ahead of the other then, other mail included."""
    max_pairs: int = 200_000
    """Budget: pairs beyond it are not examined, and the report says so."""


@dataclass(frozen=True)
class Side:
    """What one of the two did in a stretch."""

    step: Step
    is_marked: bool
    lags_s: list[float]
    steady: float
    """Nats against people's answering times, which are uneven and seldom at once; below 0 where these are as uneven."""
    waits: float
    """Nats for waiting for what comes in, against writing by chance."""
    pace: float
    """Nats for writing because of what came in, against a pace of its own."""
    sizes: float
    """Nats against people by the sizes of its messages …"""
    alike: float
    """… and against such as write a line or two each time."""
    grows: float
    """Nats for answering what it quotes, by sizes that grow, or that are those of what came in and so much more."""
    held_back: float
    """Nats for writing only as long as it owes answers."""
    one_at_a_time: bool
    """Whether one message was on its way at a time: then what an answer is made of shows."""
    holds_as_people: bool
    """Whether that tells nothing: hardly anybody who writes as unevenly as people, one mail at a time, writes again within an acknowledgement's seconds."""
    subjects: float
    """Nats for answering by its subjects."""
    fresh: float
    """Nats for writing of its own accord, by subjects that have nothing to do with what it got."""
    worded: float
    """Nats against people by subjects that only machines give."""
    ignored: int
    """Answers of the other's that it left alone at other times."""
    picked: float
    """Nats that the choice is worth: of one stretch of so many as long in the history of the two, and of its steadiest part."""

    def is_machine(self, parameters: PairParameters) -> bool:
        """Whether its answers look like those of a machine, which anybody's mail may have set off."""
        return (
            self.answers_at_once(parameters)
            or self.steady >= parameters.steady_nats
            or people.against_chance(self.lags_s) >= parameters.waiting_nats
            or self.held_back >= parameters.held_back_most
        )

    @property
    def sized(self) -> float:
        """Nats against a person who writes of their own accord, by sizes that are even or, of many, grow: by what they quote, if not by one amount."""
        return max(self.sizes, self.grows) if self.grows >= people.GROWTH_TELLS else self.sizes

    def is_as_people(self, parameters: PairParameters) -> bool:
        """Whether its answering times and the sizes of its messages are both as uneven as people's, so that only how much it writes would tell."""
        return self.steady < 0 and self.sized <= -parameters.uneven_nats

    def answers_at_once(self, parameters: PairParameters) -> bool:
        """Whether it is taken for a machine because it answers quickly."""
        return self.step.lags is not None and self.step.lags.median_s <= parameters.instant_s


def measured(
    names: tuple[str, str],
    side: bool,
    data: dict[str, list[Any]],
    span: list[int],
    one_at_a_time: bool,
    parameters: PairParameters,
    within: int,
) -> Side:
    origin, target = names if side else names[::-1]
    mine = [k for k in span if data["up"][k] is side]
    theirs = [k for k in span if data["up"][k] is not side]
    times, second = [data["second"][k] for k in mine], data["second"]
    in_order = {k: j * 1e-6 for j, k in enumerate(span)}  # of one second the one that was logged first
    answered = [(a, b) for a, b in pairwise(span) if data["up"][a] is not side and data["up"][b] is side]
    # a program that a server waits for has answered before its delivery is logged
    is_early = sum(data["arrived"][a] > second[b] for a, b in answered) > _EARLY * len(answered)
    arrived = second if is_early else data["arrived"]
    lags_s = [second[b] - (arrived[a] if arrived[a] <= second[b] else second[a]) for a, b in answered]
    steady, waiting, soon = people.against_people(lags_s), people.against_chance(lags_s), people.at_once(lags_s)
    asked = sorted(arrived[k] for k in theirs)
    came, wrote = sorted(arrived[k] + in_order[k] for k in theirs), [second[k] + in_order[k] for k in mine]
    pace = people.against_own_pace(wrote, came)
    aligned, wander = rhythm.align(came, wrote) or ([], math.inf)
    # people's bursts, aligned first to first, look steadier than they are
    if not one_at_a_time and wander <= parameters.max_wander:
        steady = max(steady, people.against_people(aligned))
        pace = max(pace, people.aligned_against_own_pace(aligned, times))
    sizes = people.even_sizes([data["size"][k] for k in mine])
    # a loop's turns of several messages look as even as one's own pace; but their sizes are even
    if not one_at_a_time and sizes < 0:
        turn = rhythm.turns(wrote, came)
        own = people.aligned_against_turns(*turn) if turn else 0.0
        pace = own if own < 0 else pace
    # the sum of several gaps of one's own looks even as well: waits for what came in explain the times better than one's own gaps do
    in_turn = [v for v in (aligned, rhythm.in_turn(asked, times)) if v and people.aligned_against_own_pace(v, times) >= 0]
    waiting, lags_s = max([(waiting, lags_s), *((_in_flight(v, times), v) for v in in_turn)])
    turns = sorted([(t, side) for t in times] + [(t, not side) for t in asked])
    to_daemon = target.startswith(DAEMONS)  # people don't write there again and again
    signs = len(mine) if to_daemon else sum(data["is_automatic"][k] or data["is_linked"][k] for k in mine)
    step = Step(
        origin,
        target,
        times,
        rhythm.lags(lags_s),
        null_sender=sum(data["is_null"][k] for k in mine),
        marked=signs,
        linked=sum(data["is_linked"][k] for k in mine),
    )
    return Side(
        step,
        signs >= parameters.marked_share * len(mine),
        lags_s,
        max(-parameters.uneven_nats, steady) + soon,
        waiting,
        pace,
        sizes,
        people.alike_sizes([data["size"][k] for k in mine]),
        max(
            people.growing_sizes([data["size"][k] for k in mine]),
            people.passed_on_sizes((data["up"][k] is side, data["size"][k]) for k in span),
        ),
        people.held_back([t for t, _ in turns], [by for _, by in turns], side),
        one_at_a_time,
        one_at_a_time and steady < 0,
        subjects.answering(_turns(side, data, span)),
        subjects.fresh((data["up"][k] is side, data["subject"][k]) for k in span),
        subjects.machine_made(data["subject"][k] for k in mine),
        _ignored(side, data, span),
        math.log(len(data["row"]) / len(span)) + math.log(within / len(span)),
    )


def _in_flight(lags_s: list[float], times: list[float]) -> float:
    """Nats for waiting, where a lag spans several of its own messages.

    So many lags that follow each other are made of the same gaps, and tell as much as one; and each number in flight is a choice of its own.
    """
    between = (times[-1] - times[0]) / max(1, len(times) - 1)
    at_a_time = sum(lags_s) / len(lags_s) / max(between, 1.0 / max(1, len(times) - 1))
    return people.against_chance(lags_s) / (1 + at_a_time) - 2 * math.log(max(1.0, at_a_time))


def _ignored(side: bool, data: dict[str, list[Any]], span: list[int]) -> int:
    """How many of the other's answers, as quick as those of the stretch, this side left alone before and after it.

    Who answers what it gets does so every time, until something keeps it from doing so; who writes of his own accord does not.
    """
    second, up = data["second"], data["up"]
    steps = [(second[b] - second[a], up[b] is side) for a, b in pairwise(span) if up[a] != up[b]]
    waits, quick = [v for v, own in steps if own], [v for v, own in steps if not own]
    if not waits or not quick:
        return 0
    soon, patience = 1.5 * max(1.0, high(quick)), 3 * max(60.0, *waits)
    count = 0
    for k in [*range(1, span[0]), *range(span[-1] + 2, len(second))]:
        if up[k] is not side and up[k - 1] is side and second[k] - second[k - 1] <= soon:
            following = k + 1
            while following < len(second) and up[following] is not side:
                following += 1
            count += following == len(second) or second[following] - second[k] > patience
    return count


def _turns(side: bool, data: dict[str, list[Any]], span: list[int]) -> Iterator[tuple[str | None, str | None]]:
    """The subject of each message of a side, and of the latest that came in before it."""
    came: int | None = None
    for k in span:
        if data["up"][k] is not side:
            came = k
        elif came is not None:
            yield data["subject"][k], data["subject"][came]


def high(values: list[float]) -> float:
    """What hardly any of the values exceeds."""
    ordered = sorted(values)
    return ordered[int(0.93 * (len(ordered) - 1))] if ordered else 0.0
