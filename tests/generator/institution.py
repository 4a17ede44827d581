"""An institution of several hundred people over months: all that honest people and machines do there, and no loop.

The habits are set to the measured ones (see `maillog_forensics.people`): half of the answers within 7.7 hours and 1 % within a minute,
quick exchanges of up to 60 mails, one-way bursts of up to 72 within an hour. `Institution.months` plans it all; alternatively
`replay` lets people write when those of a table of real interactions wrote.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.generator.people import Crowd, activity, answer_time
from tests.generator.places import Stage
from tests.generator.responders import MailingList, Responder, spread
from tests.generator.world import Alias, Host, Mail, Stay, World

DAY = 86400.0


@dataclass(eq=False)
class Absence:
    """A notice while its owner is away: once for each author, once a day, or to every mail; never to a machine's mail."""

    answer: Responder
    begin: float
    end: float
    each_s: float
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, mail: Mail, to: str, now: float, stay: Stay) -> None:
        if not (self.begin <= now <= self.end and stay.sender) or mail.kind not in ("human", "ticket"):
            return
        if now - self.last.get(mail.author, -math.inf) >= self.each_s:
            self.last[mail.author] = now
            self.answer(mail, to, now, stay)


class Institution(Crowd):
    """People of several departments, who write to few, unevenly, by day, and now and then very much."""

    def __init__(self, stage: Stage, people: int) -> None:
        super().__init__(stage.world, stage.ours + stage.outside, stage.rng, 12)
        self.stage = stage
        for host, those in self.people.items():
            several = people // len(stage.ours) if host in stage.ours else people // 2
            domain, rng = host.domains[0], stage.rng
            those += [
                f"{a.partition('@')[0].partition('.')[0]}.{rng.getrandbits(20):x}@{domain}" for a in those * (several // 12)
            ]
            rng.shuffle(those)
        self._everyone = [p for h in stage.ours for p in self.people[h]]
        self._contacts: dict[str, list[str]] = {}

    def someone(self, host: Host) -> str:
        """A person; a few write much more than the others."""
        people = self.people[host]
        return people[int(len(people) * self.rng.random() ** 2.5)]

    def leave(self, address: str) -> None:
        super().leave(address)
        self._everyone = [p for p in self._everyone if p != address]
        self._contacts = {a: [b for b in bs if b != address] or bs[:0] for a, bs in self._contacts.items() if a != address}
        self._contacts = {a: bs for a, bs in self._contacts.items() if bs}

    def author(self) -> str:
        """One of our people."""
        return self._everyone[int(len(self._everyone) * self.rng.random() ** 2.0)]

    def contact(self, author: str) -> str:
        """Somebody he writes to: mostly the same few."""
        known = self._contacts.get(author)
        if known is None:
            hosts = [*self.stage.ours, *self.stage.ours, *self.stage.outside]
            known = list(dict.fromkeys(p for _ in range(30) if (p := self.someone(self.rng.choice(hosts))) != author))
            self._contacts[author] = known
        return known[int(len(known) * self.rng.random() ** 2.2)]

    def pair(self) -> tuple[str, str]:
        author = self.author()
        both = author, self.contact(author)
        return both if self.rng.random() < 0.7 else both[::-1]

    # -- months ----------------------------------------------------------------------------------------------------------------
    def months(self) -> None:
        """Plan everything from the world's start to its end."""
        world, rng = self.world, self.rng
        size = len(self._everyone)
        desks = [self._desk(k) for k in range(6)]
        lists = [self._list(k) for k in range(8)]
        rooms = [self._room(k) for k in range(5)]
        self._forwarders(max(3, size // 60))
        for person in self._everyone[:: max(1, size // 250)]:
            self._holidays(person)
        day = world.start - world.start % DAY
        while day < world.end:
            busy = size * activity(day + 10 * 3600)
            self._each(day, 2.2 * busy, self._thread)
            self._each(day, 0.12 * busy, self._to_many)
            self._each(day, busy / 30, self._quick)
            self._each(day, busy / 25, lambda at: self._burst(at, self.contact))
            self._each(day, busy / 100, lambda at: self._burst(at, lambda _: rng.choice(desks)))
            self._each(day, busy / 120, lambda at: self._burst(at, lambda _: rng.choice(rooms), median_s=25))
            self._each(day, busy / 8, lambda at: self._one(at, self.pair()[0], rng.choice(desks), "ticket"))
            self._each(day, busy / 30, lambda at: self._one(at, self.author(), rng.choice(rooms), "human"))
            self._each(day, 6 * activity(day + 10 * 3600), lambda at: self._one(at, self.author(), rng.choice(lists), "human"))
            self._each(day, busy / 60, self._typo)
            self._each(day, 0.3, self._alerts)
            self._each(day, 0.4, self._orders)
            day += DAY
        for k in range(size // 12):
            self._report(k)
        world.benign.append(f"{size} people for {round((world.end - world.start) / DAY)} days")

    def _each(self, day: float, mean: float, do) -> None:
        """About `mean` times this day, at times at which people work."""
        count = int(mean) + (self.rng.random() < mean % 1)
        for _ in range(count):
            for _ in range(40):
                at = day + self.rng.uniform(0, DAY)
                if self.rng.random() < activity(at) + 0.01:
                    break
            if self.world.start < at < self.world.end:
                self.world.at(at, do)

    def _thread(self, now: float) -> None:
        a, b = self.pair()
        self.thread(a, b, now, min(40, 1 + int(self.rng.expovariate(0.75))))

    def _quick(self, now: float) -> None:
        """An exchange in a hurry; its length is geometric, its pace a matter of the two."""
        rng = self.rng
        median, uneven = spread(rng, 35, 500), rng.uniform(0.55, 1.3)
        turns = min(60 if median > 150 else 39 if median > 90 else 17, 2 + int(rng.expovariate(0.16)))
        a, b = self.pair()
        self.thread(a, b, now, turns, lambda r: r.lognormvariate(math.log(median), uneven))

    def _to_many(self, now: float) -> None:
        author = self.author()
        others = {self.contact(author) for _ in range(2 + int(self.rng.paretovariate(0.9)))} - {author}
        if others:
            self.world.submit_now(self.write(author, tuple(sorted(others)[:40])), now)

    def _burst(self, now: float, to, median_s: float = 0.0) -> None:
        """One person writes many mails to one address within minutes."""
        rng, author = self.rng, self.author()
        target = to(author)
        count = min(70, 4 + int(rng.expovariate(0.14)))
        median_s, uneven = median_s or spread(rng, 20, 240), rng.uniform(0.6, 1.4)
        for _ in range(count):
            self.world.submit(self.write(author, (target,)), now)
            now += min(3500.0, rng.lognormvariate(math.log(median_s), uneven))

    def _one(self, now: float, author: str, to: str, kind: str) -> None:
        if author != to:
            self.world.submit_now(self.write(author, (to,), kind=kind), now)

    def _typo(self, now: float) -> None:
        a, b = self.pair()
        wrong = f"x{b}"
        (self.world.unknown if self.rng.random() < 0.7 else self.world.dead).add(wrong)
        self.world.submit_now(self.write(a, (wrong,)), now)

    # -- machines --------------------------------------------------------------------------------------------------------------
    def _desk(self, k: int) -> str:
        """A ticket system that acknowledges every mail of a person; agents answer some by hand."""
        rng, host = self.rng, self.stage.ours[k % len(self.stage.ours)]
        desk = f"desk{k}@{host.domains[0]}"
        acknowledge = Responder(
            self.world, desk, spread(rng, 1, 120), rng.uniform(0.05, 0.6), rng.random() < 0.4, rng.choice(("script", "sieve", "client")),
            prefix="[#] ", answers_null=False,
        )  # fmt: skip

        def habit(mail: Mail, to: str, now: float, stay: Stay) -> None:
            if mail.kind not in ("human", "ticket"):
                return
            acknowledge(mail, to, now, stay)
            if rng.random() < 0.5:
                agent = self.write(desk, (mail.author,), f"Re: [#] {mail.subject}", kind="agent")
                later = now + answer_time(rng)
                agent.then = lambda m, who, at, s: self._write_back(m, who, at)
                self.world.submit(agent, later)

        self.world.habit(desk, habit)
        return desk

    def _write_back(self, mail: Mail, who: str, now: float) -> None:
        if self.rng.random() < 0.4:
            self.world.submit(self.write(who, (mail.author,), mail.subject, kind="ticket"), now + answer_time(self.rng))

    def _list(self, k: int) -> str:
        """A list whose members discuss by hand."""
        rng, host = self.rng, next((h for h in self.stage.ours if h.mta.name != "exchange"), self.stage.ours[0])
        address = f"list{k}@{host.domains[0]}"
        members = sorted({self.pair()[k % 2] for _ in range(rng.randint(10, 60))})
        self.world.habit(address, MailingList(self.world, address, tuple(members), spread(rng, 0.5, 20)))

        def habit(mail: Mail, to: str, now: float, stay: Stay) -> None:
            quick = rng.random() < 0.25
            for _ in range(int(rng.expovariate(1.1))):
                who = rng.choice(members)
                gap = rng.lognormvariate(math.log(200), 1.0) if quick else answer_time(rng)
                self.world.submit(self.write(who, (address,), "Re: " + mail.subject.removeprefix("Re: ")), now + gap)

        self.world.habit(address, habit)
        return address

    def _room(self, k: int) -> str:
        """A meeting room: it accepts or declines each invitation at once."""
        rng, host = self.rng, self.stage.ours[k % len(self.stage.ours)]
        room = f"room{k}@{host.domains[0]}"
        accept = Responder(
            self.world,
            room,
            spread(rng, 0.5, 6),
            0.2,
            style=rng.choice(("script", "sieve")),
            prefix="Accepted: ",
            answers_null=False,
        )

        def habit(mail: Mail, to: str, now: float, stay: Stay) -> None:
            if mail.kind == "human":
                accept(mail, to, now, stay)

        self.world.habit(room, habit)
        return room

    def _forwarders(self, count: int) -> None:
        """People whose mail goes to a deputy, in each of the ways; the deputy answers whoever wrote."""
        for k in range(count):
            person = self.author()
            deputy = self.contact(person)
            if person in self.world.aliases or deputy in self.world.aliases or self.world.home(person).mta.name == "exchange":
                continue
            if k % 3 == 2:

                def again(mail: Mail, to: str, now: float, stay: Stay, person: str = person, deputy: str = deputy) -> None:
                    if mail.kind == "human" and stay.sender and mail.author != deputy:
                        copy = self.write(person, (deputy,), f"Fwd: {mail.subject}", stay.size + 400)
                        copy.then = lambda m, who, at, s: self._deputy(who, mail.author, at)
                        self.world.submit(copy, now + self.rng.lognormvariate(0.5, 0.2))

                self.world.habit(person, again)
            else:
                self.world.aliases[person] = Alias((deputy,), ("keep", "srs")[k % 2])

    def _deputy(self, deputy: str, author: str, now: float) -> None:
        if self.rng.random() < 0.6 and deputy != author:
            self.world.submit(self.write(deputy, (author,)), now + answer_time(self.rng))

    def _holidays(self, person: str) -> None:
        """Two weeks away in half a year, most with a notice."""
        rng, world = self.rng, self.world
        begin = rng.uniform(world.start, world.end)
        each = rng.choice((math.inf, math.inf, 7 * DAY, DAY, DAY, 0.0))
        own = each > 0 and rng.random() < 0.3
        answer = Responder(
            world, person, spread(rng, 0.5, 90), rng.uniform(0.1, 0.4), not own, rng.choice(("script", "sieve", "autoreply")),
            prefix="Out of office: ", answers_null=False,
        )  # fmt: skip
        world.habit(person, Absence(answer, begin, begin + rng.uniform(3, 21) * DAY, each))

    def _report(self, k: int) -> None:
        """A job that reports to one person, by the clock."""
        rng, world = self.rng, self.world
        author = f"cron{k}@{rng.choice(self.stage.ours).domains[0]}"
        to, at, period = (
            self.author(),
            world.start + rng.uniform(0, DAY),
            rng.choice((3600.0, 6 * 3600.0, DAY, DAY, DAY, 7 * DAY)),
        )
        while at < world.end:
            world.submit(Mail(author, (to,), size=1200 + rng.randint(0, 90), subject="Report", kind="monitor", by="script"), at)
            at += period
        world.habit(author, lambda *_: None)

    def _alerts(self, now: float) -> None:
        """Something is down: dozens of alarms to whoever is on call, whose pager acknowledges each."""
        rng, world, host = self.rng, self.world, self.stage.ours[-1]
        author, pager = f"alarm@{self.stage.ours[0].domains[0]}", f"oncall@{host.domains[0]}"
        if pager not in world.habits:
            world.habit(pager, Responder(world, pager, 4.0, 0.3, style="client", prefix="ACK ", answers_null=False))
        for _ in range(rng.randint(5, 60)):
            world.submit(Mail(author, (pager,), size=900, subject="PROBLEM", kind="monitor", by="script"), now)
            now += rng.lognormvariate(math.log(40), 1.1)

    def _orders(self, now: float) -> None:
        """Two companies' systems: order, confirmation, delivery note, receipt; some orders at once, then none for days."""
        rng, world = self.rng, self.world
        buyer, seller = f"orders@{self.stage.ours[0].domains[0]}", f"sales@{self.stage.outside[0].domains[0]}"
        for _ in range(rng.randint(1, 25)):
            at = now
            for j in range(rng.choice((2, 2, 4))):
                a, b = (buyer, seller) if j % 2 == 0 else (seller, buyer)
                world.submit(Mail(a, (b,), size=3000 + 40 * j, subject="Order", kind="order", by="script"), at)
                at += rng.lognormvariate(math.log(8), 0.2) if j != 1 else rng.lognormvariate(math.log(1500), 0.8)
            now += rng.lognormvariate(math.log(60), 1.2)


def replay(stage: Stage, rows: Iterable[tuple[float, str, str]]) -> None:
    """Let mailboxes of this stage write when, and to whom, those of `rows` (second, from, to) did; what has one time and author is one mail."""
    hosts, names, rng = stage.ours + stage.outside[:1], dict[str, str](), stage.rng

    def name(key: str) -> str:
        if key not in names:
            names[key] = f"p{len(names)}@{rng.choice(hosts).domains[0]}"
        return names[key]

    for second, author, to in _mails(rows):
        crowd_mail = stage.crowd.write(name(author), tuple(dict.fromkeys(name(t) for t in to if t != author)))
        if crowd_mail.to:
            stage.world.submit(crowd_mail, stage.world.start + second)


def _mails(rows: Iterable[tuple[float, str, str]]) -> Iterator[tuple[float, str, list[str]]]:
    last: tuple[float, str, list[str]] | None = None
    for second, author, to in sorted(rows):
        if last and last[:2] == (second, author):
            last[2].append(to)
            continue
        if last:
            yield last
        last = (second, author, [to])
    if last:
        yield last


def outages(world: World, hosts: list[Host], rng: random.Random) -> None:
    """Now and then a server takes nothing for some hours; one greylists strangers."""
    shut = [
        (h, at, at + rng.uniform(0.5, 5) * 3600) for h in hosts for at in (rng.uniform(world.start, world.end) for _ in range(3))
    ]
    known: set[tuple[str, str]] = set()
    grey = rng.choice(hosts)

    def gate(host: Host, stay: Stay, target: str, now: float) -> str | None:
        if any(h is host and a <= now <= b for h, a, b in shut):
            return "greylist"
        if host is not grey or (stay.sender_out, target) in known:
            return None
        known.add((stay.sender_out, target))
        return "greylist"

    world.gates.append(gate)
