"""Chains of logged next hops: which stays in queues are of one message, whatever became of its Message-ID."""

from __future__ import annotations

import polars as pl

from maillog_forensics.graph import Graph
from maillog_forensics.mail import Mail


def followed(mail: Mail, graph: Graph) -> pl.DataFrame:
    """mid and logical, where chains of logged next hops count as one message: also where a hop rewrote the Message-ID.

    Each message knows the first of its chain by following its predecessors, twice as far in every round; a plain relay from
    one host to the next is no chain.
    """
    messages, deliveries = mail.messages, mail.deliveries
    next_id, own_id = pl.col("next_queue_id").hash(), pl.col("queue_id").hash()
    given = deliveries.filter(pl.col("next_queue_id").is_not_null()).select(
        before="mid", gone="last", to="relay_host", _id=next_id
    )
    taken = messages.filter(pl.col("queue_id").is_not_null()).select("mid", "first", "host_key", _id=own_id)
    met = (
        given.join(taken, on="_id")
        .filter(pl.col("before") != pl.col("mid"), (pl.col("first") - pl.col("gone")).dt.total_seconds().abs() <= 900)
        .collect()
    )
    if met.is_empty():
        return graph.stays
    # an id is unique on its own host only: the message must also be for the one it was handed to; no other host gives this one's ids, and
    # who knows the message that was handed over under its own Message-ID knows where it went on
    hosts = messages.select(before="mid", gave="host_key").join(met.lazy().select("before").unique(), on="before", how="semi")
    label = pl.col("to").str.to_lowercase().str.extract(r"^([^.\[]+)", 1)
    own_label = pl.col("host_key").str.to_lowercase().str.extract(r"^([^.]+)", 1)
    is_itself = (label == own_label) | (label == "localhost") | label.is_null()
    keys = {
        name: graph.stays.lazy().select(pl.col("mid").alias(of), pl.col("logical").alias(name))
        for of, name in (("before", "_b"), ("mid", "_m"))
    }
    met = (
        met.lazy()
        .join(hosts, on="before")
        .filter((pl.col("gave") != pl.col("host_key")) | is_itself)
        .join(keys["_b"], on="before")
        .join(keys["_m"], on="mid")
        .filter((pl.col("_b") == pl.col("_m")) | ~(pl.col("_b") == pl.col("_m")).any().over("before", "_id"))
        .select("before", "mid", "gone", "_id")
        .collect()
    )
    to = deliveries.select("mid", "to_box", "final_box", _id=next_id)
    sent = (
        to.join(met.lazy().select(mid="before").unique(), on="mid", how="semi")
        .select("_id", before="mid", box="final_box")
        .unique()
    )
    came = to.join(met.lazy().select("mid").unique(), on="mid", how="semi").select("mid", box="to_box").unique()
    steps = (
        met.lazy()
        .join(sent, on=["before", "_id"])
        .join(came, on=["mid", "box"])
        .sort("mid", "gone", "before")
        .unique("mid", keep="last", maintain_order=True)
        .select("mid", "before")
        .collect()
    )
    is_chain = pl.col("before").is_in(steps["mid"].implode()) | pl.col("mid").is_in(steps["before"].implode())
    root = steps.filter(is_chain)
    if root.is_empty():
        return graph.stays
    for _ in range(8):
        further = root.join(root.rename({"mid": "before", "before": "earlier"}), on="before", how="left")
        moved = further.select("mid", before=pl.coalesce("earlier", "before"))
        if moved.equals(root):
            break
        root = moved
    firsts = root.join(graph.stays, left_on="before", right_on="mid").select("mid", first="logical")
    return graph.stays.join(firsts, on="mid", how="left").select("mid", logical=pl.coalesce("first", "logical"))
