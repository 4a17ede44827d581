"""Handing a mail over: to an SMTP server, or to the local sendmail."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from email.message import EmailMessage

from maillog_forensics.daily.config import MailPart
from maillog_forensics.errors import MaillogForensicsError, UsageError
from maillog_forensics.options import duration_s


class MailError(MaillogForensicsError):
    """A mail could not be handed over; the text says why."""


def deliver(message: EmailMessage, recipients: list[str], mail: MailPart) -> None:
    """Hand a mail over.

    Raises
    ------
    MailError
        With the server's own words, where it said some.
    """
    if mail.transport == "sendmail":
        _by_sendmail(message, recipients, mail)
        return
    where = f"{mail.host}:{mail.smtp_port}"
    try:
        with _connected(mail) as server:
            if mail.user:
                server.login(mail.user, _password(mail))
            refused = server.send_message(message, from_addr=mail.reverse_path, to_addrs=recipients)
    except smtplib.SMTPRecipientsRefused as error:
        raise MailError(f"{where} refuses all recipients ({_words(next(iter(error.recipients.values())))})") from error
    except smtplib.SMTPAuthenticationError as error:
        raise MailError(f"{where} refuses the login of {mail.user} ({_words((error.smtp_code, error.smtp_error))})") from error
    except smtplib.SMTPResponseException as error:
        raise MailError(f"{where} refuses the mail ({_words((error.smtp_code, error.smtp_error))})") from error
    except smtplib.SMTPException as error:
        raise MailError(f"{where}: {error}") from error
    except ssl.SSLError as error:
        raise MailError(
            f"{where}: no encrypted connection ({error.reason or error}); see mail.security and mail.ca_file"
        ) from error
    except (OSError, TimeoutError) as error:
        raise MailError(f"{where} can't be reached ({(error.strerror or str(error)).lower()})") from error
    if refused:
        name, reply = next(iter(refused.items()))
        raise MailError(f"{where} refuses {name} ({_words(reply)}); the others have it")


def _connected(mail: MailPart) -> smtplib.SMTP:
    timeout = duration_s(mail.timeout, "mail.timeout")
    if mail.security == "none":
        return smtplib.SMTP(mail.host, mail.smtp_port, timeout=timeout)
    context = ssl.create_default_context(cafile=mail.ca_file)
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.smtp_port, timeout=timeout, context=context)
    server = smtplib.SMTP(mail.host, mail.smtp_port, timeout=timeout)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _password(mail: MailPart) -> str:
    assert mail.password_file is not None
    try:
        return mail.password_file.read_text("utf-8").split("\n")[0]
    except OSError as error:
        raise UsageError(
            f"{mail.password_file}: the password can't be read ({(error.strerror or str(error)).lower()})"
        ) from error


def _words(reply: tuple[int, bytes | str]) -> str:
    code, text = reply
    return f"{code} {text.decode('utf-8', 'backslashreplace') if isinstance(text, bytes) else text}"[:200]


def _by_sendmail(message: EmailMessage, recipients: list[str], mail: MailPart) -> None:
    command = [str(mail.sendmail), "-i", "-f", mail.reverse_path or "<>", "--", *recipients]
    timeout = duration_s(mail.timeout, "mail.timeout")
    try:
        done = subprocess.run(command, input=message.as_bytes(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise MailError(f"{mail.sendmail} did not finish within {timeout:.0f} s") from error
    except OSError as error:
        raise MailError(f"{mail.sendmail} can't be run ({(error.strerror or str(error)).lower()}); see mail.sendmail") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip().split("\n")[-1][:200]
        raise MailError(f"{mail.sendmail} failed with exit code {done.returncode} ({said})")
