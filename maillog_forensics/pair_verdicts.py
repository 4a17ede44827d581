"""Whether two mailboxes that wrote to each other are machines in a loop: the evidence against each honest explanation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any, Literal

from maillog_forensics import people, phase
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.language import mark, said
from maillog_forensics.loops import Loop
from maillog_forensics.pair_sides import DAEMONS, PairParameters, Side, high, measured

_AGAINST = {
    "independent senders": said("evidence against independent senders"),
    "people writing quickly": said("evidence against people writing quickly"),
    "ticket acknowledgement": said("evidence against a person who is acknowledged"),
    "program whose mails are acknowledged": said("evidence against a program that is acknowledged"),
    "notifications of other messages, each answered": said("evidence against notifications of other messages"),
}
"""What each honest explanation is called where it is weighed: readers take its bare name for what speaks for it."""


def judge(
    names: tuple[str, str], data: dict[str, list[Any]], span: list[int], parameters: PairParameters, within: int
) -> Loop | None:
    """Judge one stretch of a pair's history; None where honest mail explains it.

    Parameters
    ----------
    names
        The two mailboxes.
    data
        Columns of the pair's messages; `up` tells where the first of the two wrote.
    span
        Indices of the messages of the stretch.
    within
        How many messages the stretch had from which this one was picked.
    """
    times, up = [data["clock"][k] for k in span], [bool(data["up"][k]) for k in span]
    n, ups = len(span), sum(up)
    if abs(2 * ups - n) > max(2, 0.2 * n) or min(ups, n - ups) < 2:
        return None
    one_at_a_time = is_in_turn(up, parameters)
    if people.kept_in_step(up) < min(parameters.apart_nats, parameters.marked_apart_nats):
        return None
    sides = [measured(names, side, data, span, one_at_a_time, parameters, within) for side in (True, False)]
    marked = [s.is_marked for s in sides]
    factors: list[tuple[str, float | str, str, bool, str]] = []
    looks: list[LookAlike] = []
    if n < (parameters.min_marked if all(marked) else parameters.min_messages):
        return None
    for explained in _explanations(times, up, sides, parameters):
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


def is_in_turn(up: list[bool], parameters: PairParameters) -> bool:
    """Whether the two take turns, so that one message is in flight."""
    flips = sum(a != b for a, b in pairwise(up))
    return flips >= parameters.alternating * (len(up) - 1) and _most_ahead(up) <= parameters.most_ahead


_Explanation = tuple[float, float, str, str]
"""Nats against it, nats that are needed, its name, what was measured."""


def _explanations(
    times: list[float], up: list[bool], sides: list[Side], parameters: PairParameters
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


def _as_people(times: list[float], up: list[bool], sides: list[Side], parameters: PairParameters) -> _Explanation | None:
    """Two people who write quickly: rare by how long they keep it up, and by how steadily they answer."""
    if any(s.is_marked for s in sides):
        return None
    rare = max(people.rarity(times, up, people.ALTERNATING), people.rarity(times, up, people.BOTH_WAYS))
    alike = min(s.alike for s in sides)
    words = said(
        mark(
            "%(n)s messages with hardly a gap above %(gap)s s, answering times varying by %(a)s and %(b)s (people: 0.56 and more), "
            "sizes alike on both sides"
        )
        if alike > 1
        else mark(
            "%(n)s messages with hardly a gap above %(gap)s s, answering times varying by %(a)s and %(b)s (people: 0.56 and more)"
        ),
        n=len(up),
        gap=round(high([b - a for a, b in pairwise(times)])),
        **{name: round(s.step.lags.spread, 2) if s.step.lags else "-" for name, s in zip("ab", sides)},
    )
    steady = sum(s.steady + s.worded for s in sides) + 2 * alike
    needed = parameters.people_nats + parameters.length_alone_nats * max(0.0, 1 - max(0.0, steady) / parameters.steady_nats)
    return rare + steady, needed, said("people writing quickly"), words


def _as_person(x: Side, parameters: PairParameters) -> _Explanation:
    """A person `x` who writes of his own accord, and is acknowledged."""
    nats = people.rarity(x.step.times, None, people.ONE_WAY) + x.waits + x.sized + x.worded - _of_own_accord(x, parameters)
    words = said(
        "%(who)s wrote %(n)s times, in the median %(s)s s after what it received: steadier than by chance",
        who=x.step.origin,
        n=len(x.step.times),
        s=round(x.step.lags.median_s) if x.step.lags else 0,
    )
    needed = parameters.sender_nats + (parameters.length_alone_nats if x.is_as_people(parameters) else 0.0)
    return nats, needed, said("ticket acknowledgement"), words


def _as_program(x: Side, parameters: PairParameters) -> _Explanation:
    """A program `x` that writes when something happens, alarms or orders, and is acknowledged: as often as it likes."""
    signs = (
        (
            x.waits,
            said(
                "%(who)s waits for what it receives: its waits are steadier than those of a program at random", who=x.step.origin
            ),
        ),
        (x.grows, said("%(who)s quotes what it receives: its messages grow with it", who=x.step.origin)),
        (
            0.0 if x.holds_as_people else min(x.held_back, parameters.held_back_most),
            said("%(who)s did not write while an answer was on its way, as a program at random would", who=x.step.origin),
        ),
        (x.subjects, said("%(who)s answers: its subjects are made from others", who=x.step.origin)),
    )
    needed = parameters.program_at_once_nats if x.answers_at_once(parameters) else parameters.program_nats
    return (
        sum(nats for nats, _ in signs) - _of_own_accord(x, parameters),
        needed,
        said("program whose mails are acknowledged"),
        max(signs)[1],
    )


def _of_own_accord(x: Side, parameters: PairParameters) -> float:
    """What speaks for his own accord: subjects of his own, answers left alone at other times, and that the stretch was picked from a long history."""
    return parameters.ignored_nats * max(0, x.ignored - parameters.ignored_free) + x.picked + x.fresh


def _as_notifier(x: Side, parameters: PairParameters) -> _Explanation | None:
    """A server `x` that returns other messages, as no log shows, and whose notifications are answered."""
    if not x.step.origin.startswith(DAEMONS) or x.step.linked >= parameters.marked_share * len(x.step.times):
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


def _loop(
    names: tuple[str, str],
    data: dict[str, list[Any]],
    span: list[int],
    sides: list[Side],
    factors: list[tuple[str, float | str, str, bool, str]],
    looks: list[LookAlike],
    parameters: PairParameters,
) -> Loop:
    n = len(span)
    both_marked = all(s.is_marked for s in sides)
    clocks = [phase.clock(x.step.times, y.step.times) for x, y in (sides, sides[::-1])]
    begins = bool(data["up"][span[0]])
    fetching = [
        _fetches(x, y, clock, data, span, is_up is begins, parameters)
        for x, y, clock, is_up in zip(sides, sides[::-1], clocks, (True, False))
    ]
    paces = [_by_the_clock(sides, clocks, fetching, parameters), _at_own_pace(sides, fetching, parameters)]
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


def _by_the_clock(
    sides: list[Side], clocks: list[phase.Clock | None], fetching: list[str], parameters: PairParameters
) -> LookAlike:
    """Echo probes, and schedulers of one period in opposite directions: they keep their phase, while a loop's drifts."""
    name = said("echo probe or schedulers of one period")
    drifts = ""
    for x, clock, other, fetches in zip(sides, clocks, clocks[::-1], fetching):
        if clock is None or x.step.linked >= parameters.marked_share * len(x.step.times):
            continue
        known: dict[str, str | float] = {"who": x.step.origin, "s": round(clock.period_s, 1), "nats": round(clock.nats, 1)}
        is_believed = phase.believed(clock, other, len(x.step.times))
        if is_believed and x.pace >= parameters.no_clock_nats:
            drifts = drifts or _waits_evenly(x)
        elif is_believed and fetches:
            drifts = drifts or fetches
        elif is_believed:
            words = said("%(who)s writes every %(s)s s and keeps to that clock; a loop's phase drifts", **known)
            return LookAlike(name=name, ruled_out=False, reason=words)
        else:
            drifts = drifts or said("%(who)s keeps to no clock: %(nats)s nats for one of %(s)s s", **known)
    return LookAlike(name=name, ruled_out=True, reason=drifts or said("no side keeps a period"))


