"""WCAG 2.2 AA by axe-core in Chromium, light and dark. axe-core comes from the npm registry when the tests run; without it, this skips."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_report import browser, chromium, page

AXE = "axe-core@4.10.3"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = (
    "two_parties",
    "ring_of_three",
    "list_loop",
    "storm",
    "several",
    "nothing",
    "degraded",
    "pseudonymized",
    "guarded.fil",
    "storm.fil",
)


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, installed for this run only."""
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is not installed: accessibility was not checked by axe-core")
    folder = tmp_path_factory.mktemp("axe")
    run = subprocess.run(
        [npm, "install", "--no-save", "--ignore-scripts", "--silent", "--no-audit", "--no-fund", AXE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if run.returncode or not script.is_file():
        pytest.skip("axe-core can't be had from the npm registry: accessibility was not checked by it")
    return script.read_text("utf-8")


@browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_violation(axe: str, tmp_path: Path, name: str, scheme: str) -> None:
    text = re.sub(
        r'<meta http-equiv="Content-Security-Policy"[^>]*>',
        "",
        page(name.partition(".")[0], print_variant=True, lang=name.partition(".")[2] or "en"),
    )
    wanted, other = ("@media all", "@media not all") if scheme == "dark" else ("@media not all", "@media all")
    assert "(prefers-color-scheme:dark)" in text.replace(" ", "")
    text = re.sub(r"@media ?\(prefers-color-scheme: ?dark\)", wanted, text)
    text = re.sub(r"@media ?\(prefers-color-scheme: ?light\)", other, text)
    run = f"axe.run(document,{{runOnly:{json.dumps(TAGS)},resultTypes:['violations']}})"
    probe = f"""<script>{axe}</script><script>addEventListener('load',()=>{run}.then(r=>{{
      document.documentElement.innerHTML='<pre id=o></pre>';
      o.textContent='AXE'+JSON.stringify({{passes:r.passes.length,bad:r.violations.map(v=>[v.id,v.impact,v.nodes.length,
        v.nodes.slice(0,2).map(n=>n.html.slice(0,200)+' '+n.failureSummary)])}})}}))</script>"""
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", probe + "</body>"), "utf-8", "backslashreplace")
    out = chromium(file, 1280, 900, "--virtual-time-budget=60000", "--dump-dom").stdout
    found = re.search(r"AXE(\{.*\})</pre>", html.unescape(out), re.DOTALL)
    assert found, out[:500]
    seen = json.loads(found.group(1))
    assert seen["passes"] > 10 and not seen["bad"], json.dumps(seen["bad"], indent=1)
