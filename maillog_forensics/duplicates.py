"""What two inputs both tell is counted once: copies that overlap, a log and its compressed twin, two formats of one log.

Each input keeps its ledger; here only the events of all inputs are compared, and those that an earlier input told are left
out. What one and the same file says twice is never touched: two connections in one second are two connections.
"""

from __future__ import annotations

import polars as pl

_KEY = ("instance", "program", "event", "queue_id", "message_id", "sender", "recipient", "orig_recipient", "relay_ip", "size",
        "delay_s", "outcome", "dsn", "next_queue_id", "parent_queue_id")  # fmt: skip
_LOOSE = (
    "diagnostic",
    "client_host",
    "client_ip",
    "relay_host",
    "smtp_code",
    "user",
    "helo",
    "transport",
    "reference",
    "recipients",
)
"""Told apart by these too where no queue id tells one event from another; loggers write control characters in their own ways."""

_TWIN_SHARE = 0.5
_PAIRS = 200  # of files that are compared over the border of a second


def drop(events: pl.DataFrame, same: dict[str, str] | None = None) -> tuple[pl.DataFrame, dict[str, int]]:
    """Leave out events that an earlier input told.

    Parameters
    ----------
    events
        Table of `schema.EVENTS`: one input after the other, the lines of each in order.
    same
        Sources whose bytes are those of an earlier source, which is the value.

    Returns
    -------
    events
        Without the repeats.
    lines
        For each source the number of lines all of whose events were left out.

    Notes
    -----
    Two events are the same when host (its first label), program and facts agree and their stamps lie in one second; the
    n-th such event of one input answers to the n-th of another. Where two inputs are seen to tell the same (half of what the
    later one says while the earlier one runs), a stamp may also lie in the second before or after: two loggers read
    the clock at different moments. Cost: one hash of each row and one group-by; little, where hosts and times differ.

    *Known mistakes*: copies whose stamps lie hours apart, since nothing proved the zone of one of them, are counted twice;
    identical refusals of one second by two hosts that no line names, in one folder, are counted once.
    """
    sources = events["source"].unique(maintain_order=True)
    if sources.len() < 2:
        return events, {}
    table = events.with_row_index("_row").join(
        pl.DataFrame({"source": sources}).with_row_index("_file"), on="source", how="left", maintain_order="left"
    )
    copies = table["source"].is_in(list(same or {}))
    table = table.select(
        "_row", "_file", "time", _key().alias("_key"), _second=pl.col("time").dt.epoch("s"), _gone=copies
    )  # fmt: skip
    rest = table.filter(~pl.col("_gone"))
    shared = rest.group_by("_key").agg(pl.col("_file").n_unique().alias("n")).filter(pl.col("n") > 1)
    rest = rest.join(shared.select("_key"), on="_key", how="semi", maintain_order="left")
    repeated, left = _same_second(rest)
    gone = [table.filter("_gone")["_row"], repeated["_row"]]
    if repeated.height:
        gone.append(_over_the_border(left, _twins(rest, repeated)))
    rows = pl.concat(gone).unique()
    if rows.is_empty():
        return events, {}
    keep = pl.Series([True]).new_from_index(0, events.height).scatter(rows, False)
    kept = events.filter(keep)
    lines = (
        events.filter(~keep)
        .select("source", "line")
        .unique()
        .join(kept.select("source", "line"), on=["source", "line"], how="anti")
        .group_by("source")
        .len()
    )
    return kept, dict(lines.sort("source").iter_rows())


def copies(reports: list[tuple[str, str, int]]) -> dict[str, str]:
    """Sources whose decompressed bytes are those of an earlier one, from (source, sha256 of these bytes, number of them)."""
    first: dict[str, str] = {}
    out = {}
    for source, sha, length in reports:
        if length and first.setdefault(sha, source) != source:
            out[source] = first[sha]
    return out


def _key() -> pl.Expr:
    """One number for who says what."""
    host = pl.col("host").str.to_lowercase()
    label = pl.when(host.str.contains(r"^[0-9.:a-f]*[.:][0-9.:a-f]*$")).then(host).otherwise(host.str.extract(r"^([^.]*)", 1))
    folder = pl.col("source").str.replace(r"[^/\\]*$", "")
    nameless = pl.col("queue_id").is_null()
    where = pl.coalesce(label, pl.when(nameless).then(folder), pl.lit(""))
    loose = [pl.when(nameless).then(pl.col(c)) for c in _LOOSE]
    return pl.struct(where.alias("where"), *_KEY, *loose).hash()


def _same_second(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that an earlier file told in the same second, with that file as `_first`; and all others that met no partner."""
    rows = rows.with_columns(_nth=pl.int_range(pl.len()).over("_key", "_second", "_file"))
    over = ["_key", "_second", "_nth"]
    rows = rows.with_columns(_first=pl.col("_file").min().over(over), _files=pl.len().over(over))
    return rows.filter(pl.col("_file") > pl.col("_first")), rows.filter(pl.col("_files") == 1)


def _twins(rows: pl.DataFrame, repeated: pl.DataFrame) -> list[tuple[int, int]]:
    """Pairs of files (earlier, later) that tell the same while both run."""
    spans = rows.group_by("_file").agg(first=pl.col("time").min(), last=pl.col("time").max())
    out = []
    counts = repeated.group_by("_first", "_file").len().sort("len", "_first", "_file", descending=[True, False, False])
    for first, later, count in counts.head(_PAIRS).iter_rows():
        span = spans.filter(pl.col("_file") == first)
        within = rows.filter(pl.col("_file") == later, pl.col("time").is_between(span["first"][0], span["last"][0])).height
        if count >= _TWIN_SHARE * within:
            out.append((first, later))
    return out


def _over_the_border(left: pl.DataFrame, twins: list[tuple[int, int]]) -> pl.Series:
    """Row numbers of what the later of two twins tells a second before or after the earlier."""
    gone = [left["_row"].clear()]
    for first, later in twins:
        for shift in (-1, 1):
            told = left.filter(pl.col("_file") == first)
            again = left.filter(pl.col("_file") == later).with_columns(_second=pl.col("_second") + shift)
            columns = ["_key", "_second", "_nth"]
            again, told = (
                part.with_columns(_nth=pl.int_range(pl.len()).over("_key", "_second")) for part in (again, told)
            )  # fmt: skip
            met = again.join(told.select(*columns, _partner="_row"), on=columns, how="inner")
            gone.append(met["_row"])
            used = pl.concat([met["_row"], met["_partner"]])
            left = left.filter(~pl.col("_row").is_in(used.implode()))
    return pl.concat(gone)
