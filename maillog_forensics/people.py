"""What people do, and how much a stretch of mail exceeds it: the yardstick of every claim that machines wrote.

The tables are maxima over public collections of real mail: 803 days of a European institution (327,336 mails), Enron, nine
months of a manufacturing company (82,876 mails) and, as an upper bound, six months of students' instant messages. A
stretch as long as the longest that was seen among so many is one in some hundred thousand: `RARITY` nats. Evidence
is counted in nats (natural logarithms of likelihood ratios) throughout, so that what is independent adds up.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

RARITY = 11.5
"""What the longest stretch among about 100,000 is worth: ln(100,000)."""

ALTERNATING = ((15.0, 4), (60.0, 8), (120.0, 11), (300.0, 17), (600.0, 39), (7200.0, 60), (86400.0, 120))
"""Longest strict alternation A>B>A>… seen among people, by the gap that was never exceeded (15 s and 1 day extrapolated)."""

BOTH_WAYS = (
    (15.0, 6),
    (30.0, 12),
    (60.0, 18),
    (120.0, 32),
    (300.0, 45),
    (600.0, 60),
    (3600.0, 90),
    (14400.0, 140),
    (86400.0, 370),
)
"""Most messages that two people wrote each other, as many the one as the other and in any order, by the gap never exceeded."""

ONE_WAY = ((15.0, 17), (60.0, 19), (300.0, 25), (600.0, 32), (1800.0, 45), (3600.0, 72), (14400.0, 80), (86400.0, 190))
"""Most messages that one person wrote to another, whatever came back, by the gap never exceeded."""

HUMAN_SPREADS = (0.55, 1.6)
"""Standard deviation of the logarithm of people's answering times within one conversation, from … to (95 % are above 0.56)."""
BURST_SPREADS = (0.8, 1.6)
"""The same of the times between messages of one person's burst."""
MACHINE_SPREADS = (0.01, 0.42)
"""The same of a machine."""
LOOSE_SPREADS = (0.42, 0.7)
"""A machine that waits as it pleases, but neither writes at once nor leaves an answer for long."""
_STRAY = (0.02, 0.12, 0.3)
"""Share of a machine's answers that a queue, a retry or other mail puts out of time."""
_STRAY_DENSITY = 0.12
"""Of a delayed answer per unit of log time: anything from seconds to hours."""
_SEARCH = 3.0
"""Price in nats of having fitted the machine's centre, spread and strays."""
SHORTEST_CLOCK_S = 12.0
"""Nobody schedules mail more often; a shorter period is a machine's own."""
SHORTEST_PACE_S = 1.0
"""Whole seconds tell nothing of a shorter period."""
AT_ONCE_S = 10.0
_AT_ONCE_TELLS = 10.0
_SAME_BYTES, _SAME_SHARE = 24, 0.02
"""Sizes are even within so many bytes, or such a part of them."""
_SAME_BY_DESIGN, _SAME_BY_CHANCE, _SAME_OF_SHORT = 0.8, 0.04, 0.4
"""How often a machine's are, a person's, and those of a person who writes a line or two each time."""
_GROWS = 0.95
"""How often a mail is larger than the one before where each quotes the other; any other mails are in half of the cases at most."""
_SIZES_TELL = 4.0
GROWTH_TELLS = 4.0
"""Seven mails each of which is larger than the one before tell as much; fewer do so by chance now and then."""
_ALIKE_TELLS = 8.0
_LATEST = 6
"""What is answered is one of so many that came in the latest."""
_CROSSING = 0.05
"""How many of a party's messages are not of the loop."""
_ROOT_2PI = 0.5 * math.log(2 * math.pi)


def rarity(times: Sequence[float], directions: Sequence[bool] | None, table: Sequence[tuple[float, float]]) -> float:
    """Nats by which the longest stretches of some messages are rare among people: the tail of stretch lengths is geometric.

    Parameters
    ----------
    times
        Seconds, ascending.
    directions
        Which of two wrote; None where all count alike.
    table
        `ALTERNATING`, `BOTH_WAYS` or `ONE_WAY`: what counts as a stretch, and how long people's are by the gap never exceeded.
    """
    best = 0.0
    for gap_s, seen in table:
        longest_here = count = ups = 0
        for i, at in enumerate(times):
            goes_on = i > 0 and at - times[i - 1] <= gap_s
            if table is ALTERNATING and directions and i > 0:
                goes_on = goes_on and directions[i] != directions[i - 1]
            count, ups = (count, ups) if goes_on else (0, 0)
            count, ups = count + 1, ups + (directions is not None and directions[i])
            longest_here = max(longest_here, 2 * min(ups, count - ups) if table is BOTH_WAYS and directions else count)
        best = max(best, RARITY * longest_here / seen)
    return best


