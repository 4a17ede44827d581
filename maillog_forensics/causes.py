"""Who wrote the null-sender messages that no log links to anything: the mailbox whose mail they follow, in step.

A conversation tells only of two parties. In a ring the null-sender answer goes to a third one, who never wrote to its author; what tells
is that each of them follows a mail that came to one mailbox of the place they came from.
"""

from __future__ import annotations

import math

import polars as pl

from maillog_forensics import people, runs
from maillog_forensics.addresses import domain, last_labels

WINDOW_S = 4 * 3600.0
LEAST = 4
"""Messages of a run from which anything is inferred."""
MIN_NATS = 8.0
"""For answering at a time of its own, and for keeping step, together, and the more the more mailboxes were tried."""
AS_GOOD_NATS = 3.0
"""Within so much of the best one, the mailbox to which the recipient wrote is believed."""


def rebound(
    edges: pl.DataFrame, boxes: pl.Series, stays: pl.DataFrame, messages: pl.LazyFrame, deliveries: pl.LazyFrame
) -> pl.DataFrame:
    """The edges, with other senders where null-sender messages whose author was inferred follow in step what came to a mailbox.

    Parameters
    ----------
    edges
        Table of `graph.EDGES`.
    boxes
        Names of the mailboxes, by their numbers.
    stays
        As in `graph.Graph`.
    messages, deliveries
        As `graph.build` has them.

    Notes
    -----
    A message comes from the domain of the client that handed it over, or else from a host with its local domains. Among the mailboxes
    there, the waits after what came in must explain the times best, as densities per second: the whole turn of a ring is in step
    with each of its arrows, but only the one before is the sum of a single wait. Cost: as `relays.find_relays`, of the mail to those places.
    """
    unsigned = edges.lazy().with_row_index("row").filter(pl.col("is_null") & pl.col("is_inferred")).collect()
    unsigned = unsigned.filter(pl.len().over("recipient") >= LEAST)
    if unsigned.is_empty():
        return edges
    unsigned, lives = _places(unsigned, boxes, stays, messages, deliveries)
    keys = {"us": pl.col("sent").dt.epoch("us"), "key": pl.col("place").cast(pl.UInt64) * (1 << 32) + pl.col("recipient")}
    went = runs.cut(unsigned.select("row", **keys).sort("key", "us"), WINDOW_S, LEAST)
    if went.is_empty():
        return edges
    began, ended = unsigned["sent"].min(), unsigned["sent"].max()
    reached = (
        edges.lazy()
        .with_row_index("row")
        .filter(
            pl.col("arrived").is_between(began, ended),
            pl.col("recipient").is_in(lives["box"].unique().implode()),
            pl.col("sender") != pl.col("recipient"),
        )
        .select(
            "row", us=pl.col("arrived").dt.epoch("us"), key=pl.col("sender").cast(pl.UInt64) * (1 << 32) + pl.col("recipient")
        )
        .sort("key", "us")
        .collect()
    )
    came = runs.cut(reached, WINDOW_S, LEAST)
    shapes = runs.shapes(went).with_columns(place="sender"), runs.shapes(came).join(lives, left_on="recipient", right_on="box")
    met = runs.overlapping(shapes[1], shapes[0], WINDOW_S).filter(pl.col("v") != pl.col("w"))
    pairs = runs.in_step(came, went, met, WINDOW_S, LEAST).select("came", "went")
    asked, answered = runs.collected(came, pairs["came"].unique()), runs.collected(went, pairs["went"].unique())
    senders: dict[int, int] = {}
    for (number,), part in pairs.sort("went", "came").partition_by("went", as_dict=True, maintain_order=True).items():
        senders |= _best([asked[k] for k in part["came"]], answered[int(number)])
    if not senders:
        return edges
    rows = pl.Series(list(senders), dtype=pl.UInt32)
    return edges.with_columns(edges["sender"].scatter(rows, pl.Series(list(senders.values()), dtype=pl.UInt32)))


def _best(asked: list[runs.Run], answered: runs.Run) -> dict[int, int]:
    """row, sender: the messages of a run that belong to the mailbox whose mail they follow best, where any is followed well enough."""
    found = []
    for came in asked:
        begin, end = runs.common([came, answered])
        there, stepping, lags_s = runs.evidence(came, answered, begin, end)
        if there < 0 or there + stepping < MIN_NATS + math.log(len(asked)) or len(lags_s) < LEAST:
            continue
        nats = people.per_second(lags_s) * len(answered.rows)
        found.append((nats, came.origin == answered.target, came.target))
    if not found:
        return {}
    best = max(nats for nats, *_ in found)
    *_, sender = max((f for f in found if f[0] >= best - AS_GOOD_NATS), key=lambda f: (f[1], f[0], -f[2]))
    return dict.fromkeys(answered.rows, sender)


def _places(
    unsigned: pl.DataFrame, boxes: pl.Series, stays: pl.DataFrame, messages: pl.LazyFrame, deliveries: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The messages with the number of the place each came from; and place, box: the mailboxes that may live there."""
    of = stays.lazy().join(unsigned.lazy().select("logical").unique(), on="logical", how="semi")
    far = pl.when(~pl.col("client_host").is_in(["unknown", "localhost"])).then(last_labels(pl.col("client_host")))
    born = pl.col("client_host").is_null()
    origins = (
        messages.select(
            "mid", "host", far=far, host_key=pl.when(born).then("host_key"), near=pl.when(born).then(last_labels(pl.col("host")))
        )
        .join(of, on="mid")
        .sort("mid")
        .group_by("logical")
        .agg(pl.col("far", "near", "host_key").drop_nulls().first(), seen=pl.col("host").first())
        .with_columns(name=pl.coalesce("near", "far", pl.lit("@") + pl.coalesce("host_key", "seen")))  # no domain begins with @
        .collect()
    )
    hosts = origins.select("name", "host_key").drop_nulls().unique()
    local = (
        deliveries.filter(pl.col("event") == "deliver", pl.col("relay_ip").is_null())
        .select("mid", near=last_labels(domain(pl.col("to_box"))))
        .join(messages.select("mid", "host_key").join(hosts.lazy(), on="host_key"), on="mid")
        .select("name", "near")
        .drop_nulls()
        .unique()
        .collect()
    )
    serves = pl.concat([local, origins.select("name", near="name"), origins.select("name", near="far").drop_nulls()]).unique()
    names = origins.select("name").unique().sort("name").with_row_index("place")
    near = boxes.to_frame("box").select(near=last_labels(domain(pl.col("box")))).with_row_index("box")
    lives = near.join(serves.join(names, on="name"), on="near").select("place", "box").unique().sort("place", "box")
    return unsigned.join(origins.join(names, on="name").select("logical", "place"), on="logical"), lives
