"""Logs for the benchmarks: ordinary traffic of one server, the same each time, made as fast as it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

_SLICE = 100_000
"""Messages made at a time."""


def _below(limit: int, seed: int) -> pl.Expr:
    """An even whole number below `limit`, from a hash of the message's number."""
    return (pl.col("n").hash(seed) % limit).cast(pl.Int64)


def _digits(seed: int, count: int, alphabet: str) -> pl.Expr:
    """`count` characters of `alphabet`, from a hash of the message's number."""
    value = pl.col("n").hash(seed)
    base = len(alphabet)
    return pl.concat_str(pl.lit(alphabet).str.slice((value // base**k % base).cast(pl.Int64), 1) for k in range(count))


_HEX, _BASE62 = "0123456789ABCDEF", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _messages(first: int, count: int) -> pl.DataFrame:
    """One row for each message: who, to whom, when (five a second), and the ids."""
    start = pl.datetime(2026, 1, 1, time_unit="us")
    a_domain, b_domain = _below(200, 3), _below(200, 4)
    return pl.select(n=pl.int_range(first, first + count)).with_columns(
        at=start + pl.duration(milliseconds=pl.col("n") * 200 + _below(200, 1)),
        sender=pl.format("user{}@dom{}.example", _below(5000, 5), a_domain),
        recipient=pl.format("user{}@dom{}.example", _below(5000, 6), b_domain),
        host=pl.format("mail{}.dom{}.example", _below(99, 7), a_domain),
        relay=pl.format("mx.dom{}.example", b_domain),
        ip=pl.format("192.0.2.{}", _below(254, 8)),
        relay_ip=pl.format("198.51.100.{}", _below(254, 9)),
        size=500 + _below(90_000, 10),
        pid=1000 + _below(29_000, 11),
        queue_id=_digits(12, 10, _HEX),
        next_id=_digits(13, 10, _HEX),
        word=_digits(14, 16, _HEX),
    )


def _postfix(m: pl.DataFrame) -> pl.DataFrame:
    head = pl.col("at").dt.strftime("%b %e %H:%M:%S") + " mx1 postfix"
    lines = [
        pl.format("{}/smtpd[{}]: connect from {}[{}]", head, "pid", "host", "ip"),
        pl.format("{}/smtpd[{}]: {}: client={}[{}]", head, "pid", "queue_id", "host", "ip"),
        pl.format("{}/cleanup[{}]: {}: message-id=<{}@{}>", head, "pid", "queue_id", "word", "host"),
        pl.format("{}/qmgr[999]: {}: from=<{}>, size={}, nrcpt=1 (queue active)", head, "queue_id", "sender", "size"),
        pl.format(
            "{}/smtpd[{}]: disconnect from {}[{}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5", head, "pid", "host", "ip"
        ),
        pl.format(
            "{}/smtp[{}]: {}: to=<{}>, relay={}[{}]:25, delay=0.5, delays=0.1/0.01/0.2/0.19, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {})",
            head, "pid", "queue_id", "recipient", "relay", "relay_ip", "next_id",
        ),
        pl.format("{}/qmgr[999]: {}: removed", head, "queue_id"),
    ]  # fmt: skip
    return m.select(pl.concat_str(lines, separator="\n"))


def _exim(m: pl.DataFrame) -> pl.DataFrame:
    stamp = pl.col("at").dt.strftime("%Y-%m-%d %H:%M:%S")
    second = pl.col("at").dt.epoch("s")
    code = pl.concat_str(pl.lit(_BASE62).str.slice(second // 62**k % 62, 1) for k in range(5, -1, -1))
    ident = pl.format("{}-{}-{}", code, _digits(15, 6, _BASE62), _digits(16, 2, _BASE62))
    lines = [
        pl.format(
            "{} {} <= {} H={} [{}] P=esmtps X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no S={} id={}@{}",
            stamp, ident, "sender", "host", "ip", "size", "word", "host",
        ),
        pl.format(
            '{} {} => {} R=dnslookup T=remote_smtp H={} [{}] C="250 OK id={}"', stamp, ident, "recipient", "relay", "relay_ip", ident
        ),
        pl.format("{} {} Completed", stamp, ident),
    ]  # fmt: skip
    return m.select(pl.concat_str(lines, separator="\n"))


_EXCHANGE_HEAD = (
    "#Software: Microsoft Exchange Server\n#Version: 15.02.1544.011\n#Log-type: Message Tracking Log\n#Date: 2026-01-01T00:00:00.000Z\n"
    "#Fields: date-time,client-ip,client-hostname,server-ip,server-hostname,source-context,connector-id,source,event-id,internal-message-id,"
    "message-id,network-message-id,recipient-address,recipient-status,total-bytes,recipient-count,related-recipient-address,reference,"
    "message-subject,sender-address,return-path,message-info,directionality,tenant-id,original-client-ip,original-server-ip,custom-data,"
    "transport-traffic-type,log-id,schema-version\n"
)


def _exchange(m: pl.DataFrame) -> pl.DataFrame:
    stamp = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    ids = pl.format(
        "{},<{}@{}>,{}-0000-4000-8000-{}", "n", "word", "host", pl.col("queue_id").str.head(8), pl.col("word").str.head(12)
    )
    who = [pl.col("recipient"), pl.col("size"), pl.col("sender"), pl.col("sender")]
    tail = pl.format("Incoming,,{},192.0.2.10,,Email,{}-{},15.02.1544.011", "ip", "next_id", "queue_id")
    lines = [
        pl.format(
            "{},{},{},192.0.2.10,ex01,08DE0000;{},ex01\\Default,SMTP,RECEIVE,{},{},,{},1,,,Monthly figures,{},{},0cI: NTS:,{}",
            stamp, "ip", "host", stamp, ids, *who, tail,
        ),
        pl.format(
            "{},192.0.2.10,ex01,192.0.2.10,ex01,,,STOREDRIVER,DELIVER,{},{},,{},1,,,Monthly figures,{},{},{},{}",
            stamp, ids, *who, stamp, tail,
        ),
    ]  # fmt: skip
    return m.select(pl.concat_str(lines, separator="\n"))


WRITERS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "postfix": ("", _postfix),
    "exim": ("", _exim),
    "exchange": (_EXCHANGE_HEAD, _exchange),
}


def write(kind: str, path: Path, megabytes: int) -> int:
    """Write about `megabytes` (of 10^6 bytes) of the log of one kind of server; returns the lines."""
    head, make = WRITERS[kind]
    lines, first = head.count("\n"), 0
    with path.open("wb") as out:
        out.write(head.encode())
        while out.tell() < megabytes * 1_000_000:
            table = make(_messages(first, _SLICE))
            text = table.to_series().str.join("\n").item() + "\n"
            left = megabytes * 1_000_000 - out.tell()
            if len(text) > left:
                text = text[: text.rfind("\n", 0, left) + 1] if "\n" in text[:left] else ""
                lines += text.count("\n")
                out.write(text.encode())
                break
            lines += text.count("\n")
            out.write(text.encode())
            first += _SLICE
    return lines
