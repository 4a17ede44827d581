"""All detectors over the correlated mail, and what each of them looked at."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass

from maillog_forensics import beginnings, forwarding, graph, groups, lists, loop_drafts, rings, storm_drafts, storms
from maillog_forensics import pairs as pairing
from maillog_forensics.drafts import Draft
from maillog_forensics.findings import Search
from maillog_forensics.graph import Graph
from maillog_forensics.language import said
from maillog_forensics.mail import Mail
from maillog_forensics.pair_sides import PairParameters


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
    began = mails.edges["sent"].min()
    parameters = PairParameters(window_s=window_s, log_began_s=began.timestamp() if isinstance(began, dt.datetime) else 0.0)
    pairs, seen_pairs = pairing.find_pairs(mails, parameters, mail)
    ringed, seen_rings = forwarding.find_rings(mail, mails)
    listed, seen_lists = lists.find_lists(mails, mail, lists.ListParameters(window_s=window_s))
    grouped, seen_groups = groups.find_groups(mails, mail, parameters)
    cycles, seen_cycles = rings.find_cycles(mails, rings.CycleParameters(window_s=window_s), mail)
    for loop in [*grouped, *cycles, *pairs]:
        if loop.verdict == "loop":
            beginnings.followed_back(loop, mails)
    rounds = sorted([*grouped, *cycles], key=lambda loop: -len(loop.members))  # a part of a ring is no ring of its own
    stormy, seen_storms = storms.find_storms(mail, mails)
    drafts = [loop_drafts.from_rows(loop, mails, mail) for loop in loop_drafts.distinct([*listed, *rounds, *pairs])]
    drafts = loop_drafts.without_parts(drafts, [loop_drafts.from_stays(loop, mails, mail) for loop in ringed])
    drafts = loop_drafts.merged(drafts, mails, mail)
    drafts += [storm_drafts.from_storm(s, mails, mail) for s in stormy if not storm_drafts.is_of_loop(s, drafts)]
    drafts += loop_drafts.guards(mail, mails, drafts)
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
            candidates=seen_cycles.candidates + seen_groups.candidates,
            found=sum(c.verdict == "loop" for c in [*grouped, *cycles]),
            set_aside=dict(Counter(seen_cycles.set_aside) + Counter(seen_groups.set_aside)),
            words=said(
                "cycles of three to eight mailboxes; groups in which too many write to each other in step to try all: %(n)s. "
                "Rings there may be missing or shown in part; --since and --until narrow the search",
                n=seen_cycles.truncated,
            )
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
