"""The mail graph: who wrote to whom, each logical message once, whatever hosts and queues it passed.

Edges carry numbers in place of names: a mailbox is its place in `Graph.boxes`, a logical message the `mid` of its first stay.
Detectors work on these; names, sizes and hosts come back for the few messages that turn out to matter. The null
reverse-path is bound to a mailbox by `authors`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import authors, causes, schema
from maillog_forensics.authors import RESPONDER_WORDS
from maillog_forensics.mail import Mail

EDGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "logical": pl.UInt32,
    "sender": pl.UInt32,
    "recipient": pl.UInt32,
    "sent": schema.TIME,
    "arrived": schema.TIME,
    "is_null": pl.Boolean,
    "is_notification": pl.Boolean,
    "is_automatic": pl.Boolean,
    "is_linked": pl.Boolean,
    "is_inferred": pl.Boolean,
    "mid": pl.UInt32,
}
"""One row for each (logical message, from mailbox, to mailbox), sorted by `sent`.

`sent` is the first sight of the message on any host, `arrived` the last attempt to hand it to this recipient,
`mid` its first stay. `is_automatic`: the log says that a machine wrote it; `is_linked`: the log
links it to the message it answers; `is_inferred`: the sender was inferred, since the log has only the null reverse-path.
"""


@dataclass(frozen=True)
class Graph:
    """The mail graph.

    Attributes
    ----------
    edges
        Table of `EDGES`.
    boxes
        Names of the mailboxes, by their numbers.
    stays
        mid and logical: which stay in a queue belongs to which logical message.
    answers
        mid and asked: messages that a responder program was seen to write, and the stay of the one it was run for.
    """

    edges: pl.DataFrame
    boxes: pl.Series
    stays: pl.DataFrame
    answers: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"mid": pl.UInt32, "asked": pl.UInt32}))

    def name(self, box: int) -> str:
        """The mailbox with this number."""
        return str(self.boxes[box])

    def numbered(self, names: pl.Series) -> pl.Series:
        """The number of each name; all of them are in `boxes`."""
        numbers = _Numbers(self.boxes)
        return numbers.of(names.to_frame().select(numbers.key(names.name)).to_series())

    def numbers(self, names: list[str]) -> list[int]:
        """The numbers of those of `names` that the graph knows."""
        return self.boxes.is_in(names).arg_true().to_list()

    def logicals(self, mids: pl.Series) -> pl.Series:
        """The logical messages of some stays, each once."""
        return self.stays.filter(pl.col("mid").is_in(mids.implode()))["logical"].unique(maintain_order=True)

    def mids(self, logicals: pl.Series) -> pl.Series:
        """All stays of some logical messages."""
        return self.stays.filter(pl.col("logical").is_in(logicals.implode()))["mid"]

    def with_names(self, edges: pl.DataFrame) -> pl.DataFrame:
        """`edges` with the names of mailboxes in place of their numbers."""
        return edges.with_columns(sender=self.boxes.gather(edges["sender"]), recipient=self.boxes.gather(edges["recipient"]))

    def named(self, edges: pl.DataFrame, mail: Mail) -> pl.DataFrame:
        """Some edges with all that is known of them, in their order.

        Returns
        -------
        The columns of `EDGES` with names of mailboxes, and `born` (first sight on the host where it entered), `size` in bytes,
        `transport` (a responder's, that the recipient's copy was handed to), `host`.
        """
        stays = self.stays.lazy().filter(pl.col("logical").is_in(edges["logical"].unique().implode()))
        messages = mail.messages.select("mid", "first", "size", "host", "queue_id").join(stays, on="mid").collect()
        told = (
            mail.deliveries.select("mid", "to_box", "transport", "next_queue_id")
            .join(messages.lazy().select("mid", "logical"), on="mid")
            .collect()
        )
        onward = told.filter(pl.col("next_queue_id").is_not_null()).select("logical", queue_id="next_queue_id").unique()
        messages = messages.join(onward.with_columns(is_handed_on=pl.lit(True)), on=["logical", "queue_id"], how="left")
        words = pl.col("transport").filter(pl.col("transport").str.contains(RESPONDER_WORDS))
        programs = told.group_by("mid", recipient="to_box").agg(transport=words.first())
        own = pl.col("first").filter(pl.col("is_handed_on").is_null())
        entered = (
            pl.col("host").filter(pl.col("is_handed_on").is_null()).drop_nulls()
        )  # clocks that differ a little may show it elsewhere first
        about = (
            messages.join(programs, on="mid")
            .sort("mid")
            .group_by("logical", "recipient", maintain_order=True)
            .agg(
                born=pl.coalesce(own.min(), pl.col("first").min()),
                size=pl.col("size").drop_nulls().first(),
                transport=pl.col("transport").drop_nulls().first(),
                host=pl.coalesce(entered.first(), pl.col("host").drop_nulls().first()),
            )
        )
        return self.with_names(edges).join(about, on=["logical", "recipient"], how="left", maintain_order="left")


def build(mail: Mail) -> Graph:
    """Build the mail graph.

    Parameters
    ----------
    mail
        Messages and deliveries of all logs.

    Notes
    -----
    Reads narrow projections of the tables and turns names into numbers at once, so that memory is some 60 bytes for each
    delivery whatever the lengths of addresses and Message-IDs. Cost: a few hash joins and one sort, n log n in the number of
    deliveries. Logical messages are told apart by a 128-bit hash of their Message-IDs.
    """
    messages, deliveries = mail.messages, mail.deliveries
    written, answers = authors.attribute(messages, deliveries)
    boxes = _boxes(messages, deliveries, written)
    numbers = _Numbers(boxes)
    stays = _stays(messages)
    facts = ("mid", pl.col("is_notification").fill_null(False), "is_linked", "is_inferred")
    written = written.select(*facts, sender=numbers.key("author"))
    written = written.with_columns(numbers.of(written["sender"]))
    users = _machines(messages, "user") | _machines(messages, "instance")
    heads = (
        messages.select(
            "mid",
            sent="first",
            sender=pl.when(pl.col("from_box") != "").then(numbers.key("from_box")),
            is_null=(pl.col("from_box") == "").fill_null(False),
            is_notification=pl.lit(False),
            is_automatic=(pl.col("from_box") == "").fill_null(False) | users,
            is_linked=pl.col("parent").is_not_null() | pl.col("mid").is_in(answers["mid"].implode()),
            is_inferred=pl.lit(False),
        )
        .collect()
        .with_columns(stays["logical"])  # in the order of the messages as well
    )
    heads = heads.with_columns(numbers.of(heads["sender"]))
    place = _places(heads["mid"])
    at = place.gather(written["mid"])
    heads = heads.with_columns(heads[name].scatter(at, written[name]) for name in written.columns if name != "mid")
    told = deliveries.filter(pl.col("to_box") != "").select("mid", arrived="last", recipient=numbers.key("to_box")).collect()
    told = told.with_columns(numbers.of(told["recipient"]))
    columns = heads.select(pl.exclude("mid").gather(place.gather(told["mid"])))
    edges = _once(pl.concat([told, columns], how="horizontal").filter(pl.col("sender").is_not_null()).select(*EDGES))
    edges = schema.conform(edges.sort("sent", "mid", "recipient"), EDGES, "edges")
    return Graph(causes.rebound(edges, boxes, stays, messages, deliveries), boxes, stays, answers)


class _Numbers:
    """The numbers of mailboxes, looked up by hashes of their names that no two of them share; an Enum takes five times as long.

    Parameters
    ----------
    boxes
        All names there are; the place of each is its number.
    """

    def __init__(self, boxes: pl.Series) -> None:
        self._seed = next(seed for seed in itertools.count() if boxes.hash(seed).n_unique() == boxes.len())
        self._known = pl.DataFrame({"key": boxes.hash(self._seed)}).with_row_index("number")

    def key(self, column: str) -> pl.Expr:
        """What `of` takes in place of a name; NULL stays."""
        return pl.when(pl.col(column).is_not_null()).then(pl.col(column).hash(self._seed))

    def of(self, keys: pl.Series) -> pl.Series:
        found = keys.to_frame("key").join(self._known, on="key", how="left", maintain_order="left")
        return found["number"].cast(pl.UInt32).alias(keys.name)


def _places(mids: pl.Series) -> pl.Series:
    """The row of each mid; where deliveries are looked up by it, a join of millions is spared."""
    none = pl.select(pl.repeat(None, int(mids.max() or 0) + 1, dtype=pl.UInt32)).to_series()  # type: ignore[arg-type]
    return none.scatter(mids, pl.select(pl.int_range(mids.len(), dtype=pl.UInt32)).to_series())


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each (logical, sender, recipient); most have one already, and only the others are grouped."""
    key = pl.col("logical").cast(pl.UInt64) * (1 << 32) + pl.col("recipient")
    if rows.select(key.n_unique()).item() == rows.height:
        return rows
    several = rows.select(key.is_duplicated()).to_series()
    grouped = (
        rows.filter(several)
        .group_by("logical", "sender", "recipient")
        .agg(
            pl.col("sent").min(),
            pl.col("arrived").max(),
            pl.col("is_null", "is_notification", "is_automatic", "is_linked").any(),
            pl.col("is_inferred").all(),
            pl.col("mid").min(),
        )
    )
    return pl.concat([rows.filter(~several), grouped.select(*EDGES)])


