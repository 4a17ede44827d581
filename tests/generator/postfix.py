"""What a Postfix server logs of the stays in its queue."""

from __future__ import annotations

import datetime as dt
import math
import random
from dataclasses import dataclass

from tests.generator.world import Attempt, Host, Refusal, Stay

_BASE52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_REFUSALS = {
    "unknown": ((550, "5.1.1", "<{rcpt}>: Recipient address rejected: User unknown in virtual mailbox table"),),
    "nobody": ((550, "5.1.1", 'unknown user: "{rcpt}"'),),
    "greylist": ((450, "4.2.0", "<{rcpt}>: Recipient address rejected: Greylisted, see http://postgrey.example/help"),),
    "limit": (
        (550, "5.7.1", "<{rcpt}>: Recipient address rejected: Sending limit exceeded for this sender, try again later"),
        (450, "4.7.1", "<{rcpt}>: Recipient address rejected: sending limit exceeded for {sender}, 100 messages per hour"),
    ),
    "blocked": ((554, "5.7.1", "<{sender}>: Sender address rejected: Access denied"),),
    "full": ((552, "5.2.2", "maildir delivery failed: error writing message: Disk quota exceeded"),),
    "hops": ((554, "5.4.0", "Error: too many hops"),),
    "loop": ((554, "5.4.6", "mail forwarding loop for {rcpt}"),),
}
_CLIENTS = {"client": "ws{n}.{domain}[192.0.2.{m}]", "list": "localhost[127.0.0.1]", "collector": "localhost[127.0.0.1]"}


