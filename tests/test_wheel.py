"""The wheel, built and installed into an empty environment outside the checkout, analyzes a log."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_puts_its_data_inside_the_package_and_nothing_beside_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "maillog_forensics/parsers/postfix.grammar" in names
    assert "maillog_forensics/parsers/signatures.jsonl" in names
    assert any(n.startswith("maillog_forensics/reports/") for n in names)
    assert {n.split("/")[0] for n in names} == {"maillog_forensics", next(n.split("/")[0] for n in names if ".dist-info/" in n)}


def test_an_installed_wheel_analyzes_a_log_far_from_the_checkout(wheel: Path, tmp_path: Path, samples: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)],
        check=True,
        capture_output=True,
    )
    log = samples / "loop_postfix_exim" / "mx1.alpha.example.mail.log"
    copy = tmp_path / "mail.log"
    copy.write_bytes(log.read_bytes())
    report = tmp_path / "report.html"
    result = subprocess.run(
        [str(home / "bin" / "maillog-forensics"), "analyze", str(copy), "--report", str(report), "--findings", "-", "--quiet"],
        capture_output=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert found["incidents"][0]["members"] == ["anna@alpha.example", "bob@beta.example"]
    assert "anna@alpha.example" in report.read_text("utf-8")
