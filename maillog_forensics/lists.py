"""List loops: responders that answer what a list sends them, to the list, which sends it to them again."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl

from maillog_forensics import people
from maillog_forensics.findings import LookAlike, LoopType
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.mail import Mail
from maillog_forensics.rhythm import lags


@dataclass(frozen=True)
class ListParameters:
    """Thresholds of `find_lists`."""

    window_s: float = 4 * 3600
    min_fan_out: int = 2
    """Copies that make an address a list."""
    min_posts: int = 6
    """Automatic posts of all responders together."""
    min_answers: int = 5
    """Posts of one responder, each after a copy."""
    min_ratio: float = 0.6
    """Part of the copies that an unmarked responder answers; people answer few."""
    min_sent_on: float = 0.3
    """Part of a responder's posts that reach others: what comes to a list's return address, or is held for approval, makes no loop."""
    at_once_s: float = 30.0
    """Ten posts at such a median lag are no person's, even where a counter or a queue leaves many copies without an answer, …"""
    waiting_nats: float = -2.0
    """… unless they come after copies as by chance: where many post, one is never far …"""
    min_flood_ratio: float = 0.3
    """… and who answers fewer than such a part of the copies must come quicker than by chance."""
    together_nats: float = 28.0
    """For several members who post quicker than people, though no one of them shows that he answers (see `people`)."""
    max_together: int = 8
    among_others_nats: float = 4.0
    """For a member of a list that responders flood: rarity among people of posting so often meanwhile (see `people`)."""
    quick_s: float = 300.0
    """Median lag of an unmarked responder; a member who answers everything within this is no person …"""
    uneven_nats: float = -5.0
    """… unless as unevenly as people (see `people`)."""


@dataclass
class ListSearch:
    """What `find_lists` looked at."""

    candidates: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)


def find_lists(graph: Graph, mail: Mail, parameters: ListParameters = ListParameters()) -> tuple[list[Loop], ListSearch]:
    """Find lists and groups whose members' responders answer each other through them.

    Parameters
    ----------
    graph
        The mail graph.
    mail
        For the copies that an alias makes without changing the envelope sender.

    Returns
    -------
    loops, search

    Notes
    -----
    A list is an address to which a message is sent that then leaves, with the same Message-ID, from the list's own
    address to several others, or is handed on to several. Posts are counted once, copies apart. Known false positives:
    none seen; a person who forwards every list mail back to the list within minutes would be taken for a responder.
    """
    search = ListSearch()
    copies = _copies(graph, mail, parameters)
    if copies.is_empty():
        return [], search
    lists = copies["list"].unique()
    posts = (
        graph.edges.lazy()
        .with_row_index("row")
        .filter(pl.col("recipient").is_in(lists.implode()), pl.col("sender") != pl.col("recipient"))
        .with_columns(second=pl.col("sent").dt.epoch("us") / 1e6)
        .collect()
    )
    frequent = posts.group_by("recipient", "sender").len().filter(pl.col("len") >= parameters.min_answers)
    posts = posts.join(frequent, on="recipient", how="semi", maintain_order="left")
    copies = copies.join(posts, left_on="list", right_on="recipient", how="semi")
    sent = graph.edges.filter(pl.col("sender").is_in(lists.implode())).with_columns(second=pl.col("sent").dt.epoch("us") / 1e6)
    sent_by = sent.with_columns(member=graph.boxes.gather(sent["recipient"])).partition_by("sender", as_dict=True)
    fanned_out = copies.with_columns(member=graph.boxes.gather(copies["member"])).partition_by("list", as_dict=True)
    loops = []
    for (address,), written in sorted(posts.partition_by("recipient", as_dict=True, maintain_order=True).items()):
        search.candidates += 1
        posters = graph.boxes.gather(frequent.filter(pl.col("recipient") == address)["sender"]).sort().to_list()
        loop = _examine(
            graph.name(int(address)),
            graph.with_names(written),
            fanned_out[address,],
            sent_by.get((address,)),
            posters,
            parameters,
        )
        if loop:
            loops.append(loop)
        else:
            search.set_aside["discussion on a list"] = search.set_aside.get("discussion on a list", 0) + 1
    return loops, search


