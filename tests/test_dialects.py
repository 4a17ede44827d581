"""Events and incidents in the words of others, held against the official definitions."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import api, schema
from maillog_forensics.dialects import DIALECTS, dialect, ecs, ocsf, tree
from maillog_forensics.dialects.detection_findings import detection_findings

jsonschema = pytest.importorskip("jsonschema")
OFFICIAL = Path(__file__).parent / "official"


@pytest.fixture(scope="module")
def events(samples: Path) -> pl.DataFrame:
    """Events of real logs of Postfix, Exim and Exchange."""
    return api.normalize(
        [str(samples / n) for n in ("loop_postfix_exim", "exchange_autoreply", "backscatter_storm")]
    ).events.collect()


HOSTILE = [
    'a"b\\c@x.example', "=cmd|' /C calc'!A0", "\x00\x1b[31m\u202e", "анна@пример.example", "<script>@x", "@", "a@b", "",
    "x" * 3000 + "@y.example", "a\nb@c.example", "''@x.example.", "a b@c.example",
]  # fmt: skip


def hostile_events() -> pl.DataFrame:
    """Every text column filled with what an attacker writes, every event, every number at its border."""
    n = len(HOSTILE) * 3
    rows: dict[str, Any] = {}
    for k, (name, kind) in enumerate(schema.EVENTS.items()):
        if name == "time":
            rows[name] = [dt.datetime(1970 + i, 1, 2, tzinfo=dt.UTC) for i in range(n)]
        elif name == "event":
            rows[name] = [schema.EVENT_NAMES[i % len(schema.EVENT_NAMES)] for i in range(n)]
        elif kind == pl.String:
            rows[name] = [None if (i + k) % 7 == 0 else HOSTILE[(i + k) % len(HOSTILE)] for i in range(n)]
        elif kind == pl.Float64:
            rows[name] = [[None, 0.5, float("inf"), float("nan"), 1e300, -1.0][i % 6] for i in range(n)]
        else:
            rows[name] = [[None, 0, 1, 550, 32000][i % 5] for i in range(n)]
    return pl.DataFrame(rows, schema=schema.EVENTS)


def documents(events: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    """What stands in the lines of a JSON Lines file."""
    words = dialect(name)
    assert words is not None
    lines = events.select(tree.json(words, events.schema).alias("j"))["j"].to_list()
    assert not any("\n" in line for line in lines)
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def official_ocsf() -> Any:
    """The OCSF schema of our version as JSON Schemas, made from the official definitions that the package carries."""
    package = pytest.importorskip("ocsf_json_schema", reason="ocsf-json-schema is not installed (make .venv/tested)")
    return package.OcsfJsonSchemaEmbedded(package.get_ocsf_schema(version=ocsf.VERSION))


@pytest.mark.parametrize("hostile", [False, True])
def test_every_event_is_a_valid_ocsf_email_activity(events: pl.DataFrame, official_ocsf: Any, hostile: bool) -> None:
    table = hostile_events() if hostile else events.gather_every(7)
    validator = jsonschema.Draft202012Validator(official_ocsf.get_class_schema("email_activity", profiles=["host"]))
    found = documents(table, "ocsf")
    assert len(found) == table.height
    assert [(e.message, d) for d in found for e in validator.iter_errors(d)] == []


def test_an_ocsf_document_without_what_is_required_would_be_refused(events: pl.DataFrame, official_ocsf: Any) -> None:
    validator = jsonschema.Draft202012Validator(official_ocsf.get_class_schema("email_activity", profiles=["host"]))
    document = documents(events.head(1), "ocsf")[0]
    for broken in (
        {**document, "severity_id": 77},
        {**document, "colour": 1},
        {k: v for k, v in document.items() if k != "email"},
    ):
        assert not validator.is_valid(broken)


def test_ocsf_keeps_what_its_patterns_refuse_and_tells_the_null_sender(events: pl.DataFrame) -> None:
    kept = hostile_events().filter(pl.col("sender").is_not_null())
    for row, document in zip(kept.to_dicts(), documents(kept, "ocsf")):
        assert row["sender"] in (document["email"].get("from"), document["unmapped"].get("sender"))
    null = documents(events.filter(pl.col("sender") == "").head(1), "ocsf")[0]
    assert null["unmapped"]["sender"] == "" and "from" not in null["email"]


def test_every_incident_is_a_valid_ocsf_detection_finding(samples: Path, official_ocsf: Any) -> None:
    validator = jsonschema.Draft202012Validator(official_ocsf.get_class_schema("detection_finding"))
    findings = api.analyze([str(samples)]).findings
    found = [json.loads(line) for line in detection_findings(findings).splitlines()]
    assert [d["finding_info"]["uid"] for d in found] == [i.id for i in findings.incidents]
    assert [(e.message, list(e.path)) for d in found for e in validator.iter_errors(d)] == []
    loop = next(d for d in found if "anna@alpha.example" in d["message"])
    assert loop["is_alert"] and loop["confidence"] == "High" and loop["evidences"][0]["data"]["line"] > 0


@pytest.mark.parametrize("hostile", [False, True])
def test_every_ecs_field_exists_with_its_type(events: pl.DataFrame, hostile: bool) -> None:
    """`maillog` is ours, as the guide for custom fields has it: a name of one's own at the top."""
    official = json.loads((OFFICIAL / f"ecs-{ecs.VERSION}.json").read_text())
    for document in documents(hostile_events() if hostile else events.gather_every(3), "ecs"):
        document.pop("maillog", None)
        for path, value in leaves(document):
            kind, *array = official["fields"][path]
            values = value if array else [value]
            assert isinstance(values, list) and values, path
            assert all(fits(v, kind) for v in values), (path, value)
        for path, allowed in official["allowed"].items():
            given_ = document["event"][path.partition(".")[2]]
            assert set([given_] if isinstance(given_, str) else given_) <= set(allowed)
        assert set(document["event"]["type"]) <= set(official["types_of_email"])