def _fetches(
    x: Side,
    y: Side,
    clock: phase.Clock | None,
    data: dict[str, list[Any]],
    span: list[int],
    is_first: bool,
    parameters: PairParameters,
) -> str:
    """Why `x`, who keeps to a clock, is a program that fetches its mail by it and answers, and no scheduler; else nothing.

    Such a loop was begun by a message at no time of the clock, before which nothing was written by it; or its subjects
    are made of what it fetches. is_first: `x` wrote the first message.
    """
    if clock is None:
        return ""
    if x.subjects >= parameters.fetched_nats:
        return said("%(who)s answers: its subjects are made from others", who=x.step.origin)
    if _begun_by_hand(data, span, clock.period_s, y.answers_at_once(parameters) and not is_first, parameters):
        return said(
            "%(who)s writes every %(s)s s, but the first message came at no time of that clock, and none before it",
            who=x.step.origin,
            s=round(clock.period_s, 1),
        )
    return ""


def _begun_by_hand(
    data: dict[str, list[Any]], span: list[int], period_s: float, answers_at_once: bool, parameters: PairParameters
) -> bool:
    """Whether the first message of a stretch, after a pause of the two, was at no time of a clock.

    Schedulers begin with a message on time, and probes with one of the prober's. Who keeps no phase, but `answers_at_once`, was not
    answering then.
    """
    first, pause = span[0], parameters.quiet_before * period_s
    began = data["second"][first]
    if (first and began - data["second"][first - 1] <= pause) or began - parameters.log_began_s <= pause:
        return False

    def apart(one: float, other: float) -> float:
        return abs((one - other + period_s / 2) % period_s - period_s / 2)

    phases = [data["second"][k] % period_s for k in span[1:] if data["up"][k] == data["up"][first]]
    if len(phases) < parameters.least_phases:
        return False
    near = parameters.off_phase * period_s
    middle = max(phases, key=lambda p: sum(apart(q, p) <= near for q in phases))
    off = sorted(apart(q, middle) for q in phases)
    usual = off[int(parameters.on_phase * (len(off) - 1))]
    if usual <= near:
        return apart(began, middle) > max(near, 3 * usual)
    return answers_at_once and data["up"][span[1]] != data["up"][first]