@dataclass(eq=False)
class Postfix:
    """A Postfix with its habits. stamp: bsd, padded (postlogd's zero-padded day) or rfc3339; box: virtual, lmtp or local.

    A filter that is told by XFORWARD whose mail it checks, tells it again (amavis); one that is not, has each mail from localhost.
    """

    stamp: str = "bsd"
    has_long_ids: bool = False
    box: str = "virtual"
    has_filter: bool = False
    has_xforward: bool = False
    service: str = "postfix"
    name: str = "postfix"
    full_is_temporary: bool = False
    retry_s: float = 300.0

    def queue_id(self, at: float, rng: random.Random) -> str:
        """The microsecond (and second) of the arrival, and an inode number."""
        second, micro = int(at), round(at % 1 * 1e6) % 1_000_000
        inode = rng.randint(0x12000, 0x1FFFF)
        if not self.has_long_ids:
            return f"{micro:05X}{inode:X}"
        return f"{_based(second, 52, 6)}{_based(micro, 52, 4)}z{_based(inode, 51, 1)}"

    def admit(self, stay: Stay, rng: random.Random) -> None:
        at = stay.at + stay.host.skew_s
        stay.queue_id = self.queue_id(at, rng)
        if self.has_filter and stay.source in ("smtp", "client"):
            stay.extra["filter_id"] = self.queue_id(at + 0.8, rng)
        if not stay.mail.message_id:
            when = dt.datetime.fromtimestamp(at, dt.UTC)
            stay.mail.message_id = f"{when:%Y%m%d%H%M%S}.{stay.queue_id}@{stay.host.name}"

    def answer(self, stay: Stay) -> str:
        return f"250 2.0.0 Ok: queued as {stay.queue_id}"

    def refusal(self, reason: str, sender: str, recipient: str, rng: random.Random) -> Refusal:
        code, dsn, text = rng.choice(_REFUSALS[reason])
        text = text.format(rcpt=recipient, sender=sender or "<>")
        if reason == "full" and self.box == "lmtp":
            text = f"<{recipient}> Quota exceeded (mailbox for user is full)"
        return Refusal(reason, code, dsn, text, "end of DATA" if reason == "hops" else "RCPT TO")

    # -- writing -------------------------------------------------------------------------------------------------------------
    def write(self, host: Host, end: float, rng: random.Random) -> dict[str, bytes]:
        lines = _Lines(self, host, rng)
        for stay in host.stays:
            self._stay(lines, stay)
        for at, peer, sender, recipient, refusal in host.refused:
            self._reject(lines, at, peer, sender, recipient, refusal)
        return {f"{host.name}.{'maillog' if self.stamp == 'padded' else 'mail.log'}": lines.text(end)}

    def _stay(self, log: _Lines, stay: Stay) -> None:
        rng, at, qid, mail = log.rng, stay.at, stay.queue_id, stay.mail
        inside = stay.source in ("script", "autoreply", "bounce", "forward") or (stay.source == "list" and stay.parent)
        if stay.source in ("script", "autoreply", "list") and inside:
            uid = 65534 if stay.source == "list" else 5001
            log.add(at, "pickup", f"{qid}: uid={uid} from=<{stay.sender}>")
        elif not inside:
            client = self._client(stay)
            pid = log.add(at - 0.01, "smtpd", f"connect from {client}")
            log.add(at, "smtpd", f"{qid}: client={client}", pid)
            count = len(stay.recipients)
            counters = f"ehlo=1 mail=1 rcpt={count} data=1 quit=1 commands={4 + count}"
            log.add(at + rng.uniform(0.012, 0.12), "smtpd", f"disconnect from {client} {counters}", pid)
        log.add(at + 0.001, "cleanup", f"{qid}: message-id=<{mail.message_id}>")
        log.add(at + 0.006, "qmgr", f"{qid}: {self._from(stay)} (queue active)")
        last = at + 0.01
        if "filter_id" in stay.extra:
            last = self._filtered(log, stay)
            qid = stay.extra["filter_id"]
        deferred_at = math.inf
        for attempt in stay.attempts:
            if attempt.began > deferred_at:
                log.add(attempt.began - 0.01, "qmgr", f"{qid}: {self._from(stay)} (queue active)")
            deferred_at = attempt.at if attempt.outcome == "deferred" else math.inf
            log.add(max(attempt.at, last), *self._attempt(log, stay, attempt, qid))
        last = max([last, *(a.at for a in stay.attempts)]) + 0.004
        if stay.bounce:
            log.add(stay.bounce.at + 0.008, "bounce", f"{qid}: sender non-delivery notification: {stay.bounce.queue_id}")
            last = max(last, stay.bounce.at + 0.009)
        if stay.attempts and not stay.open:
            log.add(last, "qmgr", f"{qid}: removed")

    def _client(self, stay: Stay) -> str:
        if stay.previous:
            return f"{stay.previous.name}[{stay.previous.ip}]"
        n = sum(map(ord, stay.mail.author)) % 40
        return _CLIENTS[stay.source].format(n=n, m=60 + n, domain=stay.host.domains[0])

    def _from(self, stay: Stay) -> str:
        return f"from=<{stay.sender_out}>, size={stay.size}, nrcpt={self._recipients(stay)}"

    def _recipients(self, stay: Stay) -> int:
        return len(stay.recipients) + sum(a.how == "script" for a in stay.attempts)

    def _filtered(self, log: _Lines, stay: Stay) -> float:
        """Through a content filter and back into the queue under a second id."""
        first, second, at = stay.queue_id, stay.extra["filter_id"], stay.at + 0.25
        pid = log.add(at, "smtpd", "connect from localhost[127.0.0.1]")
        told = f", orig_queue_id={first}, orig_client={self._client(stay)}" if self.has_xforward else ""
        log.add(at + 0.01, "smtpd", f"{second}: client=localhost[127.0.0.1]{told}", pid)
        log.add(at + 0.012, "cleanup", f"{second}: message-id=<{stay.mail.message_id}>")
        log.add(at + 0.014, "qmgr", f"{second}: {self._from(stay)} (queue active)")
        log.add(at + 0.016, "smtpd", "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5", pid)
        for recipient in stay.recipients:
            log.add(
                at + 0.018,
                "smtp",
                f"{first}: to=<{recipient}>, relay=127.0.0.1[127.0.0.1]:10024, delay=0.3, delays=0.03/0.01/0.12/0.14, dsn=2.0.0, "
                f"status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {second})",
            )
        log.add(at + 0.02, "qmgr", f"{first}: removed")
        return at + 0.02

    def _attempt(self, log: _Lines, stay: Stay, attempt: Attempt, qid: str) -> tuple[str, str]:
        """Program and text of one delivery record."""
        refusal, box = attempt.refusal, self.box
        orig = "" if attempt.orig == attempt.recipient else f" orig_to=<{attempt.orig}>,"
        program, relay, dsn, text = box, box, "2.0.0", attempt.text
        if attempt.how == "smtp" and attempt.peer:
            program, relay = "smtp", f"{attempt.peer.name}[{attempt.peer.ip}]:25"
            if attempt.onward:
                text = attempt.peer.mta.answer(attempt.onward)
        elif attempt.how == "script":
            program, relay, text = "pipe", "vacation", "delivered via vacation service"
        elif attempt.how == "command" or (refusal and refusal.reason == "loop"):
            program, relay, box = "local", "local", "local"
        elif attempt.how == "forward" and attempt.onward:
            program, relay, text = "local", "local", f"forwarded as {attempt.onward.queue_id}"
        elif box == "lmtp":
            relay = f"{stay.host.name}[private/dovecot-lmtp]"
            text = text or f"250 2.0.0 <{attempt.recipient}> {log.rng.getrandbits(72):018X} Saved"
        else:
            text = text or ("delivered to maildir" if box == "virtual" else "delivered to mailbox")
        if refusal:
            dsn, text = refusal.dsn or f"{refusal.code // 100}.0.0", refusal.text
            host = relay if box == "lmtp" else relay.removesuffix(":25")
            if attempt.how == "smtp" or box == "lmtp":
                text = f"host {host} said: {refusal.reply} (in reply to {refusal.stage} command)"
        if attempt.how == "none":
            program, relay = "error", "none"
        delay = max(0.01, attempt.at - stay.at)
        before = min(0.12, 0.3 * delay)
        waited = min(max(0.0, attempt.began - stay.at - before), delay - before)
        connected = min(0.05, delay - before - waited) if program == "smtp" else 0.0
        spent = (before, waited, connected, delay - before - waited - connected)
        delays = "/".join(_short(seconds) for seconds in spent)
        return program, (
            f"{qid}: to=<{attempt.recipient}>,{orig} relay={relay}, delay={_short(delay)}, delays={delays}, dsn={dsn}, "
            f"status={attempt.outcome} ({text})"
        )

    def _reject(self, log: _Lines, at: float, peer: Host, sender: str, recipient: str, refusal: Refusal) -> None:
        client = f"{peer.name}[{peer.ip}]"
        pid = log.add(at - 0.02, "smtpd", f"connect from {client}")
        if refusal.reason == "hops":
            qid = self.queue_id(at, log.rng)
            log.add(at, "smtpd", f"{qid}: client={client}", pid)
            log.add(at + 0.002, "cleanup", f"warning: {qid}: message rejected: hopcount exceeded")
        else:
            log.add(
                at,
                "smtpd",
                f"NOQUEUE: reject: RCPT from {client}: {refusal.reply}; from=<{sender}> to=<{recipient}> proto=ESMTP "
                f"helo=<{peer.name}>",
                pid,
            )
        log.add(at + 0.01, "smtpd", f"disconnect from {client} ehlo=1 mail=1 rcpt=0/1 data=0/1 quit=1 commands=3/5", pid)


