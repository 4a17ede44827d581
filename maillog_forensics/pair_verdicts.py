"""Whether two mailboxes that wrote to each other are machines in a loop: the evidence against each honest explanation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

from maillog_forensics import doubling, people, phase, rhythm, subjects
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.language import mark, said
from maillog_forensics.loops import Loop, Step

_AGAINST = {
    "independent senders": said("evidence against independent senders"),
    "people writing quickly": said("evidence against people writing quickly"),
    "ticket acknowledgement": said("evidence against a person who is acknowledged"),
    "program whose mails are acknowledged": said("evidence against a program that is acknowledged"),
    "notifications of other messages, each answered": said("evidence against notifications of other messages"),
}
"""What each honest explanation is called where it is weighed: readers take its bare name for what speaks for it."""
_DAEMONS = ("mailer-daemon@", "postmaster@")


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
    """More, where no side answers more steadily than people: what alone would tell is that they keep it up too long."""
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
    notifier_nats: float = 2.0
    """Against a server that returns other messages, which the logs don't show."""
    marked_apart_nats: float = 4.0
    apart_nats: float = 5.0
    """Against two that write independently of each other."""
    instant_s: float = 10.0
    """Who answers within this is taken for a machine, which anybody's mail may have set off."""
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
class _Side:
    """What one of the two did in a stretch."""

    step: Step
    is_marked: bool
    lags_s: list[float]
    steady: float
    """Nats against people's answering times."""
    waits: float
    """Nats for waiting for what comes in, against writing by chance."""
    pace: float
    """Nats for writing because of what came in, against a pace of its own."""
    sizes: float
    """Nats against people by the sizes of its messages."""
    grows: float
    """Nats for answering what it quotes."""
    held_back: float
    """Nats for writing only as long as it owes answers."""
    subjects: float
    """Nats for answering by its subjects."""
    ignored: int
    """Answers of the other's that it left alone at other times."""
    picked: float
    """Nats that the choice of the stretch is worth: one of so many as long in the history of the two."""

    def is_machine(self, parameters: PairParameters) -> bool:
        """Whether its answers look like those of a machine, which anybody's mail may have set off."""
        return (
            self.answers_at_once(parameters)
            or self.steady >= parameters.steady_nats
            or people.against_chance(self.lags_s) >= parameters.waiting_nats
        )

    def answers_at_once(self, parameters: PairParameters) -> bool:
        """Whether it is taken for a machine because it answers quickly."""
        return self.step.lags is not None and self.step.lags.median_s <= parameters.instant_s


def judge(names: tuple[str, str], data: dict[str, list[Any]], span: list[int], parameters: PairParameters) -> Loop | None:
    """Judge one stretch of a pair's history; None where honest mail explains it.

    Parameters
    ----------
    names
        The two mailboxes.
    data
        Columns of the pair's messages; `up` tells where the first of the two wrote.
    span
        Indices of the messages of the stretch.
    """
    times, up = [data["second"][k] for k in span], [bool(data["up"][k]) for k in span]
    n, ups = len(span), sum(up)
    if abs(2 * ups - n) > max(2, 0.2 * n) or min(ups, n - ups) < 2:
        return None
    flips = sum(a != b for a, b in pairwise(up))
    one_at_a_time = flips >= parameters.alternating * (n - 1) and _most_ahead(up) <= parameters.most_ahead
    if people.kept_in_step(up) < min(parameters.apart_nats, parameters.marked_apart_nats):
        return None
    sides = [_side(names, side, data, span, one_at_a_time, parameters) for side in (True, False)]
    marked = [s.is_marked for s in sides]
    factors: list[tuple[str, float | str, str, bool, str]] = []
    looks: list[LookAlike] = []
    if n < (parameters.min_marked if all(marked) else parameters.min_messages):
        return None
    for explained in _explanations(times, up, sides, one_at_a_time, parameters):
        if explained is None:
            continue
        nats, needed, name, words = explained
        if nats < needed:
            return None
        factors.append((_AGAINST[name], round(nats, 1), f">= {needed:.3g}", True, words))
        looks.append(LookAlike(name=name, ruled_out=True, reason=words))
    if all(marked):
        why = said("the log marks the answers as automatic on both sides")
        looks += [
            LookAlike(name=said(name), ruled_out=True, reason=why)
            for name in (mark("people writing quickly"), mark("ticket acknowledgement"))
        ]
    for s in sides:
        if s.step.marked:
            words = said(
                "%(n)s of %(all)s messages of %(who)s carry the null reverse-path, a logged parent, or a responder's transport",
                n=s.step.marked,
                all=len(s.step.times),
                who=s.step.origin,
            )
            name, of = said("marked %(who)s", who=s.step.origin), said("of %(n)s", n=len(s.step.times))
            factors.append((name, s.step.marked, of, s.is_marked, words))
    return _loop(names, data, span, sides, factors, looks, parameters)


