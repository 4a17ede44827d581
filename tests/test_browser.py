"""The page in a real Chromium: its policy is in force, the keyboard reaches everything, paper shows everything, and it stays small."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from maillog_forensics import view
from maillog_forensics.findings import Bin, Series
from maillog_forensics.language import speaking
from maillog_forensics.report import MAX_BYTES, render
from tests.documents import DOCUMENTS, at, document, evidence, two_parties
from tests.test_report import CHROMIUM, Tree, browser, chromium, page

PDFTOTEXT = shutil.which("pdftotext")


@browser
def test_the_policy_is_in_force(tmp_path: Path) -> None:
    """What an attacker would add does not run, load or restyle: the browser refuses it and says so."""
    wicked = (
        "<script>document.title='RAN'</script><img src=x onerror=\"document.title='RAN'\"><style>body{display:none}</style>"
        "<p style='color:red'>x</p><iframe src='data:text/html,x'></iframe><form action='https://a.example'></form>"
    )
    file = tmp_path / "page.html"
    file.write_text(page("two_parties").replace("<main id", f"{wicked}<main id"), "utf-8")
    done = chromium(file, 1280, 720, "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom")
    assert "<title>RAN" not in done.stdout
    refused = [line for line in done.stderr.splitlines() if "Content Security Policy" in line]
    for directive in ("script-src", "style-src", "default-src"):
        assert any(directive in line for line in refused), (directive, refused)


@browser
@pytest.mark.parametrize("name", ["two_parties", "several"])
def test_the_keyboard_reaches_every_link_fold_and_scrolling_table_in_order(tmp_path: Path, name: str) -> None:
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page(name))
    probe = """<script>addEventListener('load',()=>{
      const all=[...document.querySelectorAll('a[href],summary,[tabindex]')].filter(e=>e.checkVisibility());
      const bad=[];let last=-1;
      for(const e of all){e.focus();if(document.activeElement!==e)bad.push(e.outerHTML.slice(0,80));
        const s=getComputedStyle(e);if(e.tabIndex>0)bad.push('order '+e.outerHTML.slice(0,80));
        if(e.matches(':focus-visible')&&s.outlineStyle==='none'&&!e.matches('.skip'))bad.push('no outline '+e.outerHTML.slice(0,80));}
      const small=[...document.querySelectorAll('summary,nav a')].filter(e=>e.checkVisibility()&&e.getBoundingClientRect().height<24);
      document.title='KEYS'+JSON.stringify({n:all.length,first:all[0].className,bad:bad.slice(0,5),small:small.length})})</script>"""
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", probe + "</body>"), "utf-8")
    out = chromium(file, 1280, 900, "--virtual-time-budget=4000", "--dump-dom").stdout
    found = re.search(r"<title>KEYS(\{.*?\})</title>", out)
    assert found, out[:300]
    seen = json.loads(html.unescape(found[1]))
    assert seen["n"] > 15 and seen["first"] == "skip" and not seen["bad"] and not seen["small"], seen


@browser
@pytest.mark.skipif(PDFTOTEXT is None, reason="pdftotext (poppler-utils) is not installed: paper was not read")
@pytest.mark.parametrize(("name", "lang"), [("storm", "en"), ("two_parties", "fil")])
def test_paper_shows_everything_unfolded(tmp_path: Path, name: str, lang: str) -> None:
    found = DOCUMENTS[name]()
    (tmp_path / "page.html").write_text(render(found, print_variant=True, lang=lang), "utf-8")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--no-pdf-header-footer",
             f"--print-to-pdf={tmp_path / 'page.pdf'}", f"file://{tmp_path / 'page.html'}"],
            capture_output=True, timeout=120, check=True, env={"HOME": profile, "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    text = subprocess.run(
        [str(PDFTOTEXT), "-layout", str(tmp_path / "page.pdf"), "-"], capture_output=True, text=True, check=True
    ).stdout
    pages, words = text.count("\f"), re.sub(r"\s+", "", text)
    assert 4 <= pages <= 20
    i = found.incidents[0]
    for wanted in (
        *(line for r in i.remedies for line in r.commands.split("\n")[:2]),
        *(e.text[:60] for e in i.evidence),
        *i.message_ids[:3],
        *(f.sha256 for f in found.inputs),
    ):
        assert re.sub(r"\s+", "", wanted) in words, wanted
    with speaking(lang):
        last = Tree(render(found, lang=lang)).words[-60:]
    assert re.sub(r"\s+", "", "".join(last))[-40:] in words


def test_a_page_about_a_million_messages_is_small_and_quick() -> None:
    series = Series(
        step_s=60, bins=tuple(Bin(time=at(n * 60), messages=2500 + n % 90, others=400 + n % 31) for n in range(400)), baseline=1.5
    )
    incident = two_parties(
        messages=1_000_000,
        transfers=3_000_000,
        bytes=4_200_000_000,
        turns=500_000,
        evidence_total=14_000_000,
        series=series,
        still_queued=tuple(f"{n:010X}" for n in range(200)),
        message_ids=tuple(f"{n}.{n * 7919}@alpha.example" for n in range(10)),
        evidence=tuple(evidence(n, "2026-03-05T13:43:24 mx1 postfix/smtp[1]: " + "x" * 1900) for n in range(24)),
    )
    found = document(*(incident.model_copy(update={"id": f"loop-{n}"}) for n in range(12)))
    render(found)  # templates are compiled once
    began = time.process_time()
    text = render(found)
    took = time.process_time() - began
    assert len(text.encode()) < MAX_BYTES and took < 2, (len(text), took)
    words = Tree(text).text
    assert "1,000,000" in words and "14,000,000 log lines" in words and "and 180 more" in words
    assert view.page(found, view.Caps(), print_variant=False).timeline_left_out > 0
    assert re.search(r"Left out here: \d+ later turning points; all are in the findings file", words)
