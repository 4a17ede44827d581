"""From what the detectors found to incidents: which of them are one, what they are called, how bad they are."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field

import polars as pl

from maillog_forensics import endings, forwarding, graph, harm, lists, loops, rings, storms
from maillog_forensics.correlate import Mail
from maillog_forensics.endings import End
from maillog_forensics.evidence import Lines, Place
from maillog_forensics.findings import (
    Arrow, Cause, Confidence, EndedBy, Ending, Factor, Harm, Incident, Kind, LookAlike, LoopType, Moment, Search, Severity, StormType, Trigger,
)  # fmt: skip
from maillog_forensics.harm import Measured
from maillog_forensics.loops import Loop
from maillog_forensics.storms import Storm
from maillog_forensics.wording import cause_of, headline

_TICKETS = re.compile(r"(?i)^(support|help-?desk|service-?desk|tickets?|otrs|rt|zammad|hotline|servicedesk|request|kundenservice)")


@dataclass
class Draft:
    """An incident whose log lines are not yet fetched."""

    kind: Kind
    type: LoopType | StormType
    level: str
    score: float
    factors: list[tuple[str, float | str, str, bool, str]]
    look_alikes: list[LookAlike]
    members: tuple[str, ...]
    mids: list[int]
    logicals: list[str]
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
    steps: list[loops.Step] = field(default_factory=list)
    verdict: str = "loop"
    storm: Storm | None = None
    growth: float | None = None
    places: list[tuple[Place, str]] = field(default_factory=list)


@dataclass
class Found:
    """What `find` hands on: drafts, and what was looked at."""

    drafts: list[Draft]
    searches: list[Search]
    edges: pl.DataFrame


def find(mail: Mail, *, window_s: float = 4 * 3600) -> Found:
    """Run all detectors over the correlated mail.

    Parameters
    ----------
    mail
        With canonical mailboxes (`correlate.mailboxes`).
    window_s
        Longest gap between a message and the answer to it.
    """
    edges = graph.edges(mail)
    pairs, seen_pairs = loops.find_pairs(edges, loops.PairParameters(window_s=window_s))
    ringed, seen_rings = forwarding.find_rings(mail)
    listed, seen_lists = lists.find_lists(edges, mail, lists.ListParameters(window_s=window_s))
    cycles, seen_cycles = rings.find_cycles(edges, rings.CycleParameters(window_s=window_s))
    stormy, seen_storms = storms.find_storms(mail, edges)
    log_end = mail.messages["last"].max() or dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    drafts = [_from_rows(loop, edges, mail, log_end) for loop in _distinct([*listed, *cycles, *pairs])]
    drafts += [_from_stays(loop, edges, mail, log_end) for loop in ringed]
    drafts = _merge_runs(drafts, edges, mail, log_end)
    drafts += [_from_storm(s, edges, mail, log_end) for s in stormy if not _inside_loop(s, drafts)]
    drafts += _guards(mail, edges, drafts, log_end)
    drafts.sort(key=lambda d: (d.started, d.members))
    searches = [
        Search(detector="pairs that answer each other", candidates=seen_pairs.candidates, found=sum(p.verdict == "loop" for p in pairs), set_aside=seen_pairs.set_aside,
               words="pairs of mailboxes in which both wrote at least twice" + (f"; {seen_pairs.truncated} of them were beyond the budget" if seen_pairs.truncated else "")),
        Search(detector="rings of new messages", candidates=seen_cycles.candidates, found=sum(c.verdict == "loop" for c in cycles), set_aside=seen_cycles.set_aside,
               words="cycles of three to eight mailboxes" + ("; the budget of cycles was used up" if seen_cycles.truncated else "")),
        Search(detector="messages that come round again", candidates=seen_rings.candidates, found=len(ringed), set_aside=seen_rings.set_aside, words="Message-IDs seen three times at one mailbox of one host"),
        Search(detector="lists and groups", candidates=seen_lists.candidates, found=len(listed), set_aside=seen_lists.set_aside, words="lists to which a member posted at least five times"),
        Search(detector="bursts of notifications", candidates=seen_storms.candidates, found=len(stormy), set_aside=seen_storms.set_aside, words="mailboxes with at least thirty notifications, hosts that notified many"),
    ]  # fmt: skip
    return Found(drafts, searches, edges)


def _distinct(found: list[Loop]) -> list[Loop]:
    """Leave out a loop whose members are all in a larger one of the same time."""
    kept: list[Loop] = []
    for loop in found:
        inside = any(set(loop.members) <= set(other.members) and set(loop.rows) & set(range(min(other.rows), max(other.rows) + 1)) for other in kept if other.verdict == "loop")
        if not inside:
            kept.append(loop)
    return kept


def _from_rows(loop: Loop, edges: pl.DataFrame, mail: Mail, log_end: dt.datetime) -> Draft:
    """A loop of new messages: its rows are rows of the edges."""
    rows = edges[loop.rows]
    rows = pl.concat([_lead_in(rows, edges, mail), rows]) if loop.type is LoopType.NOTIFICATION else rows
    logicals = rows["logical"].unique(maintain_order=True)
    stays = mail.messages.filter(pl.col("logical").is_in(logicals.implode()))
    mids = stays.sort("first", "mid")["mid"].to_list()
    started, ended = rows["born"][0], max(rows["born"][0], rows["born"][-1])
    if loop.type is LoopType.LIST:  # copies still in the queues belong to it: it ends when a responder takes the last of them
        taken = mail.deliveries.filter(pl.col("mid").is_in(mids), pl.col("event") == "deliver", pl.col("final_box").is_in(list(loop.members[1:])))
        ended = max([ended, *taken["last"].drop_nulls().to_list()])
    end = endings.how_ended(mail, mids, loop.members, max(ended, rows["sent"][-1]), loop.period_s, log_end)
    refused = _refused_last(rows, loop, end, mail)
    draft = Draft(
        Kind.MAIL_LOOP, loop.type, loop.level, loop.score, loop.factors, loop.look_alikes, loop.members, mids, logicals.to_list(), started, ended,
        logicals.len() + refused, stays.height, loop.copies, loop.turns, loop.period_s, (rows["sent"].dt.epoch("us") / 1e6).to_list(), end,
        harm.measure(mail, edges, logicals, pl.Series(mids, dtype=pl.UInt32), loop.members, started, ended), loop.steps, loop.verdict, growth=_growth(rows),
    )  # fmt: skip
    draft.places = _places(draft, mail)
    return draft


def _lead_in(rows: pl.DataFrame, edges: pl.DataFrame, mail: Mail) -> pl.DataFrame:
    """The notification that the first message answers, and the message that was returned by it."""
    first = rows.row(0, named=True)
    before = edges.filter(
        pl.col("recipient") == first["sender"], pl.col("is_notification"), ~pl.col("logical").is_in(rows["logical"].implode()),
        pl.col("sent").is_between(first["sent"] - dt.timedelta(seconds=60), first["sent"]),
    ).tail(1)  # fmt: skip
    if before.is_empty():
        return rows.clear()
    parent = mail.messages.filter(pl.col("logical") == before["logical"][0])["parent"].drop_nulls()
    if parent.is_empty():
        return before
    logical = mail.messages.filter(pl.col("mid") == parent[0])["logical"]
    origin = edges.filter(pl.col("logical").is_in(logical.implode()), pl.col("sender") == first["sender"]).head(1)
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


def _from_stays(loop: Loop, edges: pl.DataFrame, mail: Mail, log_end: dt.datetime) -> Draft:
    """A forwarding ring: its rows are stays (mid) of the same messages."""
    stays = mail.messages.filter(pl.col("mid").is_in(loop.rows)).sort("first", "mid")
    started, ended = stays["first"].min(), stays["first"].max()
    mids = stays["mid"].to_list()
    logicals = stays["logical"].unique(maintain_order=True)
    end = endings.how_ended(mail, mids, loop.members, ended, loop.period_s, log_end, forwarding=True)
    draft = Draft(
        Kind.MAIL_LOOP, loop.type, loop.level, loop.score, loop.factors, loop.look_alikes, loop.members, mids, logicals.to_list(), started, ended,
        loop.messages or logicals.len(), loop.transfers or stays.height, 0, loop.turns, loop.period_s, (stays["first"].dt.epoch("us") / 1e6).to_list(), end,
        harm.measure(mail, edges, logicals, pl.Series(mids, dtype=pl.UInt32), loop.members, started, ended), loop.steps,
    )  # fmt: skip
    draft.places = _places(draft, mail)
    return draft


def _from_storm(storm: Storm, edges: pl.DataFrame, mail: Mail, log_end: dt.datetime) -> Draft:
    started = dt.datetime.fromtimestamp(storm.times[0], dt.UTC)
    ended = dt.datetime.fromtimestamp(storm.times[-1], dt.UTC)
    gap = (storm.times[-1] - storm.times[0]) / max(1, len(storm.times) - 1)
    waiting = (log_end - ended).total_seconds()
    reason = Ending.ONGOING if waiting <= max(3.0, 8 * gap) else Ending.QUIET
    words = f"the logs end {waiting:.0f} s after the last notification" if reason is Ending.ONGOING else f"no further notification in the {waiting:.0f} s until the logs end"
    members = (storm.target,)
    n = len(storm.logicals)
    factors: list[tuple[str, float | str, str, bool, str]] = [
        ("notifications", n, ">= 30", True, f"{n} notifications in {(ended - started).total_seconds():.0f} s; the quiet rate is at most one in {1 / storm.baseline_per_s:.0f} s"),
    ]
    draft = Draft(
        Kind.NDR_STORM, storm.type, "proven" if storm.codes else "likely", 0.95 if storm.codes else 0.75, factors, [], members, storm.mids, storm.logicals, started, ended,
        n, len(storm.mids), 0, n, gap, storm.times, End(reason, "unknown", text=words, at=ended),
        harm.measure(mail, edges, pl.Series(storm.logicals), pl.Series(storm.mids, dtype=pl.UInt32), members, started, ended), storm=storm,
    )  # fmt: skip
    draft.places = _places(draft, mail)
    return draft


def _inside_loop(storm: Storm, drafts: list[Draft]) -> bool:
    """A storm to a member of a loop, made of the loop's own notifications, is the loop."""
    for d in drafts:
        if storm.target in d.members and d.verdict == "loop":
            own = set(d.logicals)
            if sum(x in own for x in storm.logicals) > 0.5 * len(storm.logicals):
                return True
    return False


