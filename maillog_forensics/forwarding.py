"""Forwarding rings and routing loops: the same message comes round again, under a new queue id each time."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import polars as pl

from maillog_forensics import chains
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.graph import Graph
from maillog_forensics.language import mark, said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.mail import Mail
from maillog_forensics.rhythm import lags

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class RingParameters:
    """Thresholds of `find_rings`."""

    min_visits: int = 3
    """Passes of one message through one mailbox on one host; a content filter makes two."""
    min_growth: float = 0.75
    """Part of the passes that must be larger than the one before (each hop adds a Received line)."""
    many_visits: int = 8
    """So many passes in a growing size are no chance; where fewer don't lead back in the logs, each must add about the same."""
    max_uneven: float = 0.5
    """Largest difference of what they add, in medians: copies that reach one mailbox over several aliases also differ in size."""
    soon_s: float = 4 * 3600
    """Longest pause, in the middle, between visits that each end in a mailbox here."""
    usual_messages: int = 5
    """So many messages that were delivered after one number of passes make it the usual one of a host, with content filters on others …"""
    usual_passes: int = 6
    """… if it is at most this: a loop that a hop limit ends is longer."""


_Pass = tuple[int, pl.DataFrame, list[str], float, bool]
"""A message that came round: logical, its stays, members, the part of the returns that grew, whether next hops lead on."""


