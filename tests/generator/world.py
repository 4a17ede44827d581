"""Mails on their way between simulated servers: who accepts, forwards, refuses, returns and delivers what, and when.

The world knows nothing of log lines. Each server keeps the *stays* of messages in its queue and the recipients it refused; the
writers turn these into the log of a Postfix, Exim or Exchange server. All times are POSIX seconds of true time; a server whose
clock is wrong is only wrong in what it writes.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

NULL = ""
"""The null reverse-path."""
RECEIVED_BYTES = 190
"""What a hop adds to a message: its Received field."""


@dataclass(eq=False)
class Loop:
    """A loop as it happens, and what it came to. `messages` counts seeds and automatic answers, each once."""

    kind: str
    members: list[str]
    ended_by: str = "stopped"
    limit: int = 10**9
    """Automatic messages after which someone switches the machines off."""
    mails: list[Mail] = field(default_factory=list)
    answers: int = 0
    is_over: bool = False
    end_reason: str = ""
    """The refusal that ends it; a log that does not show one only shows that it ended."""
    has_times: bool = True
    has_range: bool = False
    """Each turn makes a new message of the old: a reader may count the seeds, or every one."""
    counts_bounces: bool = False
    on_limit: Callable[[float], None] | None = None
    """What happens when the limit is reached; by default the machines fall silent."""

    def wrote(self, mail: Mail, now: float, *, is_seed: bool = False) -> None:
        mail.loop = self
        self.mails.append(mail)
        if not is_seed:
            self.answers += 1
            mail.is_answer = True
            if self.answers == self.limit:
                self.stop(now)

    def stop(self, now: float) -> None:
        if self.on_limit:
            self.on_limit(now)
        else:
            self.is_over = True


@dataclass(eq=False)
class Mail:
    """One message: its author writes it once, whatever ways it then goes."""

    author: str
    to: tuple[str, ...]
    sender: str | None = None
    """Envelope sender; the author's address unless given, "" for the null sender."""
    size: int = 2000
    subject: str = ""
    kind: str = "human"
    message_id: str = ""
    by: str = "client"
    """How it comes to its first server: client, script, autoreply, list, bounce or collector."""
    origin: Stay | None = None
    """The stay that made it: of the message bounced, answered by a script or sent on by a list."""
    then: Callable[[Mail, str, float, Stay], None] | None = None
    """What the one who reads it does, on top of the habits of the mailbox."""
    loop: Loop | None = None
    is_answer: bool = False
    stays: list[Stay] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.sender is None:
            self.sender = self.author


@dataclass(frozen=True)
class Refusal:
    """A server's no: why, and its words."""

    reason: str
    code: int
    dsn: str
    text: str
    stage: str = "RCPT TO"

    @property
    def is_final(self) -> bool:
        return self.code >= 500

    @property
    def reply(self) -> str:
        return f"{self.code} {self.dsn} {self.text}" if self.dsn else f"{self.code} {self.text}"


@dataclass
class Attempt:
    """One try to bring a message to one recipient."""

    began: float
    at: float
    recipient: str
    orig: str
    how: str
    """smtp, box, script, command, forward, autoreply or none."""
    outcome: str
    peer: Host | None = None
    onward: Stay | None = None
    refusal: Refusal | None = None
    text: str = ""


@dataclass(eq=False)
class Stay:
    """One stay of a message in the queue of one server."""

    host: Host
    mail: Mail
    sender: str
    recipients: tuple[str, ...]
    at: float
    source: str
    previous: Host | None
    parent: Stay | None
    hops: int
    queue_id: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    open: int = 0
    bounce: Stay | None = None
    note: str = ""
    sender_out: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.mail.size + RECEIVED_BYTES * self.hops

    @property
    def author(self) -> str:
        return self.mail.author


class Mta(Protocol):
    """What the world asks of a kind of mail server."""

    name: str
    full_is_temporary: bool
    retry_s: float

    def admit(self, stay: Stay, rng: random.Random) -> None: ...
    def answer(self, stay: Stay) -> str: ...
    def refusal(self, reason: str, sender: str, recipient: str, rng: random.Random) -> Refusal: ...
    def write(self, host: Host, end: float, rng: random.Random) -> dict[str, bytes]: ...


