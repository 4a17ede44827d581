"""The incident report: one HTML page from the findings, complete in itself.

The page fetches nothing and runs nothing. Its style sheet is allowed by its hash, all text is escaped by Jinja2, and what
would be invisible or steer a terminal is made visible before (`text.visible`), for every value that a template prints.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import tomllib
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from maillog_forensics import figures, narrative, svg, view
from maillog_forensics.diagram import MTAS, PROOFS, arrow_words
from maillog_forensics.findings import Findings
from maillog_forensics.language import ENGLISH, is_told, number, say, speaking, spoken, told, translated, translated_n
from maillog_forensics.remedies import unwrapped
from maillog_forensics.resources import folder
from maillog_forensics.text import visible
from maillog_forensics.wording import headline_of

MAX_BYTES = 1_000_000
"""A page that is larger is written again with less on it."""
_CAPS = (
    view.Caps(),
    view.Caps(cards=6, rows=120, evidence=12, text=300, inputs=100, shapes=12, members=12),
    view.Caps(cards=3, rows=60, evidence=6, text=160, inputs=60, shapes=6, members=8, moments=20, twins=False),
)
_VALUE_LIMIT = 2000


def render(findings: Findings, *, print_variant: bool = False, lang: str = ENGLISH, operations: object | None = None) -> str:
    """The page as text, to be written as UTF-8.

    Parameters
    ----------
    lang
        Code of the language of the page; log lines and commands stay as they are.
    print_variant
        Everything unfolded, for paper: a closed fold can't be opened there.
    operations
        The day's operations, for the page of a day (`operations.view.Operations`).
    """
    page = ""
    with speaking(lang, findings.sentences):
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
            lang=spoken(),
            glossary=tuple((told(term), told(meaning)) for term, meaning in _glossary()),
            **_NAMES,
        )
    )


def fill(template: str, **values: object) -> str:
    """Another page in the same clothes, in the language that is spoken."""
    return _environment().get_template(template).render(policy=content_policy(style_sheet()), lang=spoken(), **_NAMES, **values)


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


def _message(message: str, /, **values: object) -> Markup:
    """A message of a template in the language that is spoken: its text and what fills its holes are escaped."""
    return _filled(translated(message), values)


def _message_n(one: str, many: str, n: int, /, **values: object) -> Markup:
    return _filled(translated_n(one, many, n), {"n": n, **values})


def _filled(message: str, values: dict[str, object]) -> Markup:
    written = {k: number(v) if isinstance(v, (int, float)) else v for k, v in values.items()}
    return escape(message) % {k: v if isinstance(v, Markup) else escape(_shown(v)) for k, v in written.items()}


_DATE = re.compile(r"\b\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?\b")


def _sentence(text: str) -> Markup:
    """A sentence in which no date is broken at the end of a line."""
    return Markup(_DATE.sub(r'<span class="nowrap">\g<0></span>', str(escape(visible(text, 600)))))


def _told(sentence: str, limit: int = 400) -> Markup:
    """A sentence of the document; where the catalogue does not have it, it is marked as English."""
    return svg.el("bdi", visible(told(sentence), limit), lang=None if is_told(sentence) else ENGLISH)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(folder("reports")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        extensions=["jinja2.ext.i18n"],
    )
    env.newstyle_gettext = True  # type: ignore[attr-defined]
    env.filters |= {
        "number": number,
        "bytes": figures.bytes_text,
        "seconds": figures.seconds_text,
        "share": figures.share_text,
        "when": _when,
        "cut": _cut,
        "whole": _Whole,
        "arrow_words": arrow_words,
        "by_mta": view.remedies_by_mta,
        "told": _told,
        "sentence": _sentence,
        "say": say,
        "headline": headline_of,
    }
    env.globals |= {"plural": figures.plural, "_": _message, "gettext": _message, "ngettext": _message_n}
    return env


_NAMES: dict[str, Any] = {
    "endings": {e.value: w for e, w in narrative.ENDINGS.items()},
    "types": narrative.TYPES,
    "shapes": narrative.SHAPES,
    "proofs": PROOFS,
    "severities": narrative.SEVERITIES,
    "sureness": narrative.SURENESS,
    "mtas": MTAS,
    "line_break": svg.LINE_BREAK,
}


@cache
def _glossary() -> tuple[tuple[str, str], ...]:
    raw = tomllib.loads((folder("reports") / "glossary.toml").read_text("utf-8"))
    return tuple((entry["term"], unwrapped(entry["meaning"])) for entry in raw["entry"])
