"""All traffic in a few numbers, and what these logs can't show."""

from __future__ import annotations

import polars as pl

from maillog_forensics import harm
from maillog_forensics.accounts import InputReport
from maillog_forensics.findings import Traffic
from maillog_forensics.language import mark, said
from maillog_forensics.mail import Mail


def traffic(
    mail: Mail,
    edges: pl.DataFrame,
    reports: list[InputReport],
    rejected: int = 0,
    hosts: tuple[str, ...] = (),
    mtas: tuple[str, ...] = (),
) -> Traffic:
    """Totals of everything that was read; what no message belongs to (refusals, names of hosts and servers) is handed in."""
    totals = (
        mail.messages.select(
            messages=pl.col("logical").hash().n_unique(),
            notifications=pl.col("logical").filter("is_notification").n_unique(),
            first=pl.col("first").min(),
            last=pl.col("last").max(),
        )
        .collect()
        .row(0, named=True)
    )
    first, last = totals["first"], totals["last"]
    if first is None:
        first = min((r.first for r in reports if r.first), default=None)
        last = max((r.last for r in reports if r.last), default=None)
        return Traffic(rejected=rejected, hosts=hosts[:50], mtas=mtas, first=first, last=last)
    told = dict(mail.deliveries.group_by("event").len().collect().iter_rows())
    unique = edges.unique("logical", maintain_order=True)
    return Traffic(
        messages=totals["messages"],
        deliveries=told.get("deliver", 0),
        bounced=told.get("bounce", 0) + told.get("expire", 0),
        deferred=told.get("defer", 0),
        rejected=rejected,
        notifications=totals["notifications"],
        mailboxes=pl.concat([edges["sender"], edges["recipient"]]).n_unique() if edges.height else 0,
        hosts=hosts[:50],
        mtas=mtas,
        first=first,
        last=last,
        series=harm.series(unique.head(0), unique, first, last, first, last),
    )


def limits(reports: list[InputReport], mail: Mail, ahead: dict[str, float]) -> list[str]:
    """Sentences about what can't be seen in these logs, and of the hosts whose clocks were `ahead` (as in `Mail`)."""
    out: list[str] = []
    has_subjects = mail.messages.group_by("mta").agg(pl.col("subject").is_not_null().any())
    mtas = dict(has_subjects.collect().iter_rows())
    if "postfix" in mtas:
        out.append(
            said(
                "Postfix logs neither subjects nor Auto-Submitted: that a message is automatic is told by its reverse-path and by who carried it, not by its header."
            )
        )
    if mtas.get("exim") is False:
        out.append(said("Exim was not asked to log subjects (log_selector = +subject would)."))
    for r in reports:
        if r.about.lines and r.unrecognised / r.about.lines > 0.03:
            out.append(
                said(
                    "%(file)s: %(n)s of %(all)s lines were not understood; what they say is missing here.",
                    file=r.about.path,
                    n=r.unrecognised,
                    all=r.about.lines,
                )
            )
        if "taken as UTC" in r.basis.zone_basis and r.recognised:
            out.append(said("%(file)s: no line tells the time zone; its stamps were taken as UTC.", file=r.about.path))
    for host, seconds in ahead.items():
        out.append(
            said(
                mark(
                    "The clock of %(host)s was %(s)s s ahead of the others; its lines show its own times, all else the corrected ones."
                )
                if seconds > 0
                else mark(
                    "The clock of %(host)s was %(s)s s behind the others; its lines show its own times, all else the corrected ones."
                ),
                host=host,
                s=round(abs(seconds)),
            )
        )
    lone = mail.deliveries.filter(pl.col("relay_ip").is_not_null(), pl.col("relay_host").is_not_null()).head(1)
    if lone.collect().height:
        out.append(said("What happened on hosts whose logs are not among the inputs is inferred from what they answered."))
    return out
