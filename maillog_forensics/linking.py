"""From what was gathered, bucket by bucket, to one table of messages and one of deliveries, numbered by time and linked.

    gathered ──by the message's time──> spans ──sort──> numbers, ends of links ──> spans with links and mailboxes

Beyond a budget the spans are in files, and only one of them is in memory at a time; a link from one span to another needs a few columns
of the few messages that a log links at all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from maillog_forensics import addresses, correlate, schema
from maillog_forensics.correlate import Gathered
from maillog_forensics.mail import DELIVERIES, MESSAGES, Mail
from maillog_forensics.scratch import Folder, writing
from maillog_forensics.spool import TABLES_BYTES

SPANS = 64
"""Spans of time once the tables are in files; one of them must fit into memory."""

_ROW_GROUP = 65_536
"""Rows of a file that are read, or passed over, together."""

_KEYS = ("first", "source", "line", "queue_id")
"""What messages are numbered by."""

_LINKS = {"mid": pl.UInt32, "parent": pl.UInt32, "is_notification": pl.Boolean}


def correlated(events: pl.DataFrame) -> Mail:
    """The messages of a table of `schema.EVENTS`: any order of files, lines of one file in order."""
    return link([correlate.gather(events)])


def link(parts: Iterable[Gathered], budget_bytes: int = TABLES_BYTES) -> Mail:
    """Number the messages of all parts by their time, link them, and name their mailboxes.

    Parameters
    ----------
    parts
        Asked for one by one, and let go of.
    budget_bytes
        What the tables may take in memory before they go to files.

    Notes
    -----
    Sorts and as-of joins over narrow tables: n log n. In files, each row is written twice and read twice.
    """
    spans = _Spans(budget_bytes)
    for part in parts:
        spans.add(part)
        del part
    if not spans.notices:
        spans.add(correlate.gather(schema.empty(schema.EVENTS)))
    spans.close()
    numbered = _number(spans)
    links, by_id = _links(numbered)
    messages, deliveries = _Shelf(spans.folder, "messages"), _Shelf(spans.folder, "deliveries")
    for span in spans.each():
        rows = _in_order(span.pieces(span.messages), numbered.number)
        messages.add(schema.conform(_linked(_with_mailbox(rows), links, by_id), MESSAGES, "messages"))
        del rows
        rows = _in_order(span.pieces(span.deliveries), numbered.number)
        deliveries.add(schema.conform(_with_mailboxes(rows), DELIVERIES, "deliveries"))
        del rows
    until = dict(sorted(spans.until.items()))
    return Mail(messages.table(MESSAGES), deliveries.table(DELIVERIES), spans.attempts.table(schema.EVENTS), until, spans.folder)


# --- tables that need not fit into memory -----------------------------------------------------------------------------


class _Shelf:
    """A table that grows, in memory or in files."""

    def __init__(self, folder: Folder | None, name: str) -> None:
        self._folder, self._name = folder, name
        self._held: list[pl.DataFrame] = []
        self._files: list[Path] = []

    def add(self, table: pl.DataFrame) -> None:
        if self._folder is None:
            self._held.append(table)
        elif table.height:
            path = self._folder.path / f"{self._name}-{len(self._files):04d}.parquet"
            with writing():
                table.write_parquet(path, compression="lz4", row_group_size=_ROW_GROUP)
            self._files.append(path)

    def move(self, folder: Folder) -> None:
        """What is in memory goes to files of `folder`."""
        self._folder, held, self._held = folder, self._held, []
        for table in held:
            self.add(table)

    def table(self, columns: dict[str, pl.DataType | type[pl.DataType]]) -> pl.LazyFrame:
        """All of it; `columns` where nothing was added."""
        if self._files:
            return pl.scan_parquet(self._files)
        return pl.concat([schema.empty(columns), *self._held]).lazy()


@dataclass
class _Span:
    """Messages of one span of time and their deliveries: tables, or files of them."""

    messages: list[pl.DataFrame | Path] = field(default_factory=list)
    deliveries: list[pl.DataFrame | Path] = field(default_factory=list)

    def columns(self, rows: list[pl.DataFrame | Path], *names: str) -> pl.DataFrame:
        """Some columns of its messages, or of its deliveries, in the order in which they came."""
        parts = [pl.read_ipc(p, columns=list(names)) if isinstance(p, Path) else p.select(names) for p in rows]
        return pl.concat(parts, how="vertical_relaxed")

    def pieces(self, rows: list[pl.DataFrame | Path]) -> list[pl.DataFrame]:
        """The whole rows; they are not kept here, nor are their files, which would be there twice otherwise."""
        pieces = []
        while rows:
            one = rows.pop(0)
            pieces.append(pl.read_ipc(one) if isinstance(one, Path) else one)
            if isinstance(one, Path):
                with suppress(OSError):  # a system that keeps files in use from going: this one goes with its folder
                    one.unlink()
        return pieces


class _Spans:
    """What was gathered, by the time of the messages.

    Attributes
    ----------
    count
        Messages; the number of a message in the order in which they came is its `stay`.
    asked, meant
        Queue ids and Message-IDs that links name.
    notices, attempts, until
        As in `Gathered`, of all parts.
    folder
        Where the files are; None while all is in memory.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.count = 0
        self.asked: list[pl.Series] = []
        self.meant: list[pl.Series] = []
        self.notices: list[pl.DataFrame] = []
        self.attempts = _Shelf(None, "attempts")
        self.until: dict[str, dt.datetime] = {}
        self.folder: Folder | None = None
        self._budget, self._bytes = budget_bytes, 0
        self._held: list[tuple[pl.DataFrame, pl.DataFrame]] = []
        self._borders = pl.Series(dtype=schema.TIME)
        self._spans: list[_Span] = [_Span()]
        self._refused: list[pl.DataFrame] = []

    def add(self, part: Gathered) -> None:
        moved = pl.col("stay") + self.count
        messages, deliveries, notices = (t.with_columns(moved) for t in (part.messages, part.deliveries, part.notices))
        self.count += messages.height
        self.asked += [notices["next_queue_id"], messages.filter(_answers())["parent_queue_id"].drop_nulls()]
        self.meant.append(messages["reference"].drop_nulls())
        self.notices.append(notices)
        self.until |= {host: max(at, self.until.get(host, at)) for host, at in part.until.items()}
        self._held.append((messages, deliveries))
        self._refused.append(part.attempts)
        self._bytes += sum(int(t.estimated_size()) for t in (messages, deliveries, part.attempts))
        if self._bytes > self._budget:
            self._flush()

    def close(self) -> None:
        """No more is added."""
        if self.folder is not None:
            self._flush()
            return
        self._put_refusals()
        for messages, deliveries in self._held:
            self._spans[0].messages.append(messages)
            self._spans[0].deliveries.append(deliveries)
        self._held.clear()

    def each(self) -> list[_Span]:
        """The spans that have messages, in the order of time."""
        return [span for span in self._spans if span.messages]

    def _flush(self) -> None:
        if self.folder is None:
            self.folder = Folder()
            self.attempts.move(self.folder)
        self._put_refusals()
        if self._held and not any(span.messages for span in self._spans):
            # queue ids are dealt to the parts at random: the first ones tell when there was how much mail
            times = pl.concat([messages["first"] for messages, _ in self._held]).sort()
            places = sorted({times.len() * n // SPANS for n in range(1, SPANS)}) if times.len() else []
            self._borders = times.gather(places).unique().sort()
            self._spans = [_Span() for _ in range(self._borders.len() + 1)]
        apart: list[tuple[list[pl.DataFrame], list[pl.DataFrame]]] = [([], []) for _ in self._spans]
        while self._held:
            messages, deliveries = self._held.pop(0)
            span = self._borders.search_sorted(messages["first"], side="right").cast(pl.UInt32)
            first = messages["stay"].min() or 0
            theirs = span.gather(deliveries["stay"] - first)
            for kind, table in enumerate((messages.with_columns(_span=span), deliveries.with_columns(_span=theirs))):
                for (at,), rows in table.partition_by("_span", as_dict=True, maintain_order=True, include_key=False).items():
                    apart[at][kind].append(rows)
        self._bytes = 0
        for at, (span_, several) in enumerate(zip(self._spans, apart)):
            for rows_, tables in zip((span_.messages, span_.deliveries), several):
                if tables:
                    path = self.folder.path / f"{at}-{len(span_.messages)}-{len(span_.deliveries)}.arrow"
                    with writing():
                        pl.concat(tables, how="vertical_relaxed").write_ipc(path, compression="lz4")
                    rows_.append(path)

    def _put_refusals(self) -> None:
        if self._refused:
            rows = pl.concat(self._refused, how="diagonal_relaxed")
            self.attempts.add(rows.sort("time", "source", "line", "recipient", maintain_order=True))
            self._refused = []


def _in_order(pieces: list[pl.DataFrame], number: pl.Series) -> pl.DataFrame:
    """The rows by `mid`, which stands in place of `stay`; each column is let go of before the next is sorted."""
    whole = pl.concat(pieces, how="vertical_relaxed") if pieces else pl.DataFrame(schema={"stay": pl.UInt32})
    pieces.clear()
    mid = number.gather(whole["stay"]).alias("mid")
    order = mid.to_frame().with_row_index("_at").sort("mid", "_at")["_at"]
    columns = [mid, *whole.drop("stay").get_columns()][::-1]
    del whole, mid
    done = []
    while columns:
        done.append(columns.pop().rechunk().gather(order))
    return pl.DataFrame(done)


# --- numbers and links ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Numbered:
    """The numbers of the messages, and what their links are made of.

    Attributes
    ----------
    number
        The `mid` of each `stay`.
    lives
        mid, host_key, queue_id, first: messages whose queue id a link names.
    children
        mid, host_key, parent_queue_id, first, sender, user, mta: messages that name the queue id of the one they answer.
    named
        message_id, mid: messages whose Message-ID another one refers to.
    failed
        mid of each message with a recipient that it did not reach at once.
    notices
        As in `Gathered`, with `mid` in place of `stay`.
    """

    number: pl.Series
    lives: pl.DataFrame
    children: pl.DataFrame
    named: pl.DataFrame
    failed: pl.Series
    notices: pl.DataFrame


def _answers() -> pl.Expr:
    """Whether `parent_queue_id` is the message that this one answers; Postfix's is an earlier stay of the same one."""
    return pl.col("mta") != "postfix"


def _number(spans: _Spans) -> _Numbered:
    asked, meant = (pl.concat(names).drop_nulls().unique() for names in (spans.asked, spans.meant))
    wanted = ["stay", "host_key", *_KEYS, "sender", "user", "mta", "parent_queue_id", "message_id"]
    is_linked = asked.len() > 0 or meant.len() > 0
    columns = wanted if is_linked else ["stay", *_KEYS]
    order: list[pl.Series] = []
    lives, children, named, failed = [], [], [], []
    begin = 0
    for span in spans.each():
        rows = span.columns(span.messages, *columns).with_row_index("_at").sort(*_KEYS, "_at").drop("_at")
        order.append(rows["stay"])
        if is_linked:
            rows = rows.with_row_index("mid", begin)
            lives.append(rows.filter(pl.col("queue_id").is_in(asked.implode())).select("mid", "host_key", "queue_id", "first"))
            children.append(
                rows.filter(pl.col("parent_queue_id").is_not_null(), _answers()).select(
                    "mid", "host_key", "parent_queue_id", "first", "sender", "user", "mta"
                )
            )
            named.append(rows.filter(pl.col("message_id").is_in(meant.implode())).select("message_id", "mid"))
            if span.deliveries:
                told = span.columns(span.deliveries, "stay", "event")
                failed.append(told.filter(pl.col("event").is_in(["bounce", "expire", "defer"]))["stay"].unique())
        begin += rows.height
    number = pl.concat(order).arg_sort() if order else pl.Series(dtype=pl.UInt32)
    notices = pl.concat(spans.notices)
    empty = pl.DataFrame(schema={c: MESSAGES.get(c, pl.String) for c in ("mid", *wanted)})
    return _Numbered(
        number,
        pl.concat([empty.select("mid", "host_key", "queue_id", "first"), *lives]),
        pl.concat([empty.select("mid", "host_key", "parent_queue_id", "first", "sender", "user", "mta"), *children]),
        pl.concat([empty.select("message_id", "mid"), *named]),
        number.gather(pl.concat(failed)) if failed else pl.Series(dtype=pl.UInt32),
        notices.with_columns(mid=number.gather(notices["stay"])).drop("stay"),
    )


def _links(numbered: _Numbered) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The links that the logs write down: Postfix's `non-delivery notification: NEW`, Exim's `R=PARENT` on an arrival.

    Returns
    -------
    links
        mid, parent, is_notification.
    by_id
        message_id and _parent: the message that an Exchange `reference` means.
    """

    def life(rows: pl.DataFrame, queue_column: str, at: str) -> pl.DataFrame:
        """The message that had the id in `queue_column` when the row was written: the latest that began before."""
        left = rows.filter(pl.col(queue_column).is_not_null()).with_columns(_at=pl.col(at) + pl.duration(seconds=120)).sort("_at")
        right = numbered.lives.select("host_key", "queue_id", other="mid", began="first").sort("began", "other")
        return left.join_asof(
            right,
            left_on="_at",
            right_on="began",
            by_left=["host_key", queue_column],
            by_right=["host_key", "queue_id"],
            strategy="backward",
            check_sortedness=False,
        ).drop("_at")

    by_notice = life(numbered.notices.rename({"mid": "parent"}), "next_queue_id", "time").select(
        mid="other", parent="parent", is_notification=pl.lit(True)
    )
    daemon = pl.col("user").fill_null("").str.contains(r"(?i)^(debian-)?exim\d*$|^mailnull$|^mail$")
    # an autoreply transport may run as the Exim user too: only what failed, or is late, is notified of
    has_failed = pl.col("other").is_in(numbered.failed.implode()).fill_null(False)
    by_parent = (
        life(numbered.children, "parent_queue_id", "first")
        .filter(pl.col("other") != pl.col("mid"))
        .select(
            "mid",
            parent="other",
            is_notification=(pl.col("sender") == "") & daemon & (pl.col("mta") == "exim") & has_failed,
        )
    )
    links = (
        pl.concat([by_notice, by_parent])
        .drop_nulls("mid")
        .group_by("mid", maintain_order=True)
        .agg(pl.col("parent").first(), pl.col("is_notification").any())
        .cast(_LINKS)  # type: ignore[arg-type]
    )
    return links, numbered.named.group_by("message_id").agg(_parent=pl.col("mid").min())


def _linked(messages: pl.DataFrame, links: pl.DataFrame, by_id: pl.DataFrame) -> pl.DataFrame:
    """Fill `parent` and `is_notification`."""
    answers = (
        messages.select("mid", "reference")
        .join(links, on="mid", how="left", maintain_order="left")
        .join(by_id, left_on="reference", right_on="message_id", how="left", maintain_order="left")
        .select("parent", "is_notification", "_parent")
    )
    double = pl.col("sender").str.contains(r"(?i)^(double-bounce|mailer-daemon|postmaster)@").fill_null(False)
    return (
        messages.hstack(answers)
        .with_columns(
            parent=pl.coalesce("parent", pl.when(pl.col("_parent") != pl.col("mid")).then("_parent")),
            is_notification=pl.col("is_notification").fill_null(False)
            | pl.col("is_report")
            | (double & pl.col("parent").is_not_null())
            | (pl.col("sender").str.starts_with("double-bounce@").fill_null(False)),
        )
        .drop("_parent", "parent_queue_id", "is_report")
    )


# --- mailboxes --------------------------------------------------------------------------------------------------------


def _with_mailbox(messages: pl.DataFrame) -> pl.DataFrame:
    local = pl.col("sender") + pl.lit("@") + pl.col("host_key")  # a bare login is a mailbox of its host
    qualified = pl.when(pl.col("sender").str.contains("@") | (pl.col("sender") == "")).then("sender").otherwise(local)
    return messages.with_columns(from_box=addresses.canonical_of(messages.select(qualified).to_series()))


def _with_mailboxes(deliveries: pl.DataFrame) -> pl.DataFrame:
    written = pl.when(pl.col("orig_recipient").str.contains("@")).then("orig_recipient").otherwise("recipient")
    return deliveries.with_columns(
        to_box=addresses.canonical_of(deliveries.select(written).to_series()),
        final_box=addresses.canonical_of(deliveries["recipient"]),
    )
