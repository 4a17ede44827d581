"""The one document that every renderer sees: frozen, complete without the logs, published as JSON Schema.

`incidents` fills it, `report` and the other renderers read it, `render FINDINGS.json` reads it years later. Its incidents and their
parts stand in `claims`; they are named here too, as parts of the document. Times are UTC (RFC 3339); durations are seconds; sizes are bytes.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maillog_forensics.claims import (
    SEVERITIES,
    Arrow,
    Bin,
    Cause,
    Confidence,
    Document,
    EndedBy,
    Ending,
    Evidence,
    Factor,
    FromOutside,
    Harm,
    Incident,
    Kind,
    LookAlike,
    LoopType,
    Moment,
    Remedy,
    Series,
    Severity,
    StormType,
    Trigger,
    Words,
)
from maillog_forensics.errors import FindingsError
from maillog_forensics.language import Said

__all__ = [
    "SCHEMA",
    "SEVERITIES",
    "Arrow",
    "Bin",
    "Cause",
    "Confidence",
    "EndedBy",
    "Ending",
    "Evidence",
    "Factor",
    "Findings",
    "FromOutside",
    "Harm",
    "Incident",
    "InputFile",
    "Kind",
    "LookAlike",
    "LoopType",
    "Moment",
    "Remedy",
    "Run",
    "Search",
    "Sentence",
    "Series",
    "Severity",
    "StormType",
    "Suppressed",
    "Traffic",
    "Trigger",
    "UnknownShape",
    "Words",
    "json_schema",
    "read",
    "sentences",
    "write",
]

SCHEMA: Final = "maillog-forensics/findings/1"


class Sentence(Document):
    """What an English sentence of this document was made from, for those who show it in another language."""

    message: str
    """With named holes, as the catalogues under reports/locale/ have it."""
    values: dict[str, str | int | float] = {}


class UnknownShape(Document):
    """A kind of line that nothing knows."""

    shape: str
    count: int
    line: int
    sample: str


class InputFile(Document):
    """The ledger and the custody of one input; parsed + ignored + unrecognised + damaged = lines."""

    path: str
    sha256: str
    bytes: int
    compression: str = "none"
    decompressed_sha256: str
    lines: int
    parsed: int
    ignored: int
    unrecognised: int
    damaged: int
    duplicates: int = 0
    """Among the parsed: lines that another input had already told."""
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    format: str
    zone: str
    zone_basis: Words
    year_basis: Words
    problems: tuple[Words, ...] = ()
    unrecognised_shapes: tuple[UnknownShape, ...] = ()


class Traffic(Document):
    """All mail in the logs, for comparison."""

    messages: int = 0
    deliveries: int = 0
    bounced: int = 0
    deferred: int = 0
    rejected: int = 0
    notifications: int = 0
    mailboxes: int = 0
    hosts: tuple[str, ...] = ()
    mtas: tuple[str, ...] = ()
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    series: Series | None = None


class Search(Document):
    """What one detector looked at: proof that "nothing found" has looked."""

    detector: Words
    candidates: int
    """Pairs, rings or recipients that were examined closely."""
    found: int
    set_aside: dict[str, int] = {}
    """Look-alike that they were, to their number."""
    words: Words = ""


class Suppressed(Document):
    """Incidents that a list of known-good pairs left out."""

    members: tuple[str, ...]
    reason: str
    expires: dt.date
    incidents: int
    messages: int


class Run(Document):
    """How this document was made: the only part that differs from run to run on the same input."""

    version: str
    command: str = ""
    started_at: dt.datetime | None = None
    elapsed_s: float = 0.0
    parameters: dict[str, str | int | float | bool | None] = {}
    libraries: dict[str, str] = {}
    pseudonymized: bool = False
    key_fingerprint: str = ""
    """Of the key of the pseudonyms: documents with the same one use the same pseudonyms."""
    redacted: tuple[str, ...] = ()


class Findings(Document):
    """The findings file."""

    schema_: Literal["maillog-forensics/findings/1"] = Field(SCHEMA, alias="schema")
    run: Run
    inputs: tuple[InputFile, ...]
    traffic: Traffic = Traffic()
    incidents: tuple[Incident, ...] = ()
    possible: tuple[Incident, ...] = ()
    """Listed apart: too weak for an alarm (confidence possible)."""
    suppressed: tuple[Suppressed, ...] = ()
    """Left out because a list of known-good pairs names them; counted, never silent."""
    searches: tuple[Search, ...] = ()
    limits: tuple[Words, ...] = ()
    """What these logs can't show, in sentences."""
    sentences: dict[str, Sentence] = {}
    """English sentences above that hold values, each once: what they were made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _remembered(cls, data: Any) -> Any:
        """Where the parts come from the detectors, their sentences still know what they were made from."""
        if isinstance(data, dict) and "sentences" not in data:
            return {**data, "sentences": sentences(*data.values())}
        return data


def sentences(*parts: object) -> dict[str, Sentence]:
    """What the sentences with values in documents, or in tuples of them, were made from."""
    out: dict[str, Sentence] = {}
    for part in parts:
        if isinstance(part, Said):
            if part.values:
                out[str(part)] = Sentence(message=part.message, values=part.values)
        elif isinstance(part, (tuple, list)):
            out |= sentences(*part)
        elif isinstance(part, BaseModel):
            out |= sentences(*(value for _, value in part))
    return out


def write(findings: Findings) -> str:
    """The findings as JSON text, keys in the order of the model."""
    return findings.model_dump_json(by_alias=True, indent=1) + "\n"


def read(path: str) -> Findings:
    """Read a findings file.

    Raises
    ------
    FindingsError
        When the file can't be read or is not a findings file of this version.
    """
    try:
        return Findings.model_validate_json(Path(path).read_text("utf-8"))
    except OSError as error:
        raise FindingsError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise FindingsError(f"{path}: not a findings file of this version ({where or 'document'}: {first['msg']})") from error


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the findings file."""
    schema = Findings.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA, **schema}
