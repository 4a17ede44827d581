"""What an Exchange 2019 server writes into its message tracking logs of the stays in its queue."""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
from collections import defaultdict
from dataclasses import dataclass, field

from tests.generator.world import Attempt, Host, Refusal, Stay

FIELDS = [
    "date-time",
    "client-ip",
    "client-hostname",
    "server-ip",
    "server-hostname",
    "source-context",
    "connector-id",
    "source",
    "event-id",
    "internal-message-id",
    "message-id",
    "network-message-id",
    "recipient-address",
    "recipient-status",
    "total-bytes",
    "recipient-count",
    "related-recipient-address",
    "reference",
    "message-subject",
    "sender-address",
    "return-path",
    "message-info",
    "directionality",
    "tenant-id",
    "original-client-ip",
    "original-server-ip",
    "custom-data",
    "transport-traffic-type",
    "log-id",
    "schema-version",
]
_BUILD = "15.02.1544.011"
_REFUSALS = {
    "unknown": ((550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),),
    "nobody": ((550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),),
    "greylist": ((450, "4.7.0", "Greylisted, please try again later"),),
    "limit": (
        (550, "5.2.121", "Recipient's per hour message receive limit from specific sender exceeded"),
        (
            550,
            "5.2.122",
            "The recipient has exceeded their limit for the number of messages they can receive per hour",
        ),
    ),
    "blocked": ((554, "5.1.0", "Sender denied"),),
    "full": (
        (554, "5.2.2", "mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded"),
    ),
    "hops": ((554, "5.4.14", "Hop count exceeded - possible mail loop ATTR34"),),
    "loop": ((554, "5.4.14", "Hop count exceeded - possible mail loop ATTR34"),),
}
_CLASSES = {
    "autoreply": "IPM.Note.Rules.ReplyTemplate.Microsoft",
    "script": "IPM.Note.Rules.OofTemplate.Microsoft",
    "client": "IPM.Note",
}


