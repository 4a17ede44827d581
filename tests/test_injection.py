"""Hostile text in every field of a document that a log, a file name or a command line can fill, through every renderer."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from maillog_forensics import explaining, plain, png, terminal
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import Findings, read, write
from maillog_forensics.report import MAX_BYTES, render
from tests.documents import DOCUMENTS, HOSTILE
from tests.test_report import Tree

OURS = frozenset(
    [
        "schema",
        "kind",
        "type",
        "severity",
        "level",
        "side",
        "proof",
        "when",
        "id",
        "compression",
        "sha256",
        "decompressed_sha256",
        "version",
        "message",
        "commands",
    ]
)
"""Fields that no log fills: closed sets, ids of ours, hashes; commands are made by `remedies`, which has tests of its own."""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
BASES = ("two_parties", "storm", "list_loop", "degraded", "nothing")
WICKED = (
    *HOSTILE,
    "</bdi></td></table></main></html><h1>",
    "</title></style><style>*{display:none}</style>",
    "--></svg><svg onload=alert(1)>",
    "%(n)s%s%%{}{0}${x}#{y}<%= 1 %>",
    "*_[x](javascript:alert(1))_*|`\n```\n# h",
    "=cmd|'/c calc'!A0",
    "&#60;script&#62;&lt;b&gt;",
    "\ud800lone surrogate",
    "a@b.example\tafter tab\x0b\x0c",
    "١٢٣ العربية \u2067right to left\u2069",
)


def filled(value: Any, text: str, key: str = "") -> Any:
    """The document with `text` in every field that is not ours; keys of tables as well."""
    if key == "sentences":  # the message is one of ours, what fills it is not
        return {
            (text if n == 0 else k): {**v, "values": {h: text if isinstance(x, str) else x for h, x in v["values"].items()}}
            for n, (k, v) in enumerate(value.items())
        }
    if isinstance(value, dict):
        names = key in ("aliases", "host_mtas", "origins", "codes", "detail", "set_aside", "libraries", "parameters")
        return {
            (text if names and n == 0 else k): filled(v, text, k if not names else key) for n, (k, v) in enumerate(value.items())
        }
    if isinstance(value, (list, tuple)):
        return [filled(v, text, key) for v in value]
    if isinstance(value, str) and not isinstance(value, (dt.datetime, dt.date)) and key not in OURS:
        return text
    return value


def made(base: str, text: str) -> Findings:
    raw = DOCUMENTS[base]().model_dump(by_alias=True)
    out = filled(raw, text)
    for part in ("incidents", "possible"):
        for old, new in zip(raw[part], out[part]):
            new["ended_by"]["reason"] = old["ended_by"]["reason"]
            new["cause"]["id"] = old["cause"]["id"]
            new["members"] = [f"{text}{n}" for n, _ in enumerate(old["members"])]  # members differ, or the drawing would not
            for a, b in zip(old["arrows"], new["arrows"]):
                b["origin"], b["target"] = (f"{text}{old['members'].index(m)}" for m in (a["origin"], a["target"]))
    return Findings.model_validate(out)


def shape(page: str) -> Counter[tuple[str, tuple[str, ...]]]:
    """Elements with the names of their attributes. How a name is broken over lines of a drawing depends on its width."""
    tree = Tree(page)
    assert not tree.faults and not tree.open
    return Counter((tag, tuple(sorted(a))) for tag, a in tree.elements if tag not in ("text", "br"))


@pytest.mark.parametrize("base", BASES)
def test_the_page_has_the_elements_of_a_harmless_one(base: str) -> None:
    for lang in ("en", "fil"):
        for print_variant in (False, True):
            harmless = shape(render(made(base, "x"), lang=lang, print_variant=print_variant))
            for text in WICKED if lang == "en" else WICKED[:8]:
                page = render(made(base, text), lang=lang, print_variant=print_variant)
                found = shape(page)
                extra = {k: n for k, n in (found - harmless).items() if k[0] not in ("a", "span", "rect", "li", "i", "h1")}
                assert not extra, (text[:40], extra)
                assert not {tag for tag, _ in found} & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
                assert not [k for k in found for name in k[1] if name.startswith("on") or name in ("style", "src")]
                assert not STEERING.search(page.replace("\n", "")), text[:40]


RENDERERS: dict[str, Callable[[Findings], str]] = {
    "text": plain.text,
    "markdown": plain.markdown,
    "summary": terminal.summary,
    "text in Filipino": lambda f: plain.text(f, lang="fil"),
    "explain": lambda f: explaining.explain(f, f.incidents[0].id) if f.incidents else "",
    "letter": lambda f: _letter(f),
}


def _letter(findings: Findings) -> str:
    try:
        return plain.letter(findings, findings.incidents[0].id, masked=False) if findings.incidents else ""
    except UsageError:
        return ""


@pytest.mark.parametrize("name", RENDERERS)
def test_nothing_steers_a_terminal_or_breaks_a_line(name: str) -> None:
    for base in BASES:
        lines = RENDERERS[name](made(base, "x")).count("\n")
        for text in WICKED:
            out = RENDERERS[name](made(base, text))
            assert not STEERING.search(out), (base, text[:40])
            if len(text) < 12:
                assert out.count("\n") <= lines + 40


def test_json_gives_back_what_was_put_in(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for text in WICKED:
        if "\ud800" in text:
            continue  # no UTF-8 has it: readers of logs write it as an escape
        document = made("two_parties", text)
        (tmp_path / "f.json").write_text(write(document), "utf-8")
        assert read(str(tmp_path / "f.json")) == document


@pytest.mark.skipif(not png.is_drawable(), reason="the extra `charts` (vl-convert) is not installed")
def test_a_picture_is_drawn_whatever_the_text() -> None:
    for text in WICKED:
        picture = png.rate(made("two_parties", text))
        assert picture and picture.png.startswith(b"\x89PNG")


def test_a_token_of_a_megabyte_in_every_field_is_cut_and_counted() -> None:
    for text in ("x" * 1_000_000, "\u202e" * 1_000_000, "<" * 1_000_000, "a@" * 500_000):
        document = made("two_parties", text)
        began = time.process_time()
        page = render(document)
        assert len(page.encode("utf-8", "backslashreplace")) < MAX_BYTES and "characters)" in page
        assert not Tree(page).faults
        for renderer in (plain.text, plain.markdown, terminal.summary):
            assert len(renderer(document)) < 3 * MAX_BYTES
        assert time.process_time() - began < 30
