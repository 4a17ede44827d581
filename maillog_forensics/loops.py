"""What a loop is before it becomes an incident: its members, its arrows, and the reasons to call it one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from maillog_forensics import rhythm
from maillog_forensics.findings import LookAlike, LoopType


@dataclass
class Step:
    """One arrow of a loop, before it becomes an `Arrow` of the findings."""

    origin: str
    target: str
    times: list[float]
    lags: rhythm.Lags | None
    null_sender: int = 0
    marked: int = 0
    linked: int = 0
    program: str = ""
    host: str = ""


@dataclass
class Loop:
    """A loop as a detector hands it on.

    Attributes
    ----------
    rows
        Indices into the table of edges: its messages, in time order.
    factors
        (name, value, threshold, supports, words) for the confidence.
    level
        proven, likely or possible.
    """

    type: LoopType
    members: tuple[str, ...]
    rows: list[int]
    steps: list[Step]
    level: Literal["proven", "likely", "possible"]
    score: float
    factors: list[tuple[str, float | str, str, bool, str]] = field(default_factory=list)
    look_alikes: list[LookAlike] = field(default_factory=list)
    turns: int = 0
    period_s: float | None = None
    copies: int = 0
    messages: int | None = None
    transfers: int | None = None
    verdict: str = "loop"
    grows: bool = False
    """Whether each turn has more messages than the one before, so that the last turns are most of it."""
    answers_each: int = 1
    """How often a side answers each message, where one of the answers alone is answered."""
