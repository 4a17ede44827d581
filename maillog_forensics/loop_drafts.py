"""From the loops that the detectors found to drafts of incidents: which of them are one, when they were, how they ended."""

from __future__ import annotations

import datetime as dt

import polars as pl

from maillog_forensics import endings, harm
from maillog_forensics.addresses import canonical_of
from maillog_forensics.drafts import Draft, places, until
from maillog_forensics.endings import End
from maillog_forensics.findings import Ending, Kind, LoopType
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.loops import Loop
from maillog_forensics.mail import Mail
from maillog_forensics.times import earliest, latest

_PART_OF_RING = 1 / 3
"""Part of a loop's messages that are those of a ring of one message, where the rest are its notifications."""


def distinct(found: list[Loop]) -> list[Loop]:
    """Leave out a loop whose members are all in a larger one of the same time."""
    kept: list[Loop] = []
    for loop in found:
        inside = any(
            set(loop.members) <= set(other.members) and set(loop.rows) & set(range(min(other.rows), max(other.rows) + 1))
            for other in kept
            if other.verdict == "loop"
        )
        if not inside:
            kept.append(loop)
    return kept


def from_rows(loop: Loop, graph: Graph, mail: Mail) -> Draft:
    """A loop of new messages: its rows are rows of the edges."""
    rows = graph.edges[loop.rows]
    rows = pl.concat([_lead_in(rows, graph, mail), rows]) if loop.type is LoopType.NOTIFICATION else rows
    rows = graph.named(rows, mail)
    _tell(loop, rows)
    logicals = rows["logical"].unique(maintain_order=True)
    stays = _among(mail.stays(graph.mids(logicals)), {*loop.members, *rows["sender"], *rows["recipient"]}, mail)
    mids = stays.sort("first", "mid")["mid"].to_list()
    started, ended = rows["born"][0], max(rows["born"][0], rows["born"][-1])
    if loop.type is LoopType.LIST:  # copies still in the queues belong to it: it ends when a responder takes the last of them
        taken = mail.told(mids).filter(pl.col("event") == "deliver", pl.col("final_box").is_in(list(loop.members[1:])))
        ended = max([ended, *taken["last"].drop_nulls().to_list()])
    end = endings.how_ended(mail, mids, loop.members, max(ended, rows["sent"][-1]), loop.period_s, until(mids, mail))
    refused = _refused_last(rows, loop, end, mail)
    draft = Draft(
        Kind.MAIL_LOOP,
        loop.type,
        loop.level,
        loop.score,
        loop.factors,
        loop.look_alikes,
        loop.members,
        mids,
        logicals.to_list(),
        started,
        ended,
        max(loop.messages or 0, logicals.len()) + refused,
        stays.height,
        loop.copies,
        loop.turns,
        loop.period_s,
        (rows["sent"].dt.epoch("us") / 1e6).to_list(),
        end,
        harm.measure(mail, graph, logicals, pl.Series(mids, dtype=pl.UInt32), loop.members, started, ended),
        loop.steps,
        loop.verdict,
        growth=_growth(rows),
    )
    draft.places = places(draft, mail)
    return draft


def _among(stays: pl.DataFrame, names: set[str], mail: Mail) -> pl.DataFrame:
    """Those of some stays that any of `names` sent or was to get: somebody may give other mail the same Message-IDs."""
    told = mail.told(stays["mid"]).filter(pl.col("to_box").is_in(list(names)) | pl.col("final_box").is_in(list(names)))
    return stays.filter(pl.col("from_box").is_in(list(names)) | pl.col("mid").is_in(told["mid"].unique().implode()))


def _tell(loop: Loop, rows: pl.DataFrame) -> None:
    """Name the hosts and programs of the steps: known only of the messages of loops."""
    for step in loop.steps:
        mine = rows.filter(pl.col("sender") == step.origin, pl.col("recipient") == step.target)
        received = rows.filter(pl.col("recipient") == step.origin)["transport"].drop_nulls()
        step.program = step.program or (received[0] if received.len() else "")
        hosts = mine["host"].drop_nulls()
        step.host = step.host or (hosts[0] if hosts.len() else "")


