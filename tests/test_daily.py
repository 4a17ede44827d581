"""The daily report as it is run: pages, digest, schedules, figures for Prometheus, and what is said when something is wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import email
import email.policy
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import html5lib
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from maillog_forensics import png
from maillog_forensics.daily import config as configuring
from maillog_forensics.daily import run
from maillog_forensics.errors import NoInputError, UsageError
from maillog_forensics.findings import read
from tests import daily_month

PROGRAM = [sys.executable, "-c", "from maillog_forensics.cli import main; main()"]


def command(*args: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, args)], capture_output=True, text=True, check=False, **more)


def written(folder: Path, days: int, first: int = 0) -> dt.datetime:
    """Days of the month as logs; the morning after."""
    for day in daily_month.month()[first : first + days]:
        for path, data in day.lines.items():
            daily_month.append(folder / "logs", path, data, day.end - 1)
    return dt.datetime.fromtimestamp(day.end, dt.UTC) + dt.timedelta(hours=5)


def configured(folder: Path, text: str = "") -> Path:
    path = folder / "daily.toml"
    path.write_text(f'archive = "archive"\n[[logs]]\nname = "mail"\npaths = ["logs/*/*.log*"]\n{text}')
    return path


def days_with_a_loop() -> tuple[int, int]:
    """Numbers of the first and of the last day of the month's loop that goes over midnight."""
    dates = [d.date for d in daily_month.month()]
    return dates.index(dt.date(2025, 12, 20)), dates.index(dt.date(2025, 12, 21))


# --- pages ----------------------------------------------------------------------------------------------------------------


def test_a_week_is_caught_up_day_by_day_and_compared(tmp_path: Path) -> None:
    config = configuring.read(configured(tmp_path))
    now = written(tmp_path, 9)
    outcome = run.run(config, now=now)
    assert len(outcome.pages) == 9
    folder = tmp_path / "archive" / "reports"
    index = (folder / "index.html").read_text()
    for day in outcome.pages:
        page = (folder / f"{day}.html").read_text()
        assert "The day’s operations" in page
        assert f"{day}.html" in index
    last = (folder / f"{outcome.pages[-1]}.html").read_text()
    assert "The day before" in last
    for page in (index, last):
        html5lib.HTMLParser(strict=True).parse(page)
        assert not re.search(r"<script|<img|<iframe| on[a-z]+=", page)
    assert run.run(config, now=now).pages == []


def test_an_incident_keeps_its_id_and_the_day_on_which_it_opened(tmp_path: Path) -> None:
    """A loop that turns for a day and a night, seen by a run each morning."""
    first, last = days_with_a_loop()
    config = configuring.read(configured(tmp_path))
    seen = {}
    for n in range(first - 1, last + 2):
        run.run(config, now=written(tmp_path, 1, n))
        date = daily_month.month()[n].date
        document = read(str(tmp_path / "archive" / "reports" / f"{date}.json"))
        seen[date] = {i.id: i for i in document.incidents}
    days = list(seen)
    both = seen[days[1]].keys() & seen[days[2]].keys()
    assert len(both) == 1
    [id] = both
    assert seen[days[1]][id].ended_by.reason == "ongoing"
    assert seen[days[2]][id].messages > seen[days[1]][id].messages
    assert seen[days[2]][id].started == seen[days[1]][id].started
    assert id not in seen[days[0]] and id not in seen[days[3]]
    index = (tmp_path / "archive" / "reports" / "index.html").read_text()
    assert f"since {days[1]}" in index
    assert index.count("not ended that day") == 1 and "<b>running</b>" not in index


def test_a_page_counts_what_its_search_found_on_the_day_before_apart(tmp_path: Path) -> None:
    """The search looks back a day; a page that says "nothing found" must not say of a search that it found one."""
    _, last = days_with_a_loop()
    config = configuring.read(configured(tmp_path))
    run.run(config, now=written(tmp_path, 3, last - 1))
    after = daily_month.month()[last + 1].date
    document = read(str(tmp_path / "archive" / "reports" / f"{after}.json"))
    assert not document.incidents
    assert sum(s.found for s in document.searches) == 0
    assert [s.set_aside.get("an incident of another day", 0) for s in document.searches] == [1, 0, 0, 0, 0]