def log_times(seconds: Sequence[float]) -> list[float]:
    """Logarithms of lags; a second is added, since many logs have no finer stamps."""
    return [math.log(max(v, 0.0) + 1.0) for v in seconds]


def against_people(lags_s: Sequence[float]) -> float:
    """Nats for a machine that answers at a steady lag against a person within a conversation; either may now and then be late."""
    if len(lags_s) < 3:
        return 0.0
    x = log_times(lags_s)
    return max(likelihood(x, *MACHINE_SPREADS)[0], _edged(x) - 1.0) - _SEARCH - likelihood(x, *HUMAN_SPREADS)[0]


def at_once(lags_s: Sequence[float]) -> float:
    """Nats, up to 10, for a machine that answers within ten seconds, against people, of whose quick answers hardly one in ten comes so soon.

    Of all answers in the collections 0.1 to 0.4 in a hundred do.
    """
    soon = sum(lag <= AT_ONCE_S for lag in lags_s)
    nats = (2 * soon - len(lags_s)) * math.log(0.9 / 0.1)
    return min(max(nats, 0.0), _AT_ONCE_TELLS)


def against_chance(lags_s: Sequence[float]) -> float:
    """Nats for a machine that answers, against a sender whose mail merely happens to come next: bursty as people, or at random.

    At random means without memory: the time until the next message is exponential, whenever one starts to wait. Bursty means
    quick within a burst, at a pace as uneven as people's, with pauses between.
    """
    if len(lags_s) < 3:
        return 0.0
    x = log_times(lags_s)
    mean = sum(math.exp(v) for v in x) / len(x)
    # the density of an exponential time on the logarithmic scale
    at_random = sum(v - math.log(mean) - math.exp(v) / mean for v in x)
    machine = max(likelihood(x, *MACHINE_SPREADS)[0] - _SEARCH, _edged(x) - 1.0 - _SEARCH, likelihood(x, *LOOSE_SPREADS)[0] - 1.0)
    return machine - max(at_random, likelihood(x, *BURST_SPREADS)[0])