def _copies(graph: Graph, mail: Mail, parameters: ListParameters) -> pl.DataFrame:
    """list, logical, member, second: each copy that a list sent out, under its own address or as an alias."""
    copied = (
        graph.edges.filter(pl.col("mid") != pl.col("logical")).select("logical").unique()
    )  # a list's copy is a stay of its own
    passed = graph.edges.join(copied, on="logical", how="semi")
    into = passed.select("logical", list="recipient").unique()
    renamed = into.join(passed.select("logical", list="sender", member="recipient", at="arrived"), on=["logical", "list"])
    handed = (
        mail.handed_on.select("mid", list="to_box", member="final_box", at="last")
        .join(graph.stays.lazy(), on="mid")
        .select("logical", "list", "member", "at")
        .collect()
    )
    handed = handed.with_columns(graph.numbered(handed["list"]), graph.numbered(handed["member"]))
    both = pl.concat([renamed, handed]).group_by("logical", "list", "member").agg(pl.col("at").min())
    fan = both.group_by("logical", "list").agg(fan=pl.len()).group_by("list").agg(pl.col("fan").median())
    wide = fan.filter(pl.col("fan") >= parameters.min_fan_out)
    seen = both.join(wide.select("list"), on="list", how="semi")
    copies = pl.concat([seen, _from_afar(graph, both.join(wide, on="list", how="anti"), parameters)])
    return copies.with_columns(second=pl.col("at").dt.epoch("us") / 1e6)


def _from_afar(graph: Graph, returned: pl.DataFrame, parameters: ListParameters) -> pl.DataFrame:
    """The same of lists on hosts without logs here: from where someone gets his own posts back, and those of others, a list sends him copies.

    Who gets nothing but his own back may as well be a script that writes to an alias of itself.
    """
    posts = graph.edges.lazy().select("logical", list="recipient", member="sender").unique()
    sent = graph.edges.lazy().select("logical", list="sender", member="recipient", at="arrived")
    own = returned.lazy().join(posts, on=["logical", "list", "member"], how="semi").select("logical", "list", "member")
    often = (
        sent.join(own.with_columns(is_own=pl.lit(True)), on=["logical", "list", "member"], how="left")
        .group_by("list", "member")
        .agg(own=pl.col("is_own").sum(), others=pl.col("is_own").is_null().sum())
        .filter(pl.min_horizontal("own", "others") >= parameters.min_answers)
    )
    return sent.join(often, on=["list", "member"], how="semi").select(returned.columns).collect()


def _sent_on(posts: pl.DataFrame, copies: pl.DataFrame) -> pl.Series:
    """Whether the list made copies of each of some posts."""
    return posts["logical"].is_in(copies["logical"].implode())


def _together(
    address: str, posts: pl.DataFrame, posters: list[str], parameters: ListParameters
) -> tuple[list[Step], list[tuple[str, float | str, str, bool, str]]]:
    """The members who post again and again as responders, where all of them together post quicker than people ever did.

    Several that answer through one list at once get each other's copies: no one of them shows that he answers.
    """
    mine = posts.filter(pl.col("sender").is_in(posters)).sort("second")
    if mine.is_empty():
        return [], []
    rare = people.rarity(mine["second"].to_list(), None, people.BOTH_WAYS) * 2 / max(2, len(posters))
    if rare < parameters.together_nats or len(posters) > parameters.max_together:
        return [], []
    steps = []
    for poster in posters:
        own = mine.filter(pl.col("sender") == poster)
        signs = int((own["is_automatic"] | own["is_linked"]).sum())
        steps.append(
            Step(poster, address, own["second"].to_list(), None, int(own["is_null"].sum()), signs, int(own["is_linked"].sum()))
        )
    words = said("%(n)s posts of %(who)s members, quicker than people write", n=mine.height, who=len(posters))
    return steps, [(said("posts together"), round(rare, 1), f">= {parameters.together_nats:g}", True, words)]


