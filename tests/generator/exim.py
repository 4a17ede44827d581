"""What an Exim server writes into its main log of the stays in its queue."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field

from tests.generator.world import Attempt, Host, Refusal, Stay

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_REFUSALS = {
    "unknown": ((550, "", "Unrouteable address"), (550, "", "Unknown user")),
    "nobody": ((550, "", "Unrouteable address"),),
    "greylist": ((451, "", "Temporarily deferred due to greylisting. Please try again later."),),
    "limit": (
        (451, "", "sending rate for {sender} exceeded (110.0 / 1h, limit 110)"),
        (550, "5.7.1", "sending limit for {sender} reached, try again tomorrow"),
    ),
    "blocked": ((550, "5.7.1", "sender <{sender}> is blocked here"),),
    "full": ((450, "4.2.2", "mailbox is full (MTA-imposed quota exceeded while writing to tmp/{tmp})"),),
    "hops": ((550, "", 'Too many "Received" headers - suspected mail loop'),),
    "loop": ((550, "", "mail forwarding loop for {rcpt}"),),
}


@dataclass(eq=False)
class Exim:
    """An Exim with its habits. is_rich: milliseconds, pids, subjects and recipients are logged; is_new: ids of 4.97 and later."""

    is_rich: bool = False
    is_new: bool = False
    name: str = "exim"
    full_is_temporary: bool = True
    retry_s: float = 600.0
    given: set[str] = field(default_factory=set)

    def queue_id(self, at: float, rng: random.Random) -> str:
        """Second, process id and fraction of the arrival in base 62."""
        while True:
            fraction, pid = int(at % 1 * 2000), rng.randint(400, 99999)
            if self.is_new:
                own = f"{base62(int(at), 6)}-{base62(pid, 11)}-{base62(int(at % 1 * 1e6), 4)}"
            else:
                own = f"{base62(int(at), 6)}-{base62(pid, 6)}-{base62(fraction, 2)}"
            if own not in self.given:
                self.given.add(own)
                return own

    def admit(self, stay: Stay, rng: random.Random) -> None:
        stay.queue_id = self.queue_id(stay.at + stay.host.skew_s, rng)
        if not stay.mail.message_id:
            stay.mail.message_id = f"E{stay.queue_id}@{stay.host.name}"

    def answer(self, stay: Stay) -> str:
        return f"250 OK id={stay.queue_id}"

    def refusal(self, reason: str, sender: str, recipient: str, rng: random.Random) -> Refusal:
        code, dsn, text = rng.choice(_REFUSALS[reason])
        tmp = f"{rng.randint(10**9, 2 * 10**9)}.M{rng.randint(1, 999999)}P{rng.randint(900, 32000)}.mx"
        return Refusal(reason, code, dsn, text.format(rcpt=recipient, sender=sender or "<>", tmp=tmp))

    # -- writing -------------------------------------------------------------------------------------------------------------
    def write(self, host: Host, end: float, rng: random.Random) -> dict[str, bytes]:
        log = _Lines(self.is_rich, rng)
        for stay in host.stays:
            self._stay(log, stay)
        for at, peer, sender, recipient, refusal in host.refused:
            word = "rejected" if refusal.is_final else "temporarily rejected"
            text = f"{refusal.dsn} {refusal.text}".strip()
            log.add(at, f"H={peer.name} [{peer.ip}] F=<{sender}> {word} RCPT <{recipient}>: {text}")
        for at in _queue_runs(host, end):
            pid = log.rng.randint(900, 32000)
            log.add(at, f"Start queue run: pid={pid}")
            log.add(at + 0.2, f"End queue run: pid={pid}")
        return {f"{host.name}.exim_mainlog": log.text(end, host.skew_s)}

    def _stay(self, log: _Lines, stay: Stay) -> None:
        own, mail = stay.queue_id, stay.mail
        log.add(stay.at + log.rng.uniform(0.001, 0.02), f"{own} <= {self._arrival(stay)}")
        session = ""
        for attempt in stay.attempts:
            flag = {"sent": "=>", "deferred": "==", "bounced": "**"}[attempt.outcome]
            if attempt.onward and attempt.onward.queue_id == session:
                flag = "->"
            session = attempt.onward.queue_id if attempt.onward else ""
            log.add(max(attempt.at, stay.at + 0.03), f"{own} {flag} {self._attempt(stay, attempt)}")
        last = max([stay.at + 0.03, *(a.at for a in stay.attempts)])
        if stay.bounce:
            last = max(last, stay.bounce.at + 0.01)
        if stay.note and not stay.sender_out:
            log.add(last + 0.01, f"{own} Frozen (delivery error message)")
        elif stay.attempts and not stay.open:
            log.add(last + 0.02, f"{own} Completed" + (f" QT={max(1, round(last - stay.at))}s" if self.is_rich else ""))
        assert mail.message_id

    def _arrival(self, stay: Stay) -> str:
        mail, sender = stay.mail, stay.sender or "<>"
        parent = f" R={stay.parent.queue_id}" if stay.parent else ""
        if stay.previous:
            where = f"H={stay.previous.name} [{stay.previous.ip}] P=esmtp"
        elif stay.source == "bounce":
            where = f"{parent[1:]} U=Debian-exim P=local"
        elif stay.source == "autoreply":
            where = f"{parent[1:]} U=Debian-exim P=local".strip()
        elif stay.source == "script":
            where = f"U={'vacation' if mail.kind == 'auto_reply' else 'nagios'} P=local"
        elif stay.source == "list":
            where = "U=list P=local"
        elif stay.source == "collector":
            where = "H=localhost (localhost) [127.0.0.1] P=esmtp"
        else:
            n = sum(map(ord, mail.author)) % 40
            where = f"H=ws{n}.{stay.host.domains[0]} (ws{n}) [192.0.2.{60 + n}] P=esmtp"
        text = f"{sender} {where} S={stay.size}"
        if mail.message_id != f"E{stay.queue_id}@{stay.host.name}":  # one that Exim had to make is not logged
            text += f" id={mail.message_id}"
        if self.is_rich:
            subject = mail.subject.replace('"', '\\"')
            text += f' T="{subject}" from <{stay.sender}> for {" ".join(stay.recipients)}'
        return text

    def _attempt(self, stay: Stay, attempt: Attempt) -> str:
        final, refusal = attempt.recipient, attempt.refusal
        orig = "" if attempt.orig == final else f" <{attempt.orig}>"
        if attempt.how == "smtp" and attempt.peer:
            peer = attempt.peer
            way = f"{final}{orig} R=remote T=remote_smtp"
            if attempt.onward:
                size = f" S={stay.size + 20}" if self.is_rich else ""
                return f'{way}{size} H={peer.name} [{peer.ip}] K C="{peer.mta.answer(attempt.onward)}"'
            assert refusal
            said = f"SMTP error from remote mail server after {refusal.stage}:<{final}>: {refusal.reply}"
            if refusal.stage != "RCPT TO":
                said = f"SMTP error from remote mail server after end of data: {refusal.reply}"
            if refusal.is_final:
                return f"{way} H={peer.name} [{peer.ip}]: {said}"
            return f"{way} defer (-44) H={peer.name} [{peer.ip}]: {said}"
        local = final.partition("@")[0]
        if attempt.how == "script":
            return f"{local} <{attempt.orig}> R=vacation T=vacation_pipe"
        if attempt.how == "autoreply":
            return f">{attempt.text} <{attempt.orig}> R=userautoreply T=userautoreply"
        if attempt.how == "command":
            return f"|{attempt.text} <{attempt.orig}> R=system_aliases T=address_pipe"
        if refusal and refusal.reason == "full":
            return f"{final}{orig} R=local_user T=maildir_home defer (-22): {refusal.text}"
        if refusal:
            return f"{final}{orig}: {refusal.text}"
        size = f" S={stay.size + 120}" if self.is_rich else ""
        return f"{local} <{attempt.orig}> R=local_user T=maildir_home{size}"


class _Lines:
    """Lines with their times, sorted when all are there."""

    def __init__(self, is_rich: bool, rng: random.Random) -> None:
        self.rng = random.Random(rng.getrandbits(64))
        self._is_rich, self._lines = is_rich, list[tuple[float, int, str]]()

    def add(self, at: float, text: str) -> None:
        pid = f"[{self.rng.randint(900, 32000)}] " if self._is_rich else ""
        self._lines.append((at, len(self._lines), pid + text))

    def text(self, end: float, skew: float) -> bytes:
        self._lines.sort()
        return "".join(f"{self._stamp(at + skew)} {text}\n" for at, _, text in self._lines if at <= end).encode()

    def _stamp(self, at: float) -> str:
        when = dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None)
        return when.isoformat(" ", "milliseconds" if self._is_rich else "seconds")


def _queue_runs(host: Host, end: float) -> list[float]:
    """Every half hour, in the time that the log covers."""
    if not host.stays:
        return []
    first = host.stays[0].at
    return [first + k * 1800 - 7 for k in range(min(60, int((end - first) // 1800) + 1))]


def base62(number: int, width: int) -> str:
    out = ""
    while number or not out:
        number, rest = divmod(number, 62)
        out = BASE62[rest] + out
    return out.rjust(width, "0")


def seconds_of(queue_id: str) -> int:
    """The UTC second that the first six characters of an Exim id encode."""
    number = 0
    for character in queue_id[:6]:
        number = number * 62 + BASE62.index(character)
    return number