def leaves(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out = []
    for name, value in document.items():
        out += leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return out


def fits(value: Any, kind: str) -> bool:
    match kind:
        case "date":
            return dt.datetime.fromisoformat(value).tzinfo is not None
        case "ip":
            return ipaddress.ip_address(value) is not None
        case "long":
            return isinstance(value, int)
        case _:
            return isinstance(value, str)


def test_a_timeline_has_what_the_importer_of_timesketch_asks_for(events: pl.DataFrame) -> None:
    """`_validate` of timesketch/lib/utils.py: message, datetime, timestamp_desc in each line; timestamp in whole microseconds."""
    for row, document in zip(events.to_dicts(), documents(events, "timesketch")):
        assert document["message"] and document["timestamp_desc"]
        moment = dt.datetime.fromisoformat(document["datetime"])
        assert moment == row["time"]
        assert type(document["timestamp"]) is int and document["timestamp"] == round(moment.timestamp() * 1_000_000)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_documents_say_the_same_in_columns_as_in_json(events: pl.DataFrame, name: str) -> None:
    words = dialect(name)
    assert words is not None
    part = events.gather_every(50)
    columns = part.select(tree.columns(words)).to_dicts()
    assert [without_nulls(row) for row in columns] == documents(part, name)


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {k: without_nulls(v) for k, v in value.items() if v is not None}
    return {k: v for k, v in inner.items() if v != {}}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=5), st.floats(), st.booleans())
def test_any_text_and_number_comes_back_from_the_json_as_it_was(texts: list[str | None], number: float, truth: bool) -> None:
    whole = [t for t in texts if t is not None]
    table = pl.DataFrame({"t": texts, "l": [whole] * len(texts), "n": [number] * len(texts), "b": [truth] * len(texts)},
                         schema={"t": pl.String, "l": pl.List(pl.String), "n": pl.Float64, "b": pl.Boolean})  # fmt: skip
    words: tree.Tree = {"o": {"t": pl.col("t")}, "l": pl.col("l"), "n": pl.col("n"), "b": pl.col("b")}
    for text, line in zip(texts, table.select(tree.json(words, table.schema).alias("j"))["j"]):
        document = json.loads(line)
        assert document.get("o", {}).get("t") == text
        assert document["l"] == whole and document["b"] is truth
        assert document.get("n", number) == number or number != number
