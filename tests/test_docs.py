"""Documentation can't drift: generated pages are current, and what the README shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from maillog_forensics import api
from maillog_forensics.findings import json_schema
from tests.generate_docs import pages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", sorted(pages()))
def test_generated_pages_are_current(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == pages()[path], "run: make docs"


def test_findings_agree_with_the_published_schema(samples: Path) -> None:
    import json

    import jsonschema

    document = json.loads(api.analyze([str(samples / "backscatter_storm")]).findings.model_dump_json(by_alias=True))
    jsonschema.Draft202012Validator(json_schema(), format_checker=None).validate(document)


def test_the_python_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "answered each other automatically, 259 messages" in run.stdout


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    makes = re.findall(r"^make (\w+)$", text, re.MULTILINE)
    rules = (ROOT / "Makefile").read_text()
    assert makes == ["demo", "test"]
    assert all(re.search(rf"^{name}:", rules, re.MULTILINE) for name in makes)
    for command in re.findall(r"^\| `(\w+)[ `]", text, re.MULTILINE):
        subprocess.run(
            [sys.executable, "-c", "from maillog_forensics.cli import main; main()", command, "--help"],
            check=True,
            capture_output=True,
        )


def test_nothing_names_a_place_of_this_workplace() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        pytest.skip("not a git checkout")
    for name in listed:
        text = (ROOT / name).read_text("utf-8", "replace")
        assert "/work" + "/" not in text, name
