"""The mail graph: who wrote to whom, each logical message once, whatever hosts and queues it passed.

The null reverse-path is bound to a mailbox here: to the one whose mail provoked the notification where the log links
them, else to the mailbox that was last written to, else to the mailer-daemon of the host that handed the mail over.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics import schema, skew
from maillog_forensics.addresses import domain
from maillog_forensics.correlate import Mail

EDGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "logical": pl.String,
    "sender": pl.String,
    "recipient": pl.String,
    "sent": schema.TIME,
    "born": schema.TIME,
    "arrived": schema.TIME,
    "size": pl.Int64,
    "stays": pl.UInt32,
    "is_null": pl.Boolean,
    "is_notification": pl.Boolean,
    "is_automatic": pl.Boolean,
    "is_linked": pl.Boolean,
    "is_inferred": pl.Boolean,
    "is_delivered": pl.Boolean,
    "transport": pl.String,
    "mid": pl.UInt32,
    "host": pl.String,
    "order": pl.UInt64,
}
"""One row for each (logical message, from mailbox, to mailbox).

`sent` is the first sight of the message on any host, `born` that on the host where it entered (by that host's own clock,
which may differ), `arrived` the last attempt to hand it to this recipient; `stays`
counts queues; `mid` is the first of them. `transport`: the responder's transport
that the recipient's copy was handed to; `is_automatic`: the log says that a machine wrote it; `is_linked`: the log
links it to the message it answers; `is_inferred`: the sender was inferred, since the log has only the null reverse-path.
"""

RESPONDER_WORDS = (
    r"(?i)vacation|auto-?_?(?:re(?:ply|spon)|answer)|userauto|out-?of-?office|responder|\boof\b|ooftemplate|replytemplate"
)
"""Names that administrators and programs give to transports and users which answer mail."""

ANSWER_WITHIN = "26h"
"""How far back an unlinked null-sender message may look for the mail that provoked it."""


def edges(mail: Mail) -> pl.DataFrame:
    """Build the edges of the mail graph.

    Parameters
    ----------
    mail
        With the canonical mailboxes that `correlate.mailboxes` adds.

    Returns
    -------
    Table of `EDGES`, sorted by `sent`.

    Notes
    -----
    Group-bys and as-of joins: n log n in the number of deliveries.
    """
    mail = _on_one_clock(mail)
    messages = _authors(mail)
    told = mail.deliveries.group_by("mid", "to_box").agg(
        arrived=pl.col("last").max(),
        is_delivered=(pl.col("event") == "deliver").any(),
        transport=pl.col("transport").filter(pl.col("transport").str.contains(RESPONDER_WORDS)).first(),
    )
    reached = (
        mail.deliveries.filter(pl.col("next_queue_id").is_not_null())
        .select("mid", "next_queue_id")
        .join(messages.select("mid", "logical"), on="mid")
    )
    handed_on = reached.select("logical", queue_id="next_queue_id", is_handed_on=pl.lit(True)).unique()
    messages = messages.join(handed_on, on=["logical", "queue_id"], how="left").with_columns(
        pl.col("is_handed_on").fill_null(False)
    )
    rows = messages.join(told, on="mid", how="inner").filter(pl.col("to_box") != "")
    table = (
        rows.group_by("logical", "author", "to_box", maintain_order=True)
        .agg(
            sent=pl.col("first").min(),
            born=pl.coalesce(pl.col("own_first").filter(~pl.col("is_handed_on")).min(), pl.col("own_first").min()),
            arrived=pl.col("arrived").max(),
            size=pl.col("size").drop_nulls().first(),
            stays=pl.len(),
            is_null=pl.col("is_null").any(),
            is_notification=pl.col("is_notification").any(),
            is_automatic=pl.col("is_automatic").any(),
            is_linked=pl.col("is_linked").any(),
            is_inferred=pl.col("is_inferred").all(),
            is_delivered=pl.col("is_delivered").any(),
            transport=pl.col("transport").drop_nulls().first(),
            mid=pl.col("mid").first(),
            host=pl.col("host").drop_nulls().first(),
            order=pl.col("line").first(),
        )
        .rename({"author": "sender", "to_box": "recipient"})
        .filter(pl.col("sender").is_not_null() & pl.col("recipient").is_not_null())
        .sort("sent", "order", "logical")
    )
    return schema.conform(table, EDGES, "edges")


def _on_one_clock(mail: Mail) -> Mail:
    """Times of messages and deliveries corrected by the skew of their hosts' clocks; `born` keeps the host's own."""
    skewed = skew.offsets(mail)
    messages = mail.messages.with_columns(own_first=pl.col("first"))
    if not skewed:
        return Mail(messages, mail.deliveries, mail.attempts, mail.until)
    ahead = pl.duration(seconds=pl.col("host_key").replace_strict(skewed, default=0.0, return_dtype=pl.Float64))
    hosts = mail.messages.select("mid", "host_key")
    deliveries = mail.deliveries.join(hosts, on="mid", how="left", maintain_order="left")
    deliveries = deliveries.with_columns(first=pl.col("first") - ahead, last=pl.col("last") - ahead).drop("host_key")
    return Mail(
        messages.with_columns(first=pl.col("first") - ahead, last=pl.col("last") - ahead), deliveries, mail.attempts, mail.until
    )


def _authors(mail: Mail) -> pl.DataFrame:
    """Messages with `author`: the canonical mailbox that wrote them, also behind the null reverse-path."""
    messages = mail.messages.with_columns(
        is_null=pl.col("from_box") == "",
        is_automatic=(pl.col("from_box") == "")
        | pl.col("user").str.contains(RESPONDER_WORDS).fill_null(False)
        | pl.col("instance").str.contains(RESPONDER_WORDS).fill_null(False),
    )
    daemonic = (
        pl.col("is_null") | pl.col("is_notification") | pl.col("from_box").str.starts_with("double-bounce@").fill_null(False)
    )
    messages = messages.with_columns(is_daemonic=daemonic.fill_null(False))
    # Exchange logs the header's sender too: that of a rule's reply, which goes out with the null reverse-path
    from_header = (pl.col("mta") == "exchange") & pl.col("user").str.contains("@") & ~pl.col("is_notification")
    messages = messages.with_columns(_header=pl.when(from_header).then(pl.col("user").str.to_lowercase()))
    linked = _by_parent(messages, mail.deliveries)
    local = _by_responder(messages, mail.deliveries)
    messages = messages.join(linked, on="mid", how="left").join(local, on="mid", how="left")
    messages = messages.with_columns(
        is_linked=pl.col("parent").is_not_null() | (pl.col("_local") == pl.col("from_box")).fill_null(False),
        author=pl.when(~pl.col("is_daemonic")).then("from_box").otherwise(pl.coalesce("_linked", "_local", "_header")),
    )
    # the same message on another host: what one log knows holds for all
    known = (
        messages.filter("is_daemonic", pl.col("author").is_not_null())
        .group_by("logical")
        .agg(_told=pl.col("author").first(), _note=pl.col("is_notification").any())
    )
    messages = messages.join(known, on="logical", how="left").with_columns(
        author=pl.coalesce("author", "_told"), is_notification=pl.col("is_notification") | pl.col("_note").fill_null(False)
    )
    open_ones = messages.filter(pl.col("author").is_null() & pl.col("is_daemonic"))
    messages = messages.with_columns(is_inferred=pl.lit(False))
    for _ in range(3):  # who was written to is known only when the null senders before are: a few rounds settle it
        if open_ones.is_empty():
            break
        guessed = _by_conversation(open_ones, messages, mail.deliveries)
        messages = (
            messages.join(guessed, on="logical", how="left")
            .with_columns(
                is_inferred=pl.col("is_inferred") | (pl.col("author").is_null() & pl.col("_guess").is_not_null()),
                author=pl.coalesce("author", "_guess"),
            )
            .drop("_guess")
        )
        open_ones = messages.filter(pl.col("author").is_null() & pl.col("is_daemonic"))
    daemon = pl.lit("mailer-daemon@") + pl.coalesce(
        pl.when(~pl.col("client_host").is_in(["unknown", "localhost"])).then(pl.col("client_host").str.to_lowercase()), "host_key"
    )
    named = open_ones.sort("first", "mid").group_by("logical", maintain_order=True).agg(_guess=daemon.drop_nulls().last())
    return (
        messages.join(named, on="logical", how="left")
        .with_columns(
            is_inferred=pl.col("is_inferred") | (pl.col("author").is_null() & pl.col("_guess").is_not_null()),
            author=pl.coalesce("author", "_guess"),
        )
        .drop("_guess")
    )


def _by_parent(messages: pl.DataFrame, deliveries: pl.DataFrame) -> pl.DataFrame:
    """The recipient for whom the linked parent failed, or else who received it: they wrote the notification or the answer."""
    answers = messages.filter("is_daemonic", pl.col("parent").is_not_null()).select("mid", "parent")
    return (
        answers.join(
            deliveries.select("mid", "to_box", "event", "transport", "last"), left_on="parent", right_on="mid", how="inner"
        )
        .with_columns(
            rank=pl.when(pl.col("event").is_in(["bounce", "expire"]))
            .then(0)
            .when(pl.col("transport").str.contains(RESPONDER_WORDS).fill_null(False))
            .then(1)
            .when(pl.col("event") == "defer")
            .then(2)
            .otherwise(3)
        )
        .sort("mid", "rank", "last")
        .group_by("mid", maintain_order=True)
        .agg(_linked=pl.col("to_box").first())
    )


def _by_responder(messages: pl.DataFrame, deliveries: pl.DataFrame) -> pl.DataFrame:
    """The mailbox whose responder program was running on this very host when the message was submitted there."""
    hosts = messages.select("mid", "host_key")
    ran = (
        deliveries.filter(
            pl.col("transport").str.contains(RESPONDER_WORDS) | pl.col("diagnostic").str.starts_with("delivered to command")
        )
        .join(hosts, on="mid")
        .select("host_key", "to_box", at="last")
        .sort("at")
    )
    born = messages.filter(pl.col("client_host").is_null(), pl.col("client_ip").is_null(), pl.col("parent").is_null())
    return (
        born.select("mid", "host_key", "first", "from_box", "is_daemonic")
        .sort("first")
        .join_asof(ran, left_on="first", right_on="at", by="host_key", strategy="nearest", tolerance="3s", check_sortedness=False)
        .filter(pl.col("is_daemonic") | (pl.col("from_box") == pl.col("to_box")))
        .select("mid", _local="to_box")
        .drop_nulls()
    )


def _by_conversation(open_ones: pl.DataFrame, messages: pl.DataFrame, deliveries: pl.DataFrame) -> pl.DataFrame:
    """Who was written to before: the latest mail from this notification's recipient, preferably to the domain it came from."""
    if open_ones.is_empty():
        return pl.DataFrame(schema={"logical": pl.String, "_guess": pl.String})
    to = deliveries.select("mid", "to_box").unique(maintain_order=True)
    asked = (
        open_ones.select("mid", "logical", "first", "client_host", "host_key")
        .join(to, on="mid")
        .with_columns(near=pl.col("client_host").fill_null("").str.to_lowercase().str.extract(r"([^.]+\.[^.]+)$", 1))
        .sort("first")
    )
    earlier = (
        messages.filter(pl.col("author").is_not_null(), pl.col("author") != "")
        .select("mid", "author", sent="first")
        .join(to.rename({"to_box": "peer"}), on="mid")
        .with_columns(near=domain(pl.col("peer")).str.extract(r"([^.]+\.[^.]+)$", 1))
        .sort("sent")
    )
    same = asked.join_asof(
        earlier.select("author", "near", "sent", "peer"),
        left_on="first",
        right_on="sent",
        by_left=["to_box", "near"],
        by_right=["author", "near"],
        strategy="backward",
        tolerance=ANSWER_WITHIN,
        check_sortedness=False,
    )
    home = asked.filter(pl.col("client_host").is_null()).join_asof(
        earlier.select("author", "sent", "peer"),
        left_on="first",
        right_on="sent",
        by_left="to_box",
        by_right="author",
        strategy="backward",
        tolerance=ANSWER_WITHIN,
        check_sortedness=False,
    )  # submitted on this host: the domain it came from tells nothing
    both = pl.concat([table.select("mid", "logical", "first", "peer") for table in (same, home)]).drop_nulls("peer")
    return both.sort("first", "mid").group_by("logical", maintain_order=True).agg(_guess=pl.col("peer").first())
