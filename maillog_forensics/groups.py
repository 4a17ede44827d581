"""Loops through an alias, a forward or a group: who writes to it is answered by mailboxes that it hands the mail to.

What was written to the alias counts as written to each mailbox that answers; such pairs are judged as all others, and those
of one writer at the same time are one loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from maillog_forensics import pairs
from maillog_forensics.addresses import domain
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.mail import Mail
from maillog_forensics.pair_sides import PairParameters
from maillog_forensics.pairs import PairSearch
from maillog_forensics.rhythm import Lags


@dataclass(frozen=True)
class GroupParameters:
    """Thresholds of `find_groups`."""

    min_posts: int = 4
    """Messages of one writer to the alias, and answers of one mailbox to him."""
    min_ratio: float = 0.3
    """Part of the messages that a mailbox answers, from its first answer to its last; where turns grow, the answers to the latest are to come."""
    max_guesses: int = 64
    """Where no log tells what an address hands on: so many pairs of it and a mailbox of its domain are tried for each writer and domain."""


def find_groups(
    graph: Graph,
    mail: Mail,
    pair_parameters: PairParameters = PairParameters(),
    parameters: GroupParameters = GroupParameters(),
) -> tuple[list[Loop], PairSearch]:
    """Find loops of new messages that turn through an alias, a forward or a group.

    Parameters
    ----------
    graph
        The mail graph; its edges are sorted by `sent`.
    mail
        For the deliveries that tell what an address hands its mail to, and for sizes and subjects.

    Returns
    -------
    loops, search
        As `pairs.find_pairs`. Members are the writer, the alias, and the mailboxes that answer.

    Notes
    -----
    What an address hands its mail to is what the logs tell (orig_to=, `<orig>`, EXPAND, REDIRECT), else inferred from who answers for it.
    Who answers few of the messages is no responder. Of several that answer all, each has as many answers as there are messages, however many turns go on at once; all
    together are looked at only for turns that grow, since several people together write at a pace that is no person's.
    Cost: hash joins, then that of `find_pairs` for what is left.
    """
    handed = _handed_on(graph, mail)
    posts, answers = _answered(graph, pl.concat([handed, _perhaps_handed_on(graph, handed, parameters)]), parameters)
    if answers.is_empty():
        return [], PairSearch()
    members = answers.select("list", "writer", "member").unique(maintain_order=True)
    asked = posts.join(members, on=["list", "writer"]).select("row", "writer", "member", is_post=True)
    told = answers.select("row", "writer", "member", is_post=False).unique(["row", "writer"], maintain_order=True)
    several = members.filter(pl.len().over("list", "writer") > 1).select("list", "writer").unique(maintain_order=True)
    whole = [
        table.join(several, on=["list", "writer"], how="semi").select("row", "writer", member="list", is_post=is_post)
        for table, is_post in ((posts, True), (answers, False))
    ]
    rows = pl.concat([asked, told, *whole]).sort("row", "member").unique(["row", "member"], maintain_order=True)
    edges = graph.edges[rows["row"]].with_columns(
        sender=pl.when(rows["is_post"]).then(rows["writer"]).otherwise(rows["member"]),
        recipient=pl.when(rows["is_post"]).then(rows["member"]).otherwise(rows["writer"]),
    )
    found, search = pairs.find_pairs(replace(graph, edges=edges), pair_parameters, mail)
    of_several = {graph.name(box) for box in several["list"].unique()}
    found = [loop for loop in found if loop.grows or of_several.isdisjoint(loop.members)]
    for loop in found:
        loop.rows = rows[loop.rows]["row"].to_list()
    logged = {(graph.name(x), graph.name(y)) for x, y in handed.join(members, on=["list", "member"], how="semi").iter_rows()}
    return [_through_alias(loops, rows, graph, logged, parameters) for loops in _at_once(found, rows, graph)], search


def _handed_on(graph: Graph, mail: Mail) -> pl.DataFrame:
    """list, member: the addresses that hand their mail to others, and to whom."""
    names = mail.handed_on.select(list="to_box", member="final_box").unique().collect()
    return pl.DataFrame({name: graph.numbered(names[name]) for name in names.columns})


def _perhaps_handed_on(graph: Graph, handed: pl.DataFrame, parameters: GroupParameters) -> pl.DataFrame:
    """list, member: addresses of which no log tells what they hand on, with others of their domain that write to one who writes to them."""
    arrows = (
        graph.edges.lazy().group_by("sender", "recipient").agg(n=pl.len()).filter(pl.col("n") >= parameters.min_posts).collect()
    )
    arrows = arrows.filter(pl.col("sender") != pl.col("recipient"))
    names = graph.boxes.to_frame("name").with_row_index("box")
    domains = names.lazy().select(pl.col("box").cast(pl.UInt32), domain=domain(pl.col("name"))).collect()
    back = arrows.select(sender="recipient", recipient="sender")
    one_way = arrows.join(back, on=["sender", "recipient"], how="anti")  # who answers himself needs no other to do it
    posts = one_way.select(writer="sender", list="recipient").join(handed, on="list", how="anti")
    posts = posts.join(arrows.select(list="sender"), on="list", how="anti")  # who writes himself is no alias, but a hop of a ring
    posts = posts.join(domains, left_on="list", right_on="box")
    answers = one_way.select(writer="recipient", member="sender").join(domains, left_on="member", right_on="box")
    key = ["writer", "domain"]
    tried = posts.group_by(key).agg(lists=pl.len()).join(answers.group_by(key).agg(members=pl.len()), on=key)
    tried = tried.filter(pl.col("lists") * pl.col("members") <= parameters.max_guesses)
    return posts.join(tried, on=key).join(answers, on=key).select("list", "member").unique(maintain_order=True)


def _answered(graph: Graph, handed: pl.DataFrame, parameters: GroupParameters) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of messages to an alias, and of the answers to their writers by those that it hands its mail to: row, list, writer; member."""
    edges = graph.edges.lazy().with_row_index("row").select("row", "sender", "recipient", "sent")
    posts = (
        edges.filter(pl.col("recipient").is_in(handed["list"].unique().implode()))
        .select("row", "sent", list="recipient", writer="sender")
        .filter(pl.len().over("list", "writer") >= parameters.min_posts)
        .collect()
    )
    answers = (
        edges.filter(pl.col("recipient").is_in(posts["writer"].unique().implode()))
        .join(handed.lazy(), left_on="sender", right_on="member")
        .filter(pl.col("sender") != pl.col("recipient"), pl.col("sender") != pl.col("list"))
        .select("row", "sent", "list", writer="recipient", member="sender")
        .join(posts.lazy().select("list", "writer").unique(), on=["list", "writer"], how="semi")
        .filter(pl.len().over("list", "writer", "member") >= parameters.min_posts)
        .collect()
    )
    key = ["list", "writer", "member"]
    spans = answers.group_by(key).agg(n=pl.len(), first=pl.col("sent").min(), last=pl.col("sent").max())
    asked = (
        spans.lazy()
        .join(posts.lazy().select("list", "writer", "sent"), on=["list", "writer"])
        .filter(pl.col("sent").is_between(pl.col("first"), pl.col("last")))
        .group_by(key)
        .agg(asked=pl.len(), n=pl.col("n").first())
        .filter(pl.col("n") >= parameters.min_ratio * pl.col("asked"))
        .collect()
    )
    answers = answers.join(asked.select(key), on=key, how="semi", maintain_order="left")
    return posts.join(asked.select("list", "writer"), on=["list", "writer"], how="semi", maintain_order="left"), answers


