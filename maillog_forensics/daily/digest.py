"""The digest by mail: the state of things on one screen, as text and as HTML, from what the ledger knows of the days.

A program that finds mail loops must not start one. The digest has the null reverse-path and is marked as automatic; it is sent
once for each day and state of the incidents; and it is not sent to a mailbox that takes part in a running loop.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import socket
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import polars as pl

from maillog_forensics import __version__, png, report
from maillog_forensics.addresses import canonical_of
from maillog_forensics.archive.store import Archive
from maillog_forensics.daily import mailing, pages
from maillog_forensics.daily.config import Config
from maillog_forensics.daily.mailing import MailError
from maillog_forensics.errors import MaillogForensicsError
from maillog_forensics.figures import bytes_text, plural
from maillog_forensics.findings import Kind, read
from maillog_forensics.language import number, say, translated
from maillog_forensics.narrative import SEVERITIES, TYPES
from maillog_forensics.text import visible

MAX_BYTES = 60_000
"""Mail programs cut what is much larger; a digest is far below it."""
_PICTURE = "rate@maillog-forensics"
_INCIDENTS, _SENTENCES, _TEXT, _CELL = 12, 12, 300, 150
_TOTALS = ("received", "delivered", "deferrals", "bounced", "rejected", "refused_for_now", "bytes_received", "bytes_delivered")


def send(archive: Archive, config: Config, now: dt.datetime, problems: list[str]) -> tuple[str, list[str]]:
    """Send the digest, unless there is nothing new to tell.

    Returns
    -------
    done
        What was sent, in words; empty where nothing was.
    refused
        Sentences about recipients who did not get it, and why.

    Raises
    ------
    MailError
        When it could not be handed over; nothing is remembered, so that the next run tries again.
    """
    content = _content(archive, config, now, problems)
    if content is None or (config.mail.when == "incidents" and not content["incidents"]):
        return "", []
    if known := archive.ledger.execute("SELECT sent FROM digests WHERE key = ?", (content["key"],)):
        if known[0][0]:
            return "", []
        _note(archive, content, "unknown")
        return "", [
            f"the run that sent the digest of {content['date']} was killed: it may or may not have arrived, and is not sent twice"
        ]
    recipients, refused = _allowed(archive, config)
    if not recipients:
        return "", refused
    picture = _picture(config, content["date"])
    message = compose(content, recipients, config, now, picture)
    if picture and len(message.as_bytes()) > MAX_BYTES:
        message = compose(content, recipients, config, now)
    if len(message.as_bytes()) > MAX_BYTES:
        raise MailError(f"the digest would have {len(message.as_bytes())} bytes, more than {MAX_BYTES}")
    _note(archive, content, "")  # before it goes out: whatever happens then, it does not go out twice
    try:
        mailing.deliver(message, recipients, config.mail)
    except MaillogForensicsError:
        archive.ledger.execute("DELETE FROM digests WHERE key = ?", (content["key"],))
        raise
    _note(archive, content, now.isoformat())
    return f"the digest of {content['date']} was sent to {', '.join(recipients)}", refused


def _note(archive: Archive, content: dict[str, Any], sent: str) -> None:
    archive.ledger.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (content["key"], content["date"], sent))


def _allowed(archive: Archive, config: Config) -> tuple[list[str], list[str]]:
    """Recipients that take part in no running incident, and a sentence for each of the others."""
    parties: dict[str, str] = {}
    for incident in pages.running_of(archive):
        parties |= dict.fromkeys(incident["members"], incident["id"])
    sender = config.mail.sender or config.mail.to[0]
    boxes = dict(zip((*config.mail.to, sender), canonical_of(pl.Series("box", [*config.mail.to, sender])).to_list()))
    if boxes[sender] in parties and sender not in config.mail.to:
        return [], [
            f"the digest was not sent: its From address {sender} takes part in {parties[boxes[sender]]}, which is running; set another mail.sender"
        ]
    good = [to for to in config.mail.to if boxes[to] not in parties]
    return good, [
        f"the digest was not sent to {to}: that mailbox takes part in {parties[boxes[to]]}, which is running; a mail to it may be answered again"
        for to in config.mail.to
        if boxes[to] in parties
    ]


def _content(archive: Archive, config: Config, now: dt.datetime, problems: list[str]) -> dict[str, Any] | None:
    """What there is to tell; None where no day was reported yet."""
    days = pages.days_of(archive)
    if not days:
        return None
    day = next((d for d in days if d["is_whole"]), days[0])
    newer = [d for d in days if d["date"] > day["date"]]
    told: dict[str, dict[str, Any]] = {}
    for one in [day, *reversed(newer)]:
        told |= {i["id"]: i for i in one["incidents"]}
    incidents = sorted(told.values(), key=lambda i: (not i["is_running"], i["opened"], i["id"]))
    missed = _missed(archive, days, day["date"], told)
    running = sum(bool(i["is_running"]) for i in incidents)
    yesterday = config.day_of(now) - dt.timedelta(days=1)
    sentences = [visible(p, _TEXT) for p in problems[:_SENTENCES]]
    if not any(d["date"] >= yesterday.isoformat() for d in days):
        sentences.insert(
            0, say("No log line of %(day)s was found: does the mail server still log, and where?", day=str(yesterday))
        )
    state = json.dumps([(i["id"], bool(i["is_running"])) for i in incidents])
    count = plural(len(incidents) + len(missed), "incident")
    headline = say("no loop and no storm") if not incidents and not missed else count
    if running:
        headline = say("%(incidents)s, %(n)s still running", incidents=count, n=running)
    return {
        "key": f"{day['date']}|{hashlib.sha256(state.encode()).hexdigest()[:16]}",
        "date": day["date"],
        "is_whole": day["is_whole"],
        "headline": headline,
        "title": say("Mail report of %(day)s: %(what)s", day=day["date"], what=headline)
        if day["is_whole"]
        else say("Mail report of %(day)s (so far): %(what)s", day=day["date"], what=headline),
        "incidents": [_incident(i, day["date"], config.mail.masked) for i in [*incidents, *missed][:_INCIDENTS]],
        "more": max(0, len(incidents) + len(missed) - _INCIDENTS),
        "unusual": [visible(s, _TEXT) for s in day.get("unusual", [])[:_SENTENCES]],
        "totals": [_total(c) for c in day.get("compared", []) if c["name"] in _TOTALS],
        "tables": [] if config.mail.masked else [_visible(t) for t in day.get("tables", [])],
        "looked": say("%(lines)s read, %(n)s not understood", lines=plural(day["lines"], "line"), n=day["unrecognised"]),
        "problems": sentences,
        "link": f"{config.mail.link.rstrip('/')}/{day['date']}.html" if config.mail.link else str(config.folder / f"{day['date']}.html"),
        "version": __version__,
    }  # fmt: skip


def _missed(archive: Archive, days: list[dict[str, Any]], date: str, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Incidents of the days since the last digest, which nobody was told of: after a week's absence, say."""
    (last,) = archive.ledger.execute("SELECT max(day) FROM digests WHERE sent != ''")[0]
    found: dict[str, dict[str, Any]] = {}
    for one in reversed([d for d in days if last and last < d["date"] < date]):
        found |= {i["id"]: {**i, "is_running": False} for i in one["incidents"] if i["id"] not in told}
    return sorted(found.values(), key=lambda i: (i["opened"], i["id"]))


