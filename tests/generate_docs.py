"""Writes the pages and schemas that are made from the program itself; tests/test_docs.py checks that they are current.

usage: python -m tests.generate_docs
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from maillog_forensics import api, graph, mail, run_summary, schema
from maillog_forensics.dialects import DIALECTS, ecs, ocsf, tree
from maillog_forensics.findings import json_schema
from maillog_forensics.report import render

ROOT = Path(__file__).parents[1]
_COMMANDS = (
    [],
    ["analyze"],
    ["normalize"],
    ["render"],
    ["formats"],
    ["formats", "list"],
    ["formats", "check"],
    ["formats", "explain"],
    ["formats", "propose"],
    ["trace"],
    ["explain"],
    ["daily"],
    ["archive"],
    ["archive", "status"],
    ["archive", "verify"],
    ["archive", "rebuild"],
    ["archive", "forget"],
    ["config"],
    ["config", "check"],
    ["config", "dump"],
    ["schedule"],
)


@cache
def pages() -> dict[str, str]:
    """Path under the checkout to the text that belongs there."""
    return {
        "docs/findings.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
        "docs/run.schema.json": json.dumps(run_summary.json_schema(), indent=1, ensure_ascii=False) + "\n",
        "docs/commands.md": _commands(),
        "docs/tables.md": _tables(),
        "docs/schemas.md": _schemas(),
        "docs/sample-report.html": _sample_report(),
    }


def _sample_report() -> str:
    """The page of sample_logs/, without what differs from run to run."""
    with contextlib.chdir(ROOT):
        found = api.analyze(["sample_logs"], year=2026).findings
    run = found.run.model_copy(
        update={"command": "maillog-forensics analyze sample_logs --year 2026 --report sample-report.html", "started_at": None, "elapsed_s": 0.0, "libraries": {}}
    )  # fmt: skip
    return render(found.model_copy(update={"run": run}))


def _commands() -> str:
    out = ["# Commands", "", "Made from the program by `make docs`.", ""]
    for words in _COMMANDS:
        shown = " ".join(["maillog-forensics", *words, "--help"])
        run = subprocess.run(
            [sys.executable, "-c", "from maillog_forensics.cli import main; main()", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb", "_TYPER_FORCE_DISABLE_TERMINAL": "1"},
        )  # fmt: skip
        text = "\n".join(line.rstrip() for line in run.stdout.replace("python -c", "maillog-forensics").splitlines())
        out += [f"## {shown}", "", "```text", text.strip("\n"), "```", ""]
    return "\n".join(out)


def _tables() -> str:
    out = [
        "# Tables", "", "Made from the program by `make docs`. Times are UTC in microseconds; NULL means not logged, the empty string means",
        "logged empty (the null reverse-path is the empty string).", "",
    ]  # fmt: skip
    named = (
        ("events", schema.EVENTS, "One row for each fact that a line states."),
        ("messages", mail.MESSAGES, "One row for each stay of a mail in a queue."),
        ("deliveries", mail.DELIVERIES, "One row for each recipient of a message."),
        ("edges", graph.EDGES, "One row for each logical message, sender and recipient."),
    )
    for name, columns, words in named:
        out += [f"## {name}", "", words, "", "| column | type |", "|---|---|"]
        out += [f"| `{c}` | {_type(t)} |" for c, t in columns.items()]
        out.append("")
    return "\n".join(out)


_DIALECTS = {
    "ecs": "Elastic Common Schema {0}. What it has no field for is under `maillog`. The header's From is not in the logs: `email.sender` is the envelope's.",
    "ocsf": "OCSF {0}, Email Activity (4009) with the profile `host`. What its patterns for addresses do not take, and what it has no attribute for, is in `unmapped`.",
    "timesketch": "JSON Lines or CSV for Timesketch's importer; all native columns beside its own.",
}


def _schemas() -> str:
    """Every field of every dialect, and the columns that it is made of, read from the expressions themselves."""
    out = [
        "# In the words of others", "", "Made from the program by `make docs`: the fields of `normalize --schema NAME`, and the columns of the",
        "[events table](tables.md) that each is made of. A field without a column is the same in every document.", "",
    ]  # fmt: skip
    for name, words in _DIALECTS.items():
        fields = [(e.meta.output_name(), sorted(set(e.meta.root_names()))) for e in tree.flat(DIALECTS[name]())]
        out += [
            f"## {name}",
            "",
            words.format({"ecs": ecs.VERSION, "ocsf": ocsf.VERSION}.get(name, "")),
            "",
            "| field | from |",
            "|---|---|",
        ]
        out += [f"| `{field}` | {', '.join(f'`{c}`' for c in columns)} |" for field, columns in fields]
        out.append("")
    return "\n".join(out)


def _type(kind: object) -> str:
    text = str(kind)
    if text.startswith("Enum"):
        return "one of " + ", ".join(f"`{c}`" for c in schema.EVENT_NAMES)
    return text.split("(")[0] if "Datetime" not in text else "Datetime (µs, UTC)"


if __name__ == "__main__":
    for path, text in pages().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, "utf-8")
        print(path)
