"""From bursts of notifications to drafts of incidents."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import polars as pl

from maillog_forensics import harm
from maillog_forensics.drafts import Draft, places, until
from maillog_forensics.endings import End
from maillog_forensics.findings import Ending, Kind
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.mail import Mail
from maillog_forensics.storms import Storm


def from_storm(storm: Storm, graph: Graph, mail: Mail) -> Draft:
    started = dt.datetime.fromtimestamp(storm.times[0], dt.UTC)
    ended = dt.datetime.fromtimestamp(storm.times[-1], dt.UTC)
    gap = (storm.times[-1] - storm.times[0]) / max(1, len(storm.times) - 1)
    waiting = (until(storm.mids, mail) - ended).total_seconds()
    reason = Ending.ONGOING if waiting <= max(3.0, 8 * gap) else Ending.QUIET
    words = (
        said("the logs of its hosts end %(s)s s after the last notification", s=round(waiting))
        if reason is Ending.ONGOING
        else said("no further notification in the %(s)s s until the logs end", s=round(waiting))
    )
    members = (storm.target,)
    n = len(storm.logicals)
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (
            said("notifications"),
            n,
            ">= 30",
            True,
            said(
                "%(n)s notifications in %(s)s s; the quiet rate is at most one in %(usual)s s",
                n=n,
                s=round((ended - started).total_seconds()),
                usual=round(1 / storm.baseline_per_s),
            ),
        ),
    ]
    further = set(storm.recipients) - {storm.target}
    if further:
        who = storm.by_origin or next(iter(storm.origins), "the same host")
        factors.append(
            (
                said("mailboxes notified"),
                len(further) + 1,
                ">= 60",
                True,
                said("%(host)s notified %(n)s mailboxes in that time", host=who, n=len(further) + 1),
            )
        )
    measured = harm.measure(
        mail, graph, pl.Series(storm.logicals, dtype=pl.UInt32), pl.Series(storm.mids, dtype=pl.UInt32), members, started, ended
    )
    draft = Draft(
        Kind.NDR_STORM,
        storm.type,
        "proven" if storm.codes else "likely",
        0.95 if storm.codes else 0.75,
        factors,
        [],
        members,
        storm.mids,
        storm.logicals,
        started,
        ended,
        n,
        len(storm.mids),
        0,
        n,
        gap,
        storm.times,
        End(reason, "unknown", text=words, at=ended),
        replace(measured, innocent_recipients=max(measured.innocent_recipients, len(further))),
        storm=storm,
    )
    draft.places = places(draft, mail)
    return draft


def is_of_loop(storm: Storm, drafts: list[Draft]) -> bool:
    """A storm to a member of a loop, made of the loop's own notifications or of those of its messages that failed at last, is the loop."""
    own = [d for d in drafts if storm.target in d.members and d.verdict == "loop"]
    logicals, mids = {x for d in own for x in d.logicals}, {x for d in own for x in d.mids}
    returned = sum(x in mids for x in storm.returned)
    return max(sum(x in logicals for x in storm.logicals), returned) > 0.5 * len(storm.logicals)