def _boxes(messages: pl.LazyFrame, deliveries: pl.LazyFrame, written: pl.DataFrame) -> pl.Series:
    """Every mailbox once, in the order of their names."""
    columns = [
        messages.select(box="from_box").unique(),
        deliveries.select(box="to_box").unique(),
        deliveries.filter(pl.col("final_box").ne_missing(pl.col("to_box"))).select(box="final_box").unique(),
        written.lazy().select(box="author").unique(),
    ]
    return pl.concat(columns).unique().drop_nulls().sort("box").collect()["box"]


def _stays(messages: pl.LazyFrame) -> pl.DataFrame:
    """mid and logical, the first stay of the same Message-ID, in the order of the messages."""
    hashed = messages.select("mid", _a=pl.col("logical").hash(1)).collect()
    if hashed["_a"].n_unique() == hashed.height:
        return hashed.select("mid", logical="mid")
    several = hashed.filter(pl.col("_a").is_duplicated())
    again = messages.join(several.lazy().select("mid"), on="mid", how="semi").select("mid", _b=pl.col("logical").hash(2))
    several = several.join(again.collect(), on="mid", how="left")
    firsts = several.group_by("_a", "_b").agg(logical=pl.col("mid").min())
    known = several.join(firsts, on=["_a", "_b"], how="left").select("mid", "logical")
    return (
        hashed.select("mid")
        .join(known, on="mid", how="left", maintain_order="left")
        .select("mid", logical=pl.coalesce("logical", "mid"))
    )


def _machines(messages: pl.LazyFrame, column: str) -> pl.Expr:
    """Whether `column` names a responder, looked up among its distinct values."""
    named = messages.select(pl.col(column).unique()).filter(pl.col(column).str.contains(RESPONDER_WORDS)).collect()
    return pl.col(column).is_in(named[column].implode()).fill_null(False)
