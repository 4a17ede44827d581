"""Postfix lines of one server, written message by message: for tests that need a few days of a few mailboxes."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path

from maillog_forensics import api
from maillog_forensics.findings import Findings, Incident, Kind

START = dt.datetime(2026, 3, 2, 8)


class Log:
    """The log of the host mx1; `at` is the second of the next message."""

    def __init__(self, seed: int = 1) -> None:
        self.rng, self.at, self.ids = random.Random(seed), 0.0, 0
        self._lines: list[tuple[float, str]] = []

    def wait(self, low: float, high: float) -> None:
        self.at += self.rng.uniform(low, high)

    def mail(
        self,
        sender: str,
        to: str | Sequence[str],
        *,
        client: str = "",
        user: str = "",
        relay: str = "",
        mid: str = "",
        size: int = 900,
        again: str = "",
        is_late: bool = False,
    ) -> str:
        """A message of now, and its queue id.

        client: who handed it in, name[address]; nobody, but a program of the host itself, if none is given. relay: the host that
        takes it; none if it is put into a mailbox. again: the queue id that it had before (`postsuper -r`). is_late: it waits.
        """
        self.ids += 1
        qid = f"4fX{self.ids:05X}"
        login = f", sasl_method=PLAIN, sasl_username={user}" if user else ""
        place = f"smtp[10]: {qid}: to=<%s>, relay={relay}[192.0.2.9]:25" if relay else f"local[10]: {qid}: to=<%s>, relay=local"
        end = f"sent (250 2.0.0 Ok: queued as 4Z{self.ids:05X})" if relay else "sent (delivered to mailbox)"
        if is_late:
            place, end = f"smtp[10]: {qid}: to=<%s>, relay=none", "deferred (connect to mx.far.example[192.0.2.9]:25: timed out)"
        ways = [to] if isinstance(to, str) else to
        before = f" orig_id={again}" if again else ""
        said = [
            f"smtpd[7]: {qid}: client={client}{login}" if client else f"pickup[7]: {qid}: uid=1000 from=<{sender}>{before}",
            f"cleanup[8]: {qid}: message-id=<{mid or f'm{self.ids}@x.example'}>",
            f"qmgr[9]: {qid}: from=<{sender}>, size={size}, nrcpt={len(ways)} (queue active)",
            *(
                f"{place % one}, delay=0.3, delays=0.1/0/0/0.2, dsn={'4.4.1' if is_late else '2.0.0'}, status={end}"
                for one in ways
            ),
            *([] if is_late else [f"qmgr[9]: {qid}: removed"]),
        ]
        for line in said:
            self.line(line)
        return qid

    def line(self, text: str) -> None:
        """A line of now, from the program's name on."""
        self._lines.append((self.at, f"mx1 postfix/{text}"))

    def findings(self, folder: Path) -> Findings:
        """What is found in it."""
        told = [
            f"{START + dt.timedelta(seconds=at):%b %e %H:%M:%S} {text}" for at, text in sorted(self._lines, key=lambda x: x[0])
        ]
        (folder / "mail.log").write_text("\n".join(told) + "\n")
        return api.analyze([str(folder)], year=2026).findings

    def loops(self, folder: Path) -> list[Incident]:
        """The loops among it that are alarms."""
        return [i for i in self.findings(folder).incidents if i.kind is Kind.MAIL_LOOP]