@dataclass
class RingSearch:
    """What `find_rings` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def find_rings(mail: Mail, graph: Graph, parameters: RingParameters = RingParameters()) -> tuple[list[Loop], RingSearch]:
    """Find messages that visit a mailbox again and again, and group them by the ring that they ran in.

    Parameters
    ----------
    mail, graph
        As `correlate.mailboxes` and `graph.build` give them. Rows of the loops are message ids (`mid`), not edges.

    Returns
    -------
    loops, search

    Notes
    -----
    A Message-ID alone proves nothing: broken senders use one for every report. A visit counts as a return when the
    message had been handed on before and is larger now, or when a logged next hop leads back. One message to several addresses that
    lead to one mailbox arrives there as often, in different sizes: where the way back lies outside the logs, few returns count only if each
    adds about as much. A gateway that hands each message to content filters on other hosts gets it back from each of them: that
    many passes are no return. Known false positives: none seen; a message whose every hop rewrites the Message-ID is found only through logged next hops.
    """
    search = RingSearch()
    stays = _stays(mail, chains.followed(mail, graph), parameters)
    repeated = (
        stays.group_by("logical", "host_key", "to_box")
        .agg(visits=pl.col("mid").n_unique())
        .filter(pl.col("visits") >= parameters.min_visits)
    )
    filtered = _filtered(stays, parameters)
    left = repeated.join(filtered, on="logical", how="anti")
    if aside := repeated["logical"].n_unique() - left["logical"].n_unique():
        search.set_aside[mark("mail that passes content filters")] = search.candidates = aside
    stays = stays.join(left.select("logical").unique(), on="logical", how="semi").sort("first", "line", "mid", "to_box")
    rings: dict[frozenset[str], list[_Pass]] = {}
    for (logical,), part in stays.partition_by("logical", as_dict=True, maintain_order=True).items():
        search.candidates += 1
        members, growth, linked = _shape(part, parameters)
        if not members or not (linked or (growth >= parameters.min_growth and _may_return(part, members, parameters))):
            name = "one Message-ID for many messages"
            search.set_aside[name] = search.set_aside.get(name, 0) + 1
            continue
        rings.setdefault(frozenset(members), []).append((int(logical), part, members, growth, linked))
    return [_loop(parts) for parts in rings.values()], search


def _stays(mail: Mail, together: pl.DataFrame, parameters: RingParameters) -> pl.DataFrame:
    """Stays of messages with the mailbox they were addressed to and the one they were handed on to.

    A stay that ends in a content filter on the host itself is no visit: the filter hands the message back, and that counts.
    Nor is the putting into a mailbox, which Exchange logs under an id of its own, nor what was put into the
    queue anew (`postsuper -r`): the message had not left. Only messages that stayed often enough are fetched.
    """
    again = together.filter(pl.col("mid") != pl.col("logical"))  # all stays of a message but the first
    often = again.group_by("logical").len().filter(pl.col("len") >= parameters.min_visits - 1)
    wanted = together.join(often, on="logical", how="semi").lazy()
    to_filter = pl.col("relay_ip").str.contains(r"^(127\.|::1$)") | (pl.col("relay_host") == "localhost")
    told = (
        mail.deliveries.join(wanted, on="mid", how="semi")
        .filter(~to_filter.fill_null(False))
        .sort("mid", "last")
        .group_by("mid", "to_box", "final_box", maintain_order=True)
        .agg(
            pl.col("event").last(),
            pl.col("next_queue_id").drop_nulls().last(),
            pl.col("relay_host").drop_nulls().last(),
            pl.col("last").max().alias("left"),
            is_kept=_is_kept().all(),
        )
        .collect()
    )
    messages = (
        mail.messages.filter(~pl.col("is_notification"))
        .select("mid", "mta", "host_key", "host", "queue_id", "first", "line", "size", "client_host", "from_box")
        .join(wanted, on="mid")
        .collect()
    )
    given = told.drop_nulls("next_queue_id").join(messages.select("mid", "host_key", "mta"), on="mid").filter(mta="exchange")
    into_mailbox = (
        told.group_by("mid").agg(pl.col("next_queue_id", "relay_host").is_null().all()).filter("next_queue_id", "relay_host")
    )
    put = (
        messages.join(given.select("host_key", queue_id="next_queue_id").unique(), on=["host_key", "queue_id"], how="semi")
        .join(into_mailbox, on="mid", how="semi")
        .select("mid")
    )
    left = told.group_by("mid").agg(left=(pl.col("event") != "defer").any())
    placed = messages.join(left, on="mid", how="left").sort("logical", "host_key", "first", "line", "mid")
    never = ~pl.col("left").shift().over("logical", "host_key")
    messages = messages.join(placed.filter(never.fill_null(False)).select("mid"), on="mid", how="anti", maintain_order="left")
    return messages.join(put, on="mid", how="anti", maintain_order="left").join(
        told, on="mid", how="inner", maintain_order="left"
    )


def _is_kept() -> pl.Expr:
    """Whether a delivery ended in a mailbox here: no relay, no program, no new queue id."""
    nowhere = pl.all_horizontal(pl.col("relay_host", "relay_ip", "next_queue_id").is_null(), pl.col("event") == "deliver")
    program = pl.col("diagnostic").str.contains("command", literal=True) | pl.col("transport").str.contains("pipe", literal=True)
    return nowhere & ~program.fill_null(False)


def _filtered(stays: pl.DataFrame, parameters: RingParameters) -> pl.DataFrame:
    """logical: messages to one address that came back to a host as often as its delivered mail usually does, from content filters on other hosts.

    In the end they were handed on to where they had not been: a loop hands its messages to the same host every time.
    """
    relay = pl.col("relay_host").fill_null("")
    is_new = (relay == relay.last()).sum() == 1
    is_one = (pl.col("to_box").n_unique() == 1) & (pl.col("to_box") == pl.col("final_box")).all()
    arrived = (
        stays.sort("first", "line", "mid")
        .group_by("logical")
        .agg(is_to_one=is_one, is_delivered=(pl.col("event").last() == "deliver") & is_new)
        .filter("is_to_one", "is_delivered")
    )
    passes = (
        stays.join(arrived, on="logical", how="semi")
        .group_by("logical", "host_key")
        .agg(passes=pl.col("mid").n_unique())
        .filter((pl.col("passes") == pl.col("passes").max().over("logical")) & (pl.col("passes") <= parameters.usual_passes))
    )
    usual = passes.group_by("host_key", "passes").len().filter(pl.col("len") >= parameters.usual_messages)
    return passes.join(usual, on=["host_key", "passes"], how="semi").select("logical")


def _shape(part: pl.DataFrame, parameters: RingParameters) -> tuple[list[str], float, bool]:
    """Members in cycle order, the part of the returns that grew, and whether a logged next hop leads on within the ring."""
    import networkx as nx  # a tenth of a start, and most logs need no graph

    graph = nx.DiGraph()
    for to_box, final_box, count in part.group_by("to_box", "final_box").len().sort("to_box", "final_box").iter_rows():
        if to_box != final_box:
            graph.add_edge(to_box, final_box, weight=count)
    passes = part.group_by("host_key", "to_box").agg(pl.col("mid").n_unique()).group_by("to_box").agg(pl.col("mid").max())
    visits = Counter(dict(passes.iter_rows()))
    cycles = [c for c in nx.strongly_connected_components(graph) if len(c) > 1]
    if cycles:
        inside = max(cycles, key=lambda c: (sum(visits[n] for n in c), sorted(c)))
        members = _order(graph.subgraph(inside), part)
    elif graph.number_of_edges():  # the rest of the ring lies outside our logs
        often = [n for n in part["to_box"].unique(maintain_order=True).to_list() if visits[n] >= parameters.min_visits]
        members = list(often)
        for node in often:
            following = graph.out_edges(node, data="weight")
            onward = sorted(((w, b) for _, b, w in following if w >= parameters.min_visits and _leaves(part, b)), reverse=True)
            members += [b for _, b in onward[:1] if b not in members]
    else:
        often = [n for n in part["to_box"].unique(maintain_order=True).to_list() if visits[n] >= parameters.min_visits]
        members = _without_readers(often, part)
    at = part.filter(pl.col("to_box").is_in(members)).unique("mid", maintain_order=True)
    growing = total = 0
    is_even = bool(cycles)
    for _, host in at.partition_by("host_key", "to_box", as_dict=True, maintain_order=True).items():
        added = [b - a for a, b in itertools.pairwise(s for s in host["size"].to_list() if s is not None)]
        growing += sum(d > 0 for d in added)
        total += len(added)
        if len(added) >= parameters.many_visits - 1:
            is_even = True
        elif len(added) >= parameters.min_visits - 1:
            is_even |= max(added) - min(added) <= parameters.max_uneven * median(added)
    return members, growing / total if total and is_even else 0.0, _comes_back(part, parameters)


def _may_return(part: pl.DataFrame, members: list[str], parameters: RingParameters) -> bool:
    """Whether the message may have been on its way: one that each time ends in the mailbox comes again by a collector only, and that is soon.

    A report that is sent under one Message-ID may grow from day to day.
    """
    at = part.filter(pl.col("to_box").is_in(members)).unique("mid", maintain_order=True)
    for _, visits in at.partition_by("host_key", "to_box", as_dict=True, maintain_order=True).items():
        if visits.height < parameters.min_visits:
            continue
        if not visits["is_kept"].all():
            return True
        pause = visits["first"].diff().median()
        is_soon = isinstance(pause, dt.timedelta) and pause.total_seconds() <= parameters.soon_s
        if visits.height >= parameters.many_visits and is_soon:
            return True
    return False


def _without_readers(often: list[str], part: pl.DataFrame) -> list[str]:
    """Those of some mailboxes that the message went round by, where a list sends it on to them and to its other subscribers.

    Who is never named as its sender, but for the first who wrote it, and got it only together with one who is, merely reads it.
    """
    later = part.filter(pl.col("mid") != part["mid"][0])
    writers = {n for n in later["from_box"].unique().drop_nulls().to_list() if n in often}
    copies = part.filter(pl.col("to_box").is_in(often)).group_by("mid").agg(pl.col("to_box").unique()).select("to_box").rows()
    alone = {n for (boxes,) in copies if writers.isdisjoint(boxes) for n in boxes}
    # a list that sends each subscriber a copy of his own, for its bounces' sake (VERP)
    served = later.filter(pl.col("to_box").is_in(list(alone - writers))).group_by("to_box").agg(pl.col("from_box").unique())
    by = Counter(senders[0] for senders in served["from_box"].to_list() if len(senders) == 1)
    readers = {n for n, senders in served.iter_rows() if len(senders) == 1 and senders[0] in writers and by[senders[0]] > 1}
    return [n for n in often if n in (writers | alone) - readers]


def _comes_back(part: pl.DataFrame, parameters: RingParameters) -> bool:
    """Whether logged next hops lead the message back to a mailbox of a host where it has been, often enough.

    A report that is sent again and again under one Message-ID is handed on each time, but never comes back.
    """
    stays = part.unique("mid", maintain_order=True).select("mid", "queue_id", "host_key", "to_box", "next_queue_id").rows()
    following = {queue_id: (mid, next_id) for mid, queue_id, _, _, next_id in stays if queue_id}
    place = {mid: (host, box) for mid, _, host, box, _ in stays}
    reached = {following[next_id][0] for *_, next_id in stays if next_id in following}
    for mid, _, _, _, next_id in stays:
        if mid in reached:
            continue  # not where a chain begins
        visits = Counter([place[mid]])
        seen = {mid}
        while next_id in following and following[next_id][0] not in seen:
            node, next_id = following[next_id]
            seen.add(node)
            visits[place[node]] += 1
        if max(visits.values()) >= parameters.min_visits:
            return True
    return False


def _leaves(part: pl.DataFrame, mailbox: str) -> bool:
    """Whether mail to `mailbox` was relayed to another host, not put into a mailbox here."""
    return bool((part.filter(pl.col("final_box") == mailbox)["relay_host"].is_not_null()).any())


def _order(graph: nx.DiGraph, part: pl.DataFrame) -> list[str]:
    """The nodes of a ring in the order in which the message ran, from where it came in."""
    first = next((n for n in part["to_box"].to_list() if n in graph), sorted(graph)[0])
    order, node = [first], first
    while True:
        onward = sorted(
            ((d["weight"], b) for _, b, d in graph.out_edges(node, data=True) if b not in order), key=lambda x: (-x[0], x[1])
        )
        if not onward:
            return order + sorted(set(graph) - set(order))
        node = onward[0][1]
        order.append(node)


def _loop(parts: list[_Pass]) -> Loop:
    table = pl.concat([p for _, p, _, _, _ in parts]).unique("mid", maintain_order=True).sort("first", "line")
    members = parts[0][2]
    second = table["first"].dt.epoch("us") / 1e6
    table = table.with_columns(second=second)
    steps = []
    for i, origin in enumerate(members):
        target = members[(i + 1) % len(members)]
        here = table.filter(pl.col("to_box") == origin)
        times = here["second"].to_list()
        stay = [(b - a).total_seconds() for a, b in here.select("first", "left").iter_rows() if a is not None and b is not None]
        steps.append(
            Step(
                origin,
                target,
                times,
                lags(stay),
                linked=len(times),
                program="forward",
                host=(here["host"].drop_nulls().to_list() or [""])[0],
            )
        )
    growth = sum(g for _, _, _, g, _ in parts) / len(parts)
    visits = max(table.group_by("logical", "host_key", "to_box").len()["len"].to_list())
    factors: list[tuple[str, float | str, str, bool, str]] = [
        (
            said("same Message-ID"),
            len(parts),
            ">= 1",
            True,
            said(
                mark("%(n)s message came back under the same Message-ID, up to %(visits)s times to one mailbox of one host")
                if len(parts) == 1
                else mark(
                    "%(n)s messages came back under the same Message-ID, up to %(visits)s times to one mailbox of one host"
                ),
                n=len(parts),
                visits=visits,
            ),
        ),
        (
            said("growing size"),
            round(growth, 2),
            ">= 0.75",
            growth >= 0.75,
            said(
                "%(percent)s %% of the returns were larger than the pass before, as each hop adds a Received line",
                percent=round(growth * 100),
            ),
        ),
    ]
    if any(linked for *_, linked in parts):
        factors.append(
            (
                said("logged next hops"),
                said("yes"),
                "",
                True,
                said("the queue id that one host answered is the queue id under which the message came on"),
            )
        )
    rounds = [t for _, p, _, _, _ in parts for t in _rounds(p, members[0])]
    period = lags(rounds)
    return Loop(
        LoopType.FORWARDING,
        tuple(members),
        table["mid"].to_list(),
        steps,
        "proven",
        0.97,
        factors,
        [
            LookAlike(
                name=said("one Message-ID for many messages"),
                ruled_out=True,
                reason=said("each return is larger than the pass before, or the next hop is logged"),
            )
        ],
        turns=visits,
        period_s=period.median_s if period else None,
        messages=len(parts),
        transfers=table.height,
    )


def _rounds(part: pl.DataFrame, member: str) -> list[float]:
    here = part.filter(pl.col("to_box") == member).sort("first")
    busiest = here.group_by("host_key").len().sort("len", "host_key", descending=[True, False])
    if busiest.is_empty():
        return []
    times = (here.filter(pl.col("host_key") == busiest["host_key"][0])["first"].dt.epoch("us") / 1e6).to_list()
    return [b - a for a, b in itertools.pairwise(times)]