def _at_once(loops: list[Loop], rows: pl.DataFrame, graph: Graph) -> list[list[Loop]]:
    """Loops by their writer and time: those of several mailboxes that answer him belong together; the one with the most messages first."""
    out: list[tuple[int, list[Loop]]] = []
    for loop in sorted(loops, key=lambda x: (x.verdict != "loop", -len(x.rows), x.rows[0])):
        writer = _writer(loop, rows, graph)
        for other, together in out:
            if other == writer and together[0].rows[0] <= loop.rows[-1] and loop.rows[0] <= together[0].rows[-1]:
                together.append(loop)
                break
        else:
            out.append((writer, [loop]))
    return [together for _, together in out]


def _writer(loop: Loop, rows: pl.DataFrame, graph: Graph) -> int:
    """Of the two, the one who writes to the alias and is answered."""
    told = rows.filter(pl.col("row").is_in(loop.rows), pl.col("writer").is_in(graph.numbers(list(loop.members))))
    return int(told["writer"].value_counts(sort=True)["writer"][0])


def _through_alias(
    loops: list[Loop], rows: pl.DataFrame, graph: Graph, logged: set[tuple[str, str]], parameters: GroupParameters
) -> Loop:
    """Loops of one writer with the mailboxes that answer him, as one, with the alias that he writes to, and all who answered there meanwhile.

    `logged`: the aliases and mailboxes of which a log tells that the one hands its mail to the other.
    """
    writer = _writer(loops[0], rows, graph)
    first, last = min(loop.rows[0] for loop in loops), max(loop.rows[-1] for loop in loops)
    meanwhile = rows.filter(pl.col("writer") == writer, pl.col("row").is_between(first, last))
    others = meanwhile.group_by("member").agg(asked=pl.col("is_post").sum(), answered=(~pl.col("is_post")).sum())
    others = others.filter(
        pl.col("answered") >= parameters.min_posts, pl.col("answered") >= parameters.min_ratio * pl.col("asked")
    ).join(
        pl.DataFrame({"member": graph.numbers([m for loop in loops for m in loop.members])}, schema=rows.select("member").schema),
        on="member",
        how="anti",
    )
    added = meanwhile.filter(~pl.col("is_post")).join(others, on="member", how="semi")["row"].to_list()
    kept = sorted({row for loop in loops for row in loop.rows} | set(added))
    edges = graph.with_names(graph.edges[kept]).with_columns(second=pl.col("sent").dt.epoch("us") / 1e6)
    name = graph.name(writer)
    posts = edges.filter(pl.col("sender") == name)
    steps, aliases = [], posts["recipient"].value_counts(sort=True)["recipient"].to_list()
    members = edges.filter(pl.col("sender") != name)["sender"].value_counts(sort=True)["sender"].to_list()
    lags = {s.origin: s.lags for loop in reversed(loops) for s in loop.steps}
    for alias in aliases:
        written = posts.filter(pl.col("recipient") == alias)
        steps.append(_step(name, alias, written, lags.get(name)))
        times = written["second"].to_list()
        links = {m: len(times) * ((alias, m) in logged) for m in members}
        steps += [Step(alias, m, times, None, marked=links[m], linked=links[m], program="forward") for m in members]
    for member in members:
        own = edges.filter(pl.col("sender") == member)
        steps.append(_step(member, name, own, lags.get(member)))
    guessed = [(a, m) for a in aliases for m in members if (a, m) not in logged]
    words = said(
        "no log tells whom %(alias)s hands its mail to; whoever answers for it gets it: %(who)s",
        alias=aliases[0],
        who=", ".join(dict.fromkeys(m for _, m in guessed)),
    )
    told = [(said("handed on, inferred"), len(guessed), "", True, words)] if guessed else []
    return replace(loops[0], members=(name, *aliases, *members), steps=steps, rows=kept, factors=[*loops[0].factors, *told])


def _step(origin: str, target: str, edges: pl.DataFrame, lags: Lags | None) -> Step:
    signs = int((edges["is_automatic"] | edges["is_linked"]).sum())
    return Step(
        origin, target, edges["second"].to_list(), lags, int(edges["is_null"].sum()), signs, int(edges["is_linked"].sum())
    )
