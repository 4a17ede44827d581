"""Write the folder exchange_autoreply: message tracking logs of a small Exchange 2019 organisation, made up but faithful in form.

Run: python sample_logs/make_exchange_sample.py. The same bytes come out each time.

The story: orders@alpha.example has an inbox rule "have server reply using a specific message". The ticket robot
support@beta.example opens a new ticket for every mail and confirms it. Once orders@ has written to the robot, the two answer
each other, each answer a new message, until the partner's server refuses more from this sender. Around it runs the ordinary
mail of a working morning.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
import uuid
from collections import defaultdict
from pathlib import Path

_FIELDS = (
    "date-time,client-ip,client-hostname,server-ip,server-hostname,source-context,connector-id,source,event-id,internal-message-id,"
    "message-id,network-message-id,recipient-address,recipient-status,total-bytes,recipient-count,related-recipient-address,reference,"
    "message-subject,sender-address,return-path,message-info,directionality,tenant-id,original-client-ip,original-server-ip,custom-data,"
    "transport-traffic-type,log-id,schema-version"
)
BUILD = "15.02.1544.011"
IP = {"EX01": "192.0.2.21", "EX02": "192.0.2.22"}
PEERS = {"beta.example": ("mail.beta.example", "198.51.100.25"), "gamma.example": ("mx.gamma.example", "203.0.113.7")}
PEOPLE = {
    "anna": "EX01",
    "ben": "EX02",
    "carla": "EX01",
    "dmitri": "EX02",
    "emi": "EX01",
    "farid": "EX02",
    "orders": "EX01",
    "grace": "EX02",
}
OUTSIDE = ("kim@gamma.example", "lars@gamma.example", "mona@beta.example", "noor@beta.example")
SUBJECTS = (
    "Minutes of Monday",
    "Offer 2231",
    "Lunch?",
    "RE: Delivery note, second try",
    "Travel request",
    "Invoice 8812",
    "Protokoll für Dienstag",
    "Re: Offer 2231",
    "Photos",
    "Visit on Thursday",
    'The "old" contract',
    "Quarterly figures",
)
REPLY_SUBJECT = "Thank you for your order"
TURNS = 120
START = dt.datetime(2026, 3, 17, 7, 58, tzinfo=dt.UTC)

FIELDS = [*_FIELDS.split(",")]

rng = random.Random(20260317)
given: set[tuple[str, int]] = set()
rows: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
counters = {"EX01": 27389006448000, "EX02": 31155690479000, "MS-EX01": 430, "MS-EX02": 212, "MD-EX01": 5120, "MD-EX02": 4377}


def stamp(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def guid() -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def number(which: str, at: dt.datetime) -> str:
    """An internal id: counted up by each service on its own, about two a second."""
    own = counters[which] + int((at - START).total_seconds() * 2)
    while (which, own) in given:
        own += 1
    given.add((which, own))
    return str(own)


def later(at: dt.datetime, low: float, high: float) -> dt.datetime:
    return at + dt.timedelta(seconds=rng.uniform(low, high))


def log(server: str, series: str, at: dt.datetime, mail: Mail, **cells: str) -> None:
    """One record; cells are given with underscores. What every record of a message repeats is filled in."""
    row = {
        "date-time": stamp(at),
        "message-id": mail.message_id,
        "network-message-id": mail.network_id,
        "message-subject": mail.subject,
        "sender-address": mail.author,
        "return-path": mail.return_path,
        "recipient-address": ";".join(mail.to),
        "recipient-count": str(len(mail.to)),
        "total-bytes": str(mail.size),
        "directionality": mail.direction,
        "custom-data": "S:DeliveryPriority=Normal;S:AccountForest=alpha.example",
        "transport-traffic-type": "Email",
        "log-id": guid(),
        "schema-version": BUILD,
    }
    row |= {k.replace("_", "-"): v for k, v in cells.items()}
    rows[server, series].append(row)


class Mail:
    """One message as the organisation sees it."""

    def __init__(
        self, author: str, to: list[str], subject: str, size: int, *, null: bool = False, kind: str = "IPM.Note"
    ) -> None:
        self.author, self.to, self.subject, self.size, self.kind = author, to, subject, size, kind
        self.return_path = "<>" if null else author
        self.inside = author.endswith("@alpha.example")
        self.direction = "Originating" if self.inside else "Incoming"
        self.network_id = guid()
        if self.inside:
            self.message_id = f"<{rng.getrandbits(128):032x}@alpha.example>"
        elif author.startswith("support@"):
            self.message_id = (
                f"<rt-5.0.5-{rng.randint(1000, 99999)}-{rng.getrandbits(31)}-{rng.randint(100, 999)}."
                f"T{rng.randint(40000, 60000)}@beta.example>"
            )
        else:
            self.message_id = f"<{rng.getrandbits(64):x}.{rng.getrandbits(40):x}@{author.split('@')[1]}>"


def home(address: str) -> str:
    return PEOPLE.get(address.split("@")[0], "EX01")


def submitted(mail: Mail, at: dt.datetime) -> tuple[str, str, dt.datetime]:
    """Out of a mailbox and into the transport service of its server: server, internal id, time."""
    server = home(mail.author)
    context = (
        f"MDB:{guid()}, Mailbox:{guid()}, Event:{rng.randint(10**7, 10**8)}, MessageClass:{mail.kind}, CreationTime:{stamp(at)}, "
        f"ClientType:{'Transport' if 'Rules' in mail.kind else 'MOMT'}, "
        "SubmissionAssistant:MailboxTransportSubmissionEmailAssistant"
    )
    empty = dict.fromkeys(
        (
            "message_id",
            "network_message_id",
            "recipient_address",
            "recipient_count",
            "total_bytes",
            "message_subject",
            "return_path",
        ),
        "",
    )
    heard = later(at, 0.05, 0.2)
    log(
        server,
        "MSGTRKMS",
        heard,
        mail,
        **empty,
        directionality="",
        custom_data=f"S:ItemEntryId={rng.getrandbits(64):016X}",
        client_ip=f"fe80::5c1:{server[-1]}%6",
        client_hostname=server,
        source_context=context,
        source="STOREDRIVER",
        event_id="NOTIFYMAPI",
        message_info=f"{stamp(at)};LSRV={server}.alpha.example:TOTAL-SUB=0.1|SA=0.1|MTSS-PEN=0.000",
    )
    own = number(f"MS-{server}", heard)
    read = later(heard, 0.05, 0.2)
    log(
        server,
        "MSGTRKMS",
        read,
        mail,
        client_ip=IP[server],
        client_hostname=f"{server}.alpha.example",
        server_ip=IP[server],
        server_hostname=server,
        source_context=context,
        source="STOREDRIVER",
        event_id="RECEIVE",
        internal_message_id=own,
        recipient_status=";".join(["To"] * len(mail.to)),
        message_info="04I: ",
    )
    done = later(read, 0.1, 0.4)
    log(
        server,
        "MSGTRKMS",
        done,
        mail,
        client_ip=IP[server],
        client_hostname=server,
        server_hostname=f"{server}.alpha.example",
        server_ip=IP[server],
        source_context=context,
        source="STOREDRIVER",
        event_id="SUBMIT",
        internal_message_id=own,
        message_info=f"{stamp(at)};SRV={server}.alpha.example:TOTAL-SUB={(done - at).total_seconds():.3f}|SA=0.1",
    )
    return accepted(mail, later(done, 0.0, 0.05), server, f"{server}.alpha.example", IP[server])


def accepted(mail: Mail, at: dt.datetime, server: str, client: str, ip: str) -> tuple[str, str, dt.datetime]:
    """An SMTP session into the transport service, and the shadow copy on the other server."""
    own = number(server, at)
    other = "EX02" if server == "EX01" else "EX01"
    session = f"{rng.getrandbits(64):016X};{stamp(at)};0"
    log(
        server,
        "MSGTRK",
        at,
        mail,
        client_ip=ip,
        client_hostname=client,
        server_ip=IP[server],
        server_hostname=server,
        source_context=session,
        connector_id=f"{server}\\Default {server}",
        source="SMTP",
        event_id="RECEIVE",
        internal_message_id=own,
        message_info="0cA: " if mail.inside else "00A: NTS:",
        original_client_ip=ip,
        original_server_ip=IP[server],
    )
    shadow, held = number(other, at), later(at, 0.01, 0.05)
    log(
        other,
        "MSGTRK",
        held,
        mail,
        client_ip=IP[server],
        client_hostname=f"{server}.alpha.example",
        server_ip=IP[other],
        server_hostname=other,
        source_context=session,
        connector_id=f"{other}\\Default {other}",
        source="SMTP",
        event_id="HARECEIVE",
        internal_message_id=shadow,
    )
    log(
        server,
        "MSGTRK",
        later(held, 0.0, 0.02),
        mail,
        client_hostname=f"{server}.alpha.example",
        server_hostname=server,
        source="SMTP",
        source_context=f"{other}.alpha.example=250 2.6.0 {mail.message_id} "
        f"[InternalId={other}.alpha.example, Hostname={shadow}] Queued mail for redundancy",
        event_id="HAREDIRECT",
        internal_message_id=own,
    )
    log(
        other,
        "MSGTRK",
        later(held, 60, 130),
        mail,
        client_hostname=other,
        source="SMTP",
        event_id="HADISCARD",
        internal_message_id=shadow,
        source_context=f"ExplicitlyDiscarded;{guid()}",
    )
    return server, own, at


def delivered(mail: Mail, to: str, at: dt.datetime, server: str, own: str) -> dt.datetime:
    """Into a mailbox: SEND by the transport service, DELIVER by mailbox delivery. Two records, one delivery."""
    box, began = home(to), at
    sent = later(at, 0.2, 1.5)
    store = number(f"MD-{box}", sent)
    took = (sent - began).total_seconds()
    wait = (
        f"{stamp(began)};SRV={server}.alpha.example:TOTAL-HUB={took:.3f}|SMR=0.031|CAT=0.020(CATRESL=0.002)|QDM=0.004|SMSC=0.011"
    )
    log(
        server,
        "MSGTRK",
        sent,
        mail,
        client_ip=IP[server],
        client_hostname=server,
        server_ip=IP[box],
        server_hostname=f"{box}.alpha.example",
        source_context=f"{rng.getrandbits(64):016X};250 2.6.0 {mail.message_id} "
        f"[InternalId={store}, Hostname={box}.alpha.example] {mail.size} bytes in "
        f"0.121, {mail.size / 121:.3f} KB/sec Queued mail for delivery",
        connector_id="Intra-Organization SMTP Send Connector",
        source="SMTP",
        event_id="SEND",
        internal_message_id=own,
        recipient_address=to,
        recipient_count="1",
        recipient_status="250 2.1.5 Recipient OK",
        message_info=wait,
    )
    there = later(sent, 0.05, 0.3)
    log(
        box,
        "MSGTRKMD",
        there,
        mail,
        client_ip=IP[server],
        client_hostname=f"{server}.alpha.example",
        server_ip=IP[box],
        server_hostname=box,
        source_context=f"{rng.getrandbits(64):016X};{stamp(sent)};0",
        source="STOREDRIVER",
        event_id="DELIVER",
        internal_message_id=store,
        recipient_address=to,
        recipient_count="1",
        message_info=f"{wait};SRV={box}.alpha.example:TOTAL-DEL=0.09|SMR=0.004|SDD=0.081",
        custom_data="S:IncludeInSla=True;S:MailboxDatabaseName=DB01;S:E2ELatency=1.1;S:DeliveryPriority=Normal;S:AccountForest=alpha.example",
    )
    return there


def went_out(mail: Mail, to: str, at: dt.datetime, server: str, own: str, refusal: str = "") -> dt.datetime:
    """To a server outside, or refused by it."""
    peer, ip = PEERS[to.split("@")[1]]
    sent = later(at, 0.5, 2.5)
    retry = f"{sent:%m/%d/%Y} {sent.hour % 12 or 12}:{sent:%M:%S} {'AM' if sent.hour < 12 else 'PM'}"
    status = f"[{{LED={refusal}}};{{MSG=}};{{FQDN={peer}}};{{IP={ip}}};{{LRT={retry}}}]"
    took = (sent - at).total_seconds()
    log(
        server,
        "MSGTRK",
        sent,
        mail,
        client_ip=IP[server],
        client_hostname=server,
        server_ip=ip,
        server_hostname=peer,
        source="SMTP",
        source_context=f"{rng.getrandbits(64):016X};250 2.0.0 Ok: "
        f"queued as {rng.getrandbits(44):011X};ClientSubmitTime:{stamp(at)}"
        if not refusal
        else "",
        connector_id="Internet",
        event_id="SENDEXTERNAL" if not refusal else "FAIL",
        internal_message_id=own,
        recipient_address=to,
        recipient_count="1",
        recipient_status=status if refusal else "250 2.1.5 Ok",
        message_info=f"{stamp(at)};SRV={server}.alpha.example:TOTAL-HUB={took:.3f}|SMR=0.04|CAT=0.03|QDM=0.1|SMSC=0.5",
    )
    return sent


def arrived(mail: Mail, at: dt.datetime) -> tuple[str, str, dt.datetime]:
    peer, ip = PEERS[mail.author.split("@")[1]]
    return accepted(mail, at, rng.choice(("EX01", "EX01", "EX02")), peer, ip)


def carry(mail: Mail, at: dt.datetime) -> None:
    """Ordinary mail on its way to everyone it is for."""
    server, own, at = submitted(mail, at) if mail.inside else arrived(mail, at)
    for to in mail.to:
        if to.endswith("@alpha.example"):
            delivered(mail, to, at, server, own)
        else:
            went_out(mail, to, at, server, own)


def the_loop() -> dt.datetime:
    """orders@ and the robot, until the partner's limit; the time of the end."""
    at = START + dt.timedelta(minutes=43)
    mail = Mail("orders@alpha.example", ["support@beta.example"], "Missing parts in delivery 5512", 14220)
    server, own, at = submitted(mail, at)
    at = went_out(mail, mail.to[0], at, server, own)
    for turn in range(TURNS):
        ticket = Mail(
            "support@beta.example",
            ["orders@alpha.example"],
            f"[beta #{48213 + turn}] We have received your request",
            6120 + rng.randint(-40, 40),
        )
        server, own, at = arrived(ticket, later(at, 16, 27))
        at = delivered(ticket, ticket.to[0], at, server, own)
        reply = Mail(
            "orders@alpha.example",
            ["support@beta.example"],
            REPLY_SUBJECT,
            4870 + rng.randint(-9, 9),
            null=True,
            kind="IPM.Note.Rules.ReplyTemplate.Microsoft",
        )
        server, own, at = submitted(reply, later(at, 17, 26))
        limit = "550 5.2.121 Recipient's per hour message receive limit from specific sender exceeded"
        at = went_out(reply, reply.to[0], at, server, own, limit if turn == TURNS - 1 else "")
    return at


