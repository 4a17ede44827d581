"""An incident before its log lines are fetched: what a detector found, when it was, how it ended, and where its lines are."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from maillog_forensics.endings import End
from maillog_forensics.evidence import Place
from maillog_forensics.findings import Kind, LookAlike, LoopType, StormType
from maillog_forensics.harm import Measured
from maillog_forensics.language import said
from maillog_forensics.loops import Step
from maillog_forensics.mail import Mail
from maillog_forensics.storms import Storm
from maillog_forensics.times import EPOCH


@dataclass
class Draft:
    """An incident whose log lines are not yet fetched."""

    kind: Kind
    type: LoopType | StormType
    level: Literal["proven", "likely", "possible"]
    score: float
    factors: list[tuple[str, float | str, str, bool, str]]
    look_alikes: list[LookAlike]
    members: tuple[str, ...]
    mids: list[int]
    logicals: list[int]
    started: dt.datetime
    ended: dt.datetime
    messages: int
    transfers: int
    copies: int
    turns: int
    period_s: float | None
    times: list[float]
    end: End
    measured: Measured
    steps: list[Step] = field(default_factory=list)
    verdict: str = "loop"
    storm: Storm | None = None
    growth: float | None = None
    places: list[tuple[Place, str]] = field(default_factory=list)


def until(mids: list[int], mail: Mail) -> dt.datetime:
    """How long the logs go on of the hosts that saw these messages."""
    hosts = mail.stays(mids)["host_key"].unique().to_list()
    return max((mail.until[h] for h in hosts if h in mail.until), default=EPOCH)


def places(draft: Draft, mail: Mail) -> list[tuple[Place, str]]:
    """The lines that prove it: first, middle and last turns, and the ending."""
    stays = mail.stays(draft.mids).sort("first", "mid").select("mid", "source", "line", "offset")
    told = mail.told(draft.mids).sort("first", "mid").select("mid", "source", "line", "offset")
    out: list[tuple[Place, str]] = []

    def add(table: pl.DataFrame, note: str) -> None:
        out.extend(((s, n, o), note) for _, s, n, o in table.iter_rows())

    n = stays.height
    add(stays.head(3), said("first turns: arrival"))
    add(told.filter(pl.col("mid").is_in(stays["mid"].head(3).implode())).head(4), said("first turns: delivery"))
    if n > 9:
        add(stays.slice(n // 2, 2), said("in the middle"))
    add(stays.tail(3), said("last turns: arrival"))
    add(told.filter(pl.col("mid").is_in(stays["mid"].tail(3).implode())).tail(4), said("last turns: delivery"))
    if draft.end.place:
        out.append((draft.end.place, draft.end.note))
    return list({place: (place, note) for place, note in out}.values())
