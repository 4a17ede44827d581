"""The day's events as the facts that are counted: arrivals, deliveries and the like, each with what is known of its message.

A day may have millions of events. They come in parts, and of each part only the columns stay that something is counted by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import polars as pl

from maillog_forensics.addresses import canonical_of, domain
from maillog_forensics.language import say
from maillog_forensics.mail import Mail

NEEDED = (
    "time", "source", "line", "mta", "host", "program", "event", "queue_id", "message_id", "sender", "recipient", "orig_recipient",
    "client_host", "client_ip", "relay_host", "relay_ip", "size", "delay_s", "dsn", "smtp_code", "outcome", "diagnostic", "user",
    "transport", "text",
)  # fmt: skip
"""Columns of the archive that the figures are counted from."""

_POSTFIX_ARRIVES_BY = ("smtpd", "pickup", "qmqpd")
_PLACE = ("source", "line")
_OF_MESSAGE = ("time", "host_key", "key", "hour", "sender", "size")


@dataclass(frozen=True)
class Facts:
    """Tables of a day. Those of messages have mid, from_box, message_size, came_from and first of the message.

    Attributes
    ----------
    arrivals
        Messages that came, each once for each queue that it came to; with mta, cipher and login.
    deliveries, forwardings
        Recipients (`box`) that were served, and those that became another message's (an alias, a .forward).
    deferrals, bounces
        Attempts that failed, for now and for good.
    refusals
        What was refused at the door.
    removals
        Messages that left a queue, with `queued_s` and `is_remote`: whether a recipient was on another host.
    connects
        Both ends of connections that came: client, process, ends.
    failed_logins
        client, user.
    rest
        Other sessions, notices and what else was told; severity and words where a server warns.
    """

    arrivals: pl.DataFrame
    deliveries: pl.DataFrame
    forwardings: pl.DataFrame
    deferrals: pl.DataFrame
    bounces: pl.DataFrame
    refusals: pl.DataFrame
    removals: pl.DataFrame
    connects: pl.DataFrame
    failed_logins: pl.DataFrame
    rest: pl.DataFrame


@dataclass(frozen=True)
class Lives:
    """What the figures ask of messages; little beside all that is known of them.

    Attributes
    ----------
    messages
        Columns host_key, key (queue id or <Message-ID>), mid, from_box, first, message_size, came_from; by `first`.
    sent_out
        The mids of those with a recipient on another host.
    """

    messages: pl.DataFrame
    sent_out: pl.Series

    @classmethod
    def of(cls, mail: Mail) -> Lives:
        """Of a span that begins before the day, so that messages of the evening before are known."""
        name = pl.when(~pl.col("client_host").is_in(["unknown", ""])).then(pl.col("client_host"))
        key = pl.coalesce("queue_id", pl.lit("<") + pl.col("message_id") + ">")
        messages = mail.messages.select(
            "host_key", "mid", "from_box", "first", key=key, message_size="size", came_from=pl.coalesce(name, "client_ip")
        )
        remote = mail.deliveries.filter(pl.col("event") == "deliver", pl.coalesce("relay_host", "relay_ip").is_not_null())
        known = messages.filter(pl.col("key").is_not_null()).sort("first", "mid")
        return cls(known.collect(), remote.select(pl.col("mid").unique()).collect()["mid"])


def facts(day: Iterable[pl.DataFrame], lives: Lives, zone: str) -> Facts:
    """Sort the events of a day.

    Parameters
    ----------
    day
        Parts with the columns of `NEEDED`.
    zone
        In which hours are counted.
    """
    parts: dict[str, list[pl.DataFrame]] = {f.name: [] for f in fields(Facts)}
    for part in day:
        for name, table in _narrow(part, zone).items():
            parts[name].append(table)
    if not parts["rest"]:
        return facts([_nothing()], lives, zone)
    whole = {name: pl.concat(parts.pop(name)) for name in sorted(parts) if parts[name]}
    for name in ("arrivals", "deliveries", "deferrals", "bounces", "removals"):
        whole[name] = _with_message(whole[name], lives.messages)
    delivered = whole["deliveries"].with_columns(box=canonical_of(whole["deliveries"]["recipient"]))
    whole["deliveries"], whole["forwardings"] = delivered.filter(~pl.col("is_forwarded")), delivered.filter("is_forwarded")
    whole["removals"] = whole["removals"].with_columns(
        queued_s=pl.col("time").dt.epoch("s") - pl.col("first").dt.epoch("s"),  # whole seconds of both stamps, as eximstats
        is_remote=pl.col("mid").is_in(lives.sent_out.implode()).fill_null(False),
    )
    return Facts(**whole)


def _nothing() -> pl.DataFrame:
    from maillog_forensics.archive.segments import SCHEMA

    return pl.DataFrame(schema=SCHEMA)


def _narrow(part: pl.DataFrame, zone: str) -> dict[str, pl.DataFrame]:
    """The facts of one part of a day, each table with only what is counted of it."""
    text, event = pl.col("text").fill_null(""), pl.col("event")
    part = part.filter(event != "queue").with_columns(
        hour=pl.col("time").dt.convert_time_zone(zone).dt.hour(),
        host_key=pl.coalesce("host", pl.col("source").str.replace(r"[^/\\]*$", "")),
        key=pl.coalesce("queue_id", pl.when(pl.col("message_id") != "").then(pl.lit("<") + pl.col("message_id") + ">")),
    )
    exim = (pl.col("mta") == "exim").fill_null(False)
    arrives = (event == "receive") & ((pl.col("mta") != "postfix") | pl.col("program").is_in(_POSTFIX_ARRIVES_BY)).fill_null(True)
    has_exim = (part["mta"] == "exim").any()  # both branches of a when are worked out, of which one may be dear
    cipher = pl.when(exim).then(text.str.extract(r" X=(TLS[^:\s]*)", 1)) if has_exim else pl.lit(None, dtype=pl.String)
    told_login = text.str.extract(r" A=[^\s:]+:([^\s:]+)", 1) if has_exim else pl.lit(None, dtype=pl.String)
    login = pl.when(exim).then(told_login).when(pl.col("program") == "smtpd").then("user")
    connect = (event == "session") & (pl.col("outcome") == "connect").fill_null(False) & (pl.col("program") == "smtpd")
    failed = (pl.col("outcome") == "authentication failed").fill_null(False)
    if has_exim:
        failed |= text.str.contains(" authenticator failed for ", literal=True)
    told = event.is_in(["session", "notice", "hold", "discard", "dsn", "expire"])
    reasons = (*_OF_MESSAGE[:4], "recipient", "diagnostic", *_PLACE)
    return {
        "arrivals": part.filter(arrives).unique(_PLACE, keep="first", maintain_order=True).select(
            *_OF_MESSAGE, "mta", cipher=cipher, login=login
        ),
        "deliveries": part.filter(event == "deliver").select(
            *_OF_MESSAGE, "recipient", "orig_recipient", "relay_host", "relay_ip", "delay_s", cipher=cipher,
            transport=pl.coalesce("transport", "program"),
            is_forwarded=pl.col("diagnostic").str.starts_with("forwarded as ").fill_null(False),
        ),
        "deferrals": part.filter(event == "defer").select(reasons),
        "bounces": part.filter(event == "bounce").select(reasons),
        "refusals": part.filter(event == "reject").select(
            "hour", "smtp_code", "dsn", "diagnostic", "outcome", "client_ip", "client_host", *_PLACE
        ),
        "removals": part.filter(event == "remove").select("time", "host_key", "key"),
        "connects": part.filter(connect).select(
            "host_key", "hour", "time", "line", client=who(), process=text.str.extract(r"\[(\d+)\]: ", 1),
            ends=text.str.contains(": disconnect from ", literal=True),
        ),
        "failed_logins": part.filter(event.is_in(["session", "reject", "notice"]), failed).select("user", client=who()),
        "rest": part.filter(told, ~connect).select(
            "event", "mta", "program", "outcome", "diagnostic", "host_key", "hour", *_PLACE, client=who(),
            severity=_severity(text, exim), words=_words(text),
        ),
    }  # fmt: skip


def _severity(text: pl.Expr, exim: pl.Expr) -> pl.Expr:
    """How bad a server itself calls what it says; "log" where the log daemon lost lines."""
    postfix = pl.col("mta") == "postfix"
    lost = pl.col("mta").is_null() & text.str.contains(r"(?i)lost \d+ messages|rate-limit|suppressed")
    fails = exim & (pl.col("event") == "notice") & text.str.contains(r"(?i)\bpanic\b|failed to |unable to |\bALERT\b")
    return (
        pl.when(postfix).then(text.str.extract(r": (warning|error|fatal|panic): ", 1))
        .when(lost).then(pl.lit("log")).when(fails).then(pl.lit("error"))
    )  # fmt: skip


def _words(text: pl.Expr) -> pl.Expr:
    return (
        pl.when(pl.col("mta") == "postfix")
        .then(text.str.extract(r": (?:warning|error|fatal|panic): (.*)$", 1))
        .otherwise("diagnostic")
    )


def who() -> pl.Expr:
    """The client: by its name, or by its address where the log says that it has none."""
    name = pl.when(~pl.col("client_host").is_in(["unknown", ""])).then(pl.col("client_host"))
    return pl.coalesce(name, "client_ip", pl.lit("unknown"))


def _with_message(rows: pl.DataFrame, lives: pl.DataFrame) -> pl.DataFrame:
    """Rows with what is known of the message that had the queue id at that time."""
    joined = (
        rows.with_row_index("_row")
        .sort("time", "_row")
        .join_asof(
            lives.with_columns(at="first"), left_on="time", right_on="at", by=["host_key", "key"], strategy="backward",
            check_sortedness=False,
        )
        .sort("_row")
        .drop("_row", "at", strict=False)
    )  # fmt: skip
    if "sender" not in rows.columns:
        return joined
    return joined.with_columns(
        from_box=pl.coalesce("from_box", canonical_of(joined["sender"])), message_size=pl.coalesce("message_size", "size")
    ).drop("sender", "size")


def box_domain(column: str) -> pl.Expr:
    """The domain of a mailbox; a bare name is one of this host."""
    return domain(pl.col(column)).fill_null(say("(local)"))


def client(local: str = "local") -> pl.Expr:
    """Who handed a message in: the name of the host, or its address, or that it was made here."""
    return pl.coalesce("came_from", pl.lit(local))


_MASKS = (
    (r"<[^<>]*>|[^\s<>@,;:()]+@[^\s<>,;:()]+", "<…>"),
    (r"\[[0-9a-fA-F.:]+\](?::\d+)?", "[…]"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", "…"),
    (r"\b[0-9A-F]{8,}\b|\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b|\b[0-9]{5,}\b", "…"),
    (r'"[^"]*"', '"…"'),
)


def reasons_of(told: pl.Series) -> pl.Series:
    """The kind of each reason: its words without addresses, numbers of hosts, and ids; masked once for each distinct one."""
    distinct = told.unique().drop_nulls()
    text = pl.col("told").str.slice(0, 400)
    for expression, mask in _MASKS:
        text = text.str.replace_all(expression, mask)
    kinds = pl.DataFrame({"told": distinct}).with_columns(reason=text.str.slice(0, 140))
    rows = told.alias("told").to_frame().join(kinds, on="told", how="left", maintain_order="left")
    return rows["reason"].fill_null(say("no reason logged"))
