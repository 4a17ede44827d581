"""Names for names: keyed pseudonyms for mailboxes, hosts and addresses, or plain counters that say nothing at all.

The same name under the same key is the same pseudonym, in every document; without the key nobody can try names out.
Structure stays: a mailbox of a domain stays one of that domain, neighbours in a network stay neighbours.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from base64 import b32encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

KEPT_LOCALS = frozenset({"", "postmaster", "mailer-daemon", "double-bounce", "root", "srs0", "srs1", "prvs", "msprvs1"})
"""Local parts that every server has (RFC 5321, 4.5.1; Postfix, SRS and BATV): they name no person."""
_SERVICE = re.compile(r"(?i)^(owner-)?(.+?)(-bounces?|-owner|-request|-admin|-errors|-return)?$")
_KEPT_HOSTS = frozenset({"localhost", "localdomain", "local"})


class Namer(Protocol):
    """What stands for a local part, for a label of a host name, for an IP address."""

    def local(self, text: str) -> str:
        """Instead of a local part, or a piece of one."""

    def label(self, text: str) -> str:
        """Instead of a label of a host name."""

    def ip(self, text: str) -> str:
        """Instead of an IP address."""


@dataclass(frozen=True)
class Keyed:
    """Pseudonyms by HMAC-SHA256 under a key: 40 bits, so that two of ten thousand names meet once in twenty thousand runs."""

    key: bytes

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without giving them away."""
        return self._digest("fingerprint", "")[:8].hex()

    def identity(self, text: str) -> str:
        """Ten hexadecimal digits for an incident's id."""
        return self._digest("id", text)[:5].hex()

    def local(self, text: str) -> str:
        """u and eight characters, without a hyphen, so that it needs no quotes in any command."""
        return "u" + self._token("local", text)

    def label(self, text: str) -> str:
        """n and eight characters; how it is written (letter case, IDNA) makes no difference."""
        return "n" + self._token("label", _ascii(text))

    def ip(self, text: str) -> str:
        """Addresses of one network stay in one network; public ones become such as nobody has (240/4, 2001:db8::/32)."""
        address = ipaddress.ip_address(text)
        if address.version == 6:
            groups = address.exploded.split(":")
            net, sub, whole = (self._digest("ip6", ":".join(groups[:n])).hex() for n in (3, 4, 8))
            parts = [net[:4], net[4:8], sub[:4], whole[:4], whole[4:8], whole[8:12]]
            return "2001:db8:" + ":".join(p.lstrip("0") or "0" for p in parts)
        octets = [int(o) for o in text.split(".")]
        kept = 1 if octets[0] == 10 else 2 if address.is_private and octets[0] in (172, 192) else 0
        out = octets[:kept] or [240 + self._digest("ip4", str(octets[0]))[0] % 15]
        for n in range(len(out), 4):
            out.append(self._shuffled(".".join(map(str, octets[:n])))[octets[n]])
        return ".".join(map(str, out))

    def _shuffled(self, prefix: str) -> list[int]:
        """A permutation of 0 to 255 for each prefix, so that no two addresses meet (as Crypto-PAn does for bits)."""
        return _permutation(self.key, prefix)

    def _token(self, kind: str, text: str) -> str:
        return b32encode(self._digest(kind, text.casefold())[:5]).decode().lower()

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self.key, f"{kind}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


@lru_cache(maxsize=4096)
def _permutation(key: bytes, prefix: str) -> list[int]:
    seed = hmac.new(key, f"octet:{prefix}".encode(), hashlib.sha256).digest()
    return sorted(range(256), key=lambda n: hashlib.sha256(seed + bytes([n])).digest())


@dataclass
class Counted:
    """mailbox1, host1, [address 1]: numbers in the order of the document, which no key can turn back."""

    _seen: dict[str, dict[str, int]] = field(default_factory=dict)

    def local(self, text: str) -> str:
        """mailbox1, mailbox2 …"""
        return f"mailbox{self._number('local', text.casefold())}"

    def label(self, text: str) -> str:
        """host1, host2 …"""
        return f"host{self._number('label', _ascii(text))}"

    def ip(self, text: str) -> str:
        """[address 1], [address 2] …"""
        return f"[address {self._number('ip', ipaddress.ip_address(text).compressed)}]"

    def _number(self, kind: str, text: str) -> int:
        seen = self._seen.setdefault(kind, {})
        return seen.setdefault(text, len(seen) + 1)


class Unchanged:
    """Leaves everything as it is."""

    def local(self, text: str) -> str:
        """The text."""
        return text

    def label(self, text: str) -> str:
        """The text."""
        return text

    def ip(self, text: str) -> str:
        """The text."""
        return text


@dataclass(frozen=True)
class Mixed:
    """One namer for each kind of name."""

    locals: Namer
    labels: Namer
    ips: Namer

    def mailbox(self, address: str) -> str:
        """A whole address: local part and domain."""
        local, at, host = address.rpartition("@")
        return f"{self.local(local)}{at}{self.host(host)}"

    def local(self, text: str) -> str:
        """A local part; tags, VERP, SRS and service suffixes keep their place in it."""
        bare = text.strip('"')
        is_rewritten = "=" in bare or "#" in bare
        return "".join(p if p in "+=#" else self._piece(p, is_rewritten) for p in re.split(r"([+=#])", bare))

    def _piece(self, piece: str, is_rewritten: bool) -> str:
        if piece.casefold() in KEPT_LOCALS:
            return piece
        if is_rewritten and re.fullmatch(r"(?:[\w-]+\.)+[A-Za-z]{2,}", piece):
            return self.host(piece)  # the domain of somebody's address inside SRS or VERP
        match = _SERVICE.match(piece)
        if match is None or not match[2]:
            return self.locals.local(piece)
        return f"{match[1] or ''}{self.locals.local(match[2])}{match[3] or ''}"

    def host(self, name: str) -> str:
        """A host or domain name, label by label; the last one stays, as it names nobody (example, com, de)."""
        if name.startswith("["):
            return name
        labels = name.rstrip(".").split(".")
        if len(labels) == 1:
            return name if name.casefold() in _KEPT_HOSTS else self.labels.label(name)
        return ".".join([*(p if p.casefold() in _KEPT_HOSTS else self.labels.label(p) for p in labels[:-1]), labels[-1].lower()])

    def ip(self, text: str) -> str:
        """An IP address; the own machine's stays."""
        return text if ipaddress.ip_address(text).is_loopback else self.ips.ip(text)


def _ascii(label: str) -> str:
    """A label as DNS has it."""
    try:
        return label.casefold().encode("idna").decode("ascii")
    except UnicodeError:
        return label.casefold()
