"""What a run read, found and wrote, as one small JSON file for the program that started it (`--summary`)."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final, NoReturn

import typer
from pydantic import BaseModel, ConfigDict

from maillog_forensics import __version__
from maillog_forensics.errors import MaillogForensicsError, NoInputError
from maillog_forensics.findings import Findings, InputFile

SCHEMA: Final = "maillog-forensics/run/1"
INTERNAL, INTERRUPTED = 1, 130


class RunSummary(BaseModel):
    """A run for programs: everything in it but `started_at` and `elapsed_s` is the same for the same inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: str
    version: str
    command: str
    started_at: dt.datetime
    elapsed_s: float
    exit_code: int
    error: str = ""
    """The sentence that the run ended with, where it failed."""
    problems: tuple[str, ...] = ()
    """Sentences about paths and inputs: missing, unreadable, damaged, unknown."""
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[str, ...] = ()
    """Files and objects that this run wrote, under their final names."""
    events: int | None = None
    """Rows of the events table that was written."""
    incidents: dict[str, dict[str, int]] = {}
    """Number of incidents by kind and severity."""

    def text(self) -> str:
        """The JSON text."""
        return self.model_dump_json(indent=1).replace('"schema_":', '"schema":', 1) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file."""
    schema = RunSummary.model_json_schema()
    schema["properties"]["schema"] = {"const": SCHEMA}
    del schema["properties"]["schema_"]
    schema["required"] = ["schema", *(name for name in schema["required"] if name != "schema_")]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}


class Watch:
    """Notes what a command does, and writes the summary when it ends, however it ends."""

    def __init__(self, target: str | None, command: str) -> None:
        self._target, self._command = target, command
        self._began, self._clock = dt.datetime.now(dt.UTC), time.monotonic()
        self._inputs: list[InputFile] = []
        self._problems: list[str] = []
        self._outputs: list[str] = []
        self._events: int | None = None
        self._incidents: dict[str, dict[str, int]] = {}

    def __enter__(self) -> Watch:
        return self

    def read(self, inputs: list[InputFile], problems: list[str], events: int | None = None) -> None:
        """What was read, and how many events it told where that was counted."""
        self._inputs, self._events = inputs, events
        self._problems = [*problems, *(f"{i.path}: {p}" for i in inputs for p in i.problems)]

    def found(self, findings: Findings) -> None:
        """What was found."""
        counts = Counter((i.kind.value, i.severity.value) for i in findings.incidents)
        for (kind, severity), count in sorted(counts.items()):
            self._incidents.setdefault(kind, {})[severity] = count

    def wrote(self, *outputs: str) -> None:
        """Files that stand under their final names now."""
        self._outputs += outputs

    @property
    def problems(self) -> list[str]:
        """Sentences for a person."""
        return self._problems

    @property
    def is_damaged(self) -> bool:
        """Whether an input was damaged or unreadable."""
        return bool(self._problems) or any(i.damaged for i in self._inputs)

    def need_mail(self) -> None:
        """End the run where no line of a mail server was read.

        Raises
        ------
        NoInputError
        """
        if not any(i.parsed for i in self._inputs):
            raise NoInputError(
                "no line of a mail server was found in these inputs; name the mail server's log files or their directory"
            )

    def name_of_inputs(self) -> str:
        """A name that is the same for the same inputs, and another for others: what a rerun writes replaces what it wrote."""
        return "events-" + hashlib.sha256("".join(i.sha256 for i in self._inputs).encode()).hexdigest()[:16]

    def leave(self, code: int) -> NoReturn:
        """End the command with this exit code."""
        raise typer.Exit(code)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._target is None:
            return
        from maillog_forensics.writers import write_text

        summary = RunSummary(
            schema_=SCHEMA,
            version=__version__,
            command=self._command,
            started_at=self._began,
            elapsed_s=round(time.monotonic() - self._clock, 3),
            exit_code=_exit_code(error),
            error=str(error) if isinstance(error, MaillogForensicsError) else "",
            problems=tuple(self._problems),
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
            events=self._events,
            incidents=self._incidents,
        )
        write_text(summary.text(), self._target)


def _exit_code(error: BaseException | None) -> int:
    if error is None or isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, MaillogForensicsError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else INTERNAL
