"""Which renderer writes which kind of file; all of them see the same frozen document."""

from __future__ import annotations

from pathlib import PurePath

from maillog_forensics import plain, report
from maillog_forensics.dialects.detection_findings import detection_findings
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Findings, write
from maillog_forensics.language import ENGLISH

ENDINGS = (".html", ".htm", ".md", ".markdown", ".txt", ".text")
"""Of the names of reports that people read."""


def rendered(findings: Findings, suffix: str, *, print_variant: bool = False, lang: str = ENGLISH) -> str:
    """The document as text in the form that the ending of a file's name asks for."""
    match suffix.lower():
        case ".html" | ".htm" | "-":
            return report.render(findings, print_variant=print_variant, lang=lang)
        case ".md" | ".markdown":
            return plain.markdown(findings, lang=lang)
        case ".txt" | ".text":
            return plain.text(findings, lang=lang)
        case ".json":
            return write(findings)
        case ".ocsf.json" | ".ocsf.jsonl":
            return detection_findings(findings)
        case _:
            raise UsageError(
                f"-o: {suffix or 'a name without an ending'} is no form of the report; write .html, .md, .txt, .json or .ocsf.json"
            )


def ending(name: str) -> str:
    """What a file's name ends in, `.ocsf.json` as a whole; standard output as it is called."""
    if name == "-":
        return name
    path = PurePath(name)
    return "".join(path.suffixes[-2:]) if path.name.lower().endswith((".ocsf.json", ".ocsf.jsonl")) else path.suffix
