"""From what the detectors found to drafts of incidents: which of them are one, when they were, how they ended."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from maillog_forensics import endings, forwarding, graph, harm, lists, rings, storms
from maillog_forensics import pairs as pairing
from maillog_forensics.correlate import Mail
from maillog_forensics.endings import End
from maillog_forensics.evidence import Place
from maillog_forensics.findings import Ending, Kind, LookAlike, LoopType, Search, StormType
from maillog_forensics.graph import Graph
from maillog_forensics.harm import Measured
from maillog_forensics.language import said
from maillog_forensics.loops import Loop, Step
from maillog_forensics.pair_verdicts import PairParameters
from maillog_forensics.storms import Storm
from maillog_forensics.times import EPOCH, earliest, latest


@dataclass
class Draft:
    """An incident whose log lines are not yet fetched."""

    kind: Kind
    type: LoopType | StormType
    level: Literal["proven", "likely", "possible"]
    score: float
    factors: list[tuple[str, float | str, str, bool, str]]
    look_alikes: list[LookAlike]
    members: tuple[str, ...]
    mids: list[int]
    logicals: list[int]
    started: dt.datetime
    ended: dt.datetime
    messages: int
    transfers: int
    copies: int
    turns: int
    period_s: float | None
    times: list[float]
    end: End
    measured: Measured
    steps: list[Step] = field(default_factory=list)
    verdict: str = "loop"
    storm: Storm | None = None
    growth: float | None = None
    places: list[tuple[Place, str]] = field(default_factory=list)


@dataclass
class Found:
    """What `find` hands on: drafts, and what was looked at."""

    drafts: list[Draft]
    searches: list[Search]
    graph: Graph


def find(mail: Mail, *, window_s: float = 4 * 3600) -> Found:
    """Run all detectors over the correlated mail.

    Parameters
    ----------
    mail
        With canonical mailboxes (`correlate.mailboxes`).
    window_s
        Longest gap between a message and the answer to it.
    """
    mails = graph.build(mail)
    pairs, seen_pairs = pairing.find_pairs(mails, PairParameters(window_s=window_s), mail)
    ringed, seen_rings = forwarding.find_rings(mail, mails)
    listed, seen_lists = lists.find_lists(mails, mail, lists.ListParameters(window_s=window_s))
    cycles, seen_cycles = rings.find_cycles(mails, rings.CycleParameters(window_s=window_s))
    stormy, seen_storms = storms.find_storms(mail, mails)
    drafts = [_from_rows(loop, mails, mail) for loop in _distinct([*listed, *cycles, *pairs])]
    drafts += [_from_stays(loop, mails, mail) for loop in ringed]
    drafts = _merge_runs(drafts, mails, mail)
    drafts += [_from_storm(s, mails, mail) for s in stormy if not _inside_loop(s, drafts)]
    drafts += _guards(mail, mails, drafts)
    drafts.sort(key=lambda d: (d.started, d.members))
    searches = [
        Search(
            detector=said("pairs that answer each other"),
            candidates=seen_pairs.candidates,
            found=sum(p.verdict == "loop" for p in pairs),
            set_aside=seen_pairs.set_aside,
            words=said(
                "pairs of mailboxes in which both wrote at least twice; %(n)s of them were beyond the budget",
                n=seen_pairs.truncated,
            )
            if seen_pairs.truncated
            else said("pairs of mailboxes in which both wrote at least twice"),
        ),
        Search(
            detector=said("rings of new messages"),
            candidates=seen_cycles.candidates,
            found=sum(c.verdict == "loop" for c in cycles),
            set_aside=seen_cycles.set_aside,
            words=said("cycles of three to eight mailboxes; the budget of cycles was used up")
            if seen_cycles.truncated
            else said("cycles of three to eight mailboxes"),
        ),
        Search(
            detector=said("messages that come round again"),
            candidates=seen_rings.candidates,
            found=len(ringed),
            set_aside=seen_rings.set_aside,
            words=said("Message-IDs seen three times at one mailbox of one host"),
        ),
        Search(
            detector=said("lists and groups"),
            candidates=seen_lists.candidates,
            found=len(listed),
            set_aside=seen_lists.set_aside,
            words=said("lists to which a member posted at least five times"),
        ),
        Search(
            detector=said("bursts of notifications"),
            candidates=seen_storms.candidates,
            found=len(stormy),
            set_aside=seen_storms.set_aside,
            words=said("mailboxes with at least thirty notifications, hosts that notified many"),
        ),
    ]
    return Found(drafts, searches, mails)


def _distinct(found: list[Loop]) -> list[Loop]:
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


def _from_rows(loop: Loop, graph: Graph, mail: Mail) -> Draft:
    """A loop of new messages: its rows are rows of the edges."""
    rows = graph.edges[loop.rows]
    rows = pl.concat([_lead_in(rows, graph, mail), rows]) if loop.type is LoopType.NOTIFICATION else rows
    rows = graph.named(rows, mail)
    _tell(loop, rows)
    logicals = rows["logical"].unique(maintain_order=True)
    stays = mail.messages.filter(pl.col("mid").is_in(graph.mids(logicals).implode()))
    mids = stays.sort("first", "mid")["mid"].to_list()
    started, ended = rows["born"][0], max(rows["born"][0], rows["born"][-1])
    if loop.type is LoopType.LIST:  # copies still in the queues belong to it: it ends when a responder takes the last of them
        taken = mail.deliveries.filter(
            pl.col("mid").is_in(mids), pl.col("event") == "deliver", pl.col("final_box").is_in(list(loop.members[1:]))
        )
        ended = max([ended, *taken["last"].drop_nulls().to_list()])
    end = endings.how_ended(mail, mids, loop.members, max(ended, rows["sent"][-1]), loop.period_s, _until(mids, mail))
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
    draft.places = _places(draft, mail)
    return draft


def _until(mids: list[int], mail: Mail) -> dt.datetime:
    """How long the logs go on of the hosts that saw these messages."""
    hosts = mail.messages.filter(pl.col("mid").is_in(mids))["host_key"].unique().to_list()
    return max((mail.until[h] for h in hosts if h in mail.until), default=EPOCH)


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
    parent = mail.messages.filter(pl.col("mid").is_in(mids.implode()))["parent"].drop_nulls()
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
    refusal = mail.attempts.filter(pl.col("event") == "reject", pl.col("source") == end.place[0], pl.col("line") == end.place[1])
    if refusal.is_empty() or refusal["queue_id"][0] is not None:
        return 0
    from maillog_forensics.addresses import canonical_of

    author = canonical_of(refusal["sender"])[0]
    return int(author is not None and author != last["sender"] and author in loop.members)


def _growth(rows: pl.DataFrame) -> float | None:
    """Median change in size from one message to the next of the same sender, in bytes."""
    steps = rows.filter(pl.col("size").is_not_null()).select(step=pl.col("size").diff().over("sender"))["step"].drop_nulls()
    return float(steps.median()) if steps.len() else None  # type: ignore[arg-type]


def _from_stays(loop: Loop, graph: Graph, mail: Mail) -> Draft:
    """A forwarding ring: its rows are stays (mid) of the same messages."""
    stays = mail.messages.filter(pl.col("mid").is_in(loop.rows)).sort("first", "mid")
    started, ended = earliest(stays["first"]), latest(stays["first"])
    mids = stays["mid"].to_list()
    logicals = graph.logicals(stays["mid"])
    end = endings.how_ended(mail, mids, loop.members, ended, loop.period_s, _until(mids, mail), forwarding=True)
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
    draft.places = _places(draft, mail)
    return draft


def _from_storm(storm: Storm, graph: Graph, mail: Mail) -> Draft:
    started = dt.datetime.fromtimestamp(storm.times[0], dt.UTC)
    ended = dt.datetime.fromtimestamp(storm.times[-1], dt.UTC)
    gap = (storm.times[-1] - storm.times[0]) / max(1, len(storm.times) - 1)
    waiting = (_until(storm.mids, mail) - ended).total_seconds()
    reason = Ending.ONGOING if waiting <= max(3.0, 8 * gap) else Ending.QUIET
    words = (
        said("the logs end %(s)s s after the last notification", s=round(waiting))
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
    draft.places = _places(draft, mail)
    return draft


def _inside_loop(storm: Storm, drafts: list[Draft]) -> bool:
    """A storm to a member of a loop, made of the loop's own notifications, is the loop."""
    own = {x for d in drafts if storm.target in d.members and d.verdict == "loop" for x in d.logicals}
    return sum(x in own for x in storm.logicals) > 0.5 * len(storm.logicals)


