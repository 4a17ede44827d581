"""Who wrote what came with the null reverse-path: the mailbox whose mail provoked a notification, or whose responder answered.

Only notifications, null senders, and mail that was submitted on a host while a responder ran there are looked at; of all
other mail the narrow columns that an attribution needs are fetched.
"""

from __future__ import annotations

import polars as pl

from maillog_forensics.addresses import domain, last_labels

RESPONDER_WORDS = (
    r"(?i)vacation|auto-?_?(?:re(?:ply|spon)|answer)|userauto|out-?of-?office|responder|\boof\b|ooftemplate|replytemplate"
)
"""Names that administrators and programs give to transports and users which answer mail."""

ANSWER_WITHIN = "26h"
"""How far back an unlinked null-sender message may look for the mail that provoked it."""

_ROUNDS = 16
"""Each settles the null senders of so long; a loop of two of them may turn for two weeks."""

NEEDED = (
    "mid", "host_key", "mta", "first", "logical", "from_box", "client_host", "client_ip", "user", "parent", "is_notification",
)  # fmt: skip
"""Columns of the messages that an attribution reads."""


def is_daemonic() -> pl.Expr:
    """Whether a message bears no author of its own: null reverse-path, a notification, or Postfix's double bounce."""
    double = pl.col("from_box").str.starts_with("double-bounce@").fill_null(False)
    return ((pl.col("from_box") == "") | pl.col("is_notification") | double).fill_null(False)


