"""People: where they work, when they write, and how long they take to answer.

The waiting times are those of published mail corpora: half of all answers within 7.7 hours, 30 % within one hour, 1 % within a
minute, and in quick exchanges runs of up to 39 mails with gaps below ten minutes, never as even as a machine's.
"""

from __future__ import annotations

import datetime as dt
import math
import random

from tests.generator.world import Host, Mail, Stay, World

_FIRST = [
    "anna",
    "bob",
    "carla",
    "dieter",
    "emil",
    "farid",
    "greta",
    "hana",
    "igor",
    "jonas",
    "karl",
    "lena",
    "mona",
    "nina",
    "otto",
    "paula",
    "quirin",
    "rosa",
    "sven",
    "tina",
    "ulla",
    "vera",
    "willi",
    "xenia",
    "yusuf",
    "zoe",
    "amir",
    "bea",
    "cem",
    "dora",
]
_LAST = [
    "adler",
    "berg",
    "costa",
    "diaz",
    "ek",
    "fuchs",
    "gall",
    "haas",
    "ito",
    "jung",
    "kern",
    "lang",
    "meer",
    "noor",
    "orr",
    "pohl",
    "ross",
    "stein",
    "tran",
    "vogt",
]
_SUBJECTS = (
    "Minutes of Monday",
    "Offer 2231",
    "Lunch?",
    "Delivery note, second try",
    "Travel request",
    "Invoice 8812",
    "Protokoll für Dienstag",
    "Photos",
    "Visit on Thursday",
    'The "old" contract',
    "Quarterly figures",
    "Out of office next week",
    "Automatic door, repair",
)
_HOURS = (1, 1, 1, 1, 1, 2, 4, 12, 30, 42, 44, 40, 28, 32, 42, 40, 34, 24, 14, 10, 8, 6, 4, 2)
_DAYS = (1.0, 1.0, 1.0, 1.0, 0.85, 0.15, 0.12)


def answer_time(rng: random.Random) -> float:
    """Seconds until a person answers: two log-normals, the mail at hand and the mail of tomorrow."""
    if rng.random() < 0.45:
        return rng.lognormvariate(math.log(1500), 1.6)
    return rng.lognormvariate(math.log(22 * 3600), 0.9)


def chat_gap(rng: random.Random) -> float:
    """Seconds between two mails of a quick exchange; the spread of its logarithm is 0.75."""
    while (gap := rng.lognormvariate(math.log(110), 0.75)) > 595:
        pass
    return gap


def activity(at: float) -> float:
    """How much people write at this hour of the week, 0 to 1."""
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    return _HOURS[when.hour] / 44 * _DAYS[when.weekday()]


class Crowd:
    """The people with mailboxes on some servers."""

    def __init__(self, world: World, hosts: list[Host], rng: random.Random, size: int = 14) -> None:
        self.world, self.rng = world, rng
        self.people: dict[Host, list[str]] = {}
        for host in hosts:
            names = rng.sample([f"{f}.{last}" if rng.random() < 0.4 else f for f in _FIRST for last in _LAST[:3]], size * 2)
            self.people[host] = [f"{name}@{host.domains[0]}" for name in dict.fromkeys(names)][:size]
        self._pairs: list[tuple[str, str]] = []

    def someone(self, host: Host) -> str:
        """A person; a few write much more than the others."""
        people = self.people[host]
        return people[min(len(people) - 1, int(self.rng.expovariate(0.25)))]

    def leave(self, address: str) -> None:
        """A person goes away and writes no more; a machine answers for him."""
        for people in self.people.values():
            if address in people:
                people.remove(address)

    def pair(self) -> tuple[str, str]:
        """Two who write to each other, at least one of them on a server whose log we have; old acquaintances come again."""
        if self._pairs and self.rng.random() < 0.6:
            return self.rng.choice(self._pairs)
        logged = [h for h in self.people if h.is_logged]
        while True:
            a, b = self.someone(self.rng.choice(logged)), self.someone(self.rng.choice(list(self.people)))
            if a != b:
                break
        if self.rng.random() < 0.5:
            a, b = b, a
        self._pairs.append((a, b))
        return a, b

    def moment(self) -> float:
        """A time between start and end at which people work, if there is one."""
        world = self.world
        for _ in range(60):
            at = self.rng.uniform(world.start + 1, world.end)
            if self.rng.random() < activity(at) + 0.03:
                break
        return at

    def message_id(self, address: str) -> str:
        rng, domain = self.rng, address.rpartition("@")[2]
        kind = sum(map(ord, address)) % 4
        if kind == 0:
            return f"{rng.getrandbits(44):x}.{rng.getrandbits(44):x}@{domain}"
        if kind == 1:
            text = f"{rng.getrandbits(128):032x}"
            return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}@{domain}"
        if kind == 2:
            return f"CA{rng.getrandbits(140):035X}@mail.{domain}"
        return f"DB7PR{rng.getrandbits(48):012X}@{domain.partition('.')[0]}.prod.example"

    def write(self, author: str, to: tuple[str, ...], subject: str = "", size: int = 0, kind: str = "human") -> Mail:
        size = size or int(self.rng.lognormvariate(math.log(5200), 1.1)) + 700
        subject = subject or self.rng.choice(_SUBJECTS)
        return Mail(author, to, None, size, subject, kind, self.message_id(author))

    # -- what people do ------------------------------------------------------------------------------------------------------
    def thread(self, a: str, b: str, at: float, turns: int, gap=answer_time) -> None:
        """A exchange of so many mails; who answers does it some time after the mail came."""
        mail = self.write(a, (b,))
        self._turn(mail, turns, gap)
        self.world.submit(mail, at)

    def _turn(self, mail: Mail, turns: int, gap) -> None:
        if turns <= 1:
            return

        def then(read: Mail, reader: str, now: float, stay: Stay) -> None:
            when = now + gap(self.rng)
            if gap is answer_time and activity(when) < 0.15 and self.rng.random() < 0.8:
                when += self.rng.uniform(6, 10) * 3600
            reply = self.write(reader, (read.author,), "Re: " + read.subject.removeprefix("Re: "))
            self._turn(reply, turns - 1, gap)
            self.world.submit(reply, when)

        mail.then = then

    def chatter(self, mails: int) -> None:
        """Ordinary correspondence of about so many mails."""
        while mails > 0:
            a, b = self.pair()
            turns = min(12, 1 + int(self.rng.expovariate(0.7)))
            if self.rng.random() < 0.15:
                others = tuple(sorted({self.pair()[1] for _ in range(3)} - {a, b}))
                self.world.submit(self.write(a, (b, *others)), self.moment())
                turns = 1 + len(others)
            else:
                self.thread(a, b, self.moment(), turns)
            mails -= turns

    def chat(self, turns: int) -> None:
        """Two people in a hurry."""
        a, b = self.pair()
        at = self.rng.uniform(self.world.start, max(self.world.start + 60, self.world.end - turns * 180))
        self.thread(a, b, at, turns, chat_gap)
        self.world.benign.append(f"quick human exchange {a} <-> {b}, {turns} mails")
