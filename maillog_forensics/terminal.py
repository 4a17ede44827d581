"""A few lines for the terminal: what was found, whether it still runs, where to look. No colours, no escapes from data."""

from __future__ import annotations

from maillog_forensics.figures import bytes_text, clock, number, plural, share_text
from maillog_forensics.findings import Ending, Findings, Incident, Severity
from maillog_forensics.text import visible

_SHOWN = 5
_ENDINGS = {
    Ending.MAILBOX_FULL: "a full mailbox",
    Ending.SENDING_LIMIT: "a sending limit",
    Ending.HOP_LIMIT: "a loop guard",
    Ending.BLOCKED: "a refusal",
    Ending.OPERATOR: "a person",
}


def summary(findings: Findings) -> str:
    """What a person reads first, in at most some twenty lines."""
    alarms = [i for i in findings.incidents if i.severity is not Severity.INFO]
    quiet = len(findings.incidents) - len(alarms)
    shown = sorted(alarms, key=lambda i: (-list(Severity).index(i.severity), i.started, i.id))
    out = [line for incident in shown[:_SHOWN] for line in _incident(incident)]
    if len(shown) > _SHOWN:
        out.append(f"… and {plural(len(shown) - _SHOWN, 'more incident')}.")
    if not alarms:
        t = findings.traffic
        out.append(f"No mail loop and no NDR storm in {plural(t.messages, 'message')}.")
    if quiet:
        out.append(f"{plural(quiet, 'note')} without alarm: stopped by a guard at once.")
    if findings.possible:
        out.append(f"{plural(len(findings.possible), 'pattern')} too weak for an alarm, in the report.")
    out.append(_trust(findings))
    return visible_lines(out)


def visible_lines(lines: list[str]) -> str:
    """The lines with everything that could steer a terminal made visible."""
    return "\n".join(visible(line, 600) for line in lines)


def _incident(incident: Incident) -> list[str]:
    first = f"[{incident.severity.value.upper()}] {incident.headline}"
    times = f"{clock(incident.started)} to {clock(incident.ended, incident.started)} UTC"
    second = f"    {_state(incident)}; {times}, {bytes_text(incident.bytes)}"
    if incident.kind.value == "mail_loop" and incident.period_s:
        second += f", a turn in {incident.period_s:.3g} s"
    third = (
        f"    Probable cause: {incident.cause.sentence}" if incident.cause.inferred else f"    Cause: {incident.cause.sentence}"
    )
    return [first, second, third]


def _state(incident: Incident) -> str:
    end = incident.ended_by
    if end.reason is Ending.ONGOING:
        return "STILL RUNNING when the logs end"
    if end.reason is Ending.QUIET:
        return "no longer seen; no line tells why it ended"
    whose = {"ours": " on our side", "theirs": " on the other side"}.get(end.side, "")
    return f"ended by {_ENDINGS[end.reason]}{whose}"


def _trust(findings: Findings) -> str:
    lines = sum(i.lines for i in findings.inputs)
    strange = sum(i.unrecognised for i in findings.inputs)
    damaged = sum(i.damaged for i in findings.inputs)
    share = share_text(1 - (strange + damaged) / lines) if lines else "0 %"
    words = f"{number(lines)} lines in {plural(len(findings.inputs), 'file')}, {share} understood"
    twice = sum(i.duplicates for i in findings.inputs)
    words += f", {number(damaged)} damaged" if damaged else ""
    return words + (f", {number(twice)} told by two files and counted once" if twice else "") + "."