def against_own_pace(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """Nats for writing a while after what came in, against writing a while after one's own message before.

    A loop's period is the sum of two waits, so that each wait is more even than the period; of a schedule that is answered the
    period is the more even one. Both are compared as densities per second of the next message.
    """
    waited = [(at - before, wait) for before, at, wait in _answers(mine, theirs)]
    return _evener([wait for _, wait in waited], [period for period, _ in waited])


def waits(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Seconds from the latest that came in to one's own next message, where something came since the one before."""
    return [wait for *_, wait in _answers(mine, theirs)]


def _answers(mine: Sequence[float], theirs: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """One's own message before, the next, and how long that was after the latest that came between."""
    j = 0
    for before, at in itertools.pairwise(mine):
        while j < len(theirs) and theirs[j] <= at:
            j += 1
        if j and theirs[j - 1] >= before:
            yield before, at, at - theirs[j - 1]


def aligned_against_own_pace(lags_s: Sequence[float], mine: Sequence[float]) -> float:
    """The same where several messages are in flight, so that the latest that came in is not the one that is answered."""
    return _evener(lags_s, [b - a for a, b in itertools.pairwise(mine)])


def aligned_against_turns(lags_s: Sequence[float], turns_s: Sequence[float]) -> float:
    """The same where the message of one's own is known that each answered one had answered: in a loop the turn is the sum of both waits.

    Who writes at a pace of his own keeps more evenly to where he was several messages ago than to an answer that came in between.
    """
    return _evener(lags_s, turns_s)


def per_second(lags_s: Sequence[float]) -> float:
    """Nats for each lag as a density per second, if they are a machine's: how narrowly they tell when the next message comes."""
    return likelihood(log_times(lags_s), *MACHINE_SPREADS)[1] / len(lags_s)


def _evener(waits: Sequence[float], periods: Sequence[float]) -> float:
    """Nats by which waits are more even than periods, as densities per second of the next message."""
    n = min(len(waits), len(periods))
    if n < 3 or sorted(periods)[len(periods) // 2] < SHORTEST_PACE_S:
        return 0.0
    own, answering = (likelihood(log_times(v), 1e-6, 0.5, (*_STRAY, 0.6), grain_s=0.6)[1] * n / len(v) for v in (periods, waits))
    return answering - own


def held_back(times: Sequence[float], directions: Sequence[bool], side: bool) -> float:
    """Nats for a side that writes only as long as it owes answers, and the more of them the more often, against writing whenever it likes.

    In a loop a constant number of messages is on its way, each owed an answer by one of the two: who has answered all waits.
    Whoever writes of his own accord writes as often while all that he wrote is unanswered, and in bursts above all then.

    Parameters
    ----------
    times, directions
        Seconds, ascending, and which of the two wrote.
    side
        The direction of the one who is judged.
    """
    unanswered = list(itertools.accumulate((1 if up is side else -1 for up in directions), initial=0))
    most = max(unanswered)
    owed = [most - n for n in unanswered[1:]]
    time = sum(n * (after - before) for n, (before, after) in zip(owed, itertools.pairwise(times)))
    if time <= 0 or len(times) < 3:
        return 0.0
    usual = time / (times[-1] - times[0])
    writes = [before for before, up in zip(owed, directions[1:]) if up is side]
    return sum(math.log((1 - _CROSSING) * n / usual + _CROSSING) for n in writes)


def even_sizes(sizes: Sequence[int | None]) -> float:
    """Nats for a machine, whose mails are all of one size or grow by one amount, against a person, by the sizes (bytes) of mails in turn.

    Between -8 and 4, and 0 where sizes are not logged: a person may send the same text again, and a machine may quote what it likes.
    """
    return min(max(_even(sizes, _SAME_BY_CHANCE), -2 * _SIZES_TELL), _SIZES_TELL)


def alike_sizes(sizes: Sequence[int | None]) -> float:
    """The same against a person whose mails are all short: between 0 and 8, and more than a little for many only."""
    return min(max(_even(sizes, _SAME_OF_SHORT), 0.0), _ALIKE_TELLS)


def _even(sizes: Sequence[int | None], by_chance: float) -> float:
    known = [size for size in sizes if size]
    steps = [b - a for a, b in itertools.pairwise(known)]
    if len(steps) < 3:
        return 0.0
    usual = sorted(steps)[len(steps) // 2]
    even = sum(abs(step - usual) <= max(_SAME_BYTES, _SAME_SHARE * size) for step, size in zip(steps, known))
    uneven = len(steps) - even
    if abs(usual) > _SAME_BYTES:  # one step was needed to tell the amount
        even -= 1
    return even * math.log(_SAME_BY_DESIGN / by_chance) + uneven * math.log((1 - _SAME_BY_DESIGN) / (1 - by_chance))


def passed_on_sizes(turns: Iterable[tuple[bool, int | None]]) -> float:
    """Nats, up to 8, for mails that are made of what came in: each larger than one of the latest few by one of two amounts, against sizes of their own.

    Several messages may be in flight, each of which grows for itself. What hits by chance is measured on what came in half of the time earlier or later.

    Parameters
    ----------
    turns
        Of each message of the two, in the order of time, whether it is one's own, and its size (bytes), NULL where not logged.
    """
    came, own = list[int](), list[tuple[int, int]]()
    for is_own, size in turns:
        if size and is_own:
            own.append((size, len(came)))
        elif size:
            came.append(size)
    own = [(size, at) for size, at in own if at]
    if len(own) < 4 or len(came) < 2 * _LATEST:
        return 0.0
    differences = sorted(size - other for size, at in own for other in came[max(0, at - _LATEST) : at])
    usual = [_densest(differences)]
    usual.append(_densest([d for d in differences if abs(d - usual[0]) > 2 * _SAME_BYTES] or differences))

    def hits(shift: int) -> int:
        latest = [[came[(k + shift) % len(came)] for k in range(max(0, at - _LATEST), at)] for _, at in own]
        return sum(
            any(abs(size - other - more) <= _SAME_BYTES for other in others for more in usual)
            for (size, _), others in zip(own, latest)
        )

    by_chance = min(0.99, max(_LATEST * _SAME_BY_CHANCE, (hits(len(came) // 2) + 1) / (len(own) + 2)))
    even = hits(0)
    nats = (even - len(usual)) * math.log(_SAME_BY_DESIGN / by_chance)  # so many were needed to tell by how much
    nats += (len(own) - even) * math.log((1 - _SAME_BY_DESIGN) / (1 - by_chance))
    return min(max(nats, 0.0), _ALIKE_TELLS)


def _densest(differences: list[int]) -> int:
    """The middle of the densest few bytes of some ascending differences."""
    return (
        max((bisect_right(differences, d + 2 * _SAME_BYTES) - i, -abs(d), d) for i, d in enumerate(differences))[2] + _SAME_BYTES
    )


def growing_sizes(sizes: Sequence[int | None]) -> float:
    """Nats, up to 4, for a machine that quotes what it answers, so that its mails grow turn by turn, against any other machine."""
    steps = [b - a for a, b in itertools.pairwise([size for size in sizes if size])]
    grown = sum(step > _SAME_BYTES for step in steps)
    nats = grown * math.log(_GROWS / 0.5) + (len(steps) - grown) * math.log((1 - _GROWS) / 0.5)
    return min(max(nats, 0.0), GROWTH_TELLS)


def likelihood(
    x: list[float], low: float, high: float, strays: Sequence[float] = _STRAY, grain_s: float = 0.3
) -> tuple[float, float]:
    """The best log likelihood of the logarithms of some lags, spread about a centre, a share of them put out of time; and that per second.

    The spread is between `low` and `high`; centre and spread are fitted by expectation and maximisation. `grain_s`: what stamps resolve.
    """
    ordered = sorted(x)
    n = len(ordered)
    half = max(2, math.ceil(n / 2))
    start = min(range(n - half + 1), key=lambda i: ordered[i + half - 1] - ordered[i])
    best, jacobian = -math.inf, sum(x)
    for stray in strays:
        floor = stray * _STRAY_DENSITY
        centre = sum(ordered[start : start + half]) / half
        spread, total = min(max(ordered[start + half - 1] - ordered[start], low, 0.01), high), -math.inf
        for _ in range(10):
            spread = max(spread, grain_s * math.exp(-centre))  # whole seconds
            peak, narrow = (1 - stray) * math.exp(-_ROOT_2PI) / spread, -0.5 / (spread * spread)
            before, total, weight, first, second = total, 0.0, 0.0, 0.0, 0.0
            for v in ordered:  # one pass, written out: this is where most of the time of the examined pairs goes
                off = v - centre
                exponent = narrow * off * off
                dense = peak * math.exp(exponent) if exponent > -700.0 else 0.0
                total += math.log(dense + floor)
                own = dense / (dense + floor)
                weight, first, second = weight + own, first + own * off, second + own * off * off
            if total - before < 0.02:
                break
            shift = first / (weight or 1.0)
            centre += shift
            spread = min(max(math.sqrt(max(second / (weight or 1.0) - shift * shift, 0.0)), low), high)
        best = max(best, total)
    return best, best - jacobian


def _edged(x: list[float]) -> float:
    """Log likelihood of lags with a sharp lower edge and a tail: a machine that is never early, but that queues make late."""
    ordered = sorted(x)
    n, best = len(ordered), -math.inf
    for at in {n // 20, n // 8, n // 4}:
        edge = ordered[at]
        late = sum(max(0.0, v - edge) for v in ordered) / n
        early = math.sqrt(sum(min(0.0, v - edge) ** 2 for v in ordered) / (at + 1))
        tail, rise = min(max(late, 0.05), 1.2), min(max(early, 0.05, 0.5 * math.exp(-edge)), 0.2)
        peak = -math.log(tail + rise * math.exp(_ROOT_2PI) / 2)
        best = max(best, sum(peak - ((v - edge) / tail if v > edge else 0.5 * ((v - edge) / rise) ** 2) for v in ordered))
    return best


def kept_in_step(directions: Sequence[bool]) -> float:
    """Nats for two sides that answer each other message for message, against two that write independently.

    Either of two signs tells. The number of messages by which the one is ahead of the other walks at random for independent
    senders, and stays within the number in flight for a loop; a walk of n steps stays within m places with a probability of about
    cos(π/(m+1))ⁿ. And independent senders take turns in half of the steps; a loop with one message in flight in all, other mail apart.
    """
    ahead = list(itertools.accumulate((1 if up else -1 for up in directions), initial=0))
    places = max(ahead) - min(ahead) + 1
    bounded = -len(directions) * math.log(math.cos(math.pi / (places + 1)))
    steps = len(directions) - 1
    turns = sum(a != b for a, b in itertools.pairwise(directions))
    if steps < 1 or turns <= steps / 2:
        return bounded
    share = turns / steps
    taking_turns = math.log(2) + share * math.log(share) + ((1 - share) * math.log(1 - share) if share < 1 else 0.0)
    return max(bounded, steps * taking_turns)