def _visible(table: dict[str, Any]) -> dict[str, Any]:
    rows = [[visible(cell, _CELL) for cell in row] for row in table["rows"]]
    return {**table, "rows": rows}


def _incident(i: dict[str, Any], date: str, is_masked: bool) -> dict[str, Any]:
    kind = say("NDR storm") if i["kind"] == Kind.NDR_STORM.value else say("Mail loop")
    plain = f"{kind} ({translated(TYPES[i['type']])}), {plural(i['messages'], 'message')}"
    return {
        "severity": translated(SEVERITIES[i["severity"]]).upper(),
        "state": say("RUNNING") if i["is_running"] else say("ended"),
        "is_running": i["is_running"],
        "headline": visible(plain if is_masked else i["headline"], _TEXT),
        "since": say("opened on %(day)s", day=i["opened"]) if i["opened"] != date else say("new"),
        "id": i["id"],
    }


def _total(c: dict[str, Any]) -> dict[str, str]:
    write = bytes_text if c["name"].startswith("bytes") else number
    shown = {"value": write(c["value"])}
    for name in ("before", "median"):
        shown[name] = "–" if c[name] is None else write(c[name])
    return {"label": c["label"], **shown}


def _picture(config: Config, date: str) -> png.Picture | None:
    """The rate of the day as a picture, from its findings; None where they are not kept, or the extra `charts` is missing."""
    path = config.folder / f"{date}.json"
    if config.mail.masked or not png.is_drawable() or not path.is_file():
        return None
    return png.rate(read(str(path)), width=560)


