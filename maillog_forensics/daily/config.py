"""The configuration of the daily report: a TOML file, every setting with its default and what it is for."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from maillog_forensics.errors import UsageError
from maillog_forensics.language import ENGLISH, languages
from maillog_forensics.options import duration_s


def _zone(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[+-][0-9]{2}:?[0-9]{2}", text):
        try:
            ZoneInfo(text)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{text!r} is no time zone; write for instance Asia/Manila") from None
    return text


def _named_zone(text: str) -> str:
    if re.match(r"[+-]", text):
        raise ValueError(f"{text!r}: days need a zone with a name, for instance Asia/Manila or Etc/GMT-8")
    return _zone(text) or "UTC"


def _lang(code: str) -> str:
    if code not in languages():
        raise ValueError(f"{code!r}: there is no such catalogue; there are {', '.join(languages())}")
    return code


def _length(text: str) -> str:
    try:
        duration_s(text, "")
    except UsageError:
        raise ValueError(f"{text!r} is no length of time; write for instance 90m, 4h or 2d") from None
    return text


def _mailbox(text: str) -> str:
    if not re.fullmatch(r"[^\s@<>,;:\\\"]+@[^\s@<>,;:\\\"]+", text):
        raise ValueError(f"{text!r} is no mail address; write for instance postmaster@example.org")
    return text


Zone = Annotated[str | None, AfterValidator(_zone)]
Length = Annotated[str, AfterValidator(_length)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogEntry(_Part):
    """Some logs. The section [[logs]] may stand several times."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = Field(
        default="mail", description="What reports call these logs; it begins the name of every source, so keep it."
    )
    paths: tuple[str, ...] = Field(
        ..., min_length=1, description="Files, folders, globs; name the rotated and compressed ones too: /var/log/mail.log*"
    )
    tz: Zone = Field(
        default=None, description="Zone of stamps that carry none, as Asia/Manila; without it, the lines prove it, or it is UTC."
    )
    host: str | None = Field(
        default=None, description="Host of lines that name none (Exim's own files); without it, the file's name tells."
    )
    format: str | None = Field(
        default=None, description="Read these logs as this format (see 'formats list'); without it, found out."
    )


class ReportPart(_Part):
    """The pages."""

    folder: Path | None = Field(
        default=None, description="Where pages are written; without it, the folder reports in the archive."
    )
    timezone: Annotated[str, AfterValidator(_named_zone)] = Field(
        default="UTC", description="The zone in which a day begins and ends."
    )
    lang: Annotated[str, AfterValidator(_lang)] = Field(
        default=ENGLISH, description="Language of pages and digest: en, fil. Days that have their page keep its language until 'archive rebuild'."
    )  # fmt: skip
    top: int = Field(default=10, ge=1, le=1000, description="Rows of each list of the day's operations.")
    findings: bool = Field(default=True, description="Write each day's findings as JSON too.")
    prometheus: Path | None = Field(
        default=None, description="Write figures for Prometheus' textfile collector to this file (name it *.prom)."
    )


class SearchPart(_Part):
    """The search for loops and storms."""

    window: Length = Field(default="4h", description="Longest gap between a message and the answer to it.")
    look_back: Length = Field(
        default="1d", description="How long before a day its search begins; running incidents reach further by themselves."
    )
    longest_look_back: Length = Field(default="31d", description="How far running incidents may reach back at most.")
    allow: Path | None = Field(default=None, description="A file of known-good pairs (see 'analyze --allow').")
    fail_on: tuple[Literal["loop", "storm"], ...] = Field(
        default=(), description="Exit with 10 when the newest day has an incident of these kinds."
    )


