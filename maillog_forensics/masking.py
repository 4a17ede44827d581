"""The findings with pseudonyms instead of names, or with kinds of names left out: a document to a document.

What a log may have written is masked wherever it looks like an address, a host or an IP address; our own words and
commands are masked where they hold a name that the data hold, so that `main.cf` stays what it is.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maillog_forensics import quoting
from maillog_forensics.claims import may_be_mended
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Ending, Findings, Incident, Kind
from maillog_forensics.pseudonyms import KEPT_LOCALS, Counted, Keyed, Mixed, Unchanged
from maillog_forensics.quoting import is_plain_address
from maillog_forensics.remedies import CAUSES, MTAS, Mta, RemedyFacts, remedies


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


KINDS = ("subject", "local-part", "host", "ip", "message-id", "evidence")
"""What can be left out."""
_KEPT = _set("schema schema_ version libraries sha256 decompressed_sha256 compression kind type severity level side proof when")
_OURS = _set(
    "mta format zone year_basis threshold signature queue_id still_queued "
    "name reason title commands warning zone_basis limits problems words sentence detector set_aside id"
)
_PATHS = frozenset({"path", "source", "command", "parameters"})
_NAME_KEYS = frozenset({"aliases", "host_mtas", "origins", "codes", "detail", "set_aside"})
_ENDINGS = frozenset(e.value for e in Ending)
_GENERIC = KEPT_LOCALS | _set(
    "mail smtp info list lists user test local error from status sent message client relay host admin bounce lost removed "
    "delivered mailbox reject deferred vacation unknown system daemon nobody postfix exim exchange sendmail dovecot"
)
_FILES = _set("log cf conf db cdb pid txt html gz zst xz bz2 json jsonl csv lock sock toml cfg xml")

_IP4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d|\w)"
_IP6 = r"(?:(?<![\w:.])|(?<=IPv6:))(?=[0-9a-fA-F:]*::?[0-9a-fA-F:]*:)[0-9a-fA-F:]{3,39}(?![\w:])"
_DOMAIN = r"(?:[^\W_](?:[\w-]*\w)?\\?\.)+[^\W\d_](?:[\w-]*\w)?"
_LOOSE = r"[^\s<>()\[\],;:\"'\\=@|/]+"
_LOCAL = rf'(?:"[^"\n]{{1,200}}"|(?:(?:ms)?prvs\d?|SRS[01]|[\w.-]+\+)[^\s<>()\[\],;:"@]*|{_LOOSE})'
_TOKENS = re.compile(
    rf"(?P<bracket><[^<>\n]{{1,900}}@[^<>@\n]{{1,255}}>)|(?P<ip>{_IP6}|{_IP4})|(?P<address>{_LOCAL}@(?:{_DOMAIN}|[\w-]+|\[[^\]\s]+\]))"
    rf"|(?P<domain>(?<![\w\\.-]){_DOMAIN})|(?P<word>[\w.-]*\w)",
    re.IGNORECASE,
)
_MESSAGE_ID = re.compile(r"(?i)\b(message-id=<?|id=)[^\s>]+")
_SUBJECTS = re.compile(r'(?i)(\bT="(?:[^"\\]|\\.)*"|\bsubject[:=] ?(?:"[^"\n]*"|.*?(?= from [^ ]+\[|; from=|$)))')


@dataclass
class _Names:
    """What the data name: only these are masked inside of our own words."""

    addresses: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    ips: set[str] = field(default_factory=set)
    locals: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Masking:
    """What to do with a document: pseudonyms under a key, kinds of names left out, or both."""

    key: bytes | None = None
    redact: tuple[str, ...] = ()

    def namer(self) -> Mixed:
        """What stands for what: left out goes before pseudonym."""
        base = Keyed(self.key) if self.key is not None else Unchanged()
        counted = Counted()

        def of(kind: str) -> Any:
            return counted if kind in self.redact else base

        return Mixed(of("local-part"), of("host"), of("ip"))


def wanted(pseudonymize: bool, redact: str | None, key_file: Path | None) -> Masking | None:
    """The masking that the options ask for, or None; without --key-file the key is a fresh one that nobody keeps."""
    kinds = tuple(dict.fromkeys(w.strip() for w in (redact or "").split(",") if w.strip()))
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--redact {redact}: {kind!r} can't be left out; write one or more of {','.join(KINDS)}")
    if key_file and not pseudonymize:
        raise UsageError("--key-file makes pseudonyms: write --pseudonymize as well")
    if not pseudonymize and not kinds:
        return None
    return Masking(_key(key_file) if pseudonymize else None, kinds)


def _key(path: Path | None) -> bytes:
    if path is None:
        return secrets.token_bytes(32)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"--key-file {path}: {error.strerror}") from error
    if len(key) < 16:
        raise UsageError(f"--key-file {path}: a key needs 16 bytes at least; make one with: openssl rand -hex 32 > {path}")
    return key


def mask(findings: Findings, masking: Masking) -> Findings:
    """The document with names masked; numbers, times, hashes of inputs and structure stay.

    Parameters
    ----------
    masking
        What to mask, and how.

    Returns
    -------
    Findings
        With `run.pseudonymized`, `run.key_fingerprint` and `run.redacted` set.

    Notes
    -----
    Names that only people would recognise (in a subject, in a display name) stay unless they are the local part of an
    address in the document; `redact=("subject",)` leaves subjects out. Queue ids stay.
    """
    raw = findings.model_dump(by_alias=True)
    names = _Names()
    for key, text in _leaves(raw):
        _learn(names, key, text)
    names.locals -= _GENERIC
    names.hosts -= _GENERIC
    out = _Walk(names, masking).value("", raw)
    run = out["run"]
    run["pseudonymized"] = run["pseudonymized"] or masking.key is not None
    run["key_fingerprint"] = Keyed(masking.key).fingerprint if masking.key is not None else run["key_fingerprint"]
    run["redacted"] = tuple(dict.fromkeys([*run["redacted"], *masking.redact]))
    document = Findings.model_validate(out)
    return document.model_copy(
        update={
            name: tuple(_own_commands(old, new) for old, new in zip(getattr(findings, name), getattr(document, name)))
            for name in ("incidents", "possible")
        }
    )


def _own_commands(old: Incident, new: Incident) -> Incident:
    """Where an address needs quotes, its pieces stand apart in the commands: they are written anew."""
    odd = any(not is_plain_address(a) for a in (*old.members, *(x for xs in old.aliases.values() for x in xs)))
    if not odd or not new.remedies:
        return new
    hosts = tuple(Mta(mta, host) for host, mta in new.host_mtas.items() if mta in MTAS)
    facts = RemedyFacts(
        new.kind,
        new.type,
        new.cause.id,
        new.members,
        hosts,
        new.ended.date(),
        new.ended_by.reason is Ending.ONGOING,
        tuple(x for xs in new.aliases.values() for x in xs),
        tuple(may_be_mended(new.ours, new.from_outside)),
        sum(a.null_sender for a in new.arrows) / max(1, sum(a.messages for a in new.arrows)),
        new.kind is not Kind.NDR_STORM or any(h in new.origins for h in new.hosts),
    )
    return new.model_copy(update={"remedies": remedies(facts)})


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of the document with the name of its field; keys of tables of names as well."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if key in _NAME_KEYS:
                yield key, name
            yield from _leaves(inner, key if key in _NAME_KEYS | _PATHS else name)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner, key)
    elif isinstance(value, str):
        yield key, value


def _learn(names: _Names, key: str, text: str) -> None:
    """Note the names in a text of the data."""
    if key in _KEPT | _OURS | _PATHS:
        return
    if key in ("hosts", "host", "host_mtas", "origins") and text:
        names.hosts |= {n for n in (text.casefold(), text.partition(".")[0].casefold()) if len(n) > 1} - {
            text if _is_ip(text) else ""
        }
    for match in _TOKENS.finditer(_MESSAGE_ID.sub(" ", text)):
        found = match.group()
        if match["bracket"] or match["address"]:
            address = found.strip("<>").casefold()
            names.addresses.add(address)
            local, _, host = address.rpartition("@")
            names.domains |= set(_parents(host))
            if key != "message_ids" and key != "message_id":
                names.locals |= {p for p in re.split(r"[+=#\"]", local) if len(p) > 2 and not p.isdigit()}
        elif match["domain"] and _looks_like_host(found):
            names.domains |= set(_parents(found.casefold()))
        elif match["ip"] and _is_ip(found):
            names.ips.add(found)
    if key in ("members", "aliases", "ours", "origin", "target", "sender", "recipient", "mailboxes_filled") and "@" in text:
        local, _, host = text.casefold().rpartition("@")
        names.addresses.add(text.casefold())
        names.domains |= set(_parents(host))
        names.locals |= {local} if len(local) > 2 else set()


def _parents(domain: str) -> Iterator[str]:
    labels = domain.rstrip(".").split(".")
    yield from (".".join(labels[n:]) for n in range(max(1, len(labels) - 1)))


def _looks_like_host(text: str) -> bool:
    last = text.rpartition(".")[2].casefold()
    return last not in _FILES and len(last) > 1


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Walk:
    """Goes through the document and writes every text anew."""

    def __init__(self, names: _Names, masking: Masking) -> None:
        self.names, self.masking, self.namer = names, masking, masking.namer()
        self.redact = frozenset(masking.redact)
        self.keyed = Keyed(masking.key) if masking.key is not None else None
        self.escaped = {quoting.pattern([a]): a for a in names.addresses if re.search(r"[^\w.@-]", a)}
        odd = sorted((a for a in names.addresses if not is_plain_address(a) and len(a) > 4), key=len, reverse=True)
        odd = [*sorted(self.escaped, key=len, reverse=True)[:2000], *odd[:2000]]
        self.odd = re.compile("|".join(map(re.escape, odd)), re.IGNORECASE) if odd else None

    def value(self, key: str, value: Any) -> Any:
        """The value of a field, masked."""
        if key == "sentences" and isinstance(value, dict):  # the message is the catalogue's; what fills it may be a name
            return {
                self.text("words", text): {"message": made["message"], "values": self.value("", made["values"])}
                for text, made in value.items()
            }
        if isinstance(value, dict):
            inner = key if key in _NAME_KEYS | _PATHS | _KEPT else ""
            return {self.text(key, k) if key in _NAME_KEYS else k: self.value(inner or k, v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(self.value(key, v) for v in value)
        if isinstance(value, str) and not isinstance(value, (dt.datetime, dt.date)):
            return self.text(key, value)
        return value

    def text(self, key: str, text: str) -> str:
        """One text, by the field that it stands in."""
        if key == "id" and text not in CAUSES:
            kind = text.partition("-")[0]
            return f"{kind if kind in ('loop', 'storm') else 'incident'}-{self.keyed.identity(text)}" if self.keyed else text
        if key in _KEPT or not text or key == "id" or (key == "reason" and text in _ENDINGS):
            return text
        if key == "subject" and "subject" in self.redact:
            return "[subject left out]"
        if key in ("message_id", "message_ids") and "message-id" in self.redact:
            return "[Message-ID left out]"
        if key in ("text", "sample", "shape"):
            if "evidence" in self.redact:
                return "[line left out]"
            text = _without_subject(text) if "subject" in self.redact else text
            text = _MESSAGE_ID.sub(r"\1[left out]", text) if "message-id" in self.redact else text
        if key in ("members", "ours", "aliases", "origin", "target", "sender", "recipient", "mailboxes_filled") and "@" in text:
            return self.namer.mailbox(text)  # whole, whatever is in it
        if self.odd:
            text = self.odd.sub(self._odd, text)
        is_ours = key in _OURS or key in _PATHS
        return _TOKENS.sub(lambda m: self._token(m, is_ours, key), text)

    def _odd(self, match: re.Match[str]) -> str:
        """An address that no pattern finds, or one as it stands in a regular expression."""
        address = self.escaped.get(match.group().casefold())
        return quoting.pattern([self.namer.mailbox(address)]) if address else self.namer.mailbox(match.group())

    def _token(self, match: re.Match[str], is_ours: bool, key: str) -> str:
        found = match.group()
        if match["bracket"]:
            return f"<{self.namer.mailbox(found[1:-1])}>"
        if match["ip"]:
            return self.namer.ip(found) if _is_ip(found) and (not is_ours or found in self.names.ips) else found
        plain = found.replace("\\.", ".")
        if match["address"]:
            host = plain.rpartition("@")[2].casefold()
            if is_ours and host not in self.names.domains and plain.casefold() not in self.names.addresses:
                return found
            masked = self.namer.mailbox(plain)
            return masked.replace(".", "\\.") if plain != found else masked
        if match["domain"]:
            if not is_ours and plain.casefold() in self.names.locals - self.names.domains:
                return self.namer.local(plain)
            masked = self._host(plain, is_ours, key)
            return masked.replace(".", "\\.") if plain != found and masked != plain else masked if masked != plain else found
        return self._word(found, is_ours)

    def _host(self, name: str, is_ours: bool, key: str) -> str:
        """A dotted name; of a file's name only the hosts that it begins with."""
        labels = name.split(".")
        if not is_ours and _looks_like_host(name):
            return self.namer.host(name)
        for end in range(len(labels), 1, -1):
            for start in range(end - 1):
                if ".".join(labels[start:end]).casefold() in self.names.domains:
                    before, middle, after = labels[:start], ".".join(labels[start:end]), labels[end:]
                    return ".".join([*before, self.namer.host(middle), *after])
        return ".".join(self._word(p, is_ours) for p in labels)

    def _word(self, word: str, is_ours: bool) -> str:
        """A bare word that is a host without a domain, or in the data the local part of an address."""
        low = word.casefold()
        if low in self.names.hosts and "." not in word and (len(word) > 2 or not is_ours):
            return self.namer.host(word)
        if not is_ours and low in self.names.locals and low not in _GENERIC:
            return self.namer.local(word)
        return word


def _without_subject(line: str) -> str:
    """A log line without its subject: Exim's T=, Postfix's header warnings, the 19th cell of an Exchange row."""
    shown = _SUBJECTS.sub("[subject left out]", line)
    cells = re.findall(r'(?:"(?:[^"]|"")*"|[^,]*)(?:,|$)', line)
    if shown == line and len(cells) >= 20 and re.match(r"#?\d{4}-\d\d-\d\dT", line):
        return "".join([*cells[:18], "[subject left out],", *cells[19:]])
    return shown
