"""The report as text and as Markdown: the same numbers as the page, nothing from a log becomes markup, a link or an escape."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maillog_forensics import blocks, plain, rendering
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import read, write
from tests.documents import DOCUMENTS, document, two_parties
from tests.test_cli import run, said

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b-\u200f\u2066-\u2069\ufeff]")
SMALL = [name for name in DOCUMENTS if name != "huge"]


def test_text_says_what_the_document_says() -> None:
    i = DOCUMENTS["two_parties"]().incidents[0]
    words = " ".join(plain.text(DOCUMENTS["two_parties"]()).split())
    assert words.startswith(i.headline) and "12.1 s a turn" in words and "71.2 kB" in words
    for a in i.arrows:
        assert f"{a.origin} {a.target} {a.messages}" in words
    for item in DOCUMENTS["two_parties"]().inputs:
        assert item.sha256 in words and f"{item.lines:,} lines" in words
    for e in i.evidence[:12]:
        assert f"{e.source}:{e.line} @{e.offset}" in words and " ".join(e.text.split()) in words


def test_commands_stand_in_the_text_to_the_letter() -> None:
    i = DOCUMENTS["two_parties"]().incidents[0]
    text, markdown = plain.text(document(i)), plain.markdown(document(i))
    for r in i.remedies:
        for line in r.commands.split("\n"):
            assert ("    " + line).rstrip() in text.split("\n") and line in markdown.split("\n")


@pytest.mark.parametrize("name", SMALL)
def test_no_line_of_prose_is_wider_than_a_terminal(name: str) -> None:
    if name == "hostile":
        pytest.skip("its words are thousands of characters long")
    prose = [
        line for line in plain.text(DOCUMENTS[name]()).split("\n") if not line.startswith("    ") and " " in line[2:].strip()
    ]
    wide = [line for line in prose if len(line) > blocks.WIDTH and "  " not in line]
    assert not [w for w in wide if max(map(len, w.split())) < 40], wide


@pytest.mark.parametrize("name", SMALL)
def test_nothing_steers_a_terminal(name: str) -> None:
    assert not STEERING.search(plain.text(DOCUMENTS[name]())) and not STEERING.search(plain.markdown(DOCUMENTS[name]()))


def test_markdown_has_no_markup_from_logs() -> None:
    md = plain.markdown(DOCUMENTS["hostile"]())
    prose, fence = [], ""
    for line in md.split("\n"):
        if fence:
            fence = "" if line == fence else fence
        elif re.match(r"`{3,}", line):
            fence = re.match(r"`{3,}", line).group()  # type: ignore[union-attr]
        else:
            prose.append(re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert not fence, "a fence that never closes"
    left = re.sub(r"(?m)^- \[ \] ", "- ", "\n".join(prose))
    assert not re.search(r"(?<!\\)[<>\[\]*_!]|://|www\.", left), re.search(r".{30}(?<!\\)(?:[<>\[\]*_!]|://|www\.).{30}", left)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("<b>", r"\<b\>"),
        ("a@b.example", "`a@b.example`"),
        ("`a@b", "`` `a@b ``"),
        ("http://x", "`http://x`"),
        ("a|b@c", r"`a\|b@c`"),
        ("- x", r"\- x"),
    ],
)
def test_words_in_markdown(word: str, written: str) -> None:
    assert blocks.markdown([blocks.Paragraph(word)]) == written + "\n"


def test_a_fence_is_longer_than_any_in_the_lines() -> None:
    assert blocks.markdown([blocks.Verbatim(("a ```` b",))]) == "`````\na ```` b\n`````\n"


def test_the_letter_is_masked_and_keeps_what_the_other_side_needs() -> None:
    findings = DOCUMENTS["two_parties"]()
    i = findings.incidents[0]
    words = plain.letter(findings, i.id)
    assert "anna" not in words and "a…@alpha.example" in words and "b…@beta.example" in words
    assert all(f"<{m}>" in words for m in i.message_ids[:2]) and "all times UTC" in words
    assert words.startswith("Subject: Mail loop of 5 March 2026 between our servers\n")
    assert "anna@alpha.example" in plain.letter(findings, i.id[:7], masked=False)


def test_a_letter_to_nobody_is_refused() -> None:
    ours = document(two_parties(ours=("anna@alpha.example", "bob@beta.example")))
    with pytest.raises(UsageError, match="nobody to write to"):
        plain.letter(ours, ours.incidents[0].id)
    with pytest.raises(UsageError, match="there are: loop-"):
        plain.letter(ours, "storm-0")


def test_render_writes_what_the_ending_of_the_name_asks_for(tmp_path: Path) -> None:
    source = tmp_path / "f.json"
    source.write_text(write(DOCUMENTS["two_parties"]()))
    for name, begins in (
        ("r.html", "<!doctype html>"),
        ("r.md", "# `anna@"),
        ("r.txt", "anna@alpha.example and"),
        ("r.json", "{"),
    ):
        result = run("render", str(source), "-o", str(tmp_path / name))
        assert result.returncode == 0, said(result)
        assert (tmp_path / name).read_text().startswith(begins)
    assert read(str(tmp_path / "r.json")) == DOCUMENTS["two_parties"]()
    assert run("render", str(source), "-o", str(tmp_path / "r.docx")).returncode == 2


def test_pseudonyms_and_letters_from_the_command_line(tmp_path: Path) -> None:
    source, key = tmp_path / "f.json", tmp_path / "key"
    findings = DOCUMENTS["two_parties"]()
    source.write_text(write(findings))
    key.write_text("0123456789abcdef0123456789abcdef")
    for name in ("r.html", "r.md", "r.txt", "r.json"):
        result = run("render", str(source), "-o", str(tmp_path / name), "--pseudonymize", "--key-file", str(key))
        assert result.returncode == 0, said(result)
        written = (tmp_path / name).read_text()
        assert "anna" not in written and "alpha.example" not in written and re.search(r"@n[a-z2-7]{8}\.example", written), name
    result = run("render", str(source), "-o", str(tmp_path / "l.txt"), "--letter", findings.incidents[0].id)
    assert result.returncode == 0 and "a…@alpha.example" in (tmp_path / "l.txt").read_text()


def test_every_form_is_named_when_none_is_meant() -> None:
    with pytest.raises(UsageError, match=r"\.html, \.md, \.txt, \.json or \.ocsf\.json"):
        rendering.rendered(DOCUMENTS["nothing"](), "")