def _merge_runs(drafts: list[Draft], edges: pl.DataFrame, mail: Mail, log_end: dt.datetime) -> list[Draft]:
    """Runs of one member set that follow each other closely are one incident."""
    out: list[Draft] = []
    for d in sorted(drafts, key=lambda d: (sorted(d.members), d.type.value, d.started)):
        last = out[-1] if out else None
        close = max(1800.0, 10 * (d.period_s or 0))
        if last and set(last.members) == set(d.members) and last.type == d.type and last.verdict == d.verdict and (d.started - last.ended).total_seconds() <= close:
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
                mine.marked, mine.linked, mine.null_sender = mine.marked + theirs.marked, mine.linked + theirs.linked, mine.null_sender + theirs.null_sender
            last.measured = harm.measure(mail, edges, pl.Series(last.logicals), pl.Series(last.mids, dtype=pl.UInt32), last.members, last.started, last.ended)
            last.places = _places(last, mail)
        else:
            out.append(d)
    return out


def _guards(mail: Mail, edges: pl.DataFrame, drafts: list[Draft], log_end: dt.datetime) -> list[Draft]:
    """Messages that a loop guard stopped at the first hop: worth one line, no alarm."""
    taken = {m for d in drafts for m in d.mids}
    rows = mail.deliveries.filter(pl.col("event").is_in(["bounce", "defer"]), pl.col("diagnostic").is_not_null(), ~pl.col("mid").is_in(list(taken)))
    distinct = [t for t in rows["diagnostic"].unique().to_list() if endings.classify(t)[0] is Ending.HOP_LIMIT]
    rows = rows.filter(pl.col("diagnostic").is_in(distinct)).join(mail.messages.select("mid", "host", "logical"), on="mid")
    rows = rows.with_columns(_domain=pl.col("to_box").str.extract(r"@(.+)$", 1))
    out = []
    for (host, _), part in rows.sort("first").partition_by("host", "_domain", as_dict=True, maintain_order=True).items():
        mids = part["mid"].unique(maintain_order=True).to_list()
        started, ended = part["first"].min(), part["last"].max()
        row = part.row(0, named=True)
        members = tuple(part["to_box"].unique(maintain_order=True).head(8).to_list())
        logicals = part["logical"].unique(maintain_order=True)
        place = (row["source"], row["line"], row["offset"])
        draft = Draft(
            Kind.MAIL_LOOP, LoopType.FORWARDING, "proven", 0.9, [("loop guard", len(mids), ">= 1", True, f"a guard stopped {len(mids)} message(s) at the first hop")], [],
            members, mids, logicals.to_list(), started, ended, logicals.len(), len(mids), 0, 0, None, (part["first"].dt.epoch("us") / 1e6).to_list(),
            End(Ending.HOP_LIMIT, "ours", host or "", row["diagnostic"], endings.classify(row["diagnostic"])[1], place, row["last"]),
            harm.measure(mail, edges, logicals, pl.Series(mids, dtype=pl.UInt32), members, started, ended), verdict="guard",
        )  # fmt: skip
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
    add(stays.head(3), "first turns: arrival")
    add(told.filter(pl.col("mid").is_in(stays["mid"].head(3).implode())).head(4), "first turns: delivery")
    if n > 9:
        add(stays.slice(n // 2, 2), "in the middle")
    add(stays.tail(3), "last turns: arrival")
    add(told.filter(pl.col("mid").is_in(stays["mid"].tail(3).implode())).tail(4), "last turns: delivery")
    if draft.end.place:
        out.append((draft.end.place, "what ended it"))
    return list({place: (place, note) for place, note in out}.values())


# --- the finished incident --------------------------------------------------------------------------------------------


def severity(draft: Draft) -> Severity:
    """How bad: number, rate, harm, and whether it still runs; what a guard stopped at once is info."""
    if draft.verdict != "loop":
        return Severity.INFO
    minutes = max(1.0, (draft.ended - draft.started).total_seconds() / 60)
    volume = max(draft.messages, draft.transfers / 3, draft.copies)
    points = (volume >= 20) + (volume >= 100) + (volume >= 5000) + (volume / minutes >= 60)
    points += bool(draft.measured.mailboxes_filled) + (draft.measured.innocent_recipients >= 20) + (draft.end.reason is Ending.ONGOING and volume >= 100)
    points += draft.measured.share_of_traffic >= 0.5 and volume >= 100
    return (Severity.LOW, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.HIGH, Severity.CRITICAL)[min(points + 1, 5)]


def want_lines(drafts: list[Draft], mail: Mail, lines: Lines) -> None:
    """Note every line that the incidents will show."""
    for d in drafts:
        lines.want(p for p, _ in d.places)
        lines.want(d.measured.overload)
        lines.want(d.measured.reputation)


def first_lines(drafts: list[Draft], mail: Mail) -> list[Place]:
    """The line of the first message of each incident."""
    out = []
    for d in drafts:
        head = mail.messages.filter(pl.col("mid").is_in(d.mids)).sort("first", "mid").head(1)
        out += [(s, n, o) for s, n, o in head.select("source", "line", "offset").iter_rows()]
    return out


def finish(draft: Draft, edges: pl.DataFrame, mail: Mail, lines: Lines) -> Incident:
    """Make the incident of a draft, once its lines are fetched."""
    stays = mail.messages.filter(pl.col("mid").is_in(draft.mids)).sort("first", "mid")
    hosts = tuple(stays["host"].drop_nulls().unique(maintain_order=True).to_list())
    ours = _our_members(draft, mail)
    cause_id = _cause(draft)
    own = pl.DataFrame({"sent": pl.Series(draft.times, dtype=pl.Float64)}).select(sent=(pl.col("sent") * 1e6).cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    first, last = mail.messages["first"].min(), mail.messages["last"].max()
    evidence = tuple(lines.evidence(p, note) for p, note in draft.places)
    ended_by = EndedBy(
        reason=draft.end.reason, side=draft.end.side, host=draft.end.host or "", text=draft.end.text[:1000], signature=draft.end.signature,
        evidence=(lines.evidence(draft.end.place, "what ended it"),) if draft.end.place else (),
    )  # fmt: skip
    head = stays.row(0, named=True)
    trigger = Trigger(
        time=draft.started, sender=_box(head["from_box"], draft), recipient=draft.members[-1] if draft.kind is Kind.NDR_STORM else _first_recipient(head["mid"], mail),
        message_id=head["message_id"], queue_id=head["queue_id"], host=head["host"] or "", client=head["client_host"] or head["client_ip"] or "", subject=head["subject"],
        evidence=(lines.evidence((head["source"], head["line"], head["offset"]), "the first message"),),
    )  # fmt: skip
    waiting = stays.filter(~pl.col("removed"))["queue_id"].drop_nulls().unique(maintain_order=True).head(200).to_list()
    m = draft.measured
    ids = stays["message_id"].drop_nulls().unique(maintain_order=True).to_list()
    storm = draft.storm
    moments = _moments(draft, trigger, ended_by)
    side = "both" if len(ours) != 1 else ("ours" if _answers_marked(draft, ours[0]) else "both")
    return Incident(
        id=_identity(draft), kind=draft.kind, type=draft.type, severity=severity(draft),
        confidence=Confidence(level=draft.level, score=round(draft.score, 3), factors=tuple(Factor(name=a, value=b, threshold=c, supports=d, words=e) for a, b, c, d, e in draft.factors)),
        headline=headline(draft.kind, draft.type, draft.members, draft.messages, draft.transfers, draft.copies, draft.started, draft.ended, draft.verdict),
        members=draft.members, aliases=_aliases(draft, mail), hosts=hosts, started=draft.started, ended=draft.ended, messages=draft.messages, transfers=draft.transfers,
        copies=draft.copies, bytes=m.bytes, turns=draft.turns, period_s=round(draft.period_s, 3) if draft.period_s is not None else None,
        peak_per_minute=harm.peak_per_minute(sorted(draft.times)), growth_bytes_per_turn=draft.growth, arrows=tuple(_arrow(s, draft) for s in draft.steps), trigger=trigger,
        ended_by=ended_by, still_queued=tuple(waiting), cause=cause_of(cause_id, side, draft.members),
        harm=Harm(
            share_of_traffic=round(m.share_of_traffic, 4), bytes=m.bytes, ndrs_sent=m.ndrs_sent, innocent_recipients=m.innocent_recipients, mailboxes_filled=m.mailboxes_filled,
            queue_delay_before_s=m.before_s, queue_delay_during_s=m.during_s, queue_delay_p95_before_s=m.p95_before_s, queue_delay_p95_during_s=m.p95_during_s,
            deferrals_during=m.deferrals, overload_signs=tuple(lines.evidence(p) for p in m.overload), reputation_signs=tuple(lines.evidence(p) for p in m.reputation),
        ),
        look_alikes=tuple(draft.look_alikes), moments=moments, series=harm.series(own, edges.unique("logical", maintain_order=True), first, last, draft.started, draft.ended),
        origins=storm.origins if storm else {}, codes=storm.codes if storm else {}, message_ids=tuple(dict.fromkeys([*ids[:5], *ids[-5:]])), evidence=evidence,
        evidence_total=int(stays["lines"].sum() or 0),
    )  # fmt: skip


def _identity(draft: Draft) -> str:
    """Stable for the same input: from what it is, who takes part and when it began."""
    text = "|".join([draft.kind.value, draft.type.value, *sorted(draft.members), draft.started.isoformat(timespec="seconds")])
    prefix = "loop" if draft.kind is Kind.MAIL_LOOP else "storm"
    return f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:10]}"


def _box(address: str | None, draft: Draft) -> str:
    return address if address else "<>" if address == "" else draft.members[0]


def _first_recipient(mid: int, mail: Mail) -> str:
    told = mail.deliveries.filter(pl.col("mid") == mid)["to_box"].to_list()
    return told[0] if told else ""


def _arrow(step: loops.Step, draft: Draft) -> Arrow:
    if draft.type is LoopType.FORWARDING:
        proof = "same_message_id"
    else:
        proof = "logged_link" if step.times and step.linked >= 0.6 * len(step.times) else "time_pattern"
    return Arrow(
        origin=step.origin, target=step.target, messages=len(step.times), median_lag_s=round(step.lags.median_s, 3) if step.lags else None,
        spread=round(step.lags.spread, 3) if step.lags else None, proof=proof, program=step.program, host=step.host, null_sender=step.null_sender,
    )  # fmt: skip


def _our_members(draft: Draft, mail: Mail) -> list[str]:
    """Members whose mailboxes lie on hosts of these logs: something was delivered to them without a relay."""
    local = mail.deliveries.filter(pl.col("to_box").is_in(list(draft.members)), pl.col("event") == "deliver", pl.col("relay_ip").is_null())
    found = set(local["to_box"].unique().to_list())
    return [m for m in draft.members if m in found]


def _answers_marked(draft: Draft, member: str) -> bool:
    """Whether `member` answers mail that is marked as automatic (or has the null reverse-path)."""
    return any(s.target == member and s.marked >= 0.6 * max(1, len(s.times)) for s in draft.steps)


def _cause(draft: Draft) -> str:
    if draft.kind is Kind.NDR_STORM:
        return draft.type.value
    if draft.verdict == "guard":
        return "self_routing"
    if draft.type is LoopType.LIST:
        return "responder_list"
    if draft.type is LoopType.FORWARDING:
        return "forward_ring" if len(draft.members) > 1 else "routing_loop"
    if draft.type is LoopType.NOTIFICATION:
        return "responder_mailer_daemon" if any(m.startswith(("mailer-daemon@", "postmaster@")) for m in draft.members) else "ndr_loop"
    return "ticket_pair" if any(_TICKETS.match(m) for m in draft.members) else "responder_pair"


def _aliases(draft: Draft, mail: Mail) -> dict[str, tuple[str, ...]]:
    """Other addresses under which the logs name the members, as far as they differ in more than letter case."""
    rows = mail.deliveries.filter(pl.col("mid").is_in(draft.mids), pl.col("to_box").is_in(list(draft.members)))
    pairs = rows.select("to_box", "recipient").unique().sort("to_box", "recipient")
    out: dict[str, list[str]] = {}
    for box, raw in pairs.iter_rows():
        if raw and raw.lower() != box and raw.lower() not in draft.members:
            out.setdefault(box, []).append(raw)
    return {box: tuple(raws[:10]) for box, raws in out.items()}


def _moments(draft: Draft, trigger: Trigger, ended_by: EndedBy) -> tuple[Moment, ...]:
    what = "first notification" if draft.kind is Kind.NDR_STORM else "first message of the chain"
    out = [Moment(time=draft.started, words=f"{what}: {trigger.sender} to {trigger.recipient}", evidence=trigger.evidence)]
    times = sorted(draft.times)
    if len(times) > 20:
        best, start, at = 0, 0, times[0]
        for i, t in enumerate(times):
            while t - times[start] >= 60:
                start += 1
            if i - start + 1 > best:
                best, at = i - start + 1, times[start]
        out.append(Moment(time=dt.datetime.fromtimestamp(at, dt.UTC), words=f"peak: {best} messages within a minute"))
    out.append(Moment(time=draft.ended, words="last turn"))
    if draft.end.at and draft.end.place:
        out.append(Moment(time=draft.end.at, words=f"ended: {ended_by.reason.value.replace('_', ' ')}", evidence=ended_by.evidence))
    return tuple(sorted(out, key=lambda m: m.time))