class _Lines:
    """Lines with their times, sorted when all are there."""

    def __init__(self, mta: Postfix, host: Host, rng: random.Random) -> None:
        self.rng = random.Random(rng.getrandbits(64))
        self._mta, self._host, self._lines = mta, host, list[tuple[float, int, str]]()
        self._pids: dict[str, list[int]] = {}

    def add(self, at: float, program: str, text: str, pid: int = 0) -> int:
        pids = self._pids.setdefault(program, [])
        if not pids:
            count = 3 if program in ("smtpd", "smtp") else 1
            pids += self.rng.sample(range(900, 32000), count)
        pid = pid or self.rng.choice(pids)
        self._lines.append((at, len(self._lines), f"{self._mta.service}/{program}[{pid}]: {text}"))
        return pid

    def text(self, end: float) -> bytes:
        short = self._host.name.partition(".")[0]
        stamp = _STAMPS[self._mta.stamp]
        self._lines.sort()
        skew = self._host.skew_s
        return "".join(f"{stamp(at + skew)} {short} {text}\n" for at, _, text in self._lines if at <= end).encode()


def _bsd(at: float) -> str:
    when = dt.datetime.fromtimestamp(int(at), dt.UTC)
    return f"{_MONTHS[when.month - 1]} {when.day:2d} {when:%H:%M:%S}"


def _padded(at: float) -> str:
    when = dt.datetime.fromtimestamp(int(at), dt.UTC)
    return f"{_MONTHS[when.month - 1]} {when.day:02d} {when:%H:%M:%S}"


def _rfc3339(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="microseconds")


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_STAMPS = {"bsd": _bsd, "padded": _padded, "rfc3339": _rfc3339}


def _short(seconds: float) -> str:
    """A delay as Postfix prints it: two significant digits, no more than two decimals."""
    if seconds < 0.01:
        return "0"
    digits = min(2, max(0, 1 - math.floor(math.log10(seconds))))
    return f"{seconds:.{digits}f}".rstrip("0").rstrip(".") if digits else str(round(seconds))


def _based(number: int, base: int, width: int) -> str:
    out = ""
    while number or not out:
        number, rest = divmod(number, base)
        out = _BASE52[rest] + out
    return out.rjust(width, "0")