def test_late_lines_make_the_page_of_their_day_again(tmp_path: Path) -> None:
    config = configuring.read(configured(tmp_path))
    now = written(tmp_path, 4)
    run.run(config, now=now)
    day = daily_month.month()[1]
    path = next(p for p in day.lines if p.endswith("mail.log") and day.lines[p][:1].isdigit())
    line = (
        f"{day.date}T23:59:58.100000+00:00 mx1 postfix/smtpd[9]: NOQUEUE: reject: RCPT from a.test[203.0.113.9]: 550 5.1.1 "
        "<late@beta.example>: Recipient address rejected: User unknown; from=<x@a.test> to=<late@beta.example> proto=ESMTP helo=<a.test>\n"
    )
    daily_month.append(tmp_path / "logs", path, line.encode(), now.timestamp())
    outcome = run.run(config, now=now)
    assert outcome.pages[0] == day.date
    assert len(outcome.pages) <= 3  # and what looked back on it
    page = (tmp_path / "archive" / "reports" / f"{day.date}.html").read_text()
    assert "User unknown" in page


def test_lines_without_an_event_make_the_page_of_their_day_again_too(tmp_path: Path) -> None:
    """What was found by killing runs: a page told fewer lines than its log had, where the last of them were known and ignored."""
    config = configuring.read(configured(tmp_path))
    now = written(tmp_path, 3)
    run.run(config, now=now)
    day = daily_month.month()[2]
    path = next(p for p in day.lines if p.endswith("main.log"))
    ignored = f"{day.date} 23:59:59 End queue run: pid=4711\n".encode()
    daily_month.append(tmp_path / "logs", path, ignored, day.end - 1)
    assert run.run(config, now=now).pages == [day.date]


