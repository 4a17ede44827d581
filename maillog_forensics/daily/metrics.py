"""Figures for Prometheus, in the text format of node_exporter's textfile collector. No address, no host: few labels."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from maillog_forensics import writers
from maillog_forensics.archive import retention
from maillog_forensics.archive.store import Archive
from maillog_forensics.daily import pages

_DAY = ("received", "delivered", "deferrals", "bounced", "rejected", "refused_for_now", "bytes_received", "bytes_delivered")
_SEVERITIES = ("info", "low", "medium", "high", "critical")


def write(archive: Archive, target: Path, now: dt.datetime, problems: list[str]) -> None:
    """Write the file, whole or not at all: the collector never sees half of it."""
    writers.write_text(text(archive, now, problems), str(target))


def text(archive: Archive, now: dt.datetime, problems: list[str]) -> str:
    """The figures of the archive, of the incidents that run, and of the newest whole day."""
    status = retention.status(archive)
    running = pages.running_of(archive)
    whole = next((d for d in pages.days_of(archive) if d["is_whole"]), None)
    out: list[str] = []

    def gauge(name: str, help: str, values: list[tuple[str, float]]) -> None:
        full = f"maillog_forensics_{name}"
        out.extend([f"# HELP {full} {help}", f"# TYPE {full} gauge"])
        out.extend(f"{full}{labels} {value:g}" if value < 1e6 else f"{full}{labels} {value:.0f}" for labels, value in values)

    gauge("last_run_timestamp_seconds", "When the daily report ran last.", [("", now.timestamp())])
    gauge("run_problems", "Logs that could not be read and mails that could not be sent in the last run.", [("", len(problems))])
    gauge("archive_days", "Days of which the archive holds events.", [("", status.days)])
    gauge("archive_events", "Events in the archive.", [("", status.events)])
    gauge("archive_bytes", "Bytes of the archive's files of events.", [("", status.size)])
    gauge(
        "archive_lines",
        "Log lines taken in, by what became of them.",
        [
            ('{state="understood"}', status.lines - status.unrecognised - status.damaged),
            ('{state="unrecognised"}', status.unrecognised),
            ('{state="damaged"}', status.damaged),
        ],
    )
    gauge(
        "incidents_running",
        "Incidents that run at the end of the logs, by severity.",
        [(f'{{severity="{s}"}}', sum(i["severity"] == s for i in running)) for s in _SEVERITIES],
    )
    if status.last:
        newest = archive.ledger.execute(
            "SELECT json_extract(state, '$.last') FROM logs WHERE json_extract(state, '$.last') IS NOT NULL ORDER BY 1 DESC LIMIT 1"
        )
        gauge(
            "last_event_timestamp_seconds",
            "Time of the newest event.",
            [("", dt.datetime.fromisoformat(newest[0][0]).timestamp())],
        )
    if whole:
        day = dt.datetime.combine(dt.date.fromisoformat(whole["date"]), dt.time(), dt.UTC)
        gauge(
            "day_timestamp_seconds",
            "Beginning (UTC date) of the newest whole day, which the following figures are of.",
            [("", day.timestamp())],
        )
        for name in _DAY:
            gauge(f"day_{name}", f"Of the newest whole day: {name.replace('_', ' ')}.", [("", whole["totals"][name])])
        gauge("day_incidents", "Incidents with a part in the newest whole day.", [("", len(whole["incidents"]))])
    return "\n".join(out) + "\n"
