"""From a pattern of the grammar language to one regular expression of the Rust engine, and its cheap pre-filter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from maillog_forensics.errors import GrammarError
from maillog_forensics.grammar import FieldRun, Group, Hole, Include, Literal, Node, Pattern

_QUOTED = r'"(?:[^"\\]|\\.)*"'
BUILT_IN = {
    "int": r"[0-9]+",
    "float": r"[0-9]+(?:\.[0-9]+)?",
    "word": r"\S+",
    "rest": r".*",
    "text": r".*?",
    "enclosed": r".*",
    "quoted": r'"(?:[^"\\]|\\.)*"?',
    "words": rf'(?:{_QUOTED}\S*|[^\s"]+)(?: (?:{_QUOTED}\S*|[^\s"]+))*',
    "duration": r"(?:[0-9.]+[wdhms])+",
    "elapsed": r"(?:[0-9]+\+)?[0-9]{2,}:[0-9]{2}:[0-9]{2}",
    "list": r".+?",
    "epoch_s": r"[0-9]{9,11}(?:\.[0-9]+)?",
    "epoch_us": r"[0-9]{15,17}",
    "bsd": r"[A-Z][a-z]{2} (?:[ 0][0-9]|[12][0-9]?|3[01]?|[4-9]) [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?",
    "iso": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?",
}
_VALUE = rf'(?:{_QUOTED}|<(?:{_QUOTED}|[^<>"])*>|\((?:[^()]|\([^()]*\))*\)|[^\s"<(]\S*)?'
# One part of a run: KEY=value, a bracketed address with its port, (a host's own name), or a flag in capitals.
_PART = rf"(?:[A-Za-z][A-Za-z0-9_]{{0,15}}\*?={_VALUE}|\[[^\]\s]*\]?(?::\w+)?\*?|\((?:[^()]|\([^()]*\))*\)|[A-Z][A-Z0-9]{{0,4}}[*.-]?)"
_KEY_RUN = rf"(?:(?:^| ){_PART})*?"
MATCHED = "_ok"
"""Name of the group that tells a match without values from no match."""

_TAIL = re.compile(r"\(\?(?:P<(\w+)>|:)(?: \?)?\.\*\)$")


@dataclass(frozen=True)
class Compiled:
    """A pattern ready to run.

    Attributes
    ----------
    regex
        Anchored at its beginning; one named group for each column, and `MATCHED`. It goes up to the line's end, or up to a tail.
    tail
        Column of a last hole that takes whatever is left ("" where it is not kept, None where there is none). It is cut off behind
        what `MATCHED` holds: capturing it would take as long as all else.
    test
        The same without groups: several times faster where only a yes or no is asked for.
    needles
        Literal texts that every match contains, longest first.
    prefix
        Literal text that every match begins with ("" where it begins with a hole).
    types
        Column to the type of its hole.
    runs
        Column to search with a block of fields: `_run_…` for a run of key=value pairs, else a column that is kept.
    """

    regex: str
    test: str
    tail: str | None
    needles: tuple[str, ...]
    prefix: str
    types: dict[str, str]
    runs: dict[str, str]
    encloses: bool
    """Whether a value stands in "…" or <…>, and so may hold a blank and what looks like another key."""


def compile_pattern(
    pattern: Pattern, types: dict[str, str], defines: dict[str, Pattern], where: tuple[str, int], *, anchored: bool = True
) -> Compiled:
    """Compile `pattern`.

    Raises
    ------
    GrammarError
        For an unknown type or fragment, or a column that occurs twice.
    """
    kinds: dict[str, str] = {}
    runs: dict[str, str] = {}
    needles: list[str] = []

    def fail(problem: str) -> GrammarError:
        return GrammarError(where[0], where[1], 5, problem)

    def flatten(nodes: tuple[Node, ...]) -> list[Node]:
        out: list[Node] = []
        for node in nodes:
            if isinstance(node, Include):
                if node.name not in defines:
                    raise fail(f"no 'define {node.name}' in this file")
                out += flatten(defines[node.name])
            else:
                out.append(node)
        return out

    def hole(node: Hole, last: bool) -> str:
        kind = node.type or (node.name if node.name in types else None)
        if kind is None:
            body = ".*" if last else ".*?"
        elif kind.startswith("="):
            body = "|".join(re.escape(word) for word in kind[1:].split("|"))
        elif kind in types or kind in BUILT_IN:
            body = types.get(kind) or BUILT_IN[kind]
        else:
            raise fail(
                f"no type {kind!r}: write 'type {kind} REGEX', ={kind} for the word itself, or one of {', '.join(BUILT_IN)}"
            )
        if node.name == "_":
            return f"(?:{body})"
        if node.name in kinds:
            raise fail(f"{node.name} stands twice in this pattern")
        kinds[node.name] = kind or "text"
        if node.scan:
            runs[node.name] = node.scan
        return f"(?P<{node.name}>{body})"

    def build(nodes: list[Node], optional: bool, tail: bool) -> str:
        out = []
        for index, node in enumerate(nodes):
            last = tail and index == len(nodes) - 1
            if isinstance(node, Literal):
                out.append(re.escape(node.text))
                if not optional:
                    needles.append(node.text)
            elif isinstance(node, Hole):
                out.append(hole(node, last))
            elif isinstance(node, Group):
                out.append(f"(?:{build(flatten(node.nodes), True, last)})?")
            elif isinstance(node, FieldRun):
                name = f"_run_{node.name}"
                if name in runs:
                    raise fail(f"{{*{node.name}}} stands twice in this pattern")
                runs[name] = node.name
                out.append(f"(?P<{name}>{' ?.*' if last else _KEY_RUN})")
        return "".join(out)

    nodes = flatten(pattern)
    body = build(nodes, False, True)
    prefix = nodes[0].text if anchored and nodes and isinstance(nodes[0], Literal) else ""
    rest = _TAIL.search(body) if anchored else None
    if rest:
        regex = f"(?s)^(?P<{MATCHED}>{body[: rest.start()]})"
    else:
        regex = f"(?s)^(?P<{MATCHED}>){body}$" if anchored else f"(?s)(?:^| ){body}"
    encloses = "quoted" in kinds.values() or any(n.endswith("<") for n in needles)
    test = re.sub(r"\(\?P<\w+>", "(?:", regex)
    return Compiled(
        regex,
        test,
        (rest.group(1) or "") if rest else None,
        tuple(sorted((n for n in needles if n.strip()), key=len, reverse=True)),
        prefix,
        kinds,
        runs,
        encloses,
    )
