"""Machines that answer mail: absence notices, ticket systems, rules that forward, lists that explode, echoes."""

from __future__ import annotations

import datetime as dt
import math
import random
from dataclasses import dataclass, field

from tests.generator.world import NULL, Attempt, Loop, Mail, Stay, World

PIPE_S = 60.0
"""A script that a server waits for answers within this; slower ones fetch the mail themselves."""


@dataclass(eq=False)
class Responder:
    """Answers what comes to an address.

    target: where answers go, the author of the mail unless given; then only what runs in the loop is answered. lag_s, sd: median
    lag and spread of its logarithm. growth: share of the answered mail that is quoted. style: script (a pipe, or a rule of the
    server), sieve (as script, without a trace of the pipe), autoreply, or client (a program that logs in). is_once: true for
    well-behaved ones, who answer each author one time. answers: how often each mail is answered. answers_return_path: to its envelope sender.
    """

    world: World
    address: str
    lag_s: float = 8.0
    sd: float = 0.15
    is_null: bool = False
    style: str = "script"
    target: str = ""
    is_once: bool = False
    answers_null: bool = True
    answers_own: bool = False
    prefix: str = "Re: "
    size: int = 900
    growth: float = 0.0
    kind: str = "auto_reply"
    answers: int = 1
    answers_return_path: bool = False
    polls_s: float = 0.0
    """A program that fetches its mail at every so many seconds of the clock, and answers a lag later."""
    loop: Loop | None = None
    """Where it takes part in one loop only, whatever other loops send it."""
    known: set[str] = field(default_factory=set)

    def __call__(self, mail: Mail, to: str, now: float, stay: Stay) -> None:
        if (mail.loop and mail.loop.is_over) or (self.target and not mail.loop):
            return
        if mail.loop and self.loop and mail.loop is not self.loop:
            return
        if mail.author in self.known or (mail.author == self.address and not self.answers_own):
            return
        if not (stay.sender or self.answers_null):
            return
        if not mail.loop and not self.is_once and (mail.kind == "auto_reply" or (self.loop and mail.kind == "bounce")):
            return  # or it were another loop, that nobody labelled
        if self.is_once:
            self.known.add(mail.author)
        for _ in range(self.answers):
            fetched = math.ceil(now / self.polls_s) * self.polls_s if self.polls_s else now
            when = fetched + self.lag_s * self.world.rng.lognormvariate(0.0, self.sd)
            has_pipe = self.style in ("script", "autoreply") and when - now < PIPE_S and stay.host.mta.name != "exchange"
            stay.open += has_pipe
            self.world.at(when, self._answer, mail, stay, has_pipe)

    def _answer(self, now: float, mail: Mail, stay: Stay, has_pipe: bool) -> None:
        rng, host, to = self.world.rng, stay.host, self.target or (stay.sender if self.answers_return_path else mail.author)
        loop = mail.loop
        if loop and loop.is_over:
            loop = None
        if loop or not mail.loop:
            reply = Mail(
                self.address,
                (to,),
                NULL if self.is_null else self.address,
                int(self.size + self.growth * stay.size) + rng.randint(-6, 6),
                self.prefix + (mail.subject if self.growth else mail.subject.removeprefix(self.prefix)),
                self.kind,
                self._message_id(now, host.mta.name, host.domains[0], rng),
                by="client" if self.style == "client" else "autoreply" if self._is_autoreply(host.mta.name) else "script",
                origin=stay if self._is_autoreply(host.mta.name) else None,
            )
            if loop:
                loop.wrote(reply, now)
            self.world.submit_now(reply, now)
        if has_pipe:
            recipient, how, text = self.address, "script", ""
            if host.mta.name == "postfix":
                recipient = f"{self.address.replace('@', '#')}@autoreply.{host.domains[0]}"
            elif self._is_autoreply(host.mta.name):
                how, text = "autoreply", to
            written = next((a.orig for a in stay.attempts if a.recipient == self.address), self.address)
            stay.attempts.append(Attempt(stay.at, now + rng.uniform(0.02, 0.3), recipient, written, how, "sent", text=text))
            stay.open -= 1

    def _is_autoreply(self, mta: str) -> bool:
        return self.style == "autoreply" and mta in ("exim", "exchange")

    def _message_id(self, now: float, mta: str, domain: str, rng: random.Random) -> str:
        """Some programs make their own, others leave it to the server."""
        if self._is_autoreply(mta) or (self.style == "sieve" and mta == "exchange"):
            return ""
        when = dt.datetime.fromtimestamp(now, dt.UTC)
        if self.style == "client":
            return f"rt-5.0.5-{rng.randint(1000, 99999)}-{rng.getrandbits(31)}-{rng.randint(100, 999)}@{domain}"
        return f"{when:%Y%m%d%H%M%S}.{rng.randint(900, 32000)}.{rng.randint(1000, 9999)}@{domain}"


@dataclass(eq=False)
class MailingList:
    """Sends what comes to its address on to its members, with its own envelope sender."""

    world: World
    address: str
    members: tuple[str, ...]
    delay_s: float = 2.0
    command: str = "/usr/local/bin/explode"

    def __call__(self, mail: Mail, to: str, now: float, stay: Stay) -> None:
        stay.attempts[-1].how = "command"
        if stay.host.mta.name == "postfix":
            stay.attempts[-1].text = f"delivered to command: {self.command} {self.address}"
        else:
            stay.attempts[-1].text = f"{self.command} {self.address}"
        local, _, domain = self.address.rpartition("@")
        copy = Mail(mail.author, self.members, f"{local}-bounces@{domain}", stay.size + 180, f"[{local}] {mail.subject}", "list")
        copy.message_id, copy.by, copy.origin, copy.loop, copy.then = mail.message_id, "list", stay, mail.loop, mail.then
        lag = self.delay_s * self.world.rng.lognormvariate(0.0, 0.3)
        self.world.submit(copy, now + lag, stay.host)


def spread(rng: random.Random, low: float, high: float) -> float:
    """A value between two bounds, even on the logarithmic scale."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