@dataclass(eq=False)
class Exchange:
    """An Exchange server, transport and mailboxes on one machine."""

    name: str = "exchange"
    full_is_temporary: bool = False
    retry_s: float = 600.0
    _last: int = field(default=0)

    def admit(self, stay: Stay, rng: random.Random) -> None:
        self._last = max(self._last + 1, 27_389_006_000_000 + int(stay.at * 2) % 10**9)
        stay.queue_id = str(self._last)
        if not stay.mail.message_id:
            stay.mail.message_id = f"{rng.getrandbits(128):032x}@{stay.host.domains[0]}"
        known = [s.extra["network"] for s in stay.mail.stays if s.host is stay.host]
        stay.extra["network"] = known[0] if known and stay.source != "smtp" else _guid(rng)

    def answer(self, stay: Stay) -> str:
        return (
            f"250 2.6.0 <{stay.mail.message_id}> [InternalId={stay.queue_id}, Hostname={stay.host.name}] {stay.size} bytes in "
            f"0.121, {stay.size / 121:.3f} KB/sec Queued mail for delivery"
        )

    def refusal(self, reason: str, sender: str, recipient: str, rng: random.Random) -> Refusal:
        code, dsn, text = rng.choice(_REFUSALS[reason])
        return Refusal(reason, code, dsn, text, "end of DATA" if reason == "hops" else "RCPT TO")

    # -- writing -------------------------------------------------------------------------------------------------------------
    def write(self, host: Host, end: float, rng: random.Random) -> dict[str, bytes]:
        rows = _Rows(host, random.Random(rng.getrandbits(64)))
        for stay in host.stays:
            self._stay(rows, stay)
        for at, peer, sender, recipient, refusal in host.refused:
            rows.refused(at, peer, sender, recipient, refusal)
        return rows.files(end)

    def _stay(self, rows: _Rows, stay: Stay) -> None:
        host, at = stay.host, stay.at
        short = host.name.partition(".")[0]
        if stay.source == "bounce" and stay.parent:
            rows.add(
                "MSGTRK",
                at,
                stay,
                server_hostname=short,
                source="DSN",
                event_id="DSN",
                reference=f"<{stay.parent.mail.message_id}>",
            )
        elif not stay.previous:
            context = (
                f"MDB:{_guid(rows.rng)}, Mailbox:{_guid(rows.rng)}, Event:{rows.rng.randint(10**7, 10**8)}, "
                f"MessageClass:{_CLASSES.get(stay.source, 'IPM.Note')}, CreationTime:{_stamp(at)}, ClientType:MOMT, "
                "SubmissionAssistant:MailboxTransportSubmissionEmailAssistant"
            )
            own = {"source": "STOREDRIVER", "source_context": context, "client_ip": host.ip, "server_ip": host.ip}
            number = str(15_000_000_000_000 + int(stay.queue_id) % 10**9)
            status = ";".join(["To"] * len(stay.recipients))
            rows.add("MSGTRKMS", at - 0.3, stay, **own, client_hostname=host.name, server_hostname=short, event_id="RECEIVE",
                     internal_message_id=number, recipient_status=status, message_info="04I: ")  # fmt: skip
            rows.add("MSGTRKMS", at - 0.05, stay, **own, client_hostname=short, server_hostname=host.name, event_id="SUBMIT",
                     internal_message_id=number)  # fmt: skip
            self._received(rows, stay, host.name, host.ip, short)
        else:
            self._received(rows, stay, stay.previous.name, stay.previous.ip, short)
        passed_on = defaultdict(list)
        for attempt in stay.attempts:
            if attempt.orig not in ("", attempt.recipient) and attempt.recipient not in passed_on[attempt.orig]:
                passed_on[attempt.orig].append(attempt.recipient)
        for address, members in passed_on.items():
            rows.add("MSGTRK", at + 0.04, stay, recipient_address=";".join(members), recipient_count=str(len(members)), source="ROUTING",
                     server_hostname=short, event_id="EXPAND" if len(members) > 1 else "REDIRECT", recipient_status="250 2.1.5 OK",
                     related_recipient_address=address)  # fmt: skip
        for attempt in stay.attempts:
            self._attempt(rows, stay, attempt, short)

    def _received(self, rows: _Rows, stay: Stay, client: str, ip: str, short: str) -> None:
        rows.add("MSGTRK", stay.at, stay, client_ip=ip, client_hostname=client, server_ip=stay.host.ip, server_hostname=short,
                 source_context=f"{rows.rng.getrandbits(64):016X};{_stamp(stay.at - 0.2)};0", connector_id=f"{short}\\Default {short}",
                 source="SMTP", event_id="RECEIVE", message_info="0cA: ", original_client_ip=ip)  # fmt: skip

    def _attempt(self, rows: _Rows, stay: Stay, attempt: Attempt, short: str) -> None:
        host, refusal, peer = stay.host, attempt.refusal, attempt.peer
        one = {"recipient_address": attempt.recipient, "recipient_count": "1", "client_hostname": short, "client_ip": host.ip}
        info = (
            f"{_stamp(stay.at)};SRV={host.name}:TOTAL-HUB={max(0.0, attempt.at - stay.at):.3f}|SMR=0.04|CAT=0.03|QDM=0.1|SMSC=0.5"
        )
        if refusal:
            where = f"{{FQDN={peer.name}}};{{IP={peer.ip}}}" if peer else "{FQDN=};{IP=}"
            one["recipient_status"] = f"[{{LED={refusal.reply}}};{{MSG=}};{where};{{LRT={_culture(attempt.at)}}}]"
            one["source"] = "SMTP" if peer else "ROUTING" if refusal.reason == "nobody" else "STOREDRIVER"
            one["event_id"] = "FAIL" if refusal.is_final else "DEFER"
            if stay.bounce and refusal.is_final:
                one["reference"] = f"<{stay.bounce.mail.message_id}>"
            rows.add("MSGTRK", attempt.at, stay, **one, message_info=info)
        elif peer and attempt.onward:
            context = f"{rows.rng.getrandbits(64):016X};{peer.mta.answer(attempt.onward)};ClientSubmitTime:{_stamp(stay.at)}"
            rows.add("MSGTRK", attempt.at, stay, **one, server_ip=peer.ip, server_hostname=peer.name, source="SMTP", event_id="SENDEXTERNAL",
                     source_context=context, connector_id="Internet", recipient_status="250 2.1.5 Ok", message_info=info)  # fmt: skip
        elif attempt.how == "box":
            store = str(rows.rng.randint(10**12, 10**13))
            context = (
                f"{rows.rng.getrandbits(64):016X};250 2.6.0 <{stay.mail.message_id}> [InternalId={store}, Hostname={host.name}] "
                f"{stay.size} bytes in 0.121, {stay.size / 121:.3f} KB/sec Queued mail for delivery"
            )
            rows.add("MSGTRK", attempt.at - 0.05, stay, **one, server_ip=host.ip, server_hostname=host.name, source="SMTP", event_id="SEND",
                     connector_id="Intra-Organization SMTP Send Connector", recipient_status="250 2.1.5 Recipient OK",
                     source_context=context, message_info=info)  # fmt: skip
            one["client_hostname"] = host.name
            rows.add("MSGTRKMD", attempt.at, stay, **one, server_ip=host.ip, server_hostname=short, source="STOREDRIVER", event_id="DELIVER",
                     internal_message_id=store, message_info=info)  # fmt: skip


