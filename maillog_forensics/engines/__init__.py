"""Where the work of `analyze` is done: here, or on a cluster by the same functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maillog_forensics.errors import UsageError

if TYPE_CHECKING:
    from maillog_forensics.reading import Engine


def chosen(name: str, master: str | None = None) -> Engine | None:
    """The engine of that name; None is this process.

    Raises
    ------
    UsageError
        Where there is no such engine, or it can't be had.
    """
    if name == "local":
        if master:
            raise UsageError(f"--master {master}: says which cluster; write --engine spark too")
        return None
    if name == "spark":
        from maillog_forensics.engines.spark import engine

        return engine(master)
    raise UsageError(f"--engine {name}: no such engine; write local or spark")