class MailPart(_Part):
    """The digest by mail. It is sent when `to` names someone."""

    to: tuple[Mailbox, ...] = Field(default=(), description="Who gets the digest.")
    sender: Mailbox | None = Field(default=None, description="The From address; without it, the first of `to`.")
    reverse_path: Annotated[str, Field(pattern=r"^$|^[^\s@<>]+@[^\s@<>]+$")] = Field(
        default="", description="The envelope sender; empty is the null reverse-path, so that nothing can answer or bounce to it."
    )
    list_id: str | None = Field(
        default=None, description="The List-Id, for filters; without it, maillog-forensics.HOST of this machine."
    )
    when: Literal["always", "incidents"] = Field(default="always", description="Every day, or only on days with incidents.")
    transport: Literal["smtp", "sendmail"] = Field(
        default="smtp", description="How it is sent: SMTP, or the local sendmail program."
    )
    host: str = Field(default="localhost", description="The SMTP server.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Its port; without it, 25, 587 with starttls, 465 with tls."
    )
    security: Literal["none", "starttls", "tls"] = Field(
        default="none", description="none, starttls, or tls from the first byte."
    )
    ca_file: Path | None = Field(default=None, description="Certificates to trust, where the system's do not suffice.")
    user: str | None = Field(default=None, description="Login, where the server asks for one (only with starttls or tls).")
    password_file: Path | None = Field(
        default=None, description="A file whose first line is the password; not readable by others."
    )
    timeout: Length = Field(default="60s", description="How long to wait for the server.")
    sendmail: Path = Field(default=Path("/usr/sbin/sendmail"), description="The program for transport sendmail.")
    link: str | None = Field(
        default=None, description="Where the pages can be seen, as https://reports.example.org/; put into the digest."
    )
    masked: bool = Field(
        default=False, description="No address and no host in the digest: incidents are told by kind, size and id."
    )

    @model_validator(mode="after")
    def _login_is_encrypted(self) -> MailPart:
        if self.user and self.security == "none":
            raise ValueError('a login goes over the network in the clear with security = "none"; set starttls or tls')
        if self.user and not self.password_file:
            raise ValueError("user needs a password_file")
        return self

    @property
    def smtp_port(self) -> int:
        """The port, as set or as usual."""
        return self.port or {"none": 25, "starttls": 587, "tls": 465}[self.security]


class KeepPart(_Part):
    """How long things are kept."""

    days: int = Field(
        default=400, ge=0, description="Days of events, pages and findings that are kept; older ones are forgotten at each run. 0 keeps all."
    )  # fmt: skip


class Config(_Part):
    """The whole file."""

    archive: Path = Field(..., description="The folder of the archive; it is made when it is not there.")
    wait: Length = Field(default="10m", description="How long to wait for another run that uses the archive.")
    parsers: Path | None = Field(default=None, description="A folder with your own *.grammar files.")
    logs: tuple[LogEntry, ...] = Field(..., min_length=1)
    report: ReportPart = ReportPart()
    search: SearchPart = SearchPart()
    mail: MailPart = MailPart()
    keep: KeepPart = KeepPart()

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [entry.name for entry in self.logs]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two sections [[logs]] have the name {twice[0]!r}; give each its own")
        return self

    @property
    def folder(self) -> Path:
        """Where pages are written."""
        return self.report.folder or self.archive / "reports"

    def span(self, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
        """When a day begins and ends (UTC)."""
        zone = ZoneInfo(self.report.timezone)
        first = dt.datetime.combine(day, dt.time(), zone)
        last = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone)
        return first.astimezone(dt.UTC), last.astimezone(dt.UTC)

    def day_of(self, time: dt.datetime) -> dt.date:
        """The day that a moment belongs to."""
        return time.astimezone(ZoneInfo(self.report.timezone)).date()


