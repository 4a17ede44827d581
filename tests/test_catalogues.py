"""The languages of the report: no message without a translation, no hole lost, and the page says in Filipino what the document says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from maillog_forensics import api, language, plain, terminal
from maillog_forensics.errors import UsageError
from maillog_forensics.findings import read, write
from maillog_forensics.language import said, say, say_n, speaking, told
from maillog_forensics.report import render
from maillog_forensics.wording import headline_of
from tests.documents import DOCUMENTS
from tests.refresh_catalogues import LOCALE, ROOT, brought_up, messages, written
from tests.test_cli import run
from tests.test_cli import said as output
from tests.test_report import Tree

CATALOGUES = sorted(LOCALE.glob("*.po"))
HOLE = re.compile(r"%\(\w+\)s|%%")
DOCUMENT_NAMES = [name for name in DOCUMENTS if name not in ("huge", "hostile")]


def test_the_template_has_every_message_of_the_program() -> None:
    assert written(messages()).decode() == (LOCALE / "messages.pot").read_text("utf-8"), "run python -m tests.refresh_catalogues"


def test_every_sentence_that_python_says_was_found() -> None:
    """The extraction reads tokens; this reads the syntax tree, so that a sentence in an f-string or a condition is not lost."""
    known = {m.id if isinstance(m.id, str) else m.id[0] for m in messages()}
    for path in sorted((ROOT / "maillog_forensics").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in ("say", "said", "mark", "parts", "say_n", "mark_n") and node.args:
                literals = [n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                if not isinstance(node.args[0], ast.Subscript | ast.Call | ast.Starred):
                    assert set(literals) <= known, (path.name, node.lineno, literals)


def test_no_sentence_is_glued_together_from_two() -> None:
    literals = {
        node.value
        for path in (ROOT / "maillog_forensics").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for message in messages():
        if any(place.endswith(".py") for place, _ in message.locations):
            assert message.id in literals or (isinstance(message.id, tuple) and set(message.id) <= literals), message.id


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda p: p.stem)
def test_every_message_has_a_translation_with_the_same_holes(path: Path) -> None:
    catalog = brought_up(path, messages())
    assert written(catalog).decode() == path.read_text("utf-8"), "run python -m tests.refresh_catalogues"
    for message in catalog:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        for translation in message.string if isinstance(message.string, tuple) else (message.string,):
            assert translation.strip(), f"no translation of {message.id!r}"
            assert sorted(set(HOLE.findall(translation))) == sorted(set(HOLE.findall(ids[-1]))), message.id
            assert translation.count("*") == ids[-1].count("*"), message.id
            assert "%" not in HOLE.sub("", translation) or not HOLE.search(ids[-1]), message.id


@pytest.mark.parametrize("name", DOCUMENT_NAMES)
def test_a_page_in_filipino_leaves_no_english_message(name: str) -> None:
    """Each message of the program that stands on the English page, and that differs in Filipino, is gone from the other."""
    catalog = language.language("fil").catalogue
    page = Tree(render(DOCUMENTS[name](), lang="fil"))
    assert page.all("html") == [{"lang": "fil"}] and not page.faults
    english = [
        m.id
        for m in messages()
        if isinstance(m.id, str) and len(m.id) > 24 and not HOLE.search(m.id) and catalog.gettext(m.id) != m.id
    ]
    commands = Tree(re.sub(r"<pre.*?</pre>", "", render(DOCUMENTS[name](), lang="fil"), flags=re.DOTALL)).text
    assert not [m for m in english if m in commands]


def test_numbers_and_names_are_the_same_in_both_languages() -> None:
    for name in DOCUMENT_NAMES:
        found = DOCUMENTS[name]()
        for text in (render(found, lang="fil"), plain.text(found, lang="fil"), terminal.summary(found, lang="fil")):
            for incident in [i for i in found.incidents[:5] if i.severity.value != "info"]:
                assert f"{incident.messages:,}" in text
                assert all(m in text for m in incident.members[:3])


def test_findings_stay_english_whatever_the_language_of_the_report(samples: Path, tmp_path: Path) -> None:
    log, report, found = samples / "loop_postfix_exim", tmp_path / "r.html", tmp_path / "f.json"
    result = run("analyze", str(log), "--report", str(report), "--findings", str(found), "--lang", "fil")
    assert result.returncode == 0, output(result)
    assert "answered each other automatically" in found.read_text("utf-8")
    assert "Awtomatikong nagsagutan ang" in report.read_text("utf-8") and "Awtomatikong nagsagutan ang" in result.stdout.decode()
    document = read(str(found))
    assert render(document, lang="fil") == report.read_text("utf-8")


def test_sentences_of_recorded_findings_can_all_be_said_again(samples: Path) -> None:
    """What detectors wrote in English is rebuilt from message and values; only log lines are left as they are."""
    found = api.analyze([str(samples)], year=2026).findings
    page = render(found, lang="fil")
    left = set(re.findall(r'<bdi lang="en">([^<]*)', page))
    same = {m.id for m in messages() if isinstance(m.id, str) and language.language("fil").catalogue.gettext(m.id) == m.id}
    assert left <= same, left - same
    assert found.sentences and all(s.message % dict.fromkeys(s.values, "") for s in found.sentences.values())


def test_headlines_are_rebuilt_from_the_fields(samples: Path) -> None:
    """In English they are the same as those that the findings carry."""
    found = api.analyze([str(samples)], year=2026).findings
    for incident in (*found.incidents, *found.possible):
        with speaking("fil"):
            translated = headline_of(incident)
        assert translated != incident.headline
        assert sorted(re.findall(r"\d+|\S+@\S+\w", translated)) == sorted(re.findall(r"\d+|\S+@\S+\w", incident.headline))


def test_a_document_that_somebody_edited_does_not_stop_a_page() -> None:
    found = DOCUMENTS["two_parties"]()
    broken = {"nothing speaks against it": {"message": "%(n)s looked at, %(found)s found", "values": {"n": "x"}}}
    document = type(found).model_validate(found.model_dump(by_alias=True) | {"sentences": broken})
    assert "nothing speaks against it" in render(document, lang="fil")
    assert read_again(document) == document


def read_again(document):  # type: ignore[no-untyped-def]
    return type(document).model_validate_json(write(document))


def test_what_fills_a_hole_is_neither_a_hole_nor_markup() -> None:
    with speaking("fil"):
        assert say("%(who)s: %(answers)s", who="%(answers)s*<b>", answers="x") == "%(answers)s*<b>: x"
        assert say_n("%(n)s message", "%(n)s messages", 1204) == "1,204 mensahe"
        assert told(said("of %(n)s", n=3)) == "sa 3"
        assert told("a sentence that no catalogue has") == "a sentence that no catalogue has"
    assert str(said("of %(n)s", n=3)) == "of 3"


def test_a_language_that_is_not_there_is_told_before_the_work(samples: Path) -> None:
    with pytest.raises(UsageError, match="there are en, fil"):
        language.language("xx")
    result = run("analyze", str(samples), "--lang", "../en")
    assert result.returncode == 2 and "there are en, fil" in output(result)
