"""Words from logs inside commands: every one quoted for the language that it stands in, or not printed at all."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from maillog_forensics.text import visible

_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=~#-]*@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_QUEUE_ID = re.compile(
    r"[0-9A-Za-z]{5,24}|[0-9A-Za-z]{6}-[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{6}-[0-9A-Za-z]{11}-[0-9A-Za-z]{4}"
)
_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell takes the typographic single quotes for the straight one."""
MAX_WORD = 254
"""Longest address (RFC 5321, 4.5.3.1.3); what is longer is no address, and is not printed into a command."""


@dataclass(frozen=True)
class Word:
    """Text from a log on its way into a command. It has no `str()`: a filter must quote it first."""

    text: str

    def __str__(self) -> str:
        raise ValueError("a word from a log was about to be printed into a command without quotes")


class Quoted(str):
    """Text that may be printed into a command."""


def can_be_typed(text: str) -> bool:
    """Whether the word can stand in a command at all: no NUL, no length that nobody would paste."""
    return 0 < len(text) <= MAX_WORD and "\0" not in text


def lowered(text: str) -> str:
    """The word with small letters as `jq`'s `ascii_downcase` and the mail servers make them: of ASCII only."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def is_plain_address(text: str) -> bool:
    """An address that may be a key of a Postfix table or stand in a configuration file as it is.

    RFC 5322 allows more in a local part; but Exim expands `$`, and `*`, `!`, `^`, `{`, `/` and others mean something in its lists.
    """
    return bool(_PLAIN_ADDRESS.fullmatch(text)) and len(text) <= MAX_WORD


def is_queue_id(text: str) -> bool:
    """A queue id of Postfix (short or long) or a message id of Exim."""
    return bool(_QUEUE_ID.fullmatch(text))


def sh(text: str) -> Quoted:
    """A word for bash; what could not be seen on a page is written as bytes in $'…'."""
    if visible(text) == text:
        return Quoted(shlex.quote(text))
    out = []
    for char in text:
        if visible(char) == char:
            out.append("\\" + char if char in "\\'" else char)
        else:
            out += [f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass")]
            # a hexadecimal digit after \xHH is not taken for a third one: bash reads two at most
    return Quoted("$'" + "".join(out) + "'")


def powershell(text: str) -> Quoted:
    """A single-quoted string of PowerShell; what could not be seen is written as [char]0x…."""
    parts: list[str] = []
    plain = ""
    for char in text:
        if visible(char) == char:
            plain += char * 2 if char in _QUOTES else char
        else:
            parts += [f"'{plain}'"] if plain else []
            code = ord(char)
            parts.append(f"[char]0x{code:04x}" if code < 65536 else f"[char]::ConvertFromUtf32(0x{code:x})")
            plain = ""
    if not parts:
        return Quoted(f"'{plain}'")
    parts += [f"'{plain}'"] if plain else []
    return Quoted("('' + " + " + ".join(parts) + ")")


def filter_of(text: str, name: str = "FromAddress") -> Quoted:
    """A whole -Filter argument of the queue cmdlets: property equals text."""
    if re.fullmatch(r"[A-Za-z0-9.@_+=/<>-]+", text):
        return Quoted(f"\"{name} -eq '{text}'\"")
    return powershell(f"{name} -eq '{''.join(c * 2 if c in _QUOTES else c for c in text)}'")


def sieve(text: str) -> Quoted:
    """A quoted string of Sieve (RFC 5228, 2.4.2)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return Quoted(f'"{visible(escaped)}"')


def pattern(texts: list[str]) -> str:
    """Alternatives of a regular expression (Perl, PCRE, .NET) that match exactly these texts."""
    return "|".join(re.escape(t) for t in texts)