def read(path: Path) -> Config:
    """Read a configuration; paths in it are relative to its folder.

    Raises
    ------
    UsageError
        With what is wrong, and where, one line for each fault.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; 'maillog-forensics config dump > {path}' writes one to start from") from None
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({(error.strerror or str(error)).lower()})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        faults = [f"{path}: {_fault(e, raw)}" for e in _own_faults(error)]
        raise UsageError("\n".join(faults)) from error
    return _anchored(config, path.absolute().parent)


def _own_faults(error: ValidationError) -> list[Any]:
    """The faults without those that only follow from others: a list all of whose parts are wrong is said to be empty too."""
    found = error.errors()
    wrong = [e["loc"] for e in found]
    return [
        e for e in found if e["type"] != "too_short" or not any(w != e["loc"] and w[: len(e["loc"])] == e["loc"] for w in wrong)
    ]


_KINDS = {
    "path_": "the path of a file or folder, in quotes",
    "tuple_": 'a list, as ["one", "two"]',
    "string_type": "text, in quotes",
    "int_": "a whole number",
    "bool_": "true or false",
    "model_": "a section of settings",
}
"""What a value must be, in an administrator's words, by the beginning of pydantic's name for the fault."""


def _fault(error: Any, raw: dict[str, Any]) -> str:
    where = ".".join(str(p + 1) if isinstance(p, int) else str(p) for p in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        section: Any = Config
        for part in error["loc"][:-1]:
            if isinstance(part, str):
                section = _inner(section.model_fields[part].annotation)
        known = ", ".join(section.model_fields)
        return f"{where}: there is no such setting; there are {known}"
    if error["type"] == "missing":
        return f"{where}: is missing; {_described(error['loc'])}"
    if error["type"] == "string_pattern_mismatch":
        message = "can't be written so" if where.startswith("mail.") else "may have letters, digits, and . _ - only"
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        message = f"must be at {'least' if 'ge' in error['ctx'] else 'most'} {next(iter(error['ctx'].values()))}"
    if kind := next((k for begins, k in _KINDS.items() if error["type"].startswith(begins)), None):
        message = _described(error["loc"]) if error["loc"] == ("logs",) else f"must be {kind}"
    given = "" if error["type"].startswith(("value_error", "missing")) else f" (it is {error['input']!r})"
    return f"{where}: {message[0].lower() + message[1:] if message else message}{given}" if where else message


def _inner(annotation: Any) -> Any:
    return next((a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), annotation)


def _described(where: tuple[str | int, ...]) -> str:
    if where == ("logs",):
        return 'write a section [[logs]] with paths = ["/var/log/mail.log*"]'
    section: Any = Config
    for part in [p for p in where if isinstance(p, str)][:-1]:
        section = _inner(section.model_fields[part].annotation)
    return str(section.model_fields[where[-1]].description)


def _anchored(config: Config, base: Path) -> Config:
    """Paths relative to the folder of the file, so that it means the same from everywhere."""

    def at(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    return config.model_copy(
        update={
            "archive": at(config.archive),
            "parsers": at(config.parsers),
            "logs": tuple(e.model_copy(update={"paths": tuple(str(base / p) for p in e.paths)}) for e in config.logs),
            "report": config.report.model_copy(
                update={"folder": at(config.report.folder), "prometheus": at(config.report.prometheus)}
            ),
            "search": config.search.model_copy(update={"allow": at(config.search.allow)}),
            "mail": config.mail.model_copy(
                update={"password_file": at(config.mail.password_file), "ca_file": at(config.mail.ca_file)}
            ),
        }
    )


# --- config dump ------------------------------------------------------------------------------------------------------

_EXAMPLE = {"archive": '"/var/lib/maillog-forensics/archive"', "paths": '["/var/log/mail.log*"]'}


def dump(config: Config | None = None) -> str:
    """A configuration as TOML with every setting explained; those that are as they would be without the file stand behind #."""
    out = ["# maillog-forensics daily --config THIS_FILE", "# Settings behind a # are the defaults."]
    out += _settings(Config, config, {"logs", "report", "search", "mail", "keep"})
    for entry in config.logs if config else (None,):
        out += ["", *_heading(LogEntry), "[[logs]]", *_settings(LogEntry, entry, set())]
    for name, part in (("report", ReportPart), ("search", SearchPart), ("mail", MailPart), ("keep", KeepPart)):
        given = getattr(config, name) if config else None
        out += ["", *_heading(part), f"[{name}]", *_settings(part, given, set())]
    return "\n".join(out) + "\n"


def _heading(part: type[BaseModel]) -> list[str]:
    return [f"# {part.__doc__}"]


def _settings(part: type[BaseModel], given: BaseModel | None, skipped: set[str]) -> list[str]:
    out = []
    for name, info in part.model_fields.items():
        if name in skipped:
            continue
        value = getattr(given, name) if given is not None else None if info.is_required() else info.default
        text = _toml(value) if value is not None else ""
        out.append(f"# {info.description}")
        if info.is_required() and given is None:
            out.append(f"{name} = {_EXAMPLE[name]}")
        elif given is None or value == info.default:
            out.append(f"# {name} = {text}" if text else f"# {name} = (not set)")
        else:
            out.append(f"{name} = {text}")
    return out


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