def judge_growing(names: tuple[str, str], data: dict[str, list[Any]], span: list[int]) -> Loop | None:
    """The loop in one stretch of a pair's history that grows with each turn; None where there is none."""
    span = [k for k in span if not data["is_notification"][k]]
    found = doubling.find([data["second"][k] for k in span], [bool(data["up"][k]) for k in span])
    if found is None:
        return None
    span, steps = span[found.begin :], []
    members = names if found.first else names[::-1]
    for side, origin, target, lags in zip((found.first, not found.first), members, members[::-1], found.lags):
        mine = [k for k in span if data["up"][k] is side]
        nulls, linked = (sum(data[name][k] for k in mine) for name in ("is_null", "is_linked"))
        signs = sum(data["is_automatic"][k] or data["is_linked"][k] for k in mine)
        steps.append(Step(origin, target, [data["second"][k] for k in mine], lags, nulls, signs, linked))
    spread = max(lags.spread for lags in found.lags)
    words = said(
        "%(a)s answers each message %(m)s times and %(b)s %(n)s times, each after a time of its own: every turn is %(factor)s times as many",
        a=members[0],
        b=members[1],
        m=found.answers[0],
        n=found.answers[1],
        factor=found.answers[0] * found.answers[1],
    )
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (said("growing from turn to turn"), round(spread, 2), f"<= {doubling.SPREAD:g}", True, words)
    ]
    name = said("program whose mails are acknowledged")
    look = LookAlike(name=name, ruled_out=True, reason=said("acknowledgements do not make further messages, after a steady time"))
    linked = any(s.linked >= 0.6 * len(s.times) for s in steps)
    period = sum(lags.median_s for lags in found.lags)
    rows = [data["row"][k] for k in span]
    level: Literal["proven", "likely"] = "proven" if linked else "likely"
    return Loop(
        LoopType.AUTO_RESPONSE, members, rows, steps, level, 0.9, factors, [look], turns=round(found.turns), period_s=period
    )


def _side(
    names: tuple[str, str],
    side: bool,
    data: dict[str, list[Any]],
    span: list[int],
    one_at_a_time: bool,
    parameters: PairParameters,
) -> _Side:
    origin, target = names if side else names[::-1]
    mine = [k for k in span if data["up"][k] is side]
    theirs = [k for k in span if data["up"][k] is not side]
    times, second = [data["second"][k] for k in mine], data["second"]
    lags_s = [second[b] - second[a] for a, b in pairwise(span) if data["up"][a] is not side and data["up"][b] is side]
    steady, waiting = people.against_people(lags_s), people.against_chance(lags_s)
    pace = people.against_own_pace(times, [second[k] for k in theirs])
    asked = [second[k] for k in theirs]
    aligned, wander = rhythm.align(asked, times) or ([], math.inf)
    if (
        not one_at_a_time and wander <= parameters.max_wander
    ):  # people's bursts, aligned first to first, look steadier than they are
        steady = max(steady, people.against_people(aligned))
        pace = max(pace, people.aligned_against_own_pace(aligned, times))
    # the sum of several gaps of one's own looks even as well: waits for what came in explain the times better than one's own gaps do
    in_turn = [v for v in (aligned, rhythm.in_turn(asked, times)) if v and people.aligned_against_own_pace(v, times) >= 0]
    waiting, lags_s = max([(waiting, lags_s), *((people.against_chance(v) / _at_a_time(v, times), v) for v in in_turn)])
    to_daemon = target.startswith(_DAEMONS)  # people don't write there again and again
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
    return _Side(
        step,
        signs >= parameters.marked_share * len(mine),
        lags_s,
        max(0.0, steady),
        waiting,
        pace,
        people.even_sizes([data["size"][k] for k in mine]),
        people.growing_sizes([data["size"][k] for k in mine]),
        people.held_back([second[k] for k in span], [bool(data["up"][k]) for k in span], side),
        subjects.answering(_turns(side, data, span)),
        _ignored(side, data, span),
        math.log(len(data["row"]) / len(span)),
    )


def _at_a_time(lags_s: list[float], times: list[float]) -> float:
    """How many of its messages a lag spans: so many lags that follow each other are made of the same gaps, and tell as much as one."""
    return 1 + sum(lags_s) / len(lags_s) * (len(times) - 1) / max(1.0, times[-1] - times[0])


