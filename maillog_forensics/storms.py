"""NDR storms: bursts of notifications to one mailbox, or from one host to many."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics.addresses import domain, last_labels
from maillog_forensics.authors import ANSWER_WITHIN
from maillog_forensics.findings import StormType
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.mail import Mail
from maillog_forensics.outside import is_from_within

_DAEMONS = r"(?i)^(?:mailer-?daemon|postmaster|microsoftexchange[0-9a-f]*)@"
"""Whose mail is a notification, whatever a header says of its sender."""


@dataclass(frozen=True)
class StormParameters:
    """Thresholds of `find_storms`."""

    min_notifications: int = 30
    """To one mailbox in one burst."""
    min_recipients: int = 60
    """Mailboxes that one host must hit for a storm by origin."""
    quiet_rate_s: float = 1800.0
    """A quiet mailbox gets at most one notification in so many seconds: the null of the automaton, where its own rate is lower."""
    slowest_s: float = 600.0
    """A burst's notifications come more often than once in so many seconds, however quiet the mailbox was for months."""
    min_answers: int = 3
    answered: float = 0.7
    """Null senders that came from one mailbox so often, of so many mails to it, are answers to those."""
    answers_each: int = 2
    """To one mail come so many: a receipt, and an absence notice."""
    provoked: float = 0.5
    """A burst of which a larger part came from where the mailbox had sent as many mails shortly before is what those provoked."""
    factor: float = 8.0
    """A burst's rate is so many times the quiet one."""
    stickiness: float = 3.0
    """Cost of entering the burst, times the logarithm of the number of notifications (Kleinberg's gamma)."""


@dataclass
class Storm:
    """A burst as the detector hands it on; `mids` are the notifications' messages, `times` their seconds."""

    target: str
    type: StormType
    logicals: list[int]
    mids: list[int]
    times: list[float]
    origins: dict[str, int]
    codes: dict[str, int]
    baseline_per_s: float
    recipients: list[str] = field(default_factory=list)
    """Further mailboxes that the same host notified in that time, the most often hit first."""
    by_origin: str = ""
    """The host, where the storm is one host's to many and not many's to one."""
    code_of: list[str | None] = field(default_factory=list)
    """Enhanced status code of each of `times`."""
    returned: list[int] = field(default_factory=list)
    """The messages (`mid`) that were returned, where the logs tell."""


