"""Collect all messages of the program into reports/locale/messages.pot, and bring the catalogues up to it.

usage: python -m tests.refresh_catalogues

A message comes from Python (`say`, `said`, `mark` …), from a template (`_`, `ngettext`), or is a sentence of the wording
under reports/ (title, explanation, mend, rule, warning, term, meaning). What a catalogue has for a message that is gone is
dropped; a message that is new has an empty translation until somebody writes it.
"""

from __future__ import annotations

import ast
import io
import tomllib
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from maillog_forensics.remedies import unwrapped

ROOT = Path(__file__).parents[1]
LOCALE = ROOT / "reports" / "locale"
_PYTHON = {"say": 1, "said": 1, "mark": 1, "parts": 1, "say_n": 2, "mark_n": 2}  # how many forms of a sentence come first
_TEMPLATES = {"_": None, "ngettext": (1, 2)}
_WORDING = ("title", "explanation", "mend", "rule", "warning", "term", "meaning")
_HEADER = """# The words of the report. A translation keeps the holes, %(name)s, and the asterisks around what is stressed.
# python -m tests.refresh_catalogues collects the messages; tests/test_catalogues.py proves that none is missing."""

_UNSTEADY = tuple(f'"{name}' for name in ("POT-", "PO-", "Last-", "Report-", "Language-Team", "Generated-", "Project-"))

Found = tuple[str, str | tuple[str, ...]]


def messages() -> Catalog:
    """All messages of the program, each with the files that say it."""
    catalog = Catalog(project="maillog-forensics", header_comment=_HEADER, fuzzy=False)
    for place, message in sorted(set(_found()), key=lambda f: (f[0], str(f[1]))):
        catalog.add(message, locations=[(place, 0)])
    return catalog


def _found() -> Iterator[Found]:
    for path in sorted((ROOT / "maillog_forensics").rglob("*.py")):
        yield from _python(path)
    for path in sorted((ROOT / "reports").rglob("*.j2")):
        yield from _template(path)
    for path in sorted((ROOT / "reports").rglob("*.toml")):
        for text in _wording(tomllib.loads(path.read_text("utf-8"))):
            yield str(path.relative_to(ROOT)), text


def _python(path: Path) -> Iterator[Found]:
    """By the syntax tree: Babel reads tokens, and what it makes of nested calls depends on its version."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _PYTHON):
            continue
        forms = node.args[: _PYTHON[node.func.id]]
        texts = tuple(form.value for form in forms if isinstance(form, ast.Constant) and isinstance(form.value, str))
        if texts and len(texts) == len(forms):
            yield str(path.relative_to(ROOT)), texts if len(texts) > 1 else texts[0]


def _template(path: Path) -> Iterator[Found]:
    with io.BytesIO(path.read_bytes()) as file:
        for _, message, _, _ in extract(babel_extract, file, _TEMPLATES, options={"silent": "false"}):  # type: ignore[arg-type]
            if message:
                yield str(path.relative_to(ROOT)), message


def _wording(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (unwrapped(value[key]) for key in _WORDING if isinstance(value.get(key), str))
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _wording(inner)


def written(catalog: Catalog) -> bytes:
    """A catalogue as text, without dates and line numbers, which would change with every edit."""
    out = io.BytesIO()
    write_po(out, catalog, width=120, include_lineno=False, ignore_obsolete=True, sort_output=True)
    lines = out.getvalue().decode().split("\n")
    return "\n".join(line for line in lines if not line.startswith(_UNSTEADY)).encode()


def brought_up(path: Path, template: Catalog) -> Catalog:
    """A catalogue with the messages of the template, its translations kept."""
    with path.open("rb") as file:
        catalog = read_po(file)
    catalog.update(template, no_fuzzy_matching=True)
    return catalog


def main() -> None:
    """Write the template and every catalogue again."""
    template = messages()
    LOCALE.mkdir(exist_ok=True)
    (LOCALE / "messages.pot").write_bytes(written(template))
    for path in sorted(LOCALE.glob("*.po")):
        catalog = brought_up(path, template)
        path.write_bytes(written(catalog))
        missing = [m.id for m in catalog if m.id and not (all(m.string) if isinstance(m.string, tuple) else m.string)]
        print(f"{path.name}: {len(catalog)} messages, {len(missing)} without a translation")


if __name__ == "__main__":
    main()
