"""The events table in the words of others: ECS, OCSF, Timesketch; incidents as OCSF Detection Findings.

A dialect is a tree of polars expressions over `schema.EVENTS`; `tree` turns it into struct columns, flat columns or JSON.
"""

from __future__ import annotations

from collections.abc import Callable

from maillog_forensics.dialects import ecs, ocsf, timesketch
from maillog_forensics.dialects.tree import Tree
from maillog_forensics.errors import UsageError

NATIVE = "native"
DIALECTS: dict[str, Callable[[], Tree]] = {"ecs": ecs.event, "ocsf": ocsf.event, "timesketch": timesketch.event}
NAMES = (NATIVE, *DIALECTS)

__all__ = ["DIALECTS", "NAMES", "NATIVE", "Tree", "dialect", "ecs", "ocsf", "timesketch"]


def dialect(name: str) -> Tree | None:
    """The tree of a dialect; None for the native schema.

    Raises
    ------
    UsageError
        When there is no such dialect.
    """
    if name == NATIVE:
        return None
    if name not in DIALECTS:
        raise UsageError(f"--schema {name}: no such schema; write one of {', '.join(NAMES)}")
    return DIALECTS[name]()
