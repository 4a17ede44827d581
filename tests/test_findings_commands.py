"""What is done with findings and logs beside the report: explain, known-good pairs, trace."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from maillog_forensics import allowing, api, explaining, trace
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Findings

ALLOW = """
[[allow]]
members = ["anna@alpha.example", "bob@*"]
reason = "a test of two vacation programs"
expires = 2026-12-31
"""


@pytest.fixture(scope="module")
def findings(samples: Path) -> Findings:
    return api.analyze([str(samples / "loop_postfix_exim")]).findings


def test_explain_shows_values_thresholds_evidence_and_what_it_is_not(findings: Findings) -> None:
    text = explaining.explain(findings, findings.incidents[0].id)
    for word in ("threshold", "ruled out", "people writing quickly", "window_s", "451 sending rate", ".log:4 @270"):
        assert word in text


def test_explain_takes_the_beginning_of_an_id_and_names_the_ids_there_are(findings: Findings) -> None:
    assert explaining.explain(findings, "loop-") == explaining.explain(findings, findings.incidents[0].id)
    with pytest.raises(UsageError, match=findings.incidents[0].id):
        explaining.explain(findings, "storm-0000")


def test_a_known_good_pair_is_left_out_and_counted(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "allow.toml").write_text(ALLOW)
    found = api.analyze([str(samples / "loop_postfix_exim")], allow=tmp_path / "allow.toml").findings
    assert [i for i in found.incidents if i.severity.value != "info"] == []
    (left_out,) = found.suppressed
    assert (left_out.incidents, left_out.messages, left_out.reason) == (1, 259, "a test of two vacation programs")


def test_an_entry_that_has_expired_suppresses_nothing(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "allow.toml").write_text(ALLOW.replace("2026-12-31", "2026-03-01"))
    found = api.analyze([str(samples / "loop_postfix_exim")], allow=tmp_path / "allow.toml").findings
    assert len(found.incidents) == 1 and not found.suppressed


@pytest.mark.parametrize(
    ("text", "word"),
    [("[[allow]]\nmembers = []", "members"), ('[[allow]]\nmembers = ["a@b"]', "reason"), ('[[allow]]\nmembers=["a@b"]\nreason="x"', "expires"), ("[[", "TOML")],
)  # fmt: skip
def test_a_wrong_list_says_what_it_needs(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "allow.toml").write_text(text)
    with pytest.raises(UsageError, match=word):
        allowing.read(tmp_path / "allow.toml")


def test_every_member_must_be_listed_for_an_entry_to_hold() -> None:
    entry = allowing.Allowed(("probe@a.example", "echo@b.example"), "probe", dt.date(2027, 1, 1))
    assert entry.covers(("probe@a.example", "echo@b.example"), dt.date(2026, 5, 1))
    assert not entry.covers(("probe@a.example", "other@b.example"), dt.date(2026, 5, 1))


def test_trace_follows_a_message_from_postfix_to_exim(samples: Path) -> None:
    mail, _ = api.correlate([str(samples / "loop_postfix_exim")])
    for what in ("93BA798A0", "1vwyP5-0001mi-2O", "<19cad9be82b.28964768424@alpha.example>"):
        text = trace.tell(mail, trace.find(mail, what))
        assert "mx1  93BA798A0  postfix" in text
        assert "mx.beta.example  1vwyP5-0001mi-2O  exim" in text


def test_trace_related_shows_the_notification_that_a_message_caused(samples: Path) -> None:
    mail, _ = api.correlate([str(samples / "backscatter_storm")])
    bounced = mail.messages.filter(pl.col("parent").is_not_null()).collect().row(0, named=True)
    parent = mail.stays([bounced["parent"]]).row(0, named=True)
    alone = trace.find(mail, parent["queue_id"])
    related = trace.find(mail, parent["queue_id"], related=True)
    assert bounced["mid"] not in [m for g in alone.groups for m in g]
    assert bounced["mid"] in [m for g in related.groups for m in g]
