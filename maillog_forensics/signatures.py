"""What texts in logs mean: loop guards, full mailboxes, limits, overload, reputation (parsers/signatures.jsonl)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from maillog_forensics.resources import folder

PRECEDENCE = ("loop_guard", "mailbox_full", "rate_limit", "reputation", "overload", "auto_response", "ndr")
"""When several classes fit one text, the first of these is meant."""


@dataclass(frozen=True)
class Signature:
    """One text that is known."""

    id: str
    kind: str
    sub: str
    field: str
    strength: str
    expression: re.Pattern[str]


@dataclass(frozen=True)
class Meaning:
    """What a text was recognised as, and by which signature."""

    kind: str
    sub: str
    signature: str


@lru_cache(maxsize=1)
def table() -> tuple[Signature, ...]:
    """All signatures, in the order of `PRECEDENCE`."""
    rows = []
    for line in (folder("parsers") / "signatures.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows.append(
            Signature(row["id"], row["class"], row.get("sub", ""), row["field"], row["strength"], re.compile(row["pattern"]))
        )
    return tuple(sorted(rows, key=lambda s: (PRECEDENCE.index(s.kind), s.strength != "strong", s.id)))


def fold(text: str) -> str:
    """A multi-line SMTP reply as one line: Postfix joins its lines with blanks, Exim with a written backslash-n."""
    text = text.replace("\\n", " ")
    match = re.search(r"\b([245]\d\d)-(\d\.\d{1,3}\.\d{1,3} )?", text)
    if match:
        code = match.group(1)
        head, tail = text[: match.end()], text[match.end() :]
        text = head + re.sub(rf"\s{code}[- ](?:\d\.\d{{1,3}}\.\d{{1,3}} )?", " ", tail)
    return text


@lru_cache(maxsize=65536)
def meaning(text: str, fields: tuple[str, ...] = ("reply", "log")) -> Meaning | None:
    """The first signature, by precedence, that fits `text`; None when nothing is known of it."""
    folded = fold(text[:4000])
    for signature in table():
        if signature.field in fields and signature.expression.search(folded):
            return Meaning(signature.kind, signature.sub, signature.id)
    return None
