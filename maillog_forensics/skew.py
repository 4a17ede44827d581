"""How far the clocks of the hosts differ, learnt from messages that one host handed to another."""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import replace

import polars as pl

from maillog_forensics import correlate
from maillog_forensics.mail import Mail

MIN_LINKS = 4
"""Hand-overs that must agree before a clock is called wrong."""
MAX_LINKS = 200_000
"""So many hand-overs are looked at."""
MIN_SKEW_S = 3.0
MAX_SKEW_S = 900.0
_SLACK_S = 2.0  # stamps of whole seconds


def on_one_clock(mail: Mail) -> Mail:
    """`mail` with its times corrected by the skew of its hosts' clocks; the tables keep their order."""
    ahead = offsets(mail)
    if not ahead:
        return mail
    hosts = mail.messages.select("mid", "host_key")
    return replace(
        mail,
        messages=_corrected(mail.messages, ahead, "first", "last"),
        deliveries=_corrected(
            mail.deliveries.join(hosts, on="mid", how="left", maintain_order="left"), ahead, "first", "last"
        ).drop("host_key"),
        attempts=_corrected(mail.attempts.with_columns(host_key=correlate.host_key()), ahead, "time").drop("host_key"),
        until={host: at - dt.timedelta(seconds=ahead.get(host, 0.0)) for host, at in mail.until.items()},
        ahead=ahead,
    )


def _gap(least_s: float, most_s: float) -> float:
    """The skew that is meant by two bounds of it: none where they allow it, else near the hand-over, which seldom takes long."""
    if least_s <= _SLACK_S and most_s >= -_SLACK_S:
        return 0.0
    return least_s + min(2.0, max(0.0, most_s - least_s)) / 2


def _corrected(table: pl.LazyFrame, ahead: dict[str, float], *times: str) -> pl.LazyFrame:
    seconds = pl.col("host_key").replace_strict(ahead, default=0.0, return_dtype=pl.Float64)
    return table.with_columns(pl.col(times) - pl.duration(seconds=seconds))


def offsets(mail: Mail) -> dict[str, float]:
    """Seconds by which the clock of each `host_key` is ahead of the one that most hosts agree with, or else of the one that hands over most.

    Only hosts whose clock differs by more than `MIN_SKEW_S` are named. The next host saw a message after it came to this one, and
    before this one logged that it was handed over: between these bounds, of four in five messages, is the skew. A slow
    hand-over only makes them wider.
    """
    messages, deliveries = mail.messages, mail.deliveries
    if messages.select(pl.col("host_key").n_unique()).collect().item() < 2:
        return {}
    gone = deliveries.filter(pl.col("next_queue_id").is_not_null(), pl.col("event") == "deliver")
    every = max(1, gone.select(pl.len()).collect().item() // MAX_LINKS)  # a few tell as much
    given = (
        gone.select("mid", "next_queue_id", gone="last")
        .gather_every(every)
        .join(messages.select("mid", "host_key", began="first"), on="mid")
        .collect()
    )
    taken = (
        messages.select("host_key", "first", next_queue_id="queue_id")
        .join(given.lazy().select("next_queue_id").unique(), on="next_queue_id", how="semi")
        .select("next_queue_id", other="host_key", came="first")
        .collect()
    )
    pairs = given.join(taken, on="next_queue_id").filter(pl.col("host_key") != pl.col("other"))
    least, most = ((pl.col("came") - pl.col(c)).dt.total_microseconds() / 1e6 for c in ("gone", "began"))
    pairs = pairs.select("host_key", "other", least=least, most=most, gave=1)
    pairs = pairs.filter(pl.col("least").abs() <= MAX_SKEW_S)  # else a queue id that was used again
    turned = pairs.select(host_key="other", other="host_key", least=-pl.col("most"), most=-pl.col("least"), gave=0)
    both = (
        pl.concat([pairs, turned])
        .group_by("host_key", "other")
        .agg(pl.col("gave").sum(), n=pl.len(), least=pl.col("least").quantile(0.8), most=pl.col("most").quantile(0.2))
        .filter(pl.col("n") >= MIN_LINKS, pl.col("least") <= pl.col("most") + _SLACK_S)
        .sort("gave", "host_key", "other", descending=[True, False, False])
    )
    near: dict[str, list[tuple[str, float]]] = {}
    for a, b, least_s, most_s in both.select("host_key", "other", "least", "most").iter_rows():
        near.setdefault(a, []).append((b, _gap(least_s, most_s)))
    found: dict[str, float] = {}
    for root in near:  # of each group the host that hands over most
        if root in found:
            continue
        group, queue = {root: 0.0}, deque([root])
        while queue:
            host = queue.popleft()
            for other, gap in near[host]:
                if other not in group:
                    group[other] = group[host] + gap
                    queue.append(other)
        right = max(group.values(), key=lambda at: sum(abs(at - other) <= MIN_SKEW_S for other in group.values()))
        found |= {host: at - right for host, at in group.items()}
    return {host: round(s, 1) for host, s in sorted(found.items()) if abs(s) > MIN_SKEW_S}
