"""Connections, encryption, logins and troubles of the servers themselves, from the lines that tell of no message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from maillog_forensics.language import mark, say
from maillog_forensics.operations.facts import Facts, reasons_of

if TYPE_CHECKING:
    from maillog_forensics.operations.figures import Kind, Table

_TRUST = ("Anonymous", "Untrusted", "Trusted", "Verified")
_LONGEST_TALK_S = 86400


def talks(f: Facts) -> pl.DataFrame:
    """One row for each connection that came: client, seconds (NULL where its end was not logged).

    Postfix logs both ends with the process id, and pflogsumm pairs them so; Exim logs a connection where it is asked to.
    """
    both = f.connects.with_columns(whose=pl.struct("host_key", "process").hash()).sort("whose", "time", "line")
    gap = (pl.col("time").shift(-1) - pl.col("time")).dt.total_seconds(fractional=True)
    is_pair = (pl.col("whose") == pl.col("whose").shift(-1)) & pl.col("ends").shift(-1) & (gap < _LONGEST_TALK_S)
    both = both.with_columns(seconds=pl.when(is_pair).then(gap))
    begun = pl.col("outcome").is_null() | pl.col("outcome").str.starts_with("(TCP/IP connection count")
    exim = f.rest.filter(pl.col("event") == "session", pl.col("mta") == "exim", begun)
    return pl.concat(
        [
            both.filter(~pl.col("ends")).select(mark("client"), "seconds"),
            exim.select("client", seconds=pl.lit(None, dtype=pl.Float64)),
        ]
    )


def troubles(f: Facts) -> pl.DataFrame:
    """Lines in which a server itself warns or gives up."""
    return f.rest.filter(pl.col("severity").is_not_null())


def tables(f: Facts, talks: pl.DataFrame, troubles: pl.DataFrame, top: int) -> list[Table]:
    """The tables that come from sessions and notices."""
    from maillog_forensics.operations.figures import listed

    clients = talks.group_by("client").agg(n=pl.len(), total=pl.col("seconds").sum(), longest=pl.col("seconds").max())
    by_client = f.failed_logins.group_by(who="client").agg(n=pl.len(), users=pl.col("user").drop_nulls().n_unique())
    word = troubles.select("severity", "program", reason=reasons_of(troubles["words"]), source="source", line="line")
    words = word.group_by("severity", "program", "reason").agg(
        n=pl.len(), example=pl.format("{}:{}", pl.col("source").first(), pl.col("line").first())
    )
    system = f.rest.filter(pl.col("event") == "notice", pl.col("program").is_in(["master", "postfix-script", "exim"]))
    system = system.filter(pl.col("diagnostic").is_not_null())
    life = system.select("program", reason=reasons_of(system["diagnostic"])).group_by("program", "reason").agg(n=pl.len())
    logins = f.arrivals.select(who="login").drop_nulls().group_by("who").agg(n=pl.len()).select("n", "who")
    counted: tuple[tuple[str, Kind], ...] = ((mark("times"), "count"),)
    return [
        listed(
            "connections", mark("Connections by client"), clients.select("n", "total", "longest", "client"),
            ((mark("connections"), "count"), (mark("time connected"), "seconds"), (mark("longest"), "seconds"), (mark("client"), "text")), top,
        ),
        listed("tls", mark("Encryption (TLS)"), _tls(f), (*counted, (mark("direction"), "text"), (mark("kind"), "text")), 20),
        listed("logins", mark("Who sent after a login"), logins, ((mark("messages"), "count"), (mark("login"), "text")), top),
        listed("failed-logins", mark("Failed logins by client"), by_client.select("n", "users", "who"),
               (*counted, (mark("names tried"), "count"), (mark("client"), "text")), top),
        listed("warnings", mark("Warnings, errors, fatal errors and panics"), words.select("n", "severity", "program", "reason", "example"),
               (*counted, (mark("severity"), "text"), (mark("program"), "text"), (mark("words"), "text"), (mark("first line"), "text")), top),
        listed("system", mark("The mail systems themselves"), life.select("n", "program", "reason"),
               (*counted, (mark("program"), "text"), (mark("words"), "text")), top),
    ]  # fmt: skip


def _tls(f: Facts) -> pl.DataFrame:
    """Handshakes that Postfix logs, and messages that Exim logs with X=."""
    shaken = f.rest.filter(pl.col("outcome").is_in(_TRUST)).select(
        way=pl.when(pl.col("program").is_in(["smtp", "lmtp"])).then(pl.lit(say("outgoing"))).otherwise(pl.lit(say("incoming"))),
        kind=pl.col("outcome").str.to_lowercase() + " certificate",
    )
    exim = [
        rows.select(way=pl.lit(way), kind="cipher").drop_nulls("kind")
        for rows, way in ((f.arrivals, say("incoming")), (f.deliveries, say("outgoing")))
    ]
    return pl.concat([shaken, *exim]).group_by("way", "kind").agg(n=pl.len()).select("n", "way", "kind")
