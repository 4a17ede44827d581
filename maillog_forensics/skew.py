"""How far the clocks of the hosts differ, learnt from messages that one host handed to another."""

from __future__ import annotations

from collections import deque

import polars as pl

from maillog_forensics.mail import Mail

MIN_LINKS = 4
"""Hand-overs that must agree before a clock is called wrong."""
MAX_LINKS = 200_000
"""So many hand-overs are looked at."""
MIN_SKEW_S = 3.0
MAX_SKEW_S = 900.0


def offsets(mail: Mail) -> dict[str, float]:
    """Seconds by which the clock of each `host_key` is ahead of the host that hands over and takes over most.

    Only hosts whose clock differs by more than `MIN_SKEW_S` are named. A message is logged as handed over within a
    second or two of its arrival on the next host; the median of that difference is the skew, whatever single messages did.
    """
    messages, deliveries = mail.messages, mail.deliveries
    if messages.select(pl.col("host_key").n_unique()).collect().item() < 2:
        return {}
    gone = deliveries.filter(pl.col("next_queue_id").is_not_null(), pl.col("event") == "deliver")
    every = max(1, gone.select(pl.len()).collect().item() // MAX_LINKS)  # a median needs no more
    given = (
        gone.select("mid", "next_queue_id", gone="last")
        .gather_every(every)
        .join(messages.select("mid", "host_key"), on="mid")
        .collect()
    )
    taken = (
        messages.select("host_key", "first", next_queue_id="queue_id")
        .join(given.lazy().select("next_queue_id").unique(), on="next_queue_id", how="semi")
        .select("next_queue_id", other="host_key", came="first")
        .collect()
    )
    pairs = given.join(taken, on="next_queue_id").filter(pl.col("host_key") != pl.col("other"))
    # a queue id may be used again: of several candidates the nearest in time is meant
    pairs = pairs.with_columns(gap=(pl.col("came") - pl.col("gone")).dt.total_microseconds() / 1e6)
    pairs = pairs.filter(pl.col("gap").abs() <= MAX_SKEW_S)
    median = (
        pairs.group_by("host_key", "other")
        .agg(n=pl.len(), gap=pl.col("gap").median(), spread=(pl.col("gap") - pl.col("gap").median()).abs().median())
        .filter(pl.col("n") >= MIN_LINKS, pl.col("spread") <= 5)
        .sort("n", "host_key", "other", descending=[True, False, False])
    )
    near: dict[str, list[tuple[str, float]]] = {}
    for a, b, gap in median.select("host_key", "other", "gap").iter_rows():
        near.setdefault(a, []).append((b, gap))
        near.setdefault(b, []).append((a, -gap))
    found: dict[str, float] = {}
    for root in near:  # the busiest host of each group is the reference
        if root in found:
            continue
        found[root] = 0.0
        queue = deque([root])
        while queue:
            host = queue.popleft()
            for other, gap in near[host]:
                if other not in found:
                    found[other] = found[host] + gap
                    queue.append(other)
    return {host: round(s, 1) for host, s in sorted(found.items()) if abs(s) > MIN_SKEW_S}
