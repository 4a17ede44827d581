"""Borders of columns of times, typed."""

from __future__ import annotations

import datetime as dt
from typing import cast

import polars as pl

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def earliest(times: pl.Series) -> dt.datetime:
    """The smallest time, or the epoch where there is none."""
    return cast("dt.datetime | None", times.min()) or EPOCH


def latest(times: pl.Series) -> dt.datetime:
    """The largest time, or the epoch where there is none."""
    return cast("dt.datetime | None", times.max()) or EPOCH