def the_group(at: dt.datetime) -> None:
    """A mail to a group: EXPAND, then a delivery for each member."""
    mail = Mail("anna@alpha.example", ["sales@alpha.example"], "Fair in Lyon: who comes along?", 9400)
    server, own, at = submitted(mail, at)
    members = ["ben@alpha.example", "carla@alpha.example", "emi@alpha.example"]
    log(
        server,
        "MSGTRK",
        later(at, 0.02, 0.1),
        mail,
        server_hostname=server,
        source="ROUTING",
        event_id="EXPAND",
        internal_message_id=own,
        recipient_address=";".join(members),
        recipient_count="3",
        related_recipient_address="sales@alpha.example",
        recipient_status="250 2.1.5 OK",
    )
    for to in members:
        delivered(mail, to, at, server, own)


def the_bounce(at: dt.datetime) -> None:
    """An address that is no more: FAIL, and the report to the sender."""
    mail = Mail("farid@alpha.example", ["old.customer@gamma.example"], "Offer 2240", 22100)
    server, own, at = submitted(mail, at)
    dsn = Mail(
        "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@alpha.example",
        ["farid@alpha.example"],
        "Undeliverable: Offer 2240",
        30140,
        null=True,
    )
    at = went_out(
        mail, mail.to[0], at, server, own, "550 5.1.1 <old.customer@gamma.example>: Recipient address rejected: User unknown"
    )
    rows[server, "MSGTRK"][-1]["reference"] = dsn.message_id
    report = number(server, at)
    at = later(at, 0.01, 0.05)
    log(
        server,
        "MSGTRK",
        at,
        dsn,
        server_hostname=server,
        source="DSN",
        event_id="DSN",
        internal_message_id=report,
        reference=mail.message_id,
    )
    delivered(dsn, dsn.to[0], at, server, report)


