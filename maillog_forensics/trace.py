"""The way of a message, or of everything an address sent and received: over hosts and mail servers, hop by hop."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from maillog_forensics import sources
from maillog_forensics.mail import Mail
from maillog_forensics.sources import Input
from maillog_forensics.text import visible

MAX_MESSAGES = 2000


@dataclass(frozen=True)
class Traced:
    """What belongs together: `mids` of the messages asked for, in order of logical messages and time."""

    groups: tuple[tuple[int, ...], ...]
    truncated: int = 0


def find(mail: Mail, what: str, *, related: bool = False) -> Traced:
    """Find the messages that `what` names.

    Parameters
    ----------
    mail
        With canonical mailboxes.
    what
        A queue id, a Message-ID (with or without brackets) or an address.
    related
        Also what they caused (notifications, answers) and what they answer, as far as the logs link them.
    """
    bare = what.strip().strip("<>")
    low = bare.lower()
    messages = mail.messages
    direct = messages.filter((pl.col("queue_id") == bare) | (pl.col("message_id") == bare)).collect()
    if direct.is_empty() and "@" in bare:
        told = mail.deliveries.filter(
            (pl.col("to_box") == low) | (pl.col("final_box") == low) | (pl.col("recipient").str.to_lowercase() == low)
        )
        reached = told.select(pl.col("mid").unique()).collect()["mid"]
        direct = messages.filter(
            (pl.col("from_box") == low) | (pl.col("sender").str.to_lowercase() == low) | pl.col("mid").is_in(reached.implode())
        ).collect()
    chosen = messages.filter(pl.col("logical").is_in(direct["logical"].unique().implode())).collect()
    if related:
        while True:
            mids = chosen["mid"]
            kin = messages.filter(
                pl.col("parent").is_in(mids.implode()) | pl.col("mid").is_in(chosen["parent"].drop_nulls().implode())
            ).collect()
            names = pl.concat([chosen["logical"], kin["logical"]]).unique()
            grown = messages.filter(pl.col("logical").is_in(names.implode())).collect()
            if grown.height == chosen.height or grown.height > MAX_MESSAGES:
                break
            chosen = grown
    left = max(0, chosen.height - MAX_MESSAGES)
    chosen = chosen.sort("first", "mid").head(MAX_MESSAGES)
    groups = [tuple(part["mid"].to_list()) for part in chosen.partition_by("logical", maintain_order=True)]
    return Traced(tuple(groups), left)


def tell(mail: Mail, traced: Traced, *, raw: dict[int, list[tuple[str, int, str]]] | None = None) -> str:
    """The way of the messages in words for a terminal.

    Parameters
    ----------
    raw
        Lines of each message (source, line number, text), as `raw_lines` gives them; printed below each stay.
    """
    out = []
    stays = mail.stays([m for g in traced.groups for m in g])
    by_mid = {row["mid"]: row for row in stays.to_dicts()}
    told: dict[int, list[dict[str, object]]] = {}
    for row in mail.told(stays["mid"]).sort("first", "line").to_dicts():
        told.setdefault(row["mid"], []).append(row)
    parents = dict(mail.stays(stays["parent"].drop_nulls()).select("mid", "queue_id").iter_rows())
    for group in traced.groups:
        first = by_mid[group[0]]
        out.append(
            f"Message-ID {_shown(first['message_id'])}" + (f"  subject {_shown(first['subject'])}" if first["subject"] else "")
        )
        for mid in group:
            out += _stay(by_mid[mid], told.get(mid, []), parents)
            for source, number, text in (raw or {}).get(mid, []):
                out.append(f"      {visible(source)}:{number}: {visible(text, 1000)}")
        out.append("")
    if traced.truncated:
        out.append(f"{traced.truncated} further messages are not shown; name a queue id or Message-ID to see less.")
    return "\n".join(out).rstrip("\n") + "\n"


def _stay(message: dict[str, object], deliveries: list[dict[str, object]], parents: dict[int, str]) -> list[str]:
    came = (
        f" from {_shown(message['client_host'])} [{_shown(message['client_ip'])}]" if message["client_ip"] else " submitted here"
    )
    parent = message["parent"]
    because = f", because of {_shown(parents.get(parent))}" if isinstance(parent, int) else ""
    out = [
        f"  {_time(message['first'])}  {_shown(message['host'])}  {_shown(message['queue_id'])}  {message['mta']}: "
        f"<{_shown(message['sender'], empty='')}>{came}, {_shown(message['size'])} bytes{because}"
    ]
    for d in deliveries:
        where = f" to {_shown(d['relay_host'])}" if d["relay_host"] else f" by {_shown(d['transport'])}" if d["transport"] else ""
        via = f" (written to {_shown(d['orig_recipient'])})" if d["orig_recipient"] else ""
        onward = f", there {_shown(d['next_queue_id'])}" if d["next_queue_id"] else ""
        waited = f", {d['delay_s']:g} s after arrival" if isinstance(d["delay_s"], float) else ""
        tries = f", {d['attempts']} attempts" if isinstance(d["attempts"], int) and d["attempts"] > 1 else ""
        why = "" if d["event"] == "deliver" else f": {_shown(d['diagnostic'])}"
        out.append(f"    {_time(d['last'])}  {d['event']} <{_shown(d['recipient'])}>{via}{where}{onward}{waited}{tries}{why}")
    if not deliveries:
        out.append("    no delivery in these logs")
    return out


def _shown(value: object, empty: str = "-") -> str:
    return visible(str(value), 300) if value not in (None, "") else empty


def _time(value: object) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z" if isinstance(value, dt.datetime) else "-"


def raw_lines(mail: Mail, traced: Traced, opened: dict[str, str] | None = None) -> dict[int, list[tuple[str, int, str]]]:
    """Every line that names one of the messages' queue ids, in the files where they were seen: one more pass over these files.

    Parameters
    ----------
    opened
        The path to open for a source, where that is another one.
    """
    mids = [m for g in traced.groups for m in g]
    keys = mail.stays(mids).filter(pl.col("queue_id").is_not_null()).select("host_key", "queue_id").unique()
    lives = mail.messages.join(keys.lazy(), on=["host_key", "queue_id"], how="semi").sort("mid").collect()
    found: dict[int, list[tuple[str, int, str]]] = {}
    for source in lives["source"].unique().sort().to_list():
        here = lives.filter(pl.col("source") == source).sort("line")
        ids = here["queue_id"].unique().to_list()
        begins = {q: here.filter(pl.col("queue_id") == q).select("line", "mid").rows() for q in ids}
        for chunk in sources.read((opened or {}).get(source, source), Input(source)):
            table = chunk.lines.filter(pl.col("text").str.contains_any(ids))
            for number, text in table.select("line", "text").iter_rows():
                for q in ids:
                    if q in text:
                        owner = [m for line, m in begins[q] if line <= number] or [begins[q][0][1]]
                        if owner[-1] in mids:
                            found.setdefault(owner[-1], []).append((source, number, text))
    return found