def _at_own_pace(sides: list[Side], fetching: list[str], parameters: PairParameters) -> LookAlike:
    """A program that writes at a pace of its own, if not by the clock, and is answered."""
    name = said("regular sender and its answers")
    least = min((s for s in sides if not s.is_marked), key=lambda s: _of_own_pace(s, parameters), default=None)
    if least is None:
        return LookAlike(name=name, ruled_out=True, reason=said("the log marks the answers as automatic on both sides"))
    # where its wait is much the longer one, the times hardly tell, however many they are: then its sizes do
    told_by_sizes = least.one_at_a_time and _sizes_of_own(least, parameters) < 0
    blurred = 0.0 if told_by_sizes else parameters.own_pace_each * len(least.step.times)
    is_own = _of_own_pace(least, parameters) < min(parameters.own_pace_nats, -blurred)
    if is_own and (fetches := fetching[sides.index(least)]):
        return LookAlike(name=name, ruled_out=True, reason=fetches)
    words = (
        said("%(who)s keeps more evenly to a pace of its own than to what it received", who=least.step.origin)
        if is_own
        else _waits_evenly(least)
    )
    return LookAlike(name=name, ruled_out=not is_own, reason=words)


def _of_own_pace(x: Side, parameters: PairParameters) -> float:
    """Nats for writing because of what came in, against a pace of its own: by its times, and by sizes that are made of what came in, or of nothing that did."""
    return x.pace + x.grows + _sizes_of_own(x, parameters)


def _sizes_of_own(x: Side, parameters: PairParameters) -> float:
    """Nats, below 0, of many messages whose sizes are uneven, and made of nothing that came in."""
    return min(0.0, x.sizes) if not x.grows and len(x.step.times) >= parameters.least_sizes else 0.0


def _waits_evenly(x: Side) -> str:
    return said("%(who)s keeps at least as evenly to what it received as to a pace of its own", who=x.step.origin)