@dataclass
class StormSearch:
    """What `find_storms` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def notifications(mail: Mail, graph: Graph, parameters: StormParameters) -> pl.DataFrame:
    """One row for each notification and recipient: logical, sender, recipient, second, mids, origin, code, event, parent facts.

    Edges that are notifications, and null senders that no responder wrote, are taken, but not what answers one's own mail again and again.
    """
    edges = graph.edges.filter(pl.col("is_notification") | (pl.col("is_null") & ~pl.col("is_linked")))
    edges = _without_answers(_without_programs(edges, graph, mail), graph, parameters)
    rows = _without_members(graph.with_names(edges).select("logical", "sender", "recipient", "sent"), graph, mail)
    mids = graph.stays.lazy().join(rows.lazy().select("logical").unique(), on="logical", how="semi")
    messages = mail.messages
    null = pl.col("from_box").is_null() | (pl.col("from_box") == "") | pl.col("is_notification")
    origin = (
        messages.filter(null)
        .select("mid", "host", "host_key", "client_host", "parent", "sender", "first")
        .join(mids, on="mid")
        .sort("first", "mid")
        .group_by("logical", maintain_order=True)
        .agg(
            origin=pl.coalesce(
                pl.col("host").filter(pl.col("parent").is_not_null()).first(),
                pl.col("client_host").drop_nulls().first(),
                pl.col("host_key").first(),
            ),
            mids=pl.col("mid"),
            parent=pl.col("parent").drop_nulls().first(),
            double=pl.col("sender").str.starts_with("double-bounce@").any(),
        )
        .collect()
    )
    parent = origin.lazy().select(mid="parent").drop_nulls().unique()
    failed = (
        mail.deliveries.filter(pl.col("event").is_in(["bounce", "expire", "defer"]))
        .join(parent, on="mid", how="semi")
        .group_by("mid")
        .agg(code=pl.col("dsn").drop_nulls().first(), event=pl.col("event").first())
        .collect()
    )
    parents = (
        messages.select("mid", parent_user="user", parent_client="client_host", parent_ip="client_ip")
        .join(parent, on="mid", how="semi")
        .collect()
    )
    return (
        rows.join(origin, on="logical", how="left")
        .join(parents, left_on="parent", right_on="mid", how="left")
        .join(failed, left_on="parent", right_on="mid", how="left")
        .with_columns(second=pl.col("sent").dt.epoch("us") / 1e6)
        .sort("second", "logical", "recipient")
    )


def _without_members(rows: pl.DataFrame, graph: Graph, mail: Mail) -> pl.DataFrame:
    """`rows` without the members of a group that a notification came to: it is the group that is notified, and they get its mail."""
    stays = graph.stays.lazy().join(rows.lazy().select("logical").unique(), on="logical", how="semi")
    members = mail.handed_on.join(stays, on="mid").select("logical", "to_box", recipient="final_box").unique().collect()
    told = members.join(rows.select("logical", to_box="recipient"), on=["logical", "to_box"], how="semi")
    return rows.join(told.select("logical", "recipient"), on=["logical", "recipient"], how="anti", maintain_order="left")


def _without_programs(edges: pl.DataFrame, graph: Graph, mail: Mail) -> pl.DataFrame:
    """`edges` without the null senders that a mailbox here wrote, or of which Exchange logs a person as the header's sender: absence notices, receipts.

    A mail server links the notifications that it makes itself to what failed. What was born here without such a link, to one
    whose mail was delivered to that mailbox shortly before, is the answer of a program.
    """
    null = edges.filter(~pl.col("is_notification"))
    if null.is_empty():
        return edges
    stays = graph.stays.lazy().join(null.lazy().select("logical").unique(), on="logical", how="semi")
    header = pl.col("user").filter(pl.col("mta") == "exchange").drop_nulls().first()
    born = (
        mail.messages.select("mid", "mta", "user", "client_host", "client_ip")
        .join(stays, on="mid")
        .sort("mid")
        .group_by("logical", maintain_order=True)
        .agg(
            is_here=pl.col("client_host").first().is_null() & pl.col("client_ip").first().is_null(),
            is_persons=header.str.contains("@", literal=True) & ~header.str.contains(_DAEMONS),
        )
        .collect()
    )
    about = null.join(born, on="logical", how="left", maintain_order="left")
    writers = graph.boxes.gather(about.filter("is_here")["sender"].unique())
    put = mail.deliveries.filter(
        pl.col("to_box").is_in(writers.implode()), pl.col("event") == "deliver", pl.col("relay_ip").is_null()
    )
    boxes = graph.numbers(put.select(pl.col("to_box").unique()).collect()["to_box"].to_list())
    answers = about.filter(
        pl.col("is_persons").fill_null(False) | (pl.col("is_here").fill_null(False) & pl.col("sender").is_in(boxes))
    )
    return edges.join(answers.select("logical"), on="logical", how="anti", maintain_order="left")


def _without_answers(edges: pl.DataFrame, graph: Graph, parameters: StormParameters) -> pl.DataFrame:
    """`edges` without the null senders of a mailbox that answers nearly every mail of its recipient: acknowledgements, echoes, receipts.

    A bounce comes from a mailbox that one can't write to again and again.
    """
    unknown = edges.filter(~pl.col("is_notification")).group_by("sender", "recipient").len()
    often = unknown.filter(pl.col("len") >= parameters.min_answers)
    if often.is_empty():
        return edges
    asked = graph.edges.lazy().join(often.lazy(), left_on=["sender", "recipient"], right_on=["recipient", "sender"], how="semi")
    counts = asked.group_by(recipient="sender", sender="recipient").agg(asked=pl.len()).collect()
    answers = often.join(counts, on=["sender", "recipient"]).filter(
        parameters.answers_each * pl.col("asked") >= parameters.answered * pl.col("len")
    )
    mine = edges.join(answers.select("sender", "recipient"), on=["sender", "recipient"], how="anti", maintain_order="left")
    return pl.concat(
        [mine, edges.filter("is_notification").join(answers, on=["sender", "recipient"], how="semi").select(edges.columns)]
    )


def find_storms(mail: Mail, graph: Graph, parameters: StormParameters = StormParameters()) -> tuple[list[Storm], StormSearch]:
    """Find bursts of notifications.

    Parameters
    ----------
    mail, graph
        As `correlate.mailboxes` and `graph.build` give them.

    Returns
    -------
    storms, search

    Notes
    -----
    Null: a quiet mailbox receives notifications as a Poisson process at its own rate outside the burst, at most one in
    half an hour. Onset and end are those of a two-state automaton over the gaps between notifications. Cost: linear in
    the notifications of mailboxes that got at least `min_notifications`. Automatic replies that arrive with the null
    reverse-path from outside look like notifications: a burst that a mass mailing provoked (out-of-office answers, receipts,
    bounces made elsewhere) is set aside where the log shows the mailing.

    References
    ----------
    J. Kleinberg, Bursty and hierarchical structure in streams (KDD 2002).
    """
    search = StormSearch()
    table = notifications(mail, graph, parameters)
    if table.is_empty():
        return [], search
    length = max(60.0, float(table["second"].max()) - float(table["second"].min()))  # type: ignore[arg-type]
    storms = []
    many = table.group_by("recipient").len().filter(pl.col("len") >= parameters.min_notifications)
    for (recipient,), part in (
        table.join(many, on="recipient", how="semi").partition_by("recipient", as_dict=True, maintain_order=True).items()
    ):
        search.candidates += 1
        found = _bursts(part["second"].to_list(), length, parameters)
        if not found:
            search.set_aside[said("steady notifications")] = search.set_aside.get("steady notifications", 0) + 1
        for first, last, quiet in found:
            burst = part.slice(first, last - first + 1)
            storm = _storm(str(recipient), burst, quiet)
            if (
                storm.type is StormType.BACKSCATTER
                and _provoked(mail, graph, burst, parameters.answers_each) > parameters.provoked * burst.height
            ):
                why = said("answers to a mailing of the mailbox's own")
                search.set_aside[why] = search.set_aside.get(why, 0) + 1
            else:
                storms.append(storm)
    hit = {s.target for s in storms}
    by_origin = table.filter(~pl.col("recipient").is_in(list(hit)), pl.col("origin").is_not_null())
    wide = by_origin.group_by("origin").agg(n=pl.col("recipient").n_unique()).filter(pl.col("n") >= parameters.min_recipients)
    for (origin,), part in (
        by_origin.join(wide, on="origin", how="semi").partition_by("origin", as_dict=True, maintain_order=True).items()
    ):
        search.candidates += 1
        for first, last, quiet in _bursts(part["second"].to_list(), length, parameters):
            piece = part.slice(first, last - first + 1)
            overlapping = [
                s
                for s in storms
                if origin in s.origins and s.times[0] <= piece["second"][-1] and piece["second"][0] <= s.times[-1]
            ]
            recipients = (
                piece.group_by("recipient").len().sort("len", "recipient", descending=[True, False])["recipient"].to_list()
            )
            if overlapping:  # the same flood: its notices to the postmaster, and these to the senders
                overlapping[0].recipients += recipients
                search.set_aside[said("part of a storm by recipient")] = (
                    search.set_aside.get("part of a storm by recipient", 0) + 1
                )
            elif len(recipients) >= parameters.min_recipients:
                storm = _storm(recipients[0], piece, quiet)
                storm.recipients, storm.by_origin = recipients, str(origin)
                storms.append(storm)
    return storms, search


def _provoked(mail: Mail, graph: Graph, burst: pl.DataFrame, answers_each: int) -> int:
    """How many null senders of a burst to one mailbox came from where it had sent mails shortly before, so many for each.

    Where mail went: the recipient's domain, and that of the host which took it. What outsiders sent in its name counts for nothing.
    """
    target = graph.numbers([burst["recipient"][0]])
    began, ended = pl.lit(burst["sent"].min()).dt.offset_by(f"-{ANSWER_WITHIN}"), pl.lit(burst["sent"].max())
    sent = graph.edges.filter(pl.col("sender").is_in(target), ~pl.col("is_null"), pl.col("sent").is_between(began, ended))
    stays = graph.stays.lazy().join(sent.lazy().select("logical").unique(), on="logical", how="semi")
    # where it entered tells who sent it: a later hop has the hop before it as its client
    entered = mail.messages.select("mid", "user", "client_host", "client_ip").join(stays, on="mid").sort("mid")
    entered = entered.unique("logical", keep="first", maintain_order=True)
    own = entered.filter(is_from_within("user", "client_host", "client_ip", pl.lit(burst["recipient"][0].rpartition("@")[2])))
    relays = (
        mail.deliveries.select("mid", "to_box", relay="relay_host")
        .join(stays, on="mid")
        .join(own.select("logical"), on="logical")
    )
    went = relays.select(
        "logical", "to_box", near=pl.concat_list(last_labels(domain(pl.col("to_box"))), last_labels(pl.col("relay")))
    )
    mails = went.explode("near").drop_nulls("near").unique().group_by("near").agg(mails=pl.len())
    is_guessed = ~pl.col("sender").str.starts_with("mailer-daemon@")
    came = (
        burst.lazy()
        .group_by(near=last_labels(pl.when(is_guessed).then(domain(pl.col("sender"))).otherwise("origin")))
        .agg(came=pl.len())
    )
    return int(
        came.join(mails, on="near").select(pl.min_horizontal("came", pl.col("mails") * answers_each).sum()).collect().item()
    )


def _bursts(times: list[float], length: float, parameters: StormParameters) -> list[tuple[int, int, float]]:
    """First and last index of each burst, and the quiet rate, by the cheapest path through a two-state automaton."""
    n = len(times)
    if n < parameters.min_notifications:
        return []
    quiet = min(n / length, 1.0 / parameters.quiet_rate_s)
    busy = max(quiet * parameters.factor, min(n / length, 60 * quiet), 1.0 / parameters.slowest_s)
    enter = parameters.stickiness * math.log(n)
    gaps = [0.0] + [max(0.0, b - a) for a, b in itertools.pairwise(times)]

    def cost(rate: float, gap: float) -> float:
        return rate * gap - math.log(rate)

    calm, storm = 0.0, enter
    back: list[tuple[int, int]] = []
    for gap in gaps:
        to_calm = (0 if calm <= storm else 1, min(calm, storm) + cost(quiet, gap))
        to_storm = (1 if storm <= calm + enter else 0, min(storm, calm + enter) + cost(busy, gap))
        back.append((to_calm[0], to_storm[0]))
        calm, storm = to_calm[1], to_storm[1]
    state = 0 if calm <= storm else 1
    states = [0] * n
    for i in range(n - 1, -1, -1):
        states[i] = state
        state = back[i][state]
    out, start = [], None
    for i in range(n + 1):
        if i < n and states[i] == 1:
            start = i if start is None else start
        elif start is not None:
            begin = max(0, start - 1) if start and times[start] - times[start - 1] <= 1 / busy * 3 else start
            if i - begin >= parameters.min_notifications:
                out.append((begin, i - 1, quiet))
            start = None
    return out


def _storm(target: str, part: pl.DataFrame, quiet: float) -> Storm:
    logicals = part["logical"].unique(maintain_order=True).to_list()
    origins = dict(
        part.filter(pl.col("origin").is_not_null())
        .group_by("origin")
        .len()
        .sort("len", "origin", descending=[True, False])
        .head(20)
        .iter_rows()
    )
    codes = dict(
        part.filter(pl.col("code").is_not_null())
        .group_by("code")
        .len()
        .sort("len", "code", descending=[True, False])
        .head(20)
        .iter_rows()
    )
    n = part.height
    doubles = int(part["double"].fill_null(False).sum())
    delays = int((part["event"] == "defer").fill_null(False).sum())
    ours = is_from_within("parent_user", "parent_client", "parent_ip", pl.lit(target.rpartition("@")[2]))
    own = part.filter(pl.col("parent").is_not_null(), ours)
    if doubles > n / 2:
        kind = StormType.DOUBLE_BOUNCES
    elif delays > n / 2:
        kind = StormType.DELAY_NOTICES
    elif own.height > n / 2:
        kind = StormType.OUTBOUND_BOUNCES
    else:
        kind = StormType.BACKSCATTER
    mids = part["mids"].explode().drop_nulls().unique(maintain_order=True).to_list()
    returned = part["parent"].drop_nulls().unique(maintain_order=True).to_list()
    code_of = part["code"].to_list()
    return Storm(
        target, kind, logicals, mids, part["second"].to_list(), origins, codes, quiet, code_of=code_of, returned=returned
    )
