"""What subjects tell of who answers whom. Exchange logs them, Exim where it is asked to, Postfix never."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from maillog_forensics import signatures

_REPLY = re.compile(
    r"\s*(?:re|aw|antw|antwort|sv|vs|vá|res|resp|rif|ref|odp|ynt|yan|bls|atb|回复|答复|回覆|返信|رد|תשובה)\s*(?:\[\d+\])?\s*[:：]",
    re.IGNORECASE,
)
"""What mail programs put before the subject of an answer."""
_LEAST = 3
_MOST = 0.8
"""Part of the subjects that must be those of answers."""
_ANSWERS = 2.3
"""Nats for one who answers, against a program that writes of its own accord: some write into threads, tickets above all."""
_QUOTES, _QUOTES_MOST = 2.0, 8.0
"""Nats for each subject that has the whole subject of the answer before it, with its own prefix: one grows out of the other."""

_MACHINE_MADE, _MACHINE_MADE_MOST = 2.0, 10.0


def answering(turns: Iterable[tuple[str | None, str | None]]) -> float:
    """Nats for answering, against writing of one's own accord, by one's own subjects; 0 where subjects are not logged.

    Parameters
    ----------
    turns
        The subject of each message, and of the latest that came in before it.
    """
    known = [(mine, theirs) for mine, theirs in turns if mine and theirs]
    if len(known) < _LEAST or sum(is_answer(mine) for mine, _ in known) < _MOST * len(known):
        return 0.0
    quoting = sum(len(mine) > len(theirs) and mine.endswith(theirs) and is_answer(theirs) for mine, theirs in known)
    return _ANSWERS + min(_QUOTES * quoting, _QUOTES_MOST)


def machine_made(subjects: Iterable[str | None]) -> float:
    """Nats, up to 10, for a program, against a person, by subjects that responders and servers give: few people write those, one after the other."""
    known = [subject for subject in subjects if subject]
    if len(known) < _LEAST or sum(map(is_machine_made, known)) < _MOST * len(known):
        return 0.0
    return min(_MACHINE_MADE * len(known), _MACHINE_MADE_MOST)


@lru_cache(maxsize=65536)
def is_machine_made(subject: str) -> bool:
    """Whether this is the subject of an absence notice, a receipt or a notification, not of what a person answered to one, or wrote of one's absence."""
    if _REPLY.match(subject[:40]):
        return False
    known = signatures.meaning(subject[:400], ("subject",))
    return known is not None and known.kind in ("auto_response", "ndr")


@lru_cache(maxsize=65536)
def is_answer(subject: str) -> bool:
    """Whether a mail program or a responder made this subject from that of another message."""
    if _REPLY.match(subject[:40]):
        return True
    known = signatures.meaning(subject[:400], ("subject",))
    return known is not None and known.kind == "auto_response"