def _examine(
    address: str,
    posts: pl.DataFrame,
    copies: pl.DataFrame,
    sent: pl.DataFrame | None,
    posters: list[str],
    parameters: ListParameters,
) -> Loop | None:
    responders: list[Step] = []
    factors: list[tuple[str, float | str, str, bool, str]] = []
    for poster in posters:
        mine = posts.filter(pl.col("sender") == poster).sort("second")
        received = copies.filter(pl.col("member") == poster).sort("second")
        if received.is_empty() or _sent_on(mine, copies).mean() < parameters.min_sent_on:  # type: ignore[operator]
            continue
        mine = mine.filter(_sent_on(mine, copies))
        caused = mine.join_asof(
            received.select("second", came="second"),
            on="second",
            strategy="backward",
            tolerance=parameters.window_s,
            check_sortedness=False,
        ).drop_nulls("came")
        if caused.height < parameters.min_answers or caused["second"].n_unique() < 4:  # stamps that stand still tell nothing
            continue
        waits = (caused["second"] - caused["came"]).to_list()
        lag = lags(waits)
        span = received.filter(pl.col("second").is_between(caused["came"].min(), mine["second"].max()))
        ratio = caused.height / max(1, span.height)
        marked = int((mine["is_automatic"] | mine["is_linked"]).sum())
        machine = marked >= 0.6 * mine.height
        eager = (
            lag is not None
            and lag.median_s <= parameters.quick_s
            and ratio >= parameters.min_ratio
            and caused.height >= 2 * parameters.min_answers
            and people.against_people(waits) >= parameters.uneven_nats
        )
        flood = (
            lag is not None
            and lag.median_s <= parameters.at_once_s
            and caused.height >= 2 * parameters.min_answers
            and people.against_chance(waits) >= (parameters.waiting_nats if ratio >= parameters.min_flood_ratio else 0.0)
        )
        if not (machine or eager or flood):
            continue
        responders.append(
            Step(
                poster,
                address,
                mine["second"].to_list(),
                lag,
                int(mine["is_null"].sum()),
                marked,
                int(mine["is_linked"].sum()),
            )
        )
        factors.append(
            (
                said("answers of %(who)s", who=poster),
                caused.height,
                f">= {parameters.min_answers}",
                True,
                said(
                    "%(who)s answered %(n)s of %(all)s copies to the list, in the median %(s)s s after a copy; marked: %(marked)s",
                    who=poster,
                    n=caused.height,
                    all=span.height,
                    s=round(lag.median_s) if lag else 0,
                    marked=marked,
                ),
            )
        )
    if sum(len(s.times) for s in responders) < parameters.min_posts:
        served = set(copies["member"].unique())
        responders, factors = _together(address, posts, [p for p in posters if p in served], parameters)
    if responders:  # who posts quickly again and again while a responder floods the list is another one
        begin = min(s.times[0] for s in responders) - parameters.at_once_s
        stop = max(s.times[-1] for s in responders) + parameters.at_once_s
        for poster in set(posters) - {s.origin for s in responders}:
            mine = posts.filter(pl.col("sender") == poster, pl.col("second").is_between(begin, stop)).sort("second")
            mine = mine.filter(_sent_on(mine, copies))
            times = mine["second"].to_list()
            rare = people.rarity(times, None, people.ONE_WAY)
            if mine.height >= parameters.min_answers and rare >= parameters.among_others_nats:
                signs = int((mine["is_automatic"] | mine["is_linked"]).sum())
                responders.append(
                    Step(poster, address, times, None, int(mine["is_null"].sum()), signs, int(mine["is_linked"].sum()))
                )
                words = said("%(who)s posted %(n)s times while others answered automatically", who=poster, n=mine.height)
                name = said("answers of %(who)s", who=poster)
                factors.append((name, round(rare, 1), f">= {parameters.among_others_nats:g}", True, words))
    automatic = sum(len(s.times) for s in responders)
    if not responders or automatic < parameters.min_posts:
        return None
    first = min(s.times[0] for s in responders)
    last = max(s.times[-1] for s in responders)
    names = [s.origin for s in responders]
    run = posts.filter(pl.col("second").is_between(first, last), pl.col("sender").is_in(names)).sort("second", "row")
    seed = posts.filter(pl.col("second") < first, pl.col("second") >= first - parameters.window_s).sort("second").tail(1)
    run = pl.concat([seed, run])
    seconds = run["second"].to_list()
    between = lags([b - a for a, b in pairwise(seconds)])
    marked_all = all(s.marked >= 0.6 * len(s.times) for s in responders)
    # posts of members whose own hosts' logs are missing show only as what the list sends on
    passed = copies.filter(pl.col("second").is_between(run["second"][0], last + 60)) if not run.is_empty() else copies.clear()
    told = {*run["logical"].to_list(), *passed["logical"].to_list()}
    if sent is not None:  # posts that no log shows on their way to the list come to the responders from it all the same
        told |= set(
            sent.filter(pl.col("second").is_between(seconds[0], last + 60), pl.col("member").is_in(names))["logical"].to_list()
        )
    sent_out = copies.join(pl.concat([run.select("logical"), passed.select("logical")]).unique(), on="logical", how="semi")
    if sent_out.height < run.height:  # no list that sends nothing on
        return None
    list_step = Step(address, names[0], sent_out["second"].sort().to_list(), None, program="list")
    return Loop(
        LoopType.LIST,
        (address, *sorted(names, key=lambda n: -len(next(s for s in responders if s.origin == n).times))),
        run["row"].to_list(),
        [list_step, *responders],
        "proven" if marked_all else "likely",
        0.95 if marked_all else 0.8,
        factors,
        [
            LookAlike(
                name=said("discussion on a list"),
                ruled_out=True,
                reason=said("the same members answer every copy, their own posts included, or are marked as automatic"),
            ),
            LookAlike(
                name=said("reply-all by people"),
                ruled_out=True,
                reason=said("posts: %(n)s, mailboxes that they come from: %(who)s", n=automatic, who=len(names)),
            ),
        ],
        turns=max(len(s.times) for s in responders),
        period_s=between.median_s if between else None,
        copies=sent_out.height,
        messages=len(told),
    )
