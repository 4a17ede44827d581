"""The incident report: one HTML page from the findings, complete in itself.

The page fetches nothing and runs nothing. Its style sheet is allowed by its hash, all text is escaped by Jinja2, and what
would be invisible or steer a terminal is made visible before (`text.visible`), for every value that a template prints.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import tomllib
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from maillog_forensics import figures, narrative, svg, view
from maillog_forensics.diagram import PROOFS, arrow_words
from maillog_forensics.findings import Findings
from maillog_forensics.resources import folder
from maillog_forensics.text import visible

MAX_BYTES = 1_000_000
"""A page that is larger is written again with less on it."""
_CAPS = (
    view.Caps(),
    view.Caps(cards=6, rows=120, evidence=12, text=300, inputs=100, shapes=12, members=12),
    view.Caps(cards=3, rows=60, evidence=6, text=160, inputs=60, shapes=6, members=8, moments=20, twins=False),
)
_VALUE_LIMIT = 2000


def render(findings: Findings, *, print_variant: bool = False, operations: object | None = None) -> str:
    """The page as text, to be written as UTF-8.

    Parameters
    ----------
    operations
        The day's operations, for the page of a day (`operations.view.Operations`).
    print_variant
        Everything unfolded, for paper: a closed fold can't be opened there.
    """
    page = ""
    for caps in _CAPS:
        page = _page(findings, caps, print_variant, operations)
        if len(page.encode("utf-8", "backslashreplace")) <= MAX_BYTES:
            break
    return page


def _page(findings: Findings, caps: view.Caps, print_variant: bool, operations: object | None) -> str:
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=view.page(findings, caps, print_variant=print_variant),
            findings=findings,
            caps=caps,
            operations=operations,
            policy=content_policy(style_sheet()),
            glossary=_glossary(),
            **_NAMES,
        )
    )


def fill(template: str, **values: object) -> str:
    """Another page in the same clothes."""
    return _environment().get_template(template).render(policy=content_policy(style_sheet()), **_NAMES, **values)


def style_sheet() -> str:
    """The style sheet, exactly as the page includes it."""
    return _environment().get_template("style.css").render()


def content_policy(style: str) -> str:
    """The Content-Security-Policy of a page with this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _shown(value: object) -> object:
    """What a template prints: markup as it is, everything else with the invisible made visible, and not without end."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return visible(value, None if isinstance(value, _Whole) else _VALUE_LIMIT)
    return value


class _Whole(str):
    """Text that is never cut: commands."""


def _when(time: dt.datetime, since: dt.datetime | None = None) -> Markup:
    return svg.el("time", figures.clock(time, since), datetime=time.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _cut(text: str, limit: int) -> str:
    return visible(text, limit)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(folder("reports")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    env.filters |= {
        "number": figures.number,
        "bytes": figures.bytes_text,
        "seconds": figures.seconds_text,
        "share": figures.share_text,
        "when": _when,
        "cut": _cut,
        "whole": _Whole,
        "arrow_words": arrow_words,
        "by_mta": view.remedies_by_mta,
    }
    env.globals |= {"plural": figures.plural}
    return env


_NAMES: dict[str, Any] = {
    "endings": {e.value: w for e, w in narrative.ENDINGS.items()},
    "types": narrative.TYPES,
    "shapes": narrative.SHAPES,
    "proofs": PROOFS,
    "levels": narrative.LEVELS,
    "line_break": svg.LINE_BREAK,
}


@cache
def _glossary() -> tuple[tuple[str, str], ...]:
    raw = tomllib.loads((folder("reports") / "glossary.toml").read_text("utf-8"))
    return tuple((entry["term"], " ".join(entry["meaning"].split())) for entry in raw["entry"])