def attribute(messages: pl.LazyFrame, deliveries: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Find the authors of the messages that bear none.

    Parameters
    ----------
    messages, deliveries
        `mail.MESSAGES` and `mail.DELIVERIES`; `first` on one clock.

    Returns
    -------
    authors
        mid, author (NULL where nothing tells), is_notification, is_linked, is_inferred: one row for each such message.
    answers
        mid of each other message that its author's responder program was seen to write, and asked: of the one it was run for.
    """
    narrow = messages.select(*NEEDED)
    open_ones = narrow.filter(is_daemonic()).collect()
    local = _by_responder(narrow, deliveries)
    mine = local.join(open_ones.select("mid"), on="mid", how="semi")
    answers = local.join(open_ones.select("mid"), on="mid", how="anti").filter(pl.col("_local") == pl.col("from_box"))
    # Exchange logs the header's sender too: that of a rule's reply, which goes out with the null reverse-path
    from_header = (pl.col("mta") == "exchange") & pl.col("user").str.contains("@") & ~pl.col("is_notification")
    found = (
        open_ones.with_columns(_header=pl.when(from_header).then(pl.col("user").str.to_lowercase()))
        .join(_by_parent(open_ones, narrow, deliveries), on="mid", how="left", maintain_order="left")
        .join(mine.select("mid", "_local"), on="mid", how="left", maintain_order="left")
        .with_columns(
            author=pl.coalesce("_linked", "_local"),
            is_linked=pl.col("parent").is_not_null() | (pl.col("_local") == pl.col("from_box")).fill_null(False),
            is_inferred=pl.lit(False),
        )
    )
    # the same message on another host: what one log links holds for all, before what a header says in any of them
    known = found.group_by("logical", maintain_order=True).agg(
        _told=pl.col("author").drop_nulls().first(),
        _said=pl.col("_header").drop_nulls().first(),
        _note=(pl.col("is_notification") & pl.col("author").is_not_null()).any(),
    )
    found = (
        found.join(known, on="logical", how="left", maintain_order="left")
        .with_columns(
            author=pl.coalesce("author", "_told", "_said"),
            is_notification=pl.col("is_notification") | pl.col("_note").fill_null(False),
        )
        .drop("_told", "_said", "_note", "_header", "_linked", "_local")
    )
    found = _guessed(found, narrow, deliveries)
    return found.select("mid", "author", "is_notification", "is_linked", "is_inferred"), answers.select("mid", "asked")


def _guessed(found: pl.DataFrame, messages: pl.LazyFrame, deliveries: pl.LazyFrame) -> pl.DataFrame:
    """What no log links: answers within a conversation, else the mailer-daemon of the host that handed it over."""
    unknown = found.filter(pl.col("author").is_null())
    if unknown.is_empty():
        return found
    # what was put into a mailbox of this very host, not relayed
    to = deliveries.select("mid", "to_box", is_here=(pl.col("event") == "deliver") & pl.col("relay_ip").is_null())
    asked = (
        to.join(unknown.lazy().select("mid"), on="mid", how="semi").select("mid", "to_box").unique(maintain_order=True).collect()
    )
    partners = asked["to_box"].unique().drop_nulls()
    others = (
        messages.filter(~is_daemonic(), pl.col("from_box").is_in(partners.implode()))
        .select("mid", "logical", "first", "host_key", author="from_box")
        .join(to, on="mid")
        .unique(maintain_order=True)
        .collect()
    )
    for _ in range(_ROUNDS):  # who was written to is known only when the null senders before are
        unknown = found.filter(pl.col("author").is_null())
        if unknown.is_empty():
            break
        settled = (
            found.lazy()
            .filter(pl.col("author").is_in(partners.implode()))
            .select("mid", "logical", "first", "host_key", "author")
        )
        earlier = pl.concat([others, settled.join(to, on="mid").unique(maintain_order=True).collect()])
        guess = _by_conversation(unknown, asked, earlier)
        if guess.is_empty():
            break
        found = _with_guess(found, guess)
    unknown = found.filter(pl.col("author").is_null())
    host = pl.when(~pl.col("client_host").is_in(["unknown", "localhost"])).then(pl.col("client_host").str.to_lowercase())
    named = unknown.sort("first", "mid").with_columns(_host=host).group_by("logical", maintain_order=True)
    handed_over = pl.coalesce(pl.col("_host").drop_nulls().first(), pl.col("host_key").first())
    return _with_guess(found, named.agg(_guess=pl.lit("mailer-daemon@") + handed_over))


def _with_guess(found: pl.DataFrame, guess: pl.DataFrame) -> pl.DataFrame:
    return (
        found.join(guess, on="logical", how="left", maintain_order="left")
        .with_columns(
            is_inferred=pl.col("is_inferred") | (pl.col("author").is_null() & pl.col("_guess").is_not_null()),
            author=pl.coalesce("author", "_guess"),
        )
        .drop("_guess")
    )


def _by_parent(open_ones: pl.DataFrame, messages: pl.LazyFrame, deliveries: pl.LazyFrame) -> pl.DataFrame:
    """The recipient for whom the linked parent failed, or else who received it: they wrote the notification or the answer.

    All stays of the parent count: Exchange links to the one in the mailbox store, and the transport's is the one that fails.
    """
    answers = open_ones.lazy().filter(pl.col("parent").is_not_null()).select("mid", "parent")
    named = messages.select("mid", "logical")
    parents = answers.join(named.rename({"mid": "parent"}), on="parent").collect()
    if parents.is_empty():
        return pl.DataFrame(schema={"mid": pl.UInt32, "_linked": pl.String})
    stays = named.join(parents.lazy(), on="logical", how="semi").rename({"mid": "stay"}).collect()
    told = deliveries.select("mid", "to_box", "event", "transport", "last")
    return (
        parents.lazy()
        .join(stays.lazy(), on="logical")
        .join(told, left_on="stay", right_on="mid")
        .with_columns(
            rank=pl.when(pl.col("event").is_in(["bounce", "expire"]))
            .then(0)
            .when(pl.col("transport").str.contains(RESPONDER_WORDS).fill_null(False))
            .then(1)
            .when(pl.col("event") == "defer")
            .then(2)
            .otherwise(3)
        )
        .sort("mid", "rank", "last", "to_box")
        .group_by("mid", maintain_order=True)
        .agg(_linked=pl.col("to_box").first())
        .collect()
    )


def _by_responder(messages: pl.LazyFrame, deliveries: pl.LazyFrame) -> pl.DataFrame:
    """mid, from_box, _local, asked: the mailbox whose responder program was running on this very host when it was submitted there, and for what."""
    runs = (
        deliveries.filter(
            pl.col("transport").str.contains(RESPONDER_WORDS) | pl.col("diagnostic").str.starts_with("delivered to command")
        )
        .select("mid", "to_box", at="last")
        .join(messages.select("mid", "host_key"), on="mid")
        .select("host_key", "to_box", "at", asked="mid")
        .sort("at", "host_key", "to_box")
        .collect()
    )
    owners, hosts = runs["to_box"].unique().implode(), runs["host_key"].unique().implode()
    here = pl.all_horizontal(pl.col("client_host").is_null(), pl.col("client_ip").is_null(), pl.col("parent").is_null())
    born = messages.filter(here, pl.col("host_key").is_in(hosts), is_daemonic() | pl.col("from_box").is_in(owners)).collect()
    return (
        born.with_columns(is_open=is_daemonic())
        .select("mid", "host_key", "first", "from_box", "is_open")
        .sort("first", "mid")
        .join_asof(
            runs, left_on="first", right_on="at", by="host_key", strategy="nearest", tolerance="3s", check_sortedness=False
        )
        .filter(pl.col("is_open") | (pl.col("from_box") == pl.col("to_box")))
        .select("mid", "from_box", "asked", _local="to_box")
        .drop_nulls("_local")
    )


def _by_conversation(unknown: pl.DataFrame, to: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Who was written to before: the latest mail from this notification's recipient, preferably to the domain it came from.

    A provider's server hands in the mail of many domains; a Message-ID that bears one of them tells whose program made it.

    `to` has the recipients of the unknown ones, `earlier` mail whose author is known: mid, author, first, host_key, to_box, is_here.
    """
    asked = (
        unknown.select("mid", "logical", "first", "client_host", "host_key")
        .join(to, on="mid")
        .with_columns(near=last_labels(pl.col("client_host")), named=last_labels(domain(pl.col("logical"))))
        .sort("first", "mid")
    )
    earlier = (
        earlier.select("mid", "author", "host_key", "is_here", sent="first", peer="to_box")
        .with_columns(near=last_labels(domain(pl.col("peer"))))
        .sort("sent", "mid", "peer")
    )
    born = asked.filter(pl.col("client_host").is_null())
    found = (
        _latest(asked, earlier, "near", "near"),
        _latest(asked, earlier, "named", "near"),
        # submitted on this host: the domain it came from tells nothing, but its author has his mailbox here
        _latest(born, earlier.filter("is_here"), "host_key", "host_key"),
        _latest(born, earlier),
    )
    ranked = [t.select("mid", "logical", "first", "peer", rank=pl.lit(i)) for i, t in enumerate(found)]
    both = pl.concat(ranked).drop_nulls("peer")
    return both.sort("first", "mid", "rank").group_by("logical", maintain_order=True).agg(_guess=pl.col("peer").first())


def _latest(asked: pl.DataFrame, earlier: pl.DataFrame, *places: str) -> pl.DataFrame:
    """`asked` with the peer whom its recipient wrote to last; `places`: columns of the one and of the other that must agree."""
    left, right = (["to_box"], ["author"]) if not places else (["to_box", places[0]], ["author", places[1]])
    return asked.join_asof(
        earlier.select(*right, "sent", "peer"),
        left_on="first",
        right_on="sent",
        by_left=left,
        by_right=right,
        strategy="backward",
        tolerance=ANSWER_WITHIN,
        check_sortedness=False,
    )
