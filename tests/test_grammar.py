"""The language of the grammar files: what its reader says about mistakes, and rules that read what they write."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import checking, grammar, normalize, patterns, plan, reading
from maillog_forensics.errors import GrammarError
from maillog_forensics.grammar import FieldRun, Format, Group, Hole, Include, Literal, Node

RULE = "format a\nevent deliver from b\n    "


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("evnt deliver from smtp", "1:1", "expected one of format, envelope"),
        ("event deliver from smtp", "1:1", "must stand below a 'format' line"),
        ("format a\nevent delivr from b", "2:7", "expected an event (session, receive"),
        ("format", "1:7", "expected a name after 'format'"),
        ("format a\ndefine", "2:7", "expected a name after 'define'"),
        (RULE + "{queue_id: x", "3:17", "expected '}', the line ends"),
        (RULE + "[x", "3:7", "expected ']', the line ends"),
        (RULE + "a ]b", "3:7", "a bracket that is text is written \\["),
        (RULE + "{Queue}", "3:6", "expected a hole {name:type}, found 'Queue}'"),
        (RULE + "{x:}", "3:8", "expected a type"),
        ("format a\ntype x a\ntype y b\ntype x c", "4:1", "x is defined twice"),
        ("format a\ndefine x a\ndefine x b", "3:1", "x is defined twice"),
        ("format a\ntype x [", "2:8", "not a regular expression"),
        ("format a\ntype x a(?=b)", "2:9", "no look-around"),
        ("format a\nevent deliver from b\n  x", "3:3", "indented by four blanks"),
        (RULE + "x\n        queue_id=1", "4:9", "stand below a sample"),
        (RULE + "x\n    sample x\n        queue_id 1", "5:17", "expected '='"),
        (RULE + "{@to}", "3:5", "no 'define to' in this file"),
        (RULE + "{queue_id:nope}", "3:5", "no type 'nope': write 'type nope REGEX'"),
        (RULE + "{diagnostic*nope}", "3:5", "no 'fields nope' in this file"),
        (RULE + "{queue_id} {queue_id}", "3:5", "queue_id stands twice"),
        (RULE + "{colour}", "2:1", "no column colour in the events table"),
        (RULE + "x\n    set colour=red", "2:1", "no column colour in the events table"),
        (RULE + "x\n    lookup event outcome words", "4:12", "expected 'lookup COLUMN from HOLE in TABLE'"),
        (RULE + "x\n    lookup event from outcome in words", "4:34", "no 'table words' above this line"),
        ("format a\ntype q .\n    foo", "3:5", "this line belongs to no block"),
        ("envelope e\n    json time=a", "2:5", "expected time=KEY:TYPE and message=KEY"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text: str, place: str, words: str) -> None:
    with pytest.raises(GrammarError) as error:
        plan.compile_grammar(grammar.read({"mine.grammar": text}))
    assert str(error.value).startswith(f"mine.grammar:{place}: ")
    assert words in str(error.value)


def read(text: str, line: str) -> list[dict[str, object]]:
    compiled = plan.compile_grammar(grammar.read({"a.grammar": text}))
    return [table.to_dicts()[0] for _, table in checking.claims(compiled.grammar.formats[0], line, ("b",), compiled)]


def test_an_optional_part_that_is_missing_is_null_and_an_empty_value_is_empty() -> None:
    rule = RULE + "to=<{recipient}>[, dsn={dsn}]"
    assert [(r["recipient"], r["dsn"]) for r in read(rule, "to=<>")] == [("", None)]


def test_a_set_fills_only_what_was_not_read() -> None:
    rule = RULE + "to={recipient:word}[ via {transport:word}]\n    set transport={program}"
    assert [r["transport"] for line in ("to=x via y", "to=x") for r in read(rule, line)] == ["y", "b"]


def test_the_first_lookup_that_finds_something_decides() -> None:
    text = (
        "format a\ntable one\n    x hold\ntable two\n    y bounce\n    x defer\n"
        "event notice from b\n    {_w:word} {outcome:word}\n    lookup event from _w in one\n    lookup event from outcome in two"
    )
    assert [r["event"] for line in ("x y", "z y", "z z") for r in read(text, line)] == ["hold", "bounce", "notice"]


def test_an_enclosed_value_loses_its_parenthesis_after_it_was_searched() -> None:
    text = "format a\nfields f\n    as {queue_id:word_}{_:end}\ntype word_ [A-Z]+\ntype end [)]\nevent notice from b\n    ({diagnostic:enclosed*f}"
    assert [(r["diagnostic"], r.get("queue_id")) for line in ("(as ID)", "(as ID") for r in read(text, line)] == [
        ("as ID", "ID"),
        ("as ID", None),
    ]


# --- a rule reads what it writes

PLAIN = st.text(st.sampled_from(string.ascii_lowercase), min_size=1, max_size=6)


def strategy(nodes: tuple[Node, ...], form: Format) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    """Lines that a pattern describes, each with the values that went into its holes."""
    return st.tuples(*(_of(node, form) for node in nodes)).map(
        lambda parts: ("".join(text for text, _ in parts), {k: v for _, found in parts for k, v in found.items()})
    )


def _of(node: Node, form: Format) -> st.SearchStrategy[tuple[str, dict[str, str]]]:
    if isinstance(node, Literal):
        return st.just((node.text, {}))
    if isinstance(node, Include):
        return strategy(form.defines[node.name], form)
    if isinstance(node, Group):
        return st.just(("", {})) | strategy(node.nodes, form)
    if isinstance(node, FieldRun):
        return st.just(("", {}))
    return _value(node, form).map(lambda text: (text, {node.name: text}))


def _value(hole: Hole, form: Format) -> st.SearchStrategy[str]:
    kind = hole.type or (hole.name if hole.name in form.types else "text")
    if kind.startswith("="):
        return st.sampled_from(kind[1:].split("|"))
    if kind in ("text", "rest", "enclosed", "word", "greedy"):
        return PLAIN  # what may be anything is asked with words, so that it is clear where it ends
    expression = form.types.get(kind) or patterns.BUILT_IN[kind]
    return st.from_regex(expression, fullmatch=True, alphabet=st.characters(min_codepoint=32, max_codepoint=126)).filter(
        lambda t: len(t) < 80
    )


PLAN = reading.load()
POSTFIX = PLAN.grammar.format("postfix")
assert POSTFIX
RULES = [(rule, pattern) for rule in POSTFIX.rules if rule.event for _, pattern in rule.patterns]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_line_written_by_a_rule_is_read_by_it(data: st.DataObject) -> None:
    rule, pattern = data.draw(st.sampled_from(RULES))
    line, values = data.draw(strategy(pattern, POSTFIX))
    events = next((t.to_dicts() for r, t in checking.claims(POSTFIX, line, rule.programs, PLAN) if r is rule), None)
    assert events, line
    assert events[0].get("queue_id") == values.get("queue_id") or "queue_id" not in values


def test_normalize_offers_what_its_callers_use() -> None:
    assert all(hasattr(normalize, name) for name in normalize.__all__)