@dataclass(eq=False)
class Host:
    """A mail server, its domains, and its habits."""

    name: str
    ip: str
    domains: tuple[str, ...]
    mta: Mta
    is_logged: bool = True
    skew_s: float = 0.0
    hop_limit: int = 50
    latency_s: float = 0.5
    backlog: tuple[float, float] = (0.0, 60.0)
    """Share of transfers that wait in the queue, and the median of that wait in seconds."""
    daemon: str = ""
    """Header address of its notifications."""
    stays: list[Stay] = field(default_factory=list)
    refused: list[tuple[float, Host, str, str, Refusal]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.daemon = self.daemon or f"mailer-daemon@{self.domains[0]}"


@dataclass
class Alias:
    """An address that only passes mail on. envelope: keep, srs, or self (the alias becomes the envelope sender)."""

    targets: tuple[str, ...]
    envelope: str = "keep"


Behaviour = Callable[[Mail, str, float, Stay], None]
Gate = Callable[[Host, Stay, str, float], str | None]


class World:
    """Servers, mailboxes and a clock. Deterministic: ties are broken by the order in which things were planned."""

    def __init__(self, rng: random.Random, start: float, end: float) -> None:
        self.rng, self.start, self.end = rng, start, end
        self.hosts: dict[str, Host] = {}
        self.habits: dict[str, list[Behaviour]] = {}
        self.aliases: dict[str, Alias] = {}
        self.unknown: set[str] = set()
        """Addresses that their server refuses at once; those in `dead` it takes, and then finds no mailbox."""
        self.dead: set[str] = set()
        self.gates: list[Gate] = []
        self.box_gates: list[Gate] = []
        self.loops: list[Loop] = []
        self.benign: list[str] = []
        self._plan: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    # -- the clock -----------------------------------------------------------------------------------------------------------
    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._plan, (when, next(self._order), call, args))

    def run(self) -> None:
        """Let everything happen that happens before the end."""
        while self._plan and self._plan[0][0] <= self.end:
            when, _, call, args = heapq.heappop(self._plan)
            call(when, *args)

    # -- places --------------------------------------------------------------------------------------------------------------
    def add(self, host: Host) -> Host:
        self.hosts |= dict.fromkeys(host.domains, host) | {host.name: host}
        return host

    def home(self, address: str) -> Host:
        return self.hosts[address.rpartition("@")[2]]

    def habit(self, address: str, behaviour: Behaviour) -> None:
        self.habits.setdefault(address, []).append(behaviour)

    # -- mails ---------------------------------------------------------------------------------------------------------------
    def submit(self, mail: Mail, when: float, host: Host | None = None) -> None:
        """Give a mail to its author's server at a time."""
        self.at(when, self._submitted, mail, host or self.home(mail.author))

    def _submitted(self, now: float, mail: Mail, host: Host) -> None:
        self._take(now, host, mail, mail.sender or NULL, mail.to, mail.by, None, mail.origin, 0)

    def submit_now(self, mail: Mail, now: float, host: Host | None = None) -> Stay:
        return self._take(now, host or self.home(mail.author), mail, mail.sender or NULL, mail.to, mail.by, None, mail.origin, 0)

    def _take(
        self,
        now: float,
        host: Host,
        mail: Mail,
        sender: str,
        recipients: Iterable[str],
        source: str,
        previous: Host | None,
        parent: Stay | None,
        hops: int,
    ) -> Stay:
        stay = Stay(host, mail, sender, tuple(recipients), now, source, previous, parent, hops, sender_out=sender)
        for recipient in stay.recipients:
            alias = self._alias(host, recipient)
            if alias and alias.envelope == "srs" and sender:
                stay.sender_out = srs(sender, host.domains[0])
        host.mta.admit(stay, self.rng)
        host.stays.append(stay)
        mail.stays.append(stay)
        self.at(now + self.rng.uniform(0.02, 0.25), self._route, stay)
        return stay

    def _route(self, now: float, stay: Stay) -> None:
        host, onward = stay.host, dict[str, list[tuple[str, str]]]()
        if stay.hops > host.hop_limit:
            stay.note = "hops"
            refusal = host.mta.refusal("hops", stay.sender, stay.recipients[0], self.rng)
            for recipient in stay.recipients:
                stay.attempts.append(Attempt(now, now, recipient, recipient, "none", "bounced", refusal=refusal))
            self.at(now, self._returned, stay)
            return
        for recipient in stay.recipients:
            alias = self._alias(host, recipient)
            if alias and alias.envelope == "self" and stay.sender and host.mta.name == "postfix":
                copy = self._take(now, host, stay.mail, recipient, alias.targets, "forward", None, stay, stay.hops)
                stay.attempts.append(Attempt(now, now + 0.01, recipient, recipient, "forward", "sent", onward=copy))
                continue
            if alias and alias.envelope == "self" and stay.sender:
                stay.sender_out = recipient
            for target in alias.targets if alias else (recipient,):
                peer = self.home(target)
                key = "" if peer is host else peer.name
                onward.setdefault(key, []).append((target, recipient))
        for name, pairs in onward.items():
            stay.open += 1
            if not name:
                self.at(now + self.rng.uniform(0.01, 0.2), self._into_boxes, stay, pairs, 0)
            else:
                self.at(now + self._wait(stay), self._handed_on, stay, self.hosts[name], pairs, now, 0)

    def _alias(self, host: Host, recipient: str) -> Alias | None:
        """How this server passes on what comes for a recipient of its own."""
        if self.home(recipient) is not host:
            return None
        original = unsrs(recipient)
        return Alias((original,)) if original else self.aliases.get(recipient)

    def _wait(self, stay: Stay) -> float:
        share, median = stay.host.backlog
        wait = self.rng.lognormvariate(math.log(stay.host.latency_s), 0.6)
        if share and self.rng.random() < share:
            wait += self.rng.lognormvariate(math.log(median), 0.8)
        return wait

    def _handed_on(self, now: float, stay: Stay, peer: Host, pairs: list[tuple[str, str]], began: float, tries: int) -> None:
        """One SMTP session: each recipient is accepted or refused, then the message goes over once."""
        rng, taken, later, is_returned = self.rng, [], [], False
        done = now + rng.uniform(0.03, 0.4)
        for target, orig in pairs:
            reason = "unknown" if target in self.unknown else None
            for gate in self.gates:
                reason = reason or gate(peer, stay, target, now)
            if reason is None and stay.hops + 1 > peer.hop_limit and peer.mta.name != "exim":
                reason = "hops"
            if reason is None:
                taken.append((target, orig))
                continue
            refusal = peer.mta.refusal(reason, stay.sender_out, target, rng)
            peer.refused.append((now + 0.02, stay.host, stay.sender_out, target, refusal))
            outcome = "bounced" if refusal.is_final else "deferred"
            stay.attempts.append(Attempt(began, done, target, orig, "smtp", outcome, peer, refusal=refusal))
            if refusal.is_final:
                is_returned = True
            else:
                later.append((target, orig))
        if taken:
            copy = self._take(
                now, peer, stay.mail, stay.sender_out, [t for t, _ in taken], "smtp", stay.host, None, stay.hops + 1
            )
            for target, orig in taken:
                stay.attempts.append(Attempt(began, done, target, orig, "smtp", "sent", peer, copy))
        if later:
            pause = stay.host.mta.retry_s * (1.7 ** min(tries, 4)) * rng.uniform(0.9, 1.2)
            self.at(now + pause, self._handed_on, stay, peer, later, now + pause, tries + 1)
        else:
            stay.open -= 1
        if is_returned:
            self.at(done + 0.01, self._returned, stay)

    def _into_boxes(self, now: float, stay: Stay, pairs: list[tuple[str, str]], tries: int) -> None:
        """Local delivery, and whatever the owner of the mailbox, or his machines, do then."""
        later, host = [], stay.host
        for target, orig in pairs:
            reason = "nobody" if target in self.unknown or target in self.dead else None
            for gate in self.box_gates:
                reason = reason or gate(host, stay, target, now)
            if reason:
                refusal = host.mta.refusal(reason, stay.sender, target, self.rng)
                outcome = "bounced" if refusal.is_final else "deferred"
                stay.attempts.append(Attempt(stay.at, now, target, orig, "box", outcome, refusal=refusal))
                if refusal.is_final:
                    self.at(now + 0.01, self._returned, stay)
                else:
                    later.append((target, orig))
                continue
            stay.attempts.append(Attempt(stay.at, now, target, orig, "box", "sent"))
            for behaviour in self.habits.get(target, ()):
                behaviour(stay.mail, target, now, stay)
            if stay.mail.then:
                stay.mail.then(stay.mail, target, now, stay)
        if later:
            self.at(now + host.mta.retry_s * self.rng.uniform(0.9, 1.3), self._into_boxes, stay, later, tries + 1)
        else:
            stay.open -= 1

    def _returned(self, now: float, stay: Stay) -> None:
        """The notification to the envelope sender; nobody is told of a notification that fails."""
        if stay.bounce:
            return
        if not stay.sender_out:
            stay.note = stay.note or "double"
            return
        notice = Mail(
            stay.host.daemon,
            (stay.sender_out,),
            NULL,
            stay.mail.size + 1900 + self.rng.randint(-40, 40),
            "Undelivered Mail Returned to Sender",
            "bounce",
            by="bounce",
            origin=stay,
        )
        loop = stay.mail.loop
        if loop and loop.counts_bounces:
            if loop.is_over:
                notice.loop = loop
            else:
                loop.wrote(notice, now)
        stay.bounce = self.submit_now(notice, now, stay.host)


def srs(address: str, domain: str) -> str:
    """Sender Rewriting Scheme: the address under which a forwarder answers for somebody else's sender."""
    local, _, host = address.rpartition("@")
    mark = f"{sum(map(ord, address + domain)) % 46656:04X}"
    if host == domain:
        return address
    if local.startswith("SRS0="):
        return f"SRS1={mark}={host}={local[4:]}@{domain}"
    if local.startswith("SRS1="):
        return f"SRS1={mark}={local.split('=', 2)[2]}@{domain}"
    return f"SRS0={mark}=7R={host}={local}@{domain}"


def unsrs(address: str) -> str | None:
    """One step back, as the forwarder undoes it; None if the address is not a rewritten one."""
    local = address.rpartition("@")[0]
    if local.startswith("SRS1="):
        _, _, host, rest = local.split("=", 3)
        return f"SRS0={rest.removeprefix('=')}@{host}"
    if local.startswith("SRS0="):
        _, _, _, host, rest = local.split("=", 4)
        return f"{rest}@{host}"
    return None