class _Rows:
    """Records of one server, by series."""

    def __init__(self, host: Host, rng: random.Random) -> None:
        self.host, self.rng = host, rng
        self._rows: dict[str, list[tuple[float, int, list[str]]]] = defaultdict(list)

    def add(self, series: str, at: float, stay: Stay, **cells: str) -> None:
        mail = stay.mail
        row = {
            "internal-message-id": stay.queue_id,
            "message-id": f"<{mail.message_id}>",
            "network-message-id": stay.extra["network"],
            "recipient-address": ";".join(stay.recipients),
            "recipient-count": str(len(stay.recipients)),
            "total-bytes": str(stay.size),
            "message-subject": mail.subject,
            "sender-address": mail.author,
            "return-path": stay.sender or "<>",
            "directionality": "Incoming" if stay.previous else "Originating",
        }
        self._put(series, at, row, cells)

    def refused(self, at: float, peer: Host, sender: str, recipient: str, refusal: Refusal) -> None:
        """A refusal while the peer was still connected: nothing was received, nothing has a size."""
        row = {"internal-message-id": "0", "recipient-address": recipient, "recipient-count": "1", "total-bytes": "0"}
        row |= {
            "sender-address": sender or "<>",
            "return-path": sender or "<>",
            "directionality": "Incoming",
            "recipient-status": refusal.reply,
        }
        row |= {
            "client-ip": peer.ip,
            "client-hostname": self.host.name,
            "source": "SMTP",
            "event-id": "FAIL" if refusal.is_final else "DEFER",
        }
        self._put("MSGTRK", at, row, {})

    def _put(self, series: str, at: float, row: dict[str, str], cells: dict[str, str]) -> None:
        row |= {k.replace("_", "-"): v for k, v in cells.items()}
        row |= {"date-time": _stamp(at + self.host.skew_s), "log-id": _guid(self.rng), "schema-version": _BUILD}
        row |= {
            "transport-traffic-type": "Email",
            "custom-data": "S:DeliveryPriority=Normal;S:AccountForest=" + self.host.domains[0],
        }
        self._rows[series].append((at, len(self._rows[series]), [row.get(name, "") for name in FIELDS]))

    def files(self, end: float) -> dict[str, bytes]:
        """One file a day and series, in a folder with the server's name."""
        days: dict[str, list[list[str]]] = defaultdict(list)
        for series, rows in self._rows.items():
            for at, _, row in sorted(rows, key=lambda r: r[:2]):
                if at <= end:
                    days[f"{series}{row[0][:10].replace('-', '')}-1.LOG"].append(row)
        out = {}
        for name, rows in days.items():
            text = io.StringIO()
            head = (
                "Software: Microsoft Exchange Server",
                f"Version: {_BUILD}",
                "Log-type: Message Tracking Log",
                f"Date: {rows[0][0]}",
            )
            text.writelines(f"#{line}\r\n" for line in (*head, "Fields: " + ",".join(FIELDS)))
            csv.writer(text, lineterminator="\r\n").writerows(rows)
            out[f"{self.host.name.partition('.')[0].upper()}/{name}"] = text.getvalue().encode()
        return out


def _guid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _stamp(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _culture(at: float) -> str:
    when = dt.datetime.fromtimestamp(at, dt.UTC)
    return f"{when.month}/{when.day}/{when.year} {when.hour % 12 or 12}:{when:%M:%S} {'AM' if when.hour < 12 else 'PM'}"
