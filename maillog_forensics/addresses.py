"""Mailbox identities: the address behind rewriting, so that the turns of a loop meet at the same mailbox.

Everything here is a polars expression over distinct values; the raw addresses stay in the events.
"""

from __future__ import annotations

import polars as pl

_ODD = r"[^a-z0-9._@-]|-[^@]*@|\.$"
"""Addresses that `canonical` may change: all others have small letters, digits, dots and underscores only, and in the domain hyphens."""


def canonical(column: str = "address") -> pl.Expr:
    """The canonical mailbox of each address in `column`; "" (the null reverse-path) and NULL stay.

    Folded are, in this order: letter case; SRS0 and SRS1 (the original sender); BATV (`prvs=tag=`); the vacation
    convention `user#domain@autoreply.domain`; VERP and the service addresses of a list (`list-bounces+user=domain@`,
    `list-bounces@`, `owner-list@`, `list-request@`: the list); plus tags.

    References
    ----------
    SRS: libsrs2; BATV: draft-levine-smtp-batv; VERP: cr.yp.to/proto/verp.txt; RFC 5233 (subaddressing).
    """
    a = pl.col(column).str.strip_chars(" <>").str.to_lowercase()
    a = a.str.replace(r"^srs1=[^=]+=[^=]+==?[^=]+=[^=]+=([^=@]+)=([^@]+)@.*$", "${2}@${1}")
    a = a.str.replace(r"^srs0[=+-][^=]+=[^=]+=([^=@]+)=([^@]+)@.*$", "${2}@${1}")
    a = a.str.replace(r"^(?:ms)?prvs\d?=[0-9a-z]+=([^@]+@.+)$", "${1}")
    a = a.str.replace(r"^prvs=([^/@]+)/[0-9a-z]+(@.+)$", "${1}${2}")
    a = a.str.replace(r"^([^@#]+)#([^@]+)@(?:autoreply|vacation)\..*$", "${1}@${2}")
    served = a.str.replace(r"^(.+?)-(?:bounces?|return|errors)(?:[+-][^@]*)?@", "${1}@")
    a = pl.when(a.str.starts_with("double-bounce@")).then(a).otherwise(served)  # Postfix's own, not a list's
    a = a.str.replace(r"^bounces?\+[0-9]+-[0-9a-z]+-([^=@]+)=([^@]+)@(.+)$", "bounces@${3}")
    a = a.str.replace(r"^(?:owner-(.+?)|(.+?)-(?:owner|request|admin))@", "${1}${2}@")
    a = a.str.replace(r"^([^+@]+)\+[^@]*@", "${1}@")
    return a.str.strip_chars_end(".")


def canonical_of(series: pl.Series) -> pl.Series:
    """`canonical` of every value, worked out once for each distinct one."""
    distinct = series.unique().drop_nulls()
    odd = distinct.filter(distinct.str.contains(_ODD))
    plain = pl.DataFrame({"raw": series}).select(
        pl.when(pl.col("raw").str.contains(_ODD).fill_null(True)).then(None).otherwise("raw").alias("address")
    )
    if odd.len() == 0:
        return plain["address"].alias(series.name)
    table = _ascii_domains(pl.DataFrame({"raw": odd, "address": odd}).with_columns(address=canonical()))
    joined = pl.DataFrame({"raw": series}).join(table, on="raw", how="left", maintain_order="left")
    return joined.select(pl.coalesce("address", plain["address"])).to_series().alias(series.name)


def _ascii_domains(table: pl.DataFrame) -> pl.DataFrame:
    """International domains in their ASCII form (IDNA); few and distinct, so Python's codec may do it."""
    foreign = table.filter(pl.col("address").str.contains(r"@.*[^\x00-\x7f]"))
    if foreign.is_empty():
        return table
    changed = {}
    for address in foreign["address"]:
        local, _, domain = address.rpartition("@")
        try:
            changed[address] = f"{local}@{domain.encode('idna').decode('ascii')}"
        except UnicodeError:
            continue
    return table.with_columns(pl.col("address").replace(changed))


def domain(expr: pl.Expr) -> pl.Expr:
    """What stands after the last @, or NULL."""
    return expr.str.extract(r"@([^@]+)$", 1)


def last_labels(host: pl.Expr) -> pl.Expr:
    """The last two labels of a host's or domain's name, or NULL: what tells whether mail came from where mail went."""
    return host.str.to_lowercase().str.extract(r"([^.]+\.[^.]+)$", 1)
