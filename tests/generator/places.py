"""Servers: whose logs we have, what software they run, and what their clocks show."""

from __future__ import annotations

import random

from tests.generator.exchange import Exchange
from tests.generator.exim import Exim
from tests.generator.people import Crowd
from tests.generator.postfix import Postfix
from tests.generator.world import Host, Loop, World

_NAMES = [
    "nordwind",
    "beta",
    "kollmar",
    "gamma",
    "tulip",
    "rheinhof",
    "delta-it",
    "marlow",
    "epsilon",
    "quarz",
    "lindgren",
    "orion",
]
_SHORT = ("mx", "mx1", "mail", "relay", "smtp", "mta2", "post", "gate")
"""Names of servers; two sites now and then give theirs the same one, and a syslog line shows no more of it."""
_OUTSIDE = ("freemail", "posteo-like", "bigcorp", "uni-west", "webshop")


class Stage:
    """The servers, people and hours of one case."""

    def __init__(
        self,
        rng: random.Random,
        start: float,
        end: float,
        servers: int,
        *,
        kinds: tuple[str, ...] = ("postfix", "exim", "exchange"),
        is_hard: bool = False,
        goes_on: bool = False,
    ) -> None:
        self.rng, self.is_hard = rng, is_hard
        self.goes_on = goes_on
        """Whether the log goes on for long after whatever happens, and servers stay as they are; then they are of all `kinds` in turn."""
        self.world = World(rng, start, end)
        names = rng.sample(_NAMES, servers)
        self._short = rng.sample(_SHORT, len(_SHORT))
        self.ours = [
            self._server(kinds[i % len(kinds)] if goes_on else rng.choice(kinds), name, i) for i, name in enumerate(names)
        ]
        self.outside = [self._outsider(name, i) for i, name in enumerate(_OUTSIDE)]
        self.crowd = Crowd(self.world, self.ours + self.outside, rng, 20 if is_hard else 12)
        self.notes: list[str] = []
        self.facts: dict[str, object] = {}

    def _server(self, kind: str, name: str, i: int) -> Host:
        rng, domain = self.rng, f"{name}.example"
        host = rng.choice(_SHORT) if self.is_hard and rng.random() < 0.1 else self._short[i]
        ip = f"192.0.2.{10 + i}"
        if kind == "exchange":
            return self.world.add(Host(f"EX0{i + 1}.{domain}", ip, (domain,), Exchange(), daemon=f"postmaster@{domain}"))
        if kind == "exim":
            mta = Exim(rng.random() < 0.5, rng.random() < 0.3)
            return self.world.add(Host(f"{host}.{domain}", ip, (domain,), mta, hop_limit=30))
        has_filter = self.is_hard and rng.random() < 0.2
        postfix = Postfix(
            rng.choice(("bsd", "bsd", "padded", "rfc3339", "rfc3339")),
            rng.random() < 0.35,
            rng.choice(("virtual", "virtual", "lmtp", "local")),
            has_filter,
            has_filter and rng.random() < 0.7,
            "postfix" if rng.random() < 0.85 else "postfix-out",
        )
        return self.world.add(Host(f"{host}.{domain}", ip, (domain,), postfix))

    def _outsider(self, name: str, i: int) -> Host:
        mta = (Postfix, Exim, Exchange)[i % 3]()
        domain = f"{name}.test"
        return self.world.add(Host(f"mx.{domain}", f"203.0.113.{20 + i}", (domain,), mta, is_logged=False))

    def loop(self, kind: str, members: list[str], **more: object) -> Loop:
        loop = Loop(kind, members, **more)  # type: ignore[arg-type]
        self.world.loops.append(loop)
        return loop
