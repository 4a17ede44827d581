"""Why an incident was claimed: parameters, measured values against thresholds, evidence, and what it is not."""

from __future__ import annotations

from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Findings, Incident
from maillog_forensics.text import visible

_WIDEST = 2000
"""Characters of a line; what is longer is cut, and how much is said."""


def explain(findings: Findings, id: str) -> str:
    """The reasons for one incident, in words for a terminal.

    Raises
    ------
    UsageError
        When no incident has this id (or a beginning of it that fits one only).
    """
    everything = [*findings.incidents, *findings.possible]
    found = [i for i in everything if i.id == id] or [i for i in everything if i.id.startswith(id)]
    if len(found) != 1:
        known = ", ".join(i.id for i in everything) or "none"
        raise UsageError(f"{id}: {'several incidents begin so' if found else 'no such incident'}; there are: {known}")
    return _text(found[0], findings)


def _text(incident: Incident, findings: Findings) -> str:
    c = incident.confidence
    what = f"{incident.id}  {incident.kind.value}, {incident.type.value}; severity {incident.severity.value}"
    out = [
        visible(incident.headline), f"{what}; {c.level} (score {c.score:.2f})", "",
        "Measured against thresholds",
    ]  # fmt: skip
    for f in c.factors:
        mark = "+" if f.supports else "-"
        out.append(
            f"  {mark} {visible(f.name)}: {visible(str(f.value))}" + (f" (threshold {f.threshold})" if f.threshold else "")
        )
        out.append(f"    {visible(f.words)}")
    out += ["", "Every arrow"]
    for a in incident.arrows:
        lag = "" if a.median_lag_s is None else f", {a.median_lag_s:g} s after it received"
        spread = "" if a.spread is None else f" (varies by {a.spread:.2f})"
        null = f", {a.null_sender} with <>" if a.null_sender else ""
        by = f" by {visible(a.program)}" if a.program else ""
        out.append(
            f"  {visible(a.origin)} -> {visible(a.target)}: {a.messages} messages{lag}{spread}{null}{by}; proof: {a.proof.replace('_', ' ')}"
        )
    out += ["", "Not something else"]
    out += [
        f"  {'ruled out' if look.ruled_out else 'possible'}: {visible(look.name)}: {visible(look.reason)}"
        for look in incident.look_alikes
    ] or ["  nothing similar was considered"]
    ended = incident.ended_by
    out += ["", f"Ended by: {ended.reason.value.replace('_', ' ')} ({ended.side}) {visible(ended.text)}".rstrip(), "", "Evidence"]
    for e in incident.evidence:
        out += [f"  {visible(e.source)}:{e.line} @{e.offset}  {e.note}", f"    {visible(e.text, 400)}"]
    out += [f"  {incident.evidence_total} log lines belong to it altogether", "", "Parameters"]
    out += [f"  {k} = {v}" for k, v in findings.run.parameters.items()]
    return "\n".join(visible(line, _WIDEST) for line in out) + "\n"
