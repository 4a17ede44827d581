"""The plain sentences that findings carry: headlines and causes."""

from __future__ import annotations

import datetime as dt

from maillog_forensics.findings import Cause, Kind, LoopType, StormType


def duration(seconds: float) -> str:
    """A length of time as people say it: 40 seconds, 22 minutes, 3 hours 5 minutes, 2 days 4 hours."""
    seconds = round(seconds)
    for size, small, big_name, small_name in ((86400, 3600, "day", "hour"), (3600, 60, "hour", "minute")):
        if seconds >= 2 * size or (size == 3600 and seconds >= size * 1.5):
            big, rest = divmod(seconds, size)
            less = rest // small
            return _many(big, big_name) + (f" {_many(less, small_name)}" if less else "")
    return _many(round(seconds / 60), "minute") if seconds >= 120 else _many(seconds, "second")


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _many_of(messages: int) -> str:
    return f"{number(messages)} message" + ("" if messages == 1 else "s")


def number(n: int) -> str:
    """Digits in groups of three."""
    return f"{n:,}"


def names(members: tuple[str, ...], limit: int = 4) -> str:
    """a, b and c; the rest counted."""
    shown = list(members[:limit])
    if len(members) > limit:
        return ", ".join(shown) + f" and {len(members) - limit} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


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
    """One plain sentence that says what happened; `spread` is the host and the number of mailboxes of a storm from one to many."""
    lasting = duration((ended - started).total_seconds())
    if kind is Kind.NDR_STORM:
        what = {
            StormType.BACKSCATTER: "bounces of mail that it had not sent",
            StormType.OUTBOUND_BOUNCES: "bounces of its own mail",
            StormType.DOUBLE_BOUNCES: "notices of bounces that could not be returned",
            StormType.DELAY_NOTICES: "notices of delayed mail",
        }[StormType(type)]
        if spread:
            what = what.replace(" it ", " they ").replace(" its ", " their ")
            return (
                f"{spread[0]} sent {number(messages)} {what} to {number(spread[1])} mailboxes in {lasting}, most to {members[0]}."
            )
        return f"{members[0]} was hit by {number(messages)} {what} in {lasting}."
    if verdict == "guard":
        return (
            f"A loop guard stopped {number(messages)} message{'s' if messages != 1 else ''} to {names(members)} at the first hop."
        )
    if verdict != "loop":
        return f"{names(members)} wrote to each other in a steady rhythm, {number(messages)} messages in {lasting}; it may be {verdict}."
    if type is LoopType.FORWARDING:
        if len(members) == 1:
            return f"{number(messages)} message{'s' if messages != 1 else ''} to {members[0]} went round between servers, {number(transfers)} transfers in {lasting}."
        return f"{names(members)} forward to each other in a ring: {_many_of(messages)} went round, {number(transfers)} transfers in {lasting}."
    if type is LoopType.LIST:
        return f"{names(members[1:])} answered the list {members[0]} automatically, {number(messages)} posts and {number(copies)} copies in {lasting}."
    if type is LoopType.NOTIFICATION:
        return f"{names(members)} answered each other's notifications, {number(messages)} messages in {lasting}."
    if len(members) > 2:
        return f"{names(members)} answered each other automatically in a ring, {number(messages)} messages in {lasting}."
    return f"{names(members)} answered each other automatically, {number(messages)} messages in {lasting}."


_CAUSES = {
    "responder_pair": "Two automatic responders answer each other; at least one answers mail that is itself automatic, and neither remembers whom it has answered.",
    "ticket_pair": "A ticket system and an automatic responder acknowledge each other's messages.",
    "responder_list": "A responder answers mail that came through a list, to the list.",
    "forward_ring": "Each mailbox forwards to the next, and the last one forwards to the first.",
    "routing_loop": "Two servers each hold the other responsible for the address.",
    "self_routing": "The server is named as the next hop for a domain that it does not recognise as its own.",
    "ndr_loop": "A program answers non-delivery notifications, and its answers are answered by notifications again.",
    "responder_mailer_daemon": "A responder answers bounces; its answers go to an address that does not exist, and bounce.",
    "backscatter": "Mail with a forged sender was accepted for recipients that don't exist, and returned to the forged address.",
    "outbound_bounces": "Mail sent by this mailbox could not be delivered, and was returned.",
    "double_bounces": "Bounces could not be returned to their senders, and the postmaster was told of each.",
    "delay_notices": "Mail waited in the queue, and its sender was told of each delay.",
    "unknown": "The logs don't show the cause.",
}


def cause_of(id: str, side: str, members: tuple[str, ...]) -> Cause:
    """The cause with its sentence."""
    if id in ("backscatter", "double_bounces", "self_routing", "delay_notices"):
        side = "ours"
    return Cause(id=id, side=side, sentence=_CAUSES[id], inferred=id not in ("self_routing", "double_bounces"))  # type: ignore[arg-type]
