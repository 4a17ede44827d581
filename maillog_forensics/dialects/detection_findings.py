"""Incidents as OCSF 1.8.0 Detection Findings (class 2004), one JSON document a line."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from maillog_forensics.dialects.ocsf import VERSION
from maillog_forensics.findings import Evidence, Findings, Incident, Kind, Run, Severity

CATEGORY, CLASS = 2, 2004
_CREATE = 1
_NEW = 1
_SEVERITIES = {
    Severity.INFO: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}
_CONFIDENCE = {"proven": (3, "High"), "likely": (2, "Medium"), "possible": (1, "Low")}
_BEHAVIORAL, _STATISTICAL = 2, 3
_AFFECTED = 3
_HOSTNAME, _EMAIL_ADDRESS, _MESSAGE_UID = 1, 5, 42


def detection_findings(findings: Findings) -> str:
    """All incidents of the document as JSON Lines, in its order; incidents of severity info are no alerts."""
    lines = [json.dumps(_finding(i, findings.run), ensure_ascii=False) for i in findings.incidents]
    return "".join(f"{line}\n" for line in lines)


def _finding(incident: Incident, run: Run) -> dict[str, Any]:
    severity, caption = _SEVERITIES[incident.severity]
    confidence, sure = _CONFIDENCE[incident.confidence.level]
    created = _ms(run.started_at or incident.ended)
    loop = incident.kind is Kind.MAIL_LOOP
    document: dict[str, Any] = {
        "activity_id": _CREATE,
        "activity_name": "Create",
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + _CREATE,
        "severity_id": severity,
        "severity": caption,
        "status_id": _NEW,
        "status": "New",
        "is_alert": incident.severity is not Severity.INFO,
        "time": created,
        "start_time": _ms(incident.started),
        "end_time": _ms(incident.ended),
        "message": incident.headline,
        "confidence_id": confidence,
        "confidence": sure,
        "confidence_score": round(incident.confidence.score * 100),
        "finding_info": {
            "uid": incident.id,
            "title": incident.headline,
            "desc": incident.cause.sentence,
            "types": [incident.kind.value, incident.type.value],
            "created_time": created,
            "first_seen_time": _ms(incident.started),
            "last_seen_time": _ms(incident.ended),
            "analytic": {
                "type_id": _BEHAVIORAL if loop else _STATISTICAL,
                "name": "mail loops" if loop else "bursts of notifications",
                "version": run.version,
            },
            "related_events_count": incident.messages,
        },
        "evidences": [{"data": _evidence(e)} for e in incident.evidence],
        "resources": [{"name": m, "type": "mailbox", "role_id": _AFFECTED} for m in incident.members]
        + [{"name": h, "type": "mail server", "role_id": _AFFECTED} for h in incident.hosts],
        "observables": [{"name": "resources.name", "type_id": _EMAIL_ADDRESS, "value": m} for m in incident.members]
        + [{"name": "resources.name", "type_id": _HOSTNAME, "value": h} for h in incident.hosts]
        + [{"name": "evidences", "type_id": _MESSAGE_UID, "value": m} for m in incident.message_ids],
        "metadata": {"version": VERSION, "product": {"name": "maillog-forensics", "version": run.version}},
        "unmapped": {
            "transfers": incident.transfers,
            "copies": incident.copies,
            "bytes": incident.bytes,
            "turns": incident.turns,
            "period_s": incident.period_s,
            "peak_per_minute": incident.peak_per_minute,
            "ended_by": incident.ended_by.reason.value,
            "cause": incident.cause.id,
        },
    }
    if incident.remedies:
        document["remediation"] = {"desc": "\n".join(f"{r.when}: {r.title}" for r in incident.remedies)}
    return document


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return evidence.model_dump(include={"source", "line", "offset", "text", "note"})


def _ms(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000)
