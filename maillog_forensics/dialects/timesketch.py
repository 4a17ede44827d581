"""Timesketch: JSON Lines or CSV with `message`, `datetime` and `timestamp_desc`, and the native columns beside them.

Source: Timesketch's guide "Import from JSON or CSV" and its importer (`timesketch/lib/utils.py`); `timestamp` must be whole
microseconds.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics import schema
from maillog_forensics.dialects.tree import Tree
from maillog_forensics.dialects.values import iso, sentence


def event() -> Tree:
    """An event as a row of a timeline; `source` of the native table is `source_file` here."""
    return {
        "message": sentence(),
        "datetime": iso(pl.col("time")),
        "timestamp": pl.col("time").dt.epoch("us"),
        "timestamp_desc": pl.format("Mail log: {}", pl.col("event").cast(pl.String)),
        "data_type": pl.concat_str(pl.lit("maillog"), "mta", pl.col("event").cast(pl.String), separator=":", ignore_nulls=True),
        "source_file": pl.col("source"),
        **{c: pl.col(c) for c in schema.EVENTS if c not in ("time", "source")},
    }
