"""A few lines for the terminal: what was found, whether it still runs, where to look. No colours, no escapes from data."""

from __future__ import annotations

from collections.abc import Iterator

from maillog_forensics import narrative
from maillog_forensics.figures import bytes_text, clock, plural, seconds_text, share_text
from maillog_forensics.findings import Ending, Findings, Incident, Kind, Severity
from maillog_forensics.language import ENGLISH, say, say_n, speaking, told
from maillog_forensics.text import visible
from maillog_forensics.wording import headline_of, nothing_sentence

_SHOWN = 5


def summary(findings: Findings, *, lang: str = ENGLISH) -> str:
    """What a person reads first, in at most some twenty lines."""
    with speaking(lang, findings.sentences):
        return visible_lines(list(_lines(findings)))


def _lines(findings: Findings) -> Iterator[str]:
    alarms = [i for i in findings.incidents if i.severity is not Severity.INFO]
    quiet = len(findings.incidents) - len(alarms)
    shown = sorted(
        alarms, key=lambda i: (-list(Severity).index(i.severity), i.ended_by.reason is not Ending.ONGOING, i.started, i.id)
    )
    for incident in shown[:_SHOWN]:
        yield from _incident(incident)
    if len(shown) > _SHOWN:
        yield say("… and %(incidents)s more.", incidents=plural(len(shown) - _SHOWN, "incident"))
    if not alarms:
        yield nothing_sentence(findings)
    if quiet:
        yield say_n(
            "%(n)s note without alarm: stopped by a guard at once.",
            "%(n)s notes without alarm: stopped by a guard at once.",
            quiet,
        )
    if findings.possible:
        yield say_n(
            "%(n)s pattern too weak for an alarm, in the report.",
            "%(n)s patterns too weak for an alarm, in the report.",
            len(findings.possible),
        )
    if findings.suppressed:
        left = sum(s.incidents for s in findings.suppressed)
        yield say("Left out by the list of known-good pairs: %(incidents)s.", incidents=plural(left, "incident"))
    yield _trust(findings)


def visible_lines(lines: list[str]) -> str:
    """The lines with everything that could steer a terminal made visible."""
    return "\n".join(visible(line, 600) for line in lines)


def _incident(incident: Incident) -> Iterator[str]:
    yield f"[{say(narrative.SEVERITIES[incident.severity.value]).upper()}] {headline_of(incident)}"
    end = incident.ended_by
    facts = [
        say("%(first)s to %(last)s UTC", first=clock(incident.started), last=clock(incident.ended, incident.started)),
        bytes_text(incident.bytes),
    ]
    if incident.kind is Kind.MAIL_LOOP and incident.period_s:
        facts.append(say("a turn in %(time)s", time=seconds_text(incident.period_s)))
    state = say("STILL RUNNING when the logs end") if end.reason is Ending.ONGOING else narrative.state(incident)
    yield f"    {state}; {', '.join(facts)}"
    cause = told(incident.cause.sentence)
    yield "    " + (
        say("Probable cause: %(cause)s", cause=cause) if incident.cause.inferred else say("Cause: %(cause)s", cause=cause)
    )


def _trust(findings: Findings) -> str:
    lines = sum(i.lines for i in findings.inputs)
    strange = sum(i.unrecognised for i in findings.inputs)
    damaged = sum(i.damaged for i in findings.inputs)
    twice = sum(i.duplicates for i in findings.inputs)
    words = [
        say("%(lines)s in %(files)s", lines=plural(lines, "line"), files=plural(len(findings.inputs), "file")),
        say("%(share)s understood", share=share_text(1 - (strange + damaged) / lines) if lines else "0 %"),
        *([say("%(n)s damaged", n=damaged)] if damaged else []),
        *([say("%(n)s told by two files and counted once", n=twice)] if twice else []),
    ]
    return ", ".join(words) + "."