def _ignored(side: bool, data: dict[str, list[Any]], span: list[int]) -> int:
    """How many of the other's answers, as quick as those of the stretch, this side left alone before and after it.

    Who answers what it gets does so every time, until something keeps it from doing so; who writes of his own accord does not.
    """
    second, up = data["second"], data["up"]
    steps = [(second[b] - second[a], up[b] is side) for a, b in pairwise(span) if up[a] != up[b]]
    waits, quick = [v for v, own in steps if own], [v for v, own in steps if not own]
    if not waits or not quick:
        return 0
    soon, patience = 1.5 * max(1.0, _high(quick)), 3 * max(60.0, *waits)
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


_Explanation = tuple[float, float, str, str]
"""Nats against it, nats that are needed, its name, what was measured."""


def _explanations(
    times: list[float], up: list[bool], sides: list[_Side], one_at_a_time: bool, parameters: PairParameters
) -> Iterator[_Explanation | None]:
    """What honest mail could explain it, the cheapest to look at first."""
    both_marked = all(s.is_marked for s in sides)
    yield _apart(up, parameters.marked_apart_nats if both_marked else parameters.apart_nats)
    if not both_marked:
        yield _as_people(times, up, sides, parameters)
    for x, y in (sides, sides[::-1]):
        if x.is_marked:
            yield _as_notifier(x, parameters) if both_marked else None
        elif y.is_marked or y.is_machine(parameters):
            yield _as_person(x, parameters)
            yield _as_program(x, parameters)


def _as_people(times: list[float], up: list[bool], sides: list[_Side], parameters: PairParameters) -> _Explanation | None:
    """Two people who write quickly: rare by how long they keep it up, and by how steadily they answer."""
    if any(s.is_marked for s in sides):
        return None
    rare = max(people.rarity(times, up, people.ALTERNATING), people.rarity(times, up, people.BOTH_WAYS))
    words = said(
        "%(n)s messages with hardly a gap above %(gap)s s, answering times varying by %(a)s and %(b)s (people: 0.56 and more)",
        n=len(up),
        gap=round(_high([b - a for a, b in pairwise(times)])),
        **{name: round(s.step.lags.spread, 2) if s.step.lags else "-" for name, s in zip("ab", sides)},
    )
    steady = sum(s.steady for s in sides)
    needed = parameters.people_nats + parameters.length_alone_nats * max(0.0, 1 - steady / parameters.steady_nats)
    return rare + steady, needed, said("people writing quickly"), words


def _as_person(x: _Side, parameters: PairParameters) -> _Explanation:
    """A person `x` who writes of his own accord, and is acknowledged."""
    nats = people.rarity(x.step.times, None, people.ONE_WAY) + x.waits + x.sizes - _left_alone(x, parameters)
    words = said(
        "%(who)s wrote %(n)s times, in the median %(s)s s after what it received: steadier than by chance",
        who=x.step.origin,
        n=len(x.step.times),
        s=round(x.step.lags.median_s) if x.step.lags else 0,
    )
    return nats, parameters.sender_nats, said("ticket acknowledgement"), words


def _as_program(x: _Side, parameters: PairParameters) -> _Explanation:
    """A program `x` that writes when something happens, alarms or orders, and is acknowledged: as often as it likes."""
    signs = (
        (
            x.waits,
            said(
                "%(who)s waits for what it receives: its waits are steadier than those of a program at random", who=x.step.origin
            ),
        ),
        (x.grows, said("%(who)s quotes what it receives: its messages grow", who=x.step.origin)),
        (
            min(x.held_back, parameters.held_back_most),
            said("%(who)s did not write while an answer was on its way, as a program at random would", who=x.step.origin),
        ),
        (x.subjects, said("%(who)s answers: its subjects are made from others", who=x.step.origin)),
    )
    needed = parameters.program_at_once_nats if x.answers_at_once(parameters) else parameters.program_nats
    return (
        sum(nats for nats, _ in signs) - _left_alone(x, parameters),
        needed,
        said("program whose mails are acknowledged"),
        max(signs)[1],
    )


def _left_alone(x: _Side, parameters: PairParameters) -> float:
    """What speaks for his own accord elsewhere in the history: answers left alone, and that the stretch was picked from a long one."""
    return parameters.ignored_nats * max(0, x.ignored - parameters.ignored_free) + x.picked


def _as_notifier(x: _Side, parameters: PairParameters) -> _Explanation | None:
    """A server `x` that returns other messages, as no log shows, and whose notifications are answered."""
    if not x.step.origin.startswith(_DAEMONS) or x.step.linked >= parameters.marked_share * len(x.step.times):
        return None
    words = said(
        "%(who)s waits for what it receives: its waits are steadier than those of a program at random", who=x.step.origin
    )
    return (
        x.waits,
        parameters.notifier_nats,
        said("notifications of other messages, each answered"),
        words,
    )


