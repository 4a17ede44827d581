"""A first draft of a rule for a line that nothing knows, for a person to prune."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from maillog_forensics import envelopes, normalize, reading
from maillog_forensics.checking import explain

_PIECES = re.compile(
    r"(?P<id>^(?:[0-9A-F]{6,20}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}z[0-9A-Za-z]+|[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4})(?=: ))"
    r"|(?P<peer>[A-Za-z0-9._-]+\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]{3,}|unknown)\](?::[0-9]+)?)"
    r"|(?P<address><[^<>\s]*@[^<>\s]*>)"
    r"|(?P<bare>[^\s<>=,;:()\"]+@[^\s<>=,;:()\"]+)"
    r"|(?P<float>\b[0-9]+\.[0-9]+\b(?!\.))"
    r"|(?P<int>\b[0-9]+\b)"
)
_ROLES = (("to=", "recipient"), ("from=", "sender"), ("orig_to=", "orig_recipient"), ("for ", "recipient"))


def propose(line: str, parsers: Path | None = None) -> str:
    """Draft a rule with its sample for `line`.

    Returns
    -------
    str
        The draft, or a sentence where none is needed or none can be made.
    """
    plan = reading.load(parsers)
    rows = pl.DataFrame({"line": pl.Series([1], dtype=pl.UInt64), "offset": pl.Series([0], dtype=pl.UInt64), "text": [line]})
    opened, _ = envelopes.open_envelopes(rows, plan)
    if opened.is_empty():
        return "no envelope fits: the line does not begin like a log record; see docs/grammar.md on how to write an envelope\n"
    row = normalize.split_tags(opened, plan).to_dicts()[0]
    form, program = row["format"], row["program"]
    if form is not None and "unrecognised" not in explain(line, parsers):
        return "a rule takes this line already: maillog-forensics formats explain LINE shows which one\n"
    pattern, values = draft(row["message"])
    expected = " ".join(
        f'{name}="{value}"' if re.search(r'[\s"]', value) else f"{name}={value}" for name, value in values.items()
    )
    out = []
    if form is None:
        name = re.sub(r"[^a-z0-9_]", "_", (row["tag"] or "program").lower())
        out += [
            f"format {name}",
            f"    title {row['tag']}",
            f"    tag {_escaped(row['tag'] or '')}",
            "    ref WHERE ITS LOG IS DESCRIBED",
            "",
        ]
    else:
        out.append(f"# belongs into {form}.grammar, or into a file of your own that begins with 'format'")
    out += [
        f"event notice{f' from {program}' if program and form else ''}",
        f"    {pattern}",
        "    ref WHERE THE LINE IS DESCRIBED (manual page, source file)",
        f"    sample {row['message']}",
    ]
    return "\n".join([*out, *([f"        {expected}"] if expected else [])]) + "\n"


def draft(message: str) -> tuple[str, dict[str, str]]:
    """A pattern for `message`, with holes for ids, addresses, peers and numbers, and what the named holes must read from it."""
    out: list[str] = []
    values: dict[str, str] = {}
    end = 0

    def hole(name: str, value: str, kind: str) -> str:
        if name == "_" or name in values:
            return f"{{_:{kind}}}"
        values[name] = value
        return f"{{{name}:{kind}}}"

    for match in _PIECES.finditer(message):
        before = message[end : match.start()]
        out.append(_escaped(before))
        text, kind = match.group(), match.lastgroup
        role = next((name for mark, name in _ROLES if before.endswith(mark)), "_")
        if kind == "id":
            out.append(hole("queue_id", text, "word"))
        elif kind == "peer":
            host, ip = re.fullmatch(r"(.+?)\[(.+?)\](?::[0-9]+)?", text).groups()  # type: ignore[union-attr]
            out.append(hole("client_host", host, "text") + "\\[" + hole("client_ip", ip, "text") + "\\]")
            out.append(":{_:int}" if not text.endswith("]") else "")
        elif kind == "address":
            out.append("<" + hole(role, text[1:-1], "text") + ">")
        elif kind == "bare":
            out.append(hole(role, text, "word"))
        else:
            out.append(f"{{_:{kind}}}")
        end = match.end()
    out.append(_escaped(message[end:]))
    return "".join(out), values


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]{}\\])", r"\\\1", text)
