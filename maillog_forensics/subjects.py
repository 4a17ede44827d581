"""What subjects tell of who answers whom. Exchange logs them, Exim where it is asked to, Postfix never."""

from __future__ import annotations

import math
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
_WORD = re.compile(r"[^\W\d_]{4,}")
_FRESH, _FRESH_ANSWERED = 0.8, 0.1
"""How often a subject is about something new where each mail is written of one's own accord, and where each is an answer."""
_FRESH_MOST = 8.0


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


def fresh(messages: Iterable[tuple[bool, str | None]]) -> float:
    """Nats, up to 8, for writing of one's own accord, by subjects that have no word in common with what came in, nor with one's own before.

    Parameters
    ----------
    messages
        Of each message of the two, in the order of time, whether it is one's own, and its subject.
    """
    nats, known, seen = 0.0, 0, set[str]()
    for is_own, subject in messages:
        words = set(_WORD.findall(subject.lower())) if subject else set()
        if is_own and words and seen:
            known += 1
            is_fresh = words.isdisjoint(seen)
            nats += math.log(_FRESH / _FRESH_ANSWERED if is_fresh else (1 - _FRESH) / (1 - _FRESH_ANSWERED))
        seen |= words
    return min(max(nats, 0.0), _FRESH_MOST) if known >= _LEAST else 0.0


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
