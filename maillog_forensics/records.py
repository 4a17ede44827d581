"""Formats whose lines are records with a head that names the columns (Exchange's tracking logs and exports)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from maillog_forensics.normalize import Plan


@dataclass
class Reader:
    """Reads the records of one input; keeps the head that is in force from chunk to chunk."""

    name: str
    plan: Plan

    def parse(self, lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Like `normalize.parse`: raw events and the ledger."""
        raise NotImplementedError


def recognise(head: pl.DataFrame, plan: Plan, path: str, wanted: str | None) -> Reader | None:
    """The reader for an input that begins with `head`, or None where it is not made of records."""
    return None