def _merge_runs(drafts: list[Draft], graph: Graph, mail: Mail) -> list[Draft]:
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
            last.places = _places(last, mail)
        else:
            out.append(d)
    return out


def _guards(mail: Mail, graph: Graph, drafts: list[Draft]) -> list[Draft]:
    """Messages that a loop guard stopped at the first hop: worth one line, no alarm."""
    taken = {m for d in drafts for m in d.mids}
    rows = mail.deliveries.filter(
        pl.col("event").is_in(["bounce", "defer"]), pl.col("diagnostic").is_not_null(), ~pl.col("mid").is_in(list(taken))
    )
    distinct = [t for t in rows["diagnostic"].unique().to_list() if endings.classify(t)[0] is Ending.HOP_LIMIT]
    rows = rows.filter(pl.col("diagnostic").is_in(distinct)).join(mail.messages.select("mid", "host"), on="mid")
    rows = rows.with_columns(_domain=pl.col("to_box").str.extract(r"@(.+)$", 1))
    out = []
    for (host, _), part in rows.sort("first").partition_by("host", "_domain", as_dict=True, maintain_order=True).items():
        mids = part["mid"].unique(maintain_order=True).to_list()
        started, ended = earliest(part["first"]), latest(part["last"])
        row = part.row(0, named=True)
        members = tuple(part["to_box"].unique(maintain_order=True).head(8).to_list())
        logicals = graph.logicals(part["mid"])
        place = (row["source"], row["line"], row["offset"])
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
                "ours",
                host or "",
                row["diagnostic"],
                endings.classify(row["diagnostic"])[1],
                place,
                row["last"],
            ),
            harm.measure(mail, graph, logicals, pl.Series(mids, dtype=pl.UInt32), members, started, ended),
            verdict="guard",
        )
        draft.places = _places(draft, mail)
        out.append(draft)
    return out


def _places(draft: Draft, mail: Mail) -> list[tuple[Place, str]]:
    """The lines that prove it: first, middle and last turns, and the ending."""
    stays = mail.messages.filter(pl.col("mid").is_in(draft.mids)).sort("first", "mid").select("mid", "source", "line", "offset")
    told = mail.deliveries.filter(pl.col("mid").is_in(draft.mids)).sort("first", "mid").select("mid", "source", "line", "offset")
    out: list[tuple[Place, str]] = []

    def add(table: pl.DataFrame, note: str) -> None:
        out.extend(((s, n, o), note) for _, s, n, o in table.iter_rows())

    n = stays.height
    add(stays.head(3), said("first turns: arrival"))
    add(told.filter(pl.col("mid").is_in(stays["mid"].head(3).implode())).head(4), said("first turns: delivery"))
    if n > 9:
        add(stays.slice(n // 2, 2), said("in the middle"))
    add(stays.tail(3), said("last turns: arrival"))
    add(told.filter(pl.col("mid").is_in(stays["mid"].tail(3).implode())).tail(4), said("last turns: delivery"))
    if draft.end.place:
        out.append((draft.end.place, said("what ended it")))
    return list({place: (place, note) for place, note in out}.values())