def test_days_begin_at_midnight_of_the_wanted_zone(tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "h"
    logs.mkdir(parents=True)
    line = "2026-11-02T{at}+00:00 mx1 postfix/smtpd[7]: {id}: client=a.alpha.example[192.0.2.7]\n"
    (logs / "a.log").write_text(line.format(at="15:59:59", id="A1B2C3") + line.format(at="16:00:00", id="A1B2C4"))
    config = configuring.read(configured(tmp_path, '[report]\ntimezone = "Asia/Manila"\n'))
    outcome = run.run(config, now=dt.datetime(2026, 11, 9, tzinfo=dt.UTC))
    assert [d.isoformat() for d in outcome.pages] == ["2026-11-02", "2026-11-03"]


def test_old_days_are_forgotten_with_their_pages(tmp_path: Path) -> None:
    config = configuring.read(configured(tmp_path, "[keep]\ndays = 5\n"))
    now = written(tmp_path, 8)
    outcome = run.run(config, now=now)
    kept = sorted(p.stem for p in (tmp_path / "archive" / "reports").glob("2*.html"))
    assert kept == [(now.date() - dt.timedelta(days=n)).isoformat() for n in (5, 4, 3, 2, 1)]
    assert outcome.forgotten == 3


def test_a_run_with_nothing_new_is_quick(tmp_path: Path) -> None:
    """It costs little more than its start: told by what a start of polars costs on the same machine at the same time."""
    written(tmp_path, 6)
    path = configured(tmp_path)

    def cost(run: Callable[[], subprocess.CompletedProcess[str]], says: str = "") -> float:
        before = os.times()
        done = run()
        after = os.times()
        assert done.returncode == 0 and says in done.stdout + done.stderr, (done.stdout, done.stderr)
        return (after.children_user - before.children_user) + (after.children_system - before.children_system)

    def polars() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", "import polars"], capture_output=True, text=True, check=False)

    first = cost(lambda: command("daily", "--config", path), "pages of ")
    again = min(cost(lambda: command("daily", "--config", path), "0 new lines; no page had to be made") for _ in range(2))
    start = min(cost(polars) for _ in range(2))
    assert again < 5 * start, (first, again, start)
    assert again < first / 2, (first, again, start)


# --- the digest -----------------------------------------------------------------------------------------------------------


@dataclass
class Postbox:
    """What a server took: envelope sender, recipients, and the mail."""

    got: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    refuses: str = ""
    wants_login: bool = False

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.wants_login and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuses:
            return self.refuses
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.got.append((envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"


class _ImplicitTls(Controller):
    """The library looks for its own server with a handshake that trusts no self-made certificate: look without."""

    def _trigger_server(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((self.hostname, self.port), 5) as plain,
            context.wrap_socket(plain) as talk,
            contextlib.suppress(OSError),
        ):
            talk.recv(100)


@contextlib.contextmanager
def server(postbox: Postbox, *, tls: str = "", certificate: Path | None = None) -> Iterator[int]:
    """A real SMTP server on a port of this machine; with tls it also wants a login."""
    more: dict[str, Any] = {}
    kind: type[Controller] = Controller
    if tls:
        assert certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.with_suffix(".pem"), certificate.with_suffix(".key"))

        def login(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
            assert isinstance(data, LoginPassword)
            return AuthResult(success=data.login == b"reports" and data.password == b"secret", handled=False)

        postbox.wants_login = True
        more = {"authenticator": login}
        more |= {"ssl_context": context} if tls == "tls" else {"tls_context": context, "require_starttls": True}
        more |= {"auth_require_tls": False} if tls == "tls" else {}
        kind = _ImplicitTls if tls == "tls" else Controller
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = kind(postbox, hostname="127.0.0.1", port=port, **more)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, made by openssl."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    base = tmp_path_factory.mktemp("tls") / "localhost"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", base.with_suffix(".key"), "-out", base.with_suffix(".pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    return base


def mailed(folder: Path, port: int, more: str = "", to: str = '"postmaster@ops.example"') -> configuring.Config:
    return configuring.read(configured(folder, f'[mail]\nto = [{to}]\nhost = "localhost"\nport = {port}\n{more}'))


def test_the_digest_says_the_same_as_text_and_as_html_and_can_start_no_loop(tmp_path: Path) -> None:
    first, last = days_with_a_loop()
    now = written(tmp_path, last - first + 1, first)
    postbox = Postbox()
    with server(postbox) as port:
        outcome = run.run(mailed(tmp_path, port, 'link = "https://reports.ops.example/mail/"\n'), now=now)
    assert outcome.sent and not outcome.failures
    [(sender, recipients, message)] = postbox.got
    assert (sender, recipients) == ("<>", ["postmaster@ops.example"])
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert re.fullmatch(r"<maillog-forensics\.[^<>\s]+>", message["List-Id"])
    assert message["Message-ID"] and message["Date"] and message["From"] == "maillog-forensics <postmaster@ops.example>"
    assert message["Subject"].startswith("Mail report 2025-12-21: 1 incident")
    assert message.get_content_type() == "multipart/alternative"
    assert len(message.as_bytes()) < 60_000
    text, page = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]
    for part in (text, page):
        assert "answered each other automatically" in part
        assert "opened on 2025-12-20" in part
        assert "https://reports.ops.example/mail/2025-12-21.html" in part
        assert "messages received" in part
    html5lib.HTMLParser(strict=True).parse(page)
    assert not re.search(r"<script|<style|href=", page)
    pictures = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert len(pictures) == png.is_drawable()
    if pictures:
        assert f'src="cid:{pictures[0]["Content-ID"].strip("<>")}"' in page
        assert pictures[0].get_content().startswith(b"\x89PNG")
        assert re.search(r'<img [^>]*alt="[^"]{20,}"', page)


def test_it_is_sent_once_for_a_day_and_a_state(tmp_path: Path) -> None:
    postbox = Postbox()
    with server(postbox) as port:
        config = mailed(tmp_path, port)
        now = written(tmp_path, 2)
        for hours in (0, 1, 5):
            run.run(config, now=now + dt.timedelta(hours=hours))
        assert len(postbox.got) == 1
        later = written(tmp_path, 1, 2)
        run.run(config, now=later)
    assert len(postbox.got) == 2
    assert len({m["Message-ID"] for _, _, m in postbox.got}) == 2


def test_a_server_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    now = written(tmp_path, 1)
    outcome = run.run(mailed(tmp_path, port), now=now)
    assert outcome.pages
    [failure] = outcome.failures
    assert f"localhost:{port} can't be reached (connection refused)" in failure
    assert "next run tries again" in failure
    done = command("daily", "--config", tmp_path / "daily.toml")
    assert done.returncode == 1
    assert done.stderr.count("can't be reached") == 1
    postbox = Postbox()
    with server(postbox) as port:
        assert run.run(mailed(tmp_path, port), now=now).sent
    assert len(postbox.got) == 1


def test_a_server_that_refuses_is_quoted(tmp_path: Path) -> None:
    postbox = Postbox(refuses="554 5.7.1 no reports here")
    with server(postbox) as port:
        outcome = run.run(mailed(tmp_path, port), now=written(tmp_path, 1))
    assert "554 5.7.1 no reports here" in outcome.failures[0]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_it_goes_by_tls_with_a_login(tmp_path: Path, certificate: Path, security: str) -> None:
    (tmp_path / "password").write_text("secret\n")
    more = f'security = "{security}"\nuser = "reports"\npassword_file = "password"\nca_file = "{certificate}.pem"\n'
    now, postbox = written(tmp_path, 1), Postbox()
    with server(postbox, tls=security, certificate=certificate) as port:
        assert run.run(mailed(tmp_path, port, more), now=now).failures == []
    assert len(postbox.got) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_wrong_password_and_a_strange_certificate_are_told(tmp_path: Path, certificate: Path, security: str) -> None:
    (tmp_path / "password").write_text("wrong\n")
    now, postbox = written(tmp_path, 1), Postbox()
    more = f'security = "{security}"\nuser = "reports"\npassword_file = "password"\n'
    with server(postbox, tls=security, certificate=certificate) as port:
        told = run.run(mailed(tmp_path, port, f'{more}ca_file = "{certificate}.pem"\n'), now=now).failures
        assert "refuses the login of reports (535" in told[0]
        told = run.run(mailed(tmp_path, port, more), now=now).failures
        assert "no encrypted connection" in told[0] and "mail.ca_file" in told[0]
    assert postbox.got == []


def test_after_an_absence_the_incidents_of_all_days_are_told_once(tmp_path: Path) -> None:
    first, last = days_with_a_loop()
    postbox = Postbox()
    with server(postbox) as port:
        config = mailed(tmp_path, port)
        run.run(config, now=written(tmp_path, 1, first - 1))
        now = written(tmp_path, last + 3 - first, first)  # a loop comes and goes, and two quiet days
        for _ in range(2):
            run.run(config, now=now)
    bodies = [m.get_body(("plain",)).get_content() for _, _, m in postbox.got]  # type: ignore[union-attr]
    assert len(bodies) == 2
    assert "no loop and no storm" in bodies[0]
    assert bodies[1].count("answered each other automatically") == 1
    assert "ended" in bodies[1] and "opened on 2025-12-20" in bodies[1]


def test_the_digest_tells_the_first_of_each_list(tmp_path: Path) -> None:
    """Who mails himself pflogsumm's output today looks for these lists in the mail."""
    postbox = Postbox()
    with server(postbox) as port:
        run.run(mailed(tmp_path, port), now=written(tmp_path, 2))
    for kind in ("plain", "html"):
        body = postbox.got[0][2].get_body((kind,)).get_content()  # type: ignore[union-attr]
        for title in ("Senders by messages", "Recipients by messages", "Delivered to domains"):
            assert title in body
        assert "gamma.example" in body


def test_pages_index_and_digest_speak_filipino_where_it_is_asked_for(tmp_path: Path) -> None:
    first, last = days_with_a_loop()
    now, postbox = written(tmp_path, last - first + 1, first), Postbox()
    with server(postbox) as port:
        run.run(mailed(tmp_path, port, '[report]\nlang = "fil"\n'), now=now)
    folder = tmp_path / "archive" / "reports"
    page, index = ((folder / name).read_text() for name in ("2025-12-21.html", "index.html"))
    assert "Operasyon ng araw" in page and "Mga nagpadala ayon sa mensahe" in page and "Noong nakaraang araw" in page
    assert "wtomatikong nagsagutan" in index and "Natanggap" in index
    for html in (page, index):
        assert '<html lang="fil">' in html
        assert not re.search(r"Senders by|This day|Received<|answered each other automatically", html)
    message = postbox.got[0][2]
    assert message["Subject"].startswith("Ulat ng mail 2025-12-21: 1 insidente")
    for kind in ("plain", "html"):
        body = message.get_body((kind,)).get_content()  # type: ignore[union-attr]
        assert "Mga nagpadala ayon sa mensahe" in body and "nagsimula noong 2025-12-20" in body


def test_it_does_not_write_to_a_party_of_a_running_loop(tmp_path: Path) -> None:
    """The loop's mailbox would answer the report, too."""
    first, _ = days_with_a_loop()
    now, postbox = written(tmp_path, 1, first), Postbox()
    with server(postbox) as port:
        config = mailed(tmp_path, port, to='"sales+reports@tulip.example", "postmaster@ops.example"')
        outcome = run.run(config, now=now)
    [(_, recipients, message)] = postbox.got
    assert recipients == ["postmaster@ops.example"]
    assert "RUNNING" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    [said] = outcome.failures
    assert "not sent to sales+reports@tulip.example" in said and "is running" in said
    assert "loop-" in said


def test_nothing_is_sent_on_days_without_incidents_where_only_they_are_wanted(tmp_path: Path) -> None:
    postbox = Postbox()
    with server(postbox) as port:
        outcome = run.run(mailed(tmp_path, port, 'when = "incidents"\n'), now=written(tmp_path, 1))
    assert (postbox.got, outcome.sent, outcome.failures) == ([], "", [])


def test_a_masked_digest_names_no_address(tmp_path: Path) -> None:
    first, _ = days_with_a_loop()
    postbox = Postbox()
    with server(postbox) as port:
        run.run(mailed(tmp_path, port, "masked = true\n"), now=written(tmp_path, 1, first))
    [(_, _, message)] = postbox.got
    for kind in ("plain", "html"):
        body = message.get_body((kind,)).get_content()  # type: ignore[union-attr]
        assert "Mail loop (automatic answers)" in body
        assert "@" not in body and "tulip" not in body


def test_a_silent_night_is_told(tmp_path: Path) -> None:
    postbox = Postbox()
    with server(postbox) as port:
        run.run(mailed(tmp_path, port), now=written(tmp_path, 1) + dt.timedelta(days=3))
    body = postbox.got[0][2].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "No log line of 2025-12-14 was found" in body


def test_sendmail_gets_the_mail_with_the_null_reverse_path(tmp_path: Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.args"\ncat > "$0.mail"\n')
    program.chmod(0o755)
    config = configuring.read(
        configured(tmp_path, f'[mail]\nto = ["a@ops.example"]\ntransport = "sendmail"\nsendmail = "{program}"\n')
    )
    assert run.run(config, now=written(tmp_path, 1)).sent
    assert (tmp_path / "sendmail.args").read_text().split("\n") == ["-i", "-f", "<>", "--", "a@ops.example", ""]
    assert b"Auto-Submitted: auto-generated" in (tmp_path / "sendmail.mail").read_bytes()


def test_a_sendmail_that_fails_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text("#!/bin/sh\necho postdrop: cannot write >&2\nexit 75\n")
    program.chmod(0o755)
    config = configuring.read(
        configured(tmp_path, f'[mail]\nto = ["a@ops.example"]\ntransport = "sendmail"\nsendmail = "{program}"\n')
    )
    [failure] = run.run(config, now=written(tmp_path, 1)).failures
    assert "exit code 75 (postdrop: cannot write)" in failure


# --- the configuration ------------------------------------------------------------------------------------------------------

WRONG = {
    "archive = 3": "archive",
    'archive = "a"\n[[logs]]\npaths = []': "logs.1.paths",
    'archive = "a"\n': "[[logs]]",
    'archive = "a"\nlog = 1': "log: there is no such setting; there are archive, wait",
    'archive = "a"\n[[logs]]\npaths = ["x"]\ntz = "Nowhere"': "'Nowhere' is no time zone",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[[logs]]\npaths = ["y"]': "two sections [[logs]] have the name 'mail'",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[mail]\nto = ["me"]': "'me' is no mail address",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[mail]\nuser = "x"\npassword_file = "p"': "in the clear",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[mail]\nport = 99999': "mail.port",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[search]\nwindow = "soon"': "'soon' is no length of time",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[keep]\ndays = -1': "keep.days",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[report]\nlang = "xx"': "'xx': there is no such catalogue; there are en, fil",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[report]\ntopp = 1': "report.topp: there is no such setting; there are folder, timezone, lang, top",
    "archive = ": "not TOML",
    'archive = { path = "a" }\n[[logs]]\npaths = ["x"]': "archive: must be the path of a file or folder, in quotes (it is",
    'archive = "a"\n[logs]\npaths = ["x"]': "logs: write a section [[logs]] with",
    'archive = "a"\n[[logs]]\npaths = "x"': 'logs.1.paths: must be a list, as ["one", "two"] (it is \'x\')',
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[report]\ntop = "ten"': "report.top: must be a whole number (it is 'ten')",
    'archive = "a"\n[[logs]]\npaths = ["x"]\n[report]\nfindings = "perhaps"': "report.findings: must be true or false",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_configuration_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(WRONG[text])) as told:
        configuring.read(path)
    assert str(told.value).startswith(f"{path}: ")


def test_each_fault_of_a_configuration_has_its_line_and_nothing_that_only_follows(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('archive = "a"\n[[logs]]\npath = ["x"]\n[report]\ntop = 0\n')
    done = command("config", "check", path)
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert len(said) == 3
    assert [line.split(": ")[2] for line in said] == ["logs.1.paths", "logs.1.path", "report.top"]
    assert said[2].endswith("must be at least 1 (it is 0)")


def test_a_missing_configuration_says_how_to_begin(tmp_path: Path) -> None:
    done = command("daily", "--config", tmp_path / "no.toml")
    assert done.returncode == 2
    assert "config dump >" in done.stderr


def test_the_dump_is_a_configuration_that_means_the_same(tmp_path: Path) -> None:
    dumped = configuring.dump()
    assert dumped.count("\n# ") + dumped.count("\n[") > 40
    (tmp_path / "all.toml").write_text(dumped)
    config = configuring.read(tmp_path / "all.toml")
    assert config.logs[0].paths == ("/var/log/mail.log*",)
    again = configuring.dump(config)
    (tmp_path / "again.toml").write_text(again)
    assert configuring.read(tmp_path / "again.toml") == config
    for part in (
        configuring.Config,
        configuring.LogEntry,
        configuring.ReportPart,
        configuring.SearchPart,
        configuring.MailPart,
        configuring.KeepPart,
    ):
        for name, info in part.model_fields.items():
            assert info.description or name in ("logs", "report", "search", "mail", "keep"), (
                f"{part.__name__}.{name} is not explained"
            )
            if info.description:
                assert info.description in dumped
    given = configuring.read(configured(tmp_path, '[mail]\nto = ["a@b.example"]\nwhen = "incidents"\n'))
    (tmp_path / "given.toml").write_text(configuring.dump(given))
    assert configuring.read(tmp_path / "given.toml") == given


def test_check_tells_whether_the_logs_are_there(tmp_path: Path) -> None:
    written(tmp_path, 1)
    done = command("config", "check", configured(tmp_path))
    assert done.returncode == 0
    assert "mail: 3 files" in done.stderr
    shutil.rmtree(tmp_path / "logs")
    done = command("config", "check", tmp_path / "daily.toml")
    assert done.returncode == 3
    assert "no such file" in done.stderr


# --- exit codes and sentences -----------------------------------------------------------------------------------------------


def test_no_log_at_all_is_exit_3_and_the_next_run_goes_on(tmp_path: Path) -> None:
    path = configured(tmp_path)
    done = command("daily", "--config", path)
    assert done.returncode == 3
    assert done.stderr.count("no such file") == 1
    written(tmp_path, 1)
    assert command("daily", "--config", path).returncode == 0


def test_a_log_that_vanished_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    written(tmp_path, 2)
    path = tmp_path / "daily.toml"
    path.write_text(
        f'archive = "archive"\n[[logs]]\npaths = ["logs/*/*.log"]\n[[logs]]\nname = "other"\npaths = ["{tmp_path}/other.log"]\n'
    )
    done = command("daily", "--config", path)
    assert done.returncode == 0
    assert "other: " in done.stderr and "no such file" in done.stderr
    assert command("daily", "--strict", "--config", path).returncode == 4
    shutil.rmtree(tmp_path / "logs")
    with pytest.raises(NoInputError):
        run.run(configuring.read(path))
    assert len(list((tmp_path / "archive" / "events").iterdir())) == 2


def test_an_archive_that_cannot_be_made_is_exit_2(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (tmp_path / "archive").write_text("a file")
    done = command("daily", "--config", configured(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.strip().split("\n")) == 1
    assert "can't be made there" in done.stderr


def test_a_loop_that_fail_on_names_is_exit_10(tmp_path: Path) -> None:
    first, _ = days_with_a_loop()
    written(tmp_path, 1, first)
    path = configured(tmp_path, '[search]\nfail_on = ["loop"]\n')
    assert command("daily", "--quiet", "--config", path).returncode == 10


def test_two_runs_at_once_wait_for_each_other(tmp_path: Path) -> None:
    written(tmp_path, 4)
    path = configured(tmp_path)
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(command("daily", "--quiet", "--config", path).returncode)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert command("archive", "verify", tmp_path / "archive").returncode == 0


def test_status_verify_rebuild_and_forget(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = configured(tmp_path)
    assert command("daily", "--quiet", "--config", path).returncode == 0
    status = command("archive", "status", tmp_path / "archive").stdout
    assert "3 days from 2025-12-11 to 2025-12-13" in status
    assert len(status.splitlines()) == 2 + 3  # a line for each server, however many logs it had
    assert status.count(" in 1 log up to 2025-12-13 ") == 3
    assert command("archive", "status", "--logs", tmp_path / "archive").stdout.count("seen as ") == 3
    pages = tmp_path / "archive" / "reports"

    def shown() -> dict[str, str]:
        """The pages without the moment and the length of the run."""
        return {
            p.name: re.sub(r"<time datetime=\"20(?!25).*?</time> UTC(?:,| in) [0-9.]+ m?s", "", p.read_text())
            for p in pages.glob("*.html")
        }

    before = shown()
    for page in pages.iterdir():
        page.unlink()
    assert command("archive", "rebuild", "--from-logs", "--config", path).returncode == 0
    assert shown() == before
    assert command("archive", "verify", tmp_path / "archive").returncode == 0
    done = command("archive", "forget", "--config", path, "--before", "2025-12-13")
    assert "2 days of events and 2 pages were removed" in done.stderr
    assert sorted(p.name for p in pages.glob("2*")) == ["2025-12-13.html", "2025-12-13.json"]
    assert command("archive", "forget", "--config", path, "--before", "yesterday").returncode == 2
    target = next((tmp_path / "archive" / "events").glob("*/*.parquet"))
    target.write_bytes(b"PAR1")
    assert command("archive", "verify", tmp_path / "archive").returncode == 1


def test_an_archive_without_events_of_that_time_says_what_it_holds(tmp_path: Path) -> None:
    written(tmp_path, 1)
    assert command("daily", "--quiet", "--config", configured(tmp_path)).returncode == 0
    done = command("analyze", "--archive", tmp_path / "archive", "--until", "2020-01-01")
    assert done.returncode == 3
    assert "it holds 2025-12-11 to 2025-12-11" in done.stderr


def test_figures_for_prometheus_name_nobody(tmp_path: Path) -> None:
    first, _ = days_with_a_loop()
    now = written(tmp_path, 1, first)
    run.run(configuring.read(configured(tmp_path, '[report]\nprometheus = "mail.prom"\n')), now=now)
    text = (tmp_path / "mail.prom").read_text()
    assert "@" not in text and "example" not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'maillog_forensics_[a-z_]+(\{[a-z]+="[a-z]+"\})? [0-9.e+]+', line) for line in lines)
    helped = set(re.findall(r"^# HELP (\S+)", text, re.MULTILINE))
    assert {re.split(r"[{ ]", line)[0] for line in lines} == helped == set(re.findall(r"^# TYPE (\S+) gauge", text, re.MULTILINE))
    assert 'maillog_forensics_incidents_running{severity="medium"} 1' in lines
    assert f"maillog_forensics_last_run_timestamp_seconds {now.timestamp():.0f}" in lines
    assert [p.name for p in tmp_path.glob("mail.prom*")] == ["mail.prom"]


# --- schedules --------------------------------------------------------------------------------------------------------------

MAIL = {
    "no mail": "",
    "smtp": '[mail]\nto = ["a@b.example"]\nhost = "relay.b.example"\nsecurity = "starttls"\n',
    "localhost": '[mail]\nto = ["a@b.example"]\n',
    "sendmail": '[mail]\nto = ["a@b.example"]\ntransport = "sendmail"\n',
}


@pytest.mark.parametrize("mail", MAIL)
def test_the_systemd_units_are_sound_and_tight(tmp_path: Path, mail: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    units = tmp_path / "units"
    units.mkdir()
    assert command("schedule", "systemd", "--config", configured(tmp_path, MAIL[mail]), "-o", units).returncode == 0
    service, timer = units / "maillog-forensics.service", units / "maillog-forensics.timer"
    text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", service.read_text())
    text = re.sub(r"(?m)^(User|Group)=.*$", r"\1=daemon", text)  # ours need not exist here
    service.write_text(text)
    checked = subprocess.run([analyze, "verify", "--man=no", service, timer], capture_output=True, text=True, check=False)
    own = [line for line in checked.stderr.splitlines() if "maillog-forensics" in line]
    assert checked.returncode == 0 and not own, checked.stderr
    level = subprocess.run([analyze, "security", "--offline=true", service], capture_output=True, text=True, check=False).stdout
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", level)
    assert match, level
    assert float(match[1]) <= {"no mail": 0.8, "localhost": 1.5, "smtp": 1.6, "sendmail": 1.6}[mail], level
    assert ("PrivateNetwork=yes" in text) == (mail == "no mail")
    assert f"ReadWritePaths={tmp_path}/archive\n" in text


def test_the_line_for_cron_and_the_task_for_windows_call_the_program(tmp_path: Path) -> None:
    config = configured(tmp_path)
    line = command("schedule", "cron", "--config", config).stdout.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"30 5 \* \* \* maillog-forensics \S*maillog-forensics daily --quiet --config {re.escape(str(config))}", line
    )
    task = command("schedule", "windows", "--config", config).stdout
    root = ET.fromstring(task.encode())
    name = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    assert root.findtext(".//t:Arguments", namespaces=name) == f'daily --quiet --config "{config}"'
    assert root.findtext(".//t:MultipleInstancesPolicy", namespaces=name) == "IgnoreNew"
    assert root.findtext(".//t:StartWhenAvailable", namespaces=name) == "true"
    assert command("schedule", "at", "--config", config).returncode == 2
