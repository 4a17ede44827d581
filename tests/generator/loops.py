"""Loops: machines that answer each other, forward to each other, or notify each other.

Each function sets one up on a stage; the world then lets it happen. Where a case is hard, the lags are uneven, queues delay, senders
are null, and the answers drown in other mail.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tests.generator.places import Stage
from tests.generator.responders import MailingList, Responder, spread
from tests.generator.world import Alias, Host, Loop, Stay

_ROLES = [
    "support",
    "info",
    "helpdesk",
    "orders",
    "service",
    "jobs",
    "buchhaltung",
    "office",
    "sales",
    "request",
    "contact",
    "noticeboard",
]
_STYLES = ("script", "sieve", "autoreply", "client")


# -- what loops have in common -------------------------------------------------------------------------------------------------
def _addresses(stage: Stage, hosts: list[Host]) -> list[str]:
    """One address on each of the hosts: a role, or a person with an absence notice."""
    roles = stage.rng.sample(_ROLES, len(hosts))
    out: list[str] = []
    for role, host in zip(roles, hosts, strict=True):
        role = f"{role}{len(stage.world.loops)}" if stage.goes_on else role
        address = f"{role}@{host.domains[0]}"
        if stage.is_hard and stage.rng.random() < 0.4:
            person = stage.crowd.someone(host)
            address = address if person in out else person
        out.append(address)
    for address in out:
        stage.crowd.leave(address)
    return out


def _visitors(stage: Stage, members: list[str]) -> None:
    """People write to the machines too, get an answer, and leave it at that."""
    for _ in range(stage.rng.randint(0, 8 if stage.is_hard else 2)):
        author = stage.crowd.someone(stage.rng.choice([*stage.ours, *stage.outside]))
        stage.world.submit(stage.crowd.write(author, (stage.rng.choice(members),)), stage.crowd.moment())


def _seed(stage: Stage, loop: Loop, author: str, to: str, at: float, number: int) -> None:
    """The mail that starts it."""

    def start(now: float) -> None:
        mail = stage.crowd.write(author, (to,), kind="seed")
        loop.wrote(mail, now, is_seed=True)
        stage.world.submit_now(mail, now)

    stage.world.at(at + number * stage.rng.uniform(0.2, 9), start)


def _ending(stage: Stage, loop: Loop, end: str, count: int, route: list[str]) -> None:
    """After about `count` answers the loop ends so. route: its addresses in order; the last arrow is the one that breaks."""
    world, (giver, taker), seen = stage.world, route[-2:], [0]
    loop.limit = 10 * count
    end = "quiet" if end == "ongoing" and stage.goes_on else end

    def is_hit(stay: Stay, target: str) -> bool:
        return stay.mail.loop is loop and target == taker and stay.mail.author == giver

    def gate(host: Host, stay: Stay, target: str, now: float) -> str | None:
        if not is_hit(stay, target):
            return None
        seen[0] += 1
        return None if seen[0] <= max(2, count // len(route)) else reasons[end]

    reasons = {"quota": "full", "sending_limit": "limit", "blocked": "blocked"}
    stage.facts["end"] = end
    if end == "quota":
        world.box_gates.append(gate)
        loop.ended_by, loop.end_reason = "quota", "full"
    elif end == "sending_limit":
        world.gates.append(gate)
        loop.ended_by, loop.end_reason = "sending_limit", "limit"
    elif end == "blocked":
        world.gates.append(gate)
    else:
        loop.limit = count
        if end == "ongoing":
            loop.ended_by = "none"
            pause = stage.rng.uniform(0.1, 2.0)

            def cut(now: float) -> None:
                world.end = now + pause

            loop.on_limit = cut


def _lasts(stage: Stage, seconds: float) -> None:
    """The log goes on until well after the loop."""
    tail = stage.rng.uniform(1200, 4000) + 0.15 * seconds
    stage.world.end = max(stage.world.end, stage.facts["t0"] + seconds + tail)


def _pick_end(stage: Stage) -> str:
    return stage.rng.choice(("quota", "sending_limit", "sending_limit", "blocked", "quiet", "quiet", "ongoing"))


# -- two parties, rings --------------------------------------------------------------------------------------------------------
def _circle(
    stage: Stage,
    size: int,
    *,
    nulls: tuple[bool, ...] = (False,),
    in_flight: int = 1,
    lag: tuple[float, float] = (2, 15),
    sd: tuple[float, float] = (0.05, 0.2),
    count: tuple[int, int] = (40, 220),
    growth: float = 0.0,
    end: str = "",
    styles: tuple[str, ...] = _STYLES,
    backlog: tuple[float, float] = (0.0, 60.0),
    prefix: str = "Re: ",
    kind: str = "auto_response",
    answers: tuple[int, ...] = (1,),
    has_notice: bool = False,
) -> Loop:
    """Responders, each of which writes to the next; with two of them, each answers the author.

    has_notice: the last one has an absence notice beside its responder, with the null sender, that the others leave alone.
    """
    rng = stage.rng
    hosts = [stage.ours[i % len(stage.ours)] for i in range(size)]
    members = _addresses(stage, hosts)
    loop = stage.loop(kind, members)
    n, end, slowest = rng.randint(*count), end or _pick_end(stage), 0.0
    if end == "quota" and growth == 0:
        styles = tuple(s for s in styles if s in ("sieve", "client"))
    for i, address in enumerate(members):
        median = spread(rng, *lag)
        slowest += median + 1.2 + backlog[0] * backlog[1] * 1.4
        stage.world.habit(
            address,
            Responder(
                stage.world,
                address,
                median,
                rng.uniform(*sd),
                nulls[i % len(nulls)],
                rng.choice(styles),
                target=members[(i + 1) % size] if size > 2 or kind == "forwarding" else "",
                answers_null=not has_notice,
                prefix=prefix,
                size=rng.randint(400, 4000),
                growth=growth,
                loop=loop if stage.goes_on else None,
                answers=answers[i % len(answers)],
            ),
        )
    if has_notice:
        notice = Responder(stage.world, members[-1], spread(rng, 1, 8), 0.1, True, "sieve", prefix="Absent: ", size=700)
        stage.world.habit(members[-1], notice)
    for host in set(hosts) if not stage.goes_on else ():
        host.backlog = backlog
    if stage.is_hard and not stage.goes_on and rng.random() < 0.2:
        greylist(stage, {rng.choice(hosts) for _ in range(2)})
    for k in range(in_flight):
        author = members[-1] if size == 2 or rng.random() < 0.5 else stage.crowd.someone(stage.ours[-1])
        _seed(stage, loop, author, members[0], stage.facts["t0"], k)
    start = rng.randrange(size)
    _ending(
        stage, loop, end, n, [members[(start + i) % size] for i in range(size)] if size > 2 else members[:: rng.choice((1, -1))]
    )
    _lasts(stage, n * slowest / size / in_flight)
    _visitors(stage, members)
    stage.facts |= {"in_flight": in_flight, "lag_s": [round(x, 1) for x in lag], "answers_planned": n}
    return loop


def greylist(stage: Stage, hosts: Collection[Host]) -> None:
    """Some servers put off the first try of each sender to each recipient."""
    known: set[tuple[str, str]] = set()

    def gate(host: Host, stay: Stay, target: str, now: float) -> str | None:
        key = (stay.sender_out, target)
        if host not in hosts or key in known:
            return None
        known.add(key)
        return "greylist"

    stage.world.gates.append(gate)
    stage.facts["greylisting"] = sorted(host.name for host in hosts)


def _uneven(stage: Stage) -> dict[str, Any]:
    """What makes a case hard, each part now and then."""
    rng = stage.rng
    if not stage.is_hard:
        return {}
    more: dict[str, Any] = {"count": (24, 150), "lag": (2, 240), "sd": (0.15, 0.5)}
    if rng.random() < 0.4:
        more |= {"backlog": (rng.uniform(0.1, 0.4), spread(rng, 30, 300)), "sd": (0.05, 0.25)}
    return more


def pair_real(stage: Stage) -> Loop:
    """Two absence notices with ordinary senders."""
    return _circle(stage, 2, **_uneven(stage))


def pair_one_null(stage: Stage) -> Loop:
    """One side keeps to the null sender, the other answers to From all the same."""
    return _circle(stage, 2, nulls=stage.rng.choice(((True, False), (False, True))), **_uneven(stage))


def pair_both_null(stage: Stage) -> Loop:
    """Both sides send with the null sender."""
    return _circle(stage, 2, nulls=(True, True), **_uneven(stage))


def pair_in_flight(stage: Stage) -> Loop:
    """Several mails go back and forth at the same time, so nothing alternates."""
    return _circle(stage, 2, in_flight=stage.rng.randint(2, 6), **_uneven(stage) | {"count": (60, 200)})


def pair_slow(stage: Stage) -> Loop:
    """One turn an hour or so, for days: programs that fetch mail by the clock."""
    rng = stage.rng
    nulls = rng.choice(((False,), (True, False), (True, True)))
    return _circle(
        stage, 2, nulls=nulls, lag=(1200, 3400), sd=(0.03, 0.25), count=(40, 110), styles=("client",), end=_pick_end(stage)
    )


def pair_short(stage: Stage) -> Loop:
    """Twelve mails, then it is over."""
    return _circle(stage, 2, **_uneven(stage) | {"count": (11, 11), "lag": (2, 20), "backlog": (0.0, 60.0), "sd": (0.05, 0.3)})


def pair_polled(stage: Stage) -> Loop:
    """One side is a ticket system that fetches its mail by the clock."""
    rng = stage.rng
    period = rng.choice((60, 60, 120, 300))
    stage.facts["t0"] += 10 * period  # the clock shows that it did not write before
    loop = _circle(stage, 2, **_uneven(stage) | {"count": (24, 90), "lag": (2, 8), "backlog": (0.0, 60.0), "sd": (0.05, 0.3)})
    desk = loop.members[-1]
    for habit in stage.world.habits[desk]:
        if isinstance(habit, Responder):
            habit.polls_s, habit.style = period, "client"
    stage.facts["polls_s"] = period
    _lasts(stage, 90 * period)
    return loop


def pair_growing(stage: Stage) -> Loop:
    """Each answer quotes the whole of the one before."""
    return _circle(stage, 2, growth=stage.rng.uniform(0.9, 1.0), **_uneven(stage))


def pair_doubling(stage: Stage) -> Loop:
    """One side or both answer everything twice, a rule beside an absence notice, so that each turn is twice as many."""
    both = stage.rng.random() < 0.4
    more = _uneven(stage) | {"backlog": (0.0, 60.0)}
    return _circle(stage, 2, answers=(2, 2) if both else stage.rng.choice(((1, 2), (2, 1))), **more | {"count": (40, 300)})


def pair_told_twice(stage: Stage) -> Loop:
    """One side answers everything with a receipt and, with the null sender, with an absence notice; the other answers the receipts."""
    return _circle(stage, 2, has_notice=True, **_uneven(stage))


def ring_of_answers(stage: Stage) -> Loop:
    """Three to eight machines in a ring, each of which writes a new mail to the next."""
    size = stage.rng.randint(3, 8 if stage.is_hard else 4)
    nulls = stage.rng.choice(((False,), (False, False, True))) if stage.is_hard else (False,)
    return _circle(
        stage,
        size,
        nulls=nulls,
        in_flight=stage.rng.choice((1, 1, 2)) if stage.is_hard else 1,
        **_uneven(stage) | {"count": (60, 160)},
    )


def forwarding_rewritten(stage: Stage) -> Loop:
    """Rules that forward by making a new mail of the old: new Message-ID, new sender, no Received fields to count."""
    size = stage.rng.randint(2, 4)
    loop = _circle(
        stage, size, in_flight=stage.rng.randint(1, 4), growth=1.0, prefix="Fwd: ", kind="forwarding",
        **_uneven(stage) | {"count": (60, 160), "styles": ("sieve", "client")},
    )  # fmt: skip
    loop.has_range = True
    return loop


def hub(stage: Stage) -> Loop:
    """A ticket system that confirms every mail; a few of its many correspondents are machines themselves."""
    rng, world, host = stage.rng, stage.world, stage.ours[0]
    desk = f"{rng.choice(_ROLES)}{len(world.loops) if stage.goes_on else ''}@{host.domains[0]}"
    world.habit(
        desk, Responder(world, desk, spread(rng, 2, 40), rng.uniform(0.1, 0.4), rng.random() < 0.3, "client", prefix="[Ticket] ")
    )
    others = [*stage.ours[1:], *stage.outside]
    lag = 0.0
    for k in range(rng.randint(2, 3)):
        partner = _addresses(stage, [rng.choice(others)])[0].replace("@", f"{k}@")
        habit = Responder(world, partner, spread(rng, 3, 60), rng.uniform(0.1, 0.4), rng.random() < 0.3, rng.choice(_STYLES))
        world.habit(partner, habit)
        loop = stage.loop("auto_response", [desk, partner])
        loop.limit = rng.randint(24, 60)
        lag = max(lag, loop.limit * (habit.lag_s + 20))
        _seed(stage, loop, partner, desk, stage.facts["t0"] + rng.uniform(0, 600), k)
    _lasts(stage, lag)
    for _ in range(rng.randint(15, 40)):
        author = stage.crowd.someone(rng.choice([*stage.ours, *stage.outside]))
        if rng.random() < 0.2:
            world.habit(author, Responder(world, author, spread(rng, 2, 60), 0.2, True, is_once=True, answers_null=False))
        world.submit(stage.crowd.write(author, (desk,)), rng.uniform(world.start, world.end))
    stage.facts["end"] = "quiet"
    return loop


# -- the same message round and round ------------------------------------------------------------------------------------------
def _forwarding(stage: Stage, envelope: str) -> Loop:
    rng, world = stage.rng, stage.world
    hosts = [h for h in stage.ours if h.mta.name != "exchange"]
    members = _addresses(stage, hosts)
    aliases = {a: Alias((members[(i + 1) % len(members)],), envelope) for i, a in enumerate(members)}
    if stage.goes_on:  # set, and mended, in the middle of other mail, which would go round as well
        world.at(stage.facts["t0"], lambda _: world.aliases.update(aliases))
        world.at(stage.facts["t0"] + 6000, lambda _: [world.aliases.pop(a, None) for a in members])
    else:
        world.aliases.update(aliases)
    loop = stage.loop("forwarding", members, ended_by="hop_limit", end_reason="hops", has_times=False)
    loop.has_range = loop.counts_bounces = envelope == "self"  # the notifications come back to the ring and go round as well
    stage.facts["end"] = "hop_limit"
    for host in hosts if not stage.goes_on else ():
        host.latency_s = spread(rng, 0.2, 20 if stage.is_hard else 1)
        if stage.is_hard and rng.random() < 0.3:
            host.backlog = (0.2, 120.0)
    seeds = rng.randint(1 if stage.is_hard else 3, 9)
    for _ in range(seeds):
        author = stage.crowd.someone(rng.choice([*stage.ours, *stage.outside[:2]]))
        if author not in members:
            _seed(stage, loop, author, rng.choice(members), stage.facts["t0"] + rng.uniform(0, 2400), 0)
    _lasts(stage, 2400 + 50 * max(h.latency_s * 1.5 + h.backlog[0] * 160 for h in hosts))
    if rng.random() < 0.2 and not stage.goes_on:
        world.end, loop.ended_by, stage.facts["end"] = stage.facts["t0"] + 2400, "", "ongoing"
    return loop


def forwarding_kept(stage: Stage) -> Loop:
    """Aliases that forward in a ring and leave the envelope sender as it was."""
    return _forwarding(stage, "keep")


def forwarding_srs(stage: Stage) -> Loop:
    """The same with rewritten senders (SRS)."""
    return _forwarding(stage, "srs")


def forwarding_own(stage: Stage) -> Loop:
    """The same where each forwarder sends in its own name."""
    return _forwarding(stage, "self")


# -- notifications -------------------------------------------------------------------------------------------------------------
def notifications(stage: Stage) -> Loop:
    """Two gateways that send their notifications with a real sender, and notify each other."""
    more = _uneven(stage) | {"prefix": "Undeliverable: ", "kind": "notification", "styles": ("script", "client")}
    return _circle(
        stage,
        2,
        in_flight=stage.rng.choice((1, 1, 3)) if stage.is_hard else 1,
        end=stage.rng.choice(("quiet", "quiet", "ongoing", "blocked")),
        **more,
    )


def daemon(stage: Stage) -> Loop:
    """A responder answers a notification; nobody reads mail to MAILER-DAEMON, so the answer comes back, is answered, and so on."""
    rng, world, home = stage.rng, stage.world, stage.ours[0]
    far = stage.ours[-1] if rng.random() < 0.5 else home
    me = _addresses(stage, [home])[0]
    lost = f"misspelt@{far.domains[0]}"
    world.dead |= {lost, far.daemon}
    loop = stage.loop("notification", [me, far.daemon], counts_bounces=True)
    lag = spread(rng, 1, 40)
    style = rng.choice(("script", "sieve", "client"))
    world.habit(
        me,
        Responder(
            world, me, lag, rng.uniform(0.05, 0.4 if stage.is_hard else 0.15), style=style, loop=loop if stage.goes_on else None
        ),
    )
    n = rng.randint(30, 140)
    _seed(stage, loop, me, lost, stage.facts["t0"], 0)
    _ending(stage, loop, rng.choice(("quiet", "quiet", "ongoing")), n, [far.daemon, me])
    _lasts(stage, n / 2 * (lag + 1.5))
    return loop


# -- lists ---------------------------------------------------------------------------------------------------------------------
def mailing_list(stage: Stage) -> Loop:
    """Members whose machines answer to the list."""
    rng, world = stage.rng, stage.world
    host = next((h for h in stage.ours if h.mta.name != "exchange"), stage.ours[0])
    team = f"{rng.choice(('team', 'project', 'club', 'staff'))}{len(world.loops) if stage.goes_on else ''}@{host.domains[0]}"
    answering = rng.randint(1, 3)
    homes = [stage.ours[i % len(stage.ours)] for i in range(answering)]
    robots = _addresses(stage, homes)
    others = {stage.crowd.someone(rng.choice([*stage.ours, *stage.outside[:2]])) for _ in range(rng.randint(3, 7))} - {*robots}
    world.habit(team, MailingList(world, team, (*robots, *sorted(others)), spread(rng, 0.5, 8)))
    loop = stage.loop("list", [team, *robots])
    for address in robots:
        style = rng.choice(("script", "sieve", "client"))
        own = answering == 1
        lag = spread(rng, 8, 90 if stage.is_hard else 20)
        world.habit(
            address,
            Responder(
                world,
                address,
                lag,
                rng.uniform(0.05, 0.4),
                style=style,
                target=team,
                answers_own=own,
                answers_null=False,
                prefix="Absent: ",
                loop=loop if stage.goes_on else None,
            ),
        )
    n = rng.randint(25, 70)
    _seed(stage, loop, rng.choice(sorted(others)), team, stage.facts["t0"], 0)
    end = rng.choice(("quiet", "quiet", "ongoing", "sending_limit"))
    _ending(stage, loop, end if end != "sending_limit" else "quiet", n, [robots[0], team])
    _lasts(stage, 1800)
    return loop


def group(stage: Stage) -> Loop:
    """A ticket system writes to a group; machines of its members answer, and each answer is a new mail to the group."""
    rng, world, host = stage.rng, stage.world, stage.ours[0]
    team = f"{rng.choice(('sales', 'board', 'shift', 'press'))}{len(world.loops) if stage.goes_on else ''}@{host.domains[0]}"
    (desk,) = _addresses(stage, [stage.ours[-1]])
    away = [stage.crowd.someone(host) for _ in range(3 if rng.random() < 0.2 else 1)]
    away = list(dict.fromkeys(away))
    others = sorted({stage.crowd.someone(host) for _ in range(rng.randint(2, 6))} - {*away})
    world.aliases[team] = Alias((*away, *others))
    loop = stage.loop("list", [team, desk, *away])
    lag = spread(rng, 4, 120 if stage.is_hard else 20)
    for address in away:
        habit = Responder(
            world,
            address,
            spread(rng, 3, 30),
            0.2,
            style=rng.choice(_STYLES),
            prefix="Absent: ",
            loop=loop if stage.goes_on else None,
        )
        world.habit(address, habit)
    habit = Responder(
        world,
        desk,
        lag,
        rng.uniform(0.1, 0.4),
        style="client",
        target=team,
        prefix="[Ticket] ",
        loop=loop if stage.goes_on else None,
    )
    world.habit(desk, habit)
    n = rng.randint(30, 150)
    _seed(stage, loop, desk, team, stage.facts["t0"], 0)
    _ending(stage, loop, _pick_end(stage), n, [away[0], desk])
    _lasts(stage, n / 2 * (lag + 25))
    return loop


PLAIN: dict[str, tuple[Callable[[Stage], Loop], int]] = {
    "pair_real": (pair_real, 2),
    "forwarding_kept": (forwarding_kept, 3),
    "pair_one_null": (pair_one_null, 2),
    "ring_of_answers": (ring_of_answers, 3),
    "notifications": (notifications, 2),
    "mailing_list": (mailing_list, 3),
    "pair_growing": (pair_growing, 2),
    "daemon": (daemon, 2),
}
"""Kinds with the number of servers each needs."""
HARD: dict[str, tuple[Callable[[Stage], Loop], int]] = {
    **PLAIN,
    "forwarding_kept": (forwarding_kept, 6),
    "pair_both_null": (pair_both_null, 2),
    "pair_in_flight": (pair_in_flight, 2),
    "pair_slow": (pair_slow, 2),
    "pair_short": (pair_short, 2),
    "pair_doubling": (pair_doubling, 2),
    "pair_told_twice": (pair_told_twice, 2),
    "hub": (hub, 2),
    "ring_of_answers": (ring_of_answers, 4),
    "forwarding_srs": (forwarding_srs, 5),
    "forwarding_own": (forwarding_own, 3),
    "forwarding_rewritten": (forwarding_rewritten, 3),
    "group": (group, 2),
    "pair_polled": (pair_polled, 2),
}