def _apart(up: list[bool], needed: float) -> _Explanation:
    """Two senders that know nothing of each other."""
    words = said("in %(n)s messages neither got more than %(ahead)s ahead of the other", n=len(up), ahead=_most_ahead(up))
    return people.kept_in_step(up), needed, said("independent senders"), words


def _most_ahead(up: list[bool]) -> int:
    ahead = list(accumulate((1 if by_up else -1 for by_up in up), initial=0))
    return max(ahead) - min(ahead)


def _high(values: list[float]) -> float:
    """What hardly any of the values exceeds."""
    ordered = sorted(values)
    return ordered[int(0.93 * (len(ordered) - 1))] if ordered else 0.0


def _loop(
    names: tuple[str, str],
    data: dict[str, list[Any]],
    span: list[int],
    sides: list[_Side],
    factors: list[tuple[str, float | str, str, bool, str]],
    looks: list[LookAlike],
    parameters: PairParameters,
) -> Loop:
    n = len(span)
    both_marked = all(s.is_marked for s in sides)
    paces = [_by_the_clock(sides, parameters), _at_own_pace(sides, parameters)]
    verdict = next((look.name for look in paces if not look.ruled_out), "loop")
    least_of = [(float(value), float(least[3:])) for _, value, least, _, _ in factors if least.startswith(">= ")]
    margin = max(1.0, min((value / least for value, least in least_of if least > 0), default=3.0))
    proven = both_marked or any(s.step.linked >= parameters.marked_share * len(s.step.times) for s in sides)
    level: Literal["proven", "likely", "possible"] = "possible" if verdict != "loop" else "proven" if proven else "likely"
    score = 0.96 if both_marked else 0.95 - 0.25 * math.exp(1 - margin)
    notices = sum(data["is_notification"][k] for k in span)
    steps = [s.step for s in sides]
    members = names
    if not data["up"][span[0]]:
        members, steps = names[::-1], steps[::-1]
    return Loop(
        LoopType.NOTIFICATION if notices > 0.3 * n else LoopType.AUTO_RESPONSE,
        members,
        [data["row"][k] for k in span],
        steps,
        level,
        score if verdict == "loop" else min(score, 0.4),
        factors,
        [*paces, *looks],
        turns=min(len(s.step.times) for s in sides),
        period_s=sum(s.step.lags.median_s for s in sides if s.step.lags) if all(s.step.lags for s in sides) else None,
        verdict=verdict,
    )


def _by_the_clock(sides: list[_Side], parameters: PairParameters) -> LookAlike:
    """Echo probes, and schedulers of one period in opposite directions: they keep their phase, while a loop's drifts."""
    name = said("echo probe or schedulers of one period")
    clocks = [phase.clock(x.step.times, y.step.times) for x, y in (sides, sides[::-1])]
    drifts = ""
    for x, clock, other in zip(sides, clocks, clocks[::-1]):
        if clock is None or x.step.linked >= parameters.marked_share * len(x.step.times):
            continue
        known: dict[str, str | float] = {"who": x.step.origin, "s": round(clock.period_s, 1), "nats": round(clock.nats, 1)}
        if phase.believed(clock, other, len(x.step.times)):
            words = said("%(who)s writes every %(s)s s and keeps to that clock; a loop's phase drifts", **known)
            return LookAlike(name=name, ruled_out=False, reason=words)
        drifts = drifts or said("%(who)s keeps to no clock: %(nats)s nats for one of %(s)s s", **known)
    return LookAlike(name=name, ruled_out=True, reason=drifts or said("no side keeps a period"))


def _at_own_pace(sides: list[_Side], parameters: PairParameters) -> LookAlike:
    """A program that writes at a pace of its own, if not by the clock, and is answered."""
    name = said("regular sender and its answers")
    least = min((s for s in sides if not s.is_marked), key=lambda s: s.pace, default=None)
    if least is None:
        return LookAlike(name=name, ruled_out=True, reason=said("the log marks the answers as automatic on both sides"))
    is_own = least.pace < min(parameters.own_pace_nats, -parameters.own_pace_each * len(least.step.times))
    words = (
        said("%(who)s keeps more evenly to a pace of its own than to what it received", who=least.step.origin)
        if is_own
        else said("%(who)s keeps at least as evenly to what it received as to a pace of its own", who=least.step.origin)
    )
    return LookAlike(name=name, ruled_out=not is_own, reason=words)
