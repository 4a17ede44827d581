"""The plain sentences that findings carry, headlines and causes; headlines again in another language."""

from __future__ import annotations

import datetime as dt

from maillog_forensics.figures import clock, plural
from maillog_forensics.findings import Cause, Findings, Incident, Kind, LoopType, StormType
from maillog_forensics.language import ENGLISH, mark, mark_n, say, say_n, spoken, told


def duration(seconds: float) -> str:
    """A length of time as people say it: 40 seconds, 22 minutes, 3 hours 5 minutes, 2 days 4 hours."""
    seconds = round(seconds)
    for big, small, size in ((_days, _hours, 86400), (_hours, _minutes, 3600)):
        less = 3600 if size == 86400 else 60
        if seconds >= size * (2 if size == 86400 else 1.5):
            whole, rest = divmod(seconds, size)
            return big(whole) + (f" {small(rest // less)}" if rest >= less else "")
    return _minutes(round(seconds / 60)) if seconds >= 120 else say_n("%(n)s second", "%(n)s seconds", seconds)


def _days(n: int) -> str:
    return say_n("%(n)s day", "%(n)s days", n)


def _hours(n: int) -> str:
    return say_n("%(n)s hour", "%(n)s hours", n)


def _minutes(n: int) -> str:
    return say_n("%(n)s minute", "%(n)s minutes", n)


def names(members: tuple[str, ...], limit: int = 4) -> str:
    """a, b and c; the rest counted."""
    if len(members) > limit:
        return say("%(names)s and %(n)s more", names=", ".join(members[:limit]), n=len(members) - limit)
    if len(members) < 2:
        return "".join(members)
    return say("%(first)s and %(last)s", first=", ".join(members[:-1]), last=members[-1])


def headline(
    kind: Kind,
    type: LoopType | StormType,
    members: tuple[str, ...],
    messages: int,
    transfers: int,
    copies: int,
    started: dt.datetime,
    ended: dt.datetime,
    verdict: str,
    spread: tuple[str, int] | None = None,
) -> str:
    """One plain sentence that says what happened, in the language that is spoken.

    Parameters
    ----------
    verdict
        "loop", "guard" where a loop guard stopped it at the first hop, else the honest traffic that it may be.
    spread
        Of a storm from one to many: the host, and the number of mailboxes.
    """
    lasting = duration((ended - started).total_seconds())
    if kind is Kind.NDR_STORM:
        if spread:
            one, many = _STORMS_TO_MANY[StormType(type)]
            host, mailboxes = spread
            return say_n(one, many, messages, host=host, mailboxes=mailboxes, time=lasting, who=members[0])
        return say_n(*_STORMS[StormType(type)], messages, who=members[0], time=lasting)
    who = names(members)
    if verdict == "guard":
        return say_n(
            "A loop guard stopped %(n)s message to %(who)s at the first hop.",
            "A loop guard stopped %(n)s messages to %(who)s at the first hop.",
            messages,
            who=who,
        )
    if verdict != "loop":
        return say_n(
            "%(who)s wrote to each other in a steady rhythm, %(n)s message in %(time)s; it may be %(verdict)s.",
            "%(who)s wrote to each other in a steady rhythm, %(n)s messages in %(time)s; it may be %(verdict)s.",
            messages,
            who=who,
            time=lasting,
            verdict=told(verdict),
        )
    if type is LoopType.FORWARDING and len(members) == 1:
        return say_n(
            "%(n)s message to %(who)s went round between servers, %(transfers)s transfers in %(time)s.",
            "%(n)s messages to %(who)s went round between servers, %(transfers)s transfers in %(time)s.",
            messages,
            who=who,
            transfers=transfers,
            time=lasting,
        )
    if type is LoopType.FORWARDING:
        return say_n(
            "%(who)s forward to each other in a ring: %(n)s message went round, %(transfers)s transfers in %(time)s.",
            "%(who)s forward to each other in a ring: %(n)s messages went round, %(transfers)s transfers in %(time)s.",
            messages,
            who=who,
            transfers=transfers,
            time=lasting,
        )
    if type is LoopType.LIST:
        return say_n(
            "%(who)s answered the list %(list)s automatically, %(n)s post and %(copies)s copies in %(time)s.",
            "%(who)s answered the list %(list)s automatically, %(n)s posts and %(copies)s copies in %(time)s.",
            messages,
            who=names(members[1:]),
            list=members[0],
            copies=copies,
            time=lasting,
        )
    return say_n(
        *_ANSWERS["notification" if type is LoopType.NOTIFICATION else "ring" if len(members) > 2 else "pair"],
        messages,
        who=who,
        time=lasting,
    )