def _lead_in(rows: pl.DataFrame, graph: Graph, mail: Mail) -> pl.DataFrame:
    """The notification that the first message answers, and the message that was returned by it: rows of the edges."""
    first = rows.row(0, named=True)
    before = graph.edges.filter(
        pl.col("recipient") == first["sender"],
        pl.col("is_notification"),
        ~pl.col("logical").is_in(rows["logical"].implode()),
        pl.col("sent").is_between(first["sent"] - dt.timedelta(seconds=60), first["sent"]),
    ).tail(1)
    if before.is_empty():
        return rows.clear()
    mids = graph.mids(before["logical"])
    parent = mail.stays(mids)["parent"].drop_nulls()
    if parent.is_empty():
        return before
    logical = graph.logicals(parent.head(1))
    origin = graph.edges.filter(pl.col("logical").is_in(logical.implode()), pl.col("sender") == first["sender"]).head(1)
    return pl.concat([origin, before])


def _refused_last(rows: pl.DataFrame, loop: Loop, end: End, mail: Mail) -> int:
    """1 when the last answer was refused at our door and so never got a queue id in these logs."""
    last = rows.row(-1, named=True)
    if end.place is None or end.side != "ours" or end.at is None or end.at < last["sent"]:
        return 0
    refusal = mail.attempts.filter(
        pl.col("event") == "reject", pl.col("time") == end.at, pl.col("source") == end.place[0], pl.col("line") == end.place[1]
    ).collect()
    if refusal.is_empty() or refusal["queue_id"][0] is not None:
        return 0
    author = canonical_of(refusal["sender"])[0]
    return int(author is not None and author != last["sender"] and author in loop.members)


def _growth(rows: pl.DataFrame) -> float | None:
    """Median change in size from one message to the next of the same sender, in bytes."""
    steps = rows.filter(pl.col("size").is_not_null()).select(step=pl.col("size").diff().over("sender"))["step"].drop_nulls()
    return float(steps.median()) if steps.len() else None  # type: ignore[arg-type]


def from_stays(loop: Loop, graph: Graph, mail: Mail) -> Draft:
    """A forwarding ring: its rows are stays (mid) of the same messages."""
    stays = mail.stays(loop.rows).sort("first", "mid")
    started, ended = earliest(stays["first"]), latest(stays["first"])
    mids = stays["mid"].to_list()
    logicals = graph.logicals(stays["mid"])
    end = endings.how_ended(mail, mids, loop.members, ended, loop.period_s, until(mids, mail), forwarding=True)
    draft = Draft(
        Kind.MAIL_LOOP,
        loop.type,
        loop.level,
        loop.score,
        loop.factors,
        loop.look_alikes,
        loop.members,
        mids,
        logicals.to_list(),
        started,
        ended,
        loop.messages or logicals.len(),
        loop.transfers or stays.height,
        0,
        loop.turns,
        loop.period_s,
        (stays["first"].dt.epoch("us") / 1e6).to_list(),
        end,
        harm.measure(mail, graph, logicals, pl.Series(mids, dtype=pl.UInt32), loop.members, started, ended),
        loop.steps,
    )
    draft.places = places(draft, mail)
    return draft


def without_parts(drafts: list[Draft], rings: list[Draft]) -> list[Draft]:
    """All of these, without drafts of new messages that are those of a ring of one message, and the notifications of them, among its members."""

    def is_part(draft: Draft) -> bool:
        mids = set(draft.mids)
        return any(
            set(draft.members) <= set(ring.members) and len(mids & set(ring.mids)) >= _PART_OF_RING * len(mids) for ring in rings
        )

    return [*(d for d in drafts if not is_part(d)), *rings]


