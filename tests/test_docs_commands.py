"""Every command that the documentation shows runs, in a folder that holds sample_logs/, one block after the other.

A block that can't be run here says so: ```sh not-run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: str) -> list[tuple[int, str, str]]:
    """Line, info string and text of each fenced block."""
    found = []
    text = (ROOT / page).read_text()
    for match in re.finditer(r"^( *)```([^\n]*)\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE):
        inside = re.sub(rf"^{match.group(1)}", "", match.group(3), flags=re.MULTILINE)
        found.append((text.count("\n", 0, match.start()) + 2, match.group(2).strip(), inside))
    return found


@pytest.mark.parametrize("page", [p for p in PAGES if any(info == "sh" for _, info, _ in blocks(p))])
def test_the_commands_of_a_page_run(page: str, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "sample_logs").symlink_to(samples)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "120"}
    for line, info, text in blocks(page):
        forbidden = re.search(r"\b(useradd|systemctl|apt(-get)?|sudo|rm -r|pip install)\b|(>|-o) ?/(etc|var|usr)/", text)
        assert info != "sh" or not forbidden, f"{page}:{line}: {forbidden and forbidden.group()}: say ```sh not-run"
    script = "".join(f"at={page}:{line}\n{text}\n" for line, info, text in blocks(page) if info == "sh")
    words = ["bash", "-euo", "pipefail", "-c", f"trap 'echo failed at $at >&2' ERR\n{script}"]
    run = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, check=False)
    said = run.stdout.decode(errors="replace") + run.stderr.decode(errors="replace")
    assert run.returncode == 0 and "Traceback" not in said, said


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there_and_every_shell_block_is_run_or_says_that_it_is_not(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target
    assert {info for _, info, _ in blocks(page)} <= {"sh", "sh not-run", "python", "text", "toml", "json", "ini", "yaml", ""}