def compose(
    content: dict[str, Any], recipients: list[str], config: Config, now: dt.datetime, picture: png.Picture | None = None
) -> EmailMessage:
    """The mail: text first, and the same as simple HTML, with the picture inside the mail itself."""
    mail, host = config.mail, _host()
    message = EmailMessage()
    message["Subject"] = say("Mail report %(day)s: %(what)s", day=content["date"], what=content["headline"])
    message["From"] = Address("maillog-forensics", addr_spec=mail.sender or mail.to[0])
    message["To"] = ", ".join(recipients)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<maillog-forensics.{content['key'].replace('|', '.')}@{host}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["Precedence"] = "bulk"
    message["List-Id"] = f"<{mail.list_id or f'maillog-forensics.{host}'}>"
    message.set_content(text(content), cte="quoted-printable")
    page = report.fill("digest.html.j2", **content, picture=picture, cid=_PICTURE)
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    if picture:
        html = message.get_body(("html",))
        assert html is not None
        html.add_related(picture.png, "image", "png", cid=f"<{_PICTURE}>", disposition="inline", filename="rate.png")
    return message


def _row(cells: list[str], is_text: list[bool]) -> str:
    """Figures in columns, then the words."""
    figures = "".join(f"{cell:>10}" for cell, words in zip(cells, is_text) if not words)
    return "  ".join([figures, *(cell for cell, words in zip(cells, is_text) if words)])


def _host() -> str:
    """The name of this machine, as far as a header can carry it; a name server is not asked."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip("-.") or "localhost"


def text(content: dict[str, Any]) -> str:
    """The digest as plain text."""
    out = [content["title"]]
    out += [""] if content["incidents"] else []
    for i in content["incidents"]:
        out += [f"* {i['state']}  {i['severity']}  {i['headline']}", f"  {i['since']}; {i['id']}"]
    if content["more"]:
        out.append("  " + say("and %(n)s more", n=content["more"]))
    if content["unusual"]:
        out += ["", say("Unusual (compared with the day before and the same weekday of four weeks):")]
        out += [f"* {s}" for s in content["unusual"]]
    out += ["", f"{'':34}{say('this day'):>14}{say('day before'):>16}{say('median'):>12}"]
    out += [f"{t['label']:34}{t['value']:>14}{t['before']:>16}{t['median']:>12}" for t in content["totals"]]
    for table in content["tables"]:
        out += ["", table["title"]]
        out += [_row(row, table["is_text"]) for row in table["rows"]]
    out += ["", content["looked"]]
    out += [f"! {p}" for p in content["problems"]]
    out += [
        "",
        say("The whole report: %(link)s", link=content["link"]),
        "",
        "-- \n" + say("maillog-forensics %(version)s, sent automatically; nobody reads answers.", version=content["version"]),
    ]
    return "\n".join(out) + "\n"  # fmt: skip
