"""Connections, encryption, logins and troubles of the servers themselves, read from the lines that tell of no message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from maillog_forensics.operations.facts import Facts, reason

if TYPE_CHECKING:
    from maillog_forensics.operations.figures import Kind, Table

_TRUST = ("Anonymous", "Untrusted", "Trusted", "Verified")
_LONGEST_TALK_S = 86400


def talks(rest: pl.DataFrame) -> pl.DataFrame:
    """One row for each connection that came: host, hour, client, seconds (NULL where its end was not logged).

    Postfix logs both ends with the process id, and pflogsumm pairs them so; Exim logs a connection where it is asked to.
    """
    text = pl.col("text").fill_null("")
    postfix = rest.filter(pl.col("event") == "session", pl.col("outcome") == "connect", pl.col("program") == "smtpd")
    postfix = postfix.select(
        "host_key", "hour", "time", "line", client=_client(), process=text.str.extract(r"\[(\d+)\]: ", 1),
        ends=text.str.contains(": disconnect from ", literal=True),
    ).sort("host_key", "process", "time", "line")  # fmt: skip
    over = ["host_key", "process"]
    gap = (pl.col("time").shift(-1).over(over) - pl.col("time")).dt.total_seconds(fractional=True)
    postfix = postfix.with_columns(
        seconds=pl.when(pl.col("ends").shift(-1).over(over) & (gap < _LONGEST_TALK_S)).then(gap)
    ).filter(~pl.col("ends"))  # fmt: skip
    begun = pl.col("outcome").is_null() | pl.col("outcome").str.starts_with("(TCP/IP connection count")
    exim = rest.filter(pl.col("event") == "session", pl.col("mta") == "exim", begun)
    columns = ["host_key", "hour", "client", "seconds"]
    return pl.concat(
        [
            postfix.select(columns),
            exim.select("host_key", "hour", client=_client(), seconds=pl.lit(None, dtype=pl.Float64)),
        ]
    )


def _client() -> pl.Expr:
    name = pl.when(~pl.col("client_host").is_in(["unknown", ""])).then(pl.col("client_host"))
    return pl.coalesce(name, "client_ip", pl.lit("unknown"))


def troubles(rest: pl.DataFrame) -> pl.DataFrame:
    """Lines in which a server itself warns or gives up: severity, program, words, source, line."""
    said = rest.filter(pl.col("mta") == "postfix").with_columns(
        severity=pl.col("text").str.extract(r": (warning|error|fatal|panic): ", 1),
        words=pl.col("text").str.extract(r": (?:warning|error|fatal|panic): (.*)$", 1),
    )
    lost = rest.filter(pl.col("mta").is_null(), pl.col("text").str.contains(r"(?i)lost \d+ messages|rate-limit|suppressed"))
    lost = lost.with_columns(severity=pl.lit("log"), words=pl.col("diagnostic"))
    panics = rest.filter(pl.col("mta") == "exim", pl.col("text").str.contains(r"(?i)\bpanic\b|failed to |unable to |\bALERT\b"))
    panics = panics.filter(pl.col("event") == "notice").with_columns(severity=pl.lit("error"), words=pl.col("diagnostic"))
    columns = ["severity", "program", "words", "source", "line"]
    return pl.concat([t.select(columns) for t in (said.filter(pl.col("severity").is_not_null()), lost, panics)])


def failed_logins(day: pl.DataFrame) -> pl.DataFrame:
    """Events of logins that were refused."""
    refused = (pl.col("outcome") == "authentication failed") | pl.col("text").str.contains(r" authenticator failed for ")
    return day.filter(pl.col("event").is_in(["session", "reject", "notice"]), refused.fill_null(False))


def tables(f: Facts, talks: pl.DataFrame, troubles: pl.DataFrame, day: pl.DataFrame, top: int) -> list[Table]:
    """The tables that come from sessions and notices."""
    from maillog_forensics.operations.figures import listed

    clients = talks.group_by("client").agg(n=pl.len(), total=pl.col("seconds").sum(), longest=pl.col("seconds").max())
    logins = failed_logins(day)
    by_client = (
        logins.select(who=_client(), user="user").group_by("who").agg(n=pl.len(), users=pl.col("user").drop_nulls().n_unique())
    )
    word = troubles.select("severity", "program", reason=reason("words"), source="source", line="line")
    words = word.group_by("severity", "program", "reason").agg(
        n=pl.len(), example=pl.format("{}:{}", pl.col("source").first(), pl.col("line").first())
    )
    system = f.rest.filter(pl.col("event") == "notice", pl.col("program").is_in(["master", "postfix-script", "exim"]))
    system = system.filter(pl.col("diagnostic").is_not_null())
    life = system.select("program", reason=reason()).group_by("program", "reason").agg(n=pl.len())
    counted: tuple[tuple[str, Kind], ...] = (("times", "count"),)
    return [
        listed(
            "connections", "Connections by client", clients.select("n", "total", "longest", "client"),
            (("connections", "count"), ("time connected", "seconds"), ("longest", "seconds"), ("client", "text")), top,
        ),
        listed("tls", "Encryption (TLS)", _tls(f), (*counted, ("direction", "text"), ("kind", "text")), 20),
        listed("logins", "Who sent after a login", _logins(f), (("messages", "count"), ("login", "text")), top),
        listed("failed-logins", "Failed logins by client", by_client.select("n", "users", "who"), (*counted, ("names tried", "count"), ("client", "text")), top),
        listed("warnings", "Warnings, errors, fatal errors and panics", words.select("n", "severity", "program", "reason", "example"),
               (*counted, ("severity", "text"), ("program", "text"), ("words", "text"), ("first line", "text")), top),
        listed("system", "The mail systems themselves", life.select("n", "program", "reason"), (*counted, ("program", "text"), ("words", "text")), top),
    ]  # fmt: skip


def _tls(f: Facts) -> pl.DataFrame:
    """Handshakes that Postfix logs, and messages that Exim logs with X=."""
    shaken = f.rest.filter(pl.col("outcome").is_in(_TRUST)).select(
        way=pl.when(pl.col("program").is_in(["smtp", "lmtp"])).then(pl.lit("outgoing")).otherwise(pl.lit("incoming")),
        kind=pl.col("outcome").str.to_lowercase() + " certificate",
    )
    cipher = pl.col("text").str.extract(r" X=(TLS[^:\s]*)", 1)
    parts = [shaken]
    for rows, way in ((f.arrivals, "incoming"), (f.deliveries, "outgoing")):
        exim = rows.filter(pl.col("mta") == "exim").select(way=pl.lit(way), kind=cipher).drop_nulls("kind")
        parts.append(exim)
    return pl.concat(parts).group_by("way", "kind").agg(n=pl.len()).select("n", "way", "kind")


def _logins(f: Facts) -> pl.DataFrame:
    """Arrivals whose client had logged in: Postfix's sasl_username, Exim's A=."""
    name = pl.when(pl.col("mta") == "exim").then(pl.col("text").str.extract(r" A=[^\s:]+:([^\s:]+)", 1)).otherwise(
        pl.when(pl.col("program") == "smtpd").then("user")
    )  # fmt: skip
    return f.arrivals.select(who=name).drop_nulls().group_by("who").agg(n=pl.len()).select("n", "who")