def merged(drafts: list[Draft], graph: Graph, mail: Mail) -> list[Draft]:
    """Runs of one member set that follow each other closely are one incident."""
    out: list[Draft] = []
    for d in sorted(drafts, key=lambda d: (sorted(d.members), d.type.value, d.started)):
        last = out[-1] if out else None
        close = max(1800.0, 10 * (d.period_s or 0))
        if (
            last
            and set(last.members) == set(d.members)
            and last.type == d.type
            and last.verdict == d.verdict
            and (d.started - last.ended).total_seconds() <= close
        ):
            last.mids = sorted(set(last.mids) | set(d.mids))
            last.logicals = list(dict.fromkeys([*last.logicals, *d.logicals]))
            last.times = sorted([*last.times, *d.times])
            last.messages += d.messages
            last.transfers += d.transfers
            last.copies += d.copies
            last.turns += d.turns
            last.ended, last.end = max(last.ended, d.ended), d.end
            for mine, theirs in zip(last.steps, d.steps if last.members == d.members else d.steps[::-1]):
                mine.times = sorted([*mine.times, *theirs.times])
                mine.marked, mine.linked, mine.null_sender = (
                    mine.marked + theirs.marked,
                    mine.linked + theirs.linked,
                    mine.null_sender + theirs.null_sender,
                )
            last.measured = harm.measure(
                mail,
                graph,
                pl.Series(last.logicals, dtype=pl.UInt32),
                pl.Series(last.mids, dtype=pl.UInt32),
                last.members,
                last.started,
                last.ended,
            )
            last.places = places(last, mail)
        else:
            out.append(d)
    return out


def guards(mail: Mail, graph: Graph, drafts: list[Draft]) -> list[Draft]:
    """Messages that a loop guard stopped at the first hop: worth one line, no alarm."""
    taken = {m for d in drafts for m in d.mids}
    failed = mail.deliveries.filter(pl.col("event").is_in(["bounce", "defer"]), pl.col("diagnostic").is_not_null())
    texts = failed.select(pl.col("diagnostic").unique()).collect()["diagnostic"].to_list()
    distinct = [t for t in texts if endings.classify(t)[0] is Ending.HOP_LIMIT]
    rows = failed.filter(pl.col("diagnostic").is_in(distinct), ~pl.col("mid").is_in(list(taken))).collect()
    rows = rows.join(mail.stays(rows["mid"]).select("mid", "host"), on="mid", maintain_order="left").with_columns(
        _domain=pl.col("to_box").str.extract(r"@(.+)$", 1)
    )
    out = []
    for (host, _), part in rows.sort("first").partition_by("host", "_domain", as_dict=True, maintain_order=True).items():
        mids = part["mid"].unique(maintain_order=True).to_list()
        started, ended = earliest(part["first"]), latest(part["last"])
        row = part.row(0, named=True)
        members = tuple(part["to_box"].unique(maintain_order=True).head(8).to_list())
        logicals = graph.logicals(part["mid"])
        place = (row["source"], row["line"], row["offset"])
        said_by = (row["relay_host"] or "").lower()
        theirs = endings.is_theirs(row["diagnostic"], row["relay_ip"]) and not {said_by, said_by.split(".")[0]} & mail.hosts
        draft = Draft(
            Kind.MAIL_LOOP,
            LoopType.FORWARDING,
            "proven",
            0.9,
            [
                (
                    said("loop guard"),
                    len(mids),
                    ">= 1",
                    True,
                    said("messages that a guard stopped at the first hop: %(n)s", n=len(mids)),
                )
            ],
            [],
            members,
            mids,
            logicals.to_list(),
            started,
            ended,
            logicals.len(),
            len(mids),
            0,
            0,
            None,
            (part["first"].dt.epoch("us") / 1e6).to_list(),
            End(
                Ending.HOP_LIMIT,
                "theirs" if theirs else "ours",
                (row["relay_host"] if theirs else host) or "",
                row["diagnostic"],
                endings.classify(row["diagnostic"])[1],
                place,
                row["last"],
            ),
            harm.measure(mail, graph, logicals, pl.Series(mids, dtype=pl.UInt32), members, started, ended),
            verdict="guard",
        )
        draft.places = places(draft, mail)
        out.append(draft)
    return out