def the_absence(at: dt.datetime) -> None:
    """One automatic reply of a person who is away: sent once, and the end of it."""
    mail = Mail("kim@gamma.example", ["grace@alpha.example"], "Visit in April", 5200)
    server, own, at = arrived(mail, at)
    at = delivered(mail, mail.to[0], at, server, own)
    carry(
        Mail(
            "grace@alpha.example",
            ["kim@gamma.example"],
            "Automatic reply: Visit in April",
            3900,
            null=True,
            kind="IPM.Note.Rules.OofTemplate.Microsoft",
        ),
        later(at, 1, 3),
    )


def the_morning(until: dt.datetime) -> None:
    """What people write to each other."""
    at = START
    while at < until:
        at = later(at, 45, 260)
        author = rng.choice([*(f"{p}@alpha.example" for p in PEOPLE if p != "orders"), *OUTSIDE])
        inside = [f"{p}@alpha.example" for p in PEOPLE if f"{p}@alpha.example" != author]
        others = [*inside, *OUTSIDE] if author.endswith("@alpha.example") else inside
        carry(Mail(author, rng.sample(others, rng.choice((1, 1, 1, 2))), rng.choice(SUBJECTS), rng.randint(3_000, 400_000)), at)


def write(folder: Path) -> int:
    count = 0
    for (server, series), records in sorted(rows.items()):
        hours: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in sorted(records, key=lambda r: r["date-time"]):
            hours[row["date-time"][:13]].append(row)
        for hour, part in hours.items():
            text = io.StringIO()
            text.write("#Software: Microsoft Exchange Server\r\n#Version: 15.02.1544.011\r\n#Log-type: Message Tracking Log\r\n")
            text.write(f"#Date: {part[0]['date-time']}\r\n#Fields: {','.join(FIELDS)}\r\n")
            table = csv.DictWriter(text, FIELDS, restval="", lineterminator="\r\n")
            table.writerows(part)
            count += len(part)
            path = folder / server / f"{series}{hour.replace('-', '').replace('T', '')}-1.LOG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.getvalue().encode("utf-8"))
    return count


if __name__ == "__main__":
    end = the_loop()
    the_group(START + dt.timedelta(minutes=21))
    the_bounce(START + dt.timedelta(minutes=64))
    the_absence(START + dt.timedelta(minutes=95))
    the_morning(end + dt.timedelta(minutes=25))
    print(write(Path(__file__).parent / "exchange_autoreply"), "records")
