"""Mailboxes here whose messages were all handed in from outside: whoever wrote them may have forged the name."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from maillog_forensics.addresses import domain
from maillog_forensics.findings import FromOutside
from maillog_forensics.mail import Mail

_INSIDE = r"^(?:10\.|127\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2[0-9]|3[01])\.|::1$|(?i:f[cd]|fe80:))"
"""Addresses of private networks (RFC 1918, 3927, 4193, 4291): a machine of one's own is no outsider."""
_NEARLY_ALL = 0.9


def is_from_within(user: str, client_host: str, client_ip: str, home: pl.Expr) -> pl.Expr:
    """Whether the columns tell of mail that was submitted within: by a known user, here, or from a host of the domain `home` or of a private net."""
    client = pl.col(client_host).fill_null("").str.to_lowercase()
    return (
        pl.col(user).is_not_null()
        | pl.col(client_ip).is_null()
        | pl.col(client_ip).str.contains(_INSIDE).fill_null(False)
        | (client == home).fill_null(False)
        | client.str.ends_with(pl.lit(".") + home).fill_null(False)
    )


def from_outside(stays: pl.DataFrame, mail: Mail, ours: Sequence[str]) -> tuple[FromOutside, ...]:
    """Those of `ours` whose messages nearly all entered from another network, without a login.

    Parameters
    ----------
    stays
        The messages of an incident (`mail.MESSAGES`).
    ours
        Mailboxes that lie on hosts of these logs.

    Notes
    -----
    A client whose verified name is of the mailbox's own domain, or of a host of these logs, is no outsider.
    """
    handed_on = mail.told(stays["mid"])["next_queue_id"].drop_nulls()
    known = {*mail.hosts, *(h.split(".")[0] for h in mail.hosts)}
    entered = (
        stays.filter(pl.col("from_box").is_in(list(ours)), ~pl.col("queue_id").is_in(handed_on.implode()).fill_null(False))
        .with_columns(client=pl.col("client_host").str.to_lowercase())
        .with_columns(
            is_outside=~is_from_within("user", "client_host", "client_ip", domain(pl.col("from_box")))
            & ~pl.col("client").is_in(list(known)).fill_null(False)
        )
    )
    name = pl.when(pl.col("client").ne_missing("unknown")).then(pl.col("client"))
    shown = pl.coalesce(pl.format("{}[{}]", name, "client_ip"), "client_ip")
    found = entered.group_by("from_box", maintain_order=True).agg(
        share=pl.col("is_outside").mean(), client=shown.filter("is_outside").drop_nulls().mode().sort().first()
    )
    rows = found.filter(pl.col("share") >= _NEARLY_ALL).select("from_box", "client").iter_rows()
    return tuple(FromOutside(sender=sender, client=client) for sender, client in rows)