_ANSWERS = {
    "notification": mark_n(
        "%(who)s answered each other's notifications, %(n)s message in %(time)s.",
        "%(who)s answered each other's notifications, %(n)s messages in %(time)s.",
    ),
    "ring": mark_n(
        "%(who)s answered each other automatically in a ring, %(n)s message in %(time)s.",
        "%(who)s answered each other automatically in a ring, %(n)s messages in %(time)s.",
    ),
    "pair": mark_n(
        "%(who)s answered each other automatically, %(n)s message in %(time)s.",
        "%(who)s answered each other automatically, %(n)s messages in %(time)s.",
    ),
}
_STORMS = {
    StormType.BACKSCATTER: mark_n(
        "%(n)s bounce hit %(who)s in %(time)s, of mail that it had not sent.",
        "%(n)s bounces hit %(who)s in %(time)s, of mail that it had not sent.",
    ),
    StormType.OUTBOUND_BOUNCES: mark_n(
        "%(n)s bounce of its own mail hit %(who)s in %(time)s.", "%(n)s bounces of its own mail hit %(who)s in %(time)s."
    ),
    StormType.DOUBLE_BOUNCES: mark_n(
        "%(n)s notice hit %(who)s in %(time)s, of bounces that could not be returned.",
        "%(n)s notices hit %(who)s in %(time)s, of bounces that could not be returned.",
    ),
    StormType.DELAY_NOTICES: mark_n(
        "%(n)s notice of delayed mail hit %(who)s in %(time)s.", "%(n)s notices of delayed mail hit %(who)s in %(time)s."
    ),
}
_STORMS_TO_MANY = {
    StormType.BACKSCATTER: mark_n(
        "%(host)s sent %(n)s bounce to %(mailboxes)s mailboxes in %(time)s, of mail that they had not sent; most to %(who)s.",
        "%(host)s sent %(n)s bounces to %(mailboxes)s mailboxes in %(time)s, of mail that they had not sent; most to %(who)s.",
    ),
    StormType.OUTBOUND_BOUNCES: mark_n(
        "%(host)s sent %(n)s bounce of their own mail to %(mailboxes)s mailboxes in %(time)s, most to %(who)s.",
        "%(host)s sent %(n)s bounces of their own mail to %(mailboxes)s mailboxes in %(time)s, most to %(who)s.",
    ),
    StormType.DOUBLE_BOUNCES: mark_n(
        "%(host)s sent %(n)s notice to %(mailboxes)s mailboxes in %(time)s, of bounces that could not be returned; most to %(who)s.",
        "%(host)s sent %(n)s notices to %(mailboxes)s mailboxes in %(time)s, of bounces that could not be returned; most to %(who)s.",
    ),
    StormType.DELAY_NOTICES: mark_n(
        "%(host)s sent %(n)s notice of delayed mail to %(mailboxes)s mailboxes in %(time)s, most to %(who)s.",
        "%(host)s sent %(n)s notices of delayed mail to %(mailboxes)s mailboxes in %(time)s, most to %(who)s.",
    ),
}


def headline_of(incident: Incident) -> str:
    """The headline of an incident in the language that is spoken, from the same fields that its English one was made from."""
    if spoken() == ENGLISH:
        return incident.headline
    doubts = [a.name for a in incident.look_alikes if not a.ruled_out]
    weak = incident.confidence.level == "possible"
    host = next(iter(incident.origins), "")
    return headline(
        incident.kind,
        incident.type,
        incident.members,
        incident.messages,
        incident.transfers,
        incident.copies,
        incident.started,
        incident.ended,
        "guard" if incident.cause.id == "self_routing" else doubts[0] if weak and doubts else "loop",
        (host, incident.notified) if incident.notified and host else None,
    )


_CAUSES = {
    "responder_pair": mark(
        "Two automatic responders answer each other; at least one answers mail that is itself automatic, and neither remembers whom it has answered."
    ),
    "ticket_pair": mark("A ticket system and an automatic responder acknowledge each other's messages."),
    "responder_list": mark("A responder answers mail that came through a list, to the list."),
    "forward_ring": mark("Each mailbox forwards to the next, and the last one forwards to the first."),
    "routing_loop": mark("Two servers each hold the other responsible for the address."),
    "self_routing": mark("The server is named as the next hop for a domain that it does not recognise as its own."),
    "ndr_loop": mark("A program answers non-delivery notifications, and its answers are answered by notifications again."),
    "responder_mailer_daemon": mark("A responder answers bounces; its answers go to an address that does not exist, and bounce."),
    "backscatter": mark(
        "Mail with a forged sender was accepted for recipients that don't exist, and returned to the forged address."
    ),
    "outbound_bounces": mark("Mail sent by this mailbox could not be delivered, and was returned."),
    "double_bounces": mark("Bounces could not be returned to their senders, and the postmaster was told of each."),
    "delay_notices": mark("Mail waited in the queue, and its sender was told of each delay."),
    "unknown": mark("The logs don't show the cause."),
}


def cause_of(id: str, side: str, members: tuple[str, ...]) -> Cause:
    """The cause with its sentence."""
    if id in ("backscatter", "double_bounces", "self_routing", "delay_notices"):
        side = "ours"
    return Cause(id=id, side=side, sentence=_CAUSES[id], inferred=id not in ("self_routing", "double_bounces"))  # type: ignore[arg-type]


def nothing_sentence(findings: Findings) -> str:
    """The verdict when there is no alarm."""
    if findings.traffic.messages:
        return say("No mail loop and no NDR storm in %(messages)s.", messages=plural(findings.traffic.messages, "message"))
    asked = findings.run.parameters.get("since") or findings.run.parameters.get("until")
    times = [t for i in findings.inputs for t in (i.first, i.last) if t]
    if not asked or not times:
        return say("No mail was found in these logs, so nothing can be said about loops.")
    return say(
        "No mail in the time that was asked for; these logs tell of %(first)s to %(last)s UTC.",
        first=clock(min(times)),
        last=clock(max(times)),
    )
