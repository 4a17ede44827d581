"""Reading the grammar language: parsers/*.grammar into plain data.

A log format is written down as the line itself, with holes; docs/grammar.md is the language on one page. This module
only reads. `patterns` turns a pattern into a regular expression and `normalize` runs the result over a table of lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pyparsing as pp

from maillog_forensics.errors import GrammarError, UsageError
from maillog_forensics.schema import EVENT_NAMES

# --- what a grammar file becomes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Literal:
    """Text that stands in the line as it is."""

    text: str


@dataclass(frozen=True)
class Hole:
    """`{name:type}`: a value. `name` is "_" where the value is not kept."""

    name: str
    type: str | None
    scan: str | None = None  # `{name:type*block}`: the value is also searched by the block `fields block`


@dataclass(frozen=True)
class Group:
    """`[ … ]`: may be there or not."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Include:
    """`{@name}`: the fragment that `define name` gives."""

    name: str


@dataclass(frozen=True)
class FieldRun:
    """`{*name}`: key=value pairs in any order, as the block `fields name` lists them."""

    name: str


Node = Literal | Hole | Group | Include | FieldRun
Pattern = tuple[Node, ...]


@dataclass(frozen=True)
class Sample:
    """One real line (the part after the envelope) and what must be read from it."""

    text: str
    expect: dict[str, str]
    line: int


@dataclass
class Rule:
    """One thing a program says. `event` is None where the line states nothing: known and set aside, or known to be cut."""

    file: str
    line: int
    event: str | None
    programs: tuple[str, ...]
    state: str = "parsed"  # what the ledger counts the line as: parsed, ignored or damaged
    patterns: list[tuple[int, Pattern]] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    lookups: list[tuple[str, str, str]] = field(default_factory=list)  # column, from column, table
    samples: list[Sample] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Where the rule stands: what `formats explain` prints."""
        return f"{Path(self.file).name}:{self.line}"


@dataclass
class Envelope:
    """How a record begins: time, host and tag, before the text a program wrote."""

    file: str
    line: int
    name: str
    patterns: list[tuple[int, Pattern]] = field(default_factory=list)
    json_paths: dict[str, tuple[str, str]] = field(default_factory=dict)  # part -> (key, type)
    format: str | None = None
    samples: list[Sample] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


@dataclass
class Format:
    """One grammar file: what one family of programs writes."""

    file: str
    line: int
    name: str
    mta: str = ""
    title: str = ""
    tags: list[tuple[int, Pattern]] = field(default_factory=list)
    parts: list[tuple[int, Pattern]] = field(default_factory=list)  # how a record too long for one line is cut
    types: dict[str, str] = field(default_factory=dict)
    defines: dict[str, Pattern] = field(default_factory=dict)
    fields: dict[str, list[tuple[int, Pattern]]] = field(default_factory=dict)
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    options: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # statements of a record format, see `records`
    samples: list[Sample] = field(default_factory=list)  # of a record format: one record each


@dataclass
class Grammar:
    """Everything the grammar files say."""

    formats: list[Format] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)  # of envelopes

    def format(self, name: str) -> Format | None:
        """The format called `name`."""
        return next((f for f in self.formats if f.name == name), None)

    def mta(self, name: str) -> str | None:
        """The mail server whose format is called `name`; None where it is none."""
        form = self.format(name)
        return form.mta or None if form else None


# --- the language in pyparsing ---------------------------------------------------------------------------------------

_NAME = pp.Regex(r"[a-z_][a-z0-9_]*").set_name("a name in small letters")


def _pattern_grammar() -> pp.ParserElement:
    def token(text: str) -> pp.ParserElement:
        return pp.Suppress(pp.Literal(text).leave_whitespace().set_name(f"'{text}'")).leave_whitespace()

    name = pp.Regex(r"[a-z_][a-z0-9_]*").leave_whitespace().set_name("a name in small letters")
    raw = pp.Regex(r"(?:[^\[\]{}\\]|\\.)+").leave_whitespace().set_name("text")
    raw.set_parse_action(lambda t: Literal(re.sub(r"\\(.)", r"\1", t[0])))
    kind = pp.Regex(r"[^{}*]+").leave_whitespace().set_name("a type, or =words separated by |")
    hole = name("name") + pp.Optional(token(":") - kind("type")) + pp.Optional(token("*") - name("scan"))
    hole.set_parse_action(lambda t: Hole(t["name"], t.get("type"), t.get("scan")))
    include = token("@") - name.copy().add_parse_action(lambda t: Include(t[0]))
    run = token("*") - name.copy().add_parse_action(lambda t: FieldRun(t[0]))
    braces = token("{") - (include | run | hole).set_name("a hole {name:type}") - token("}")
    # Almost every hole is a whole one: one expression reads it several times faster; what it does not take, the careful ones explain.
    whole = pp.Regex(r"\{(?P<name>[a-z_][a-z0-9_]*)(?::(?P<type>[^{}*]+))?(?:\*(?P<scan>[a-z_][a-z0-9_]*))?\}").leave_whitespace()
    whole.set_parse_action(lambda t: Hole(t["name"], t.get("type"), t.get("scan")))
    named = pp.Regex(r"\{(?P<kind>[@*])(?P<name>[a-z_][a-z0-9_]*)\}").leave_whitespace()
    named.set_parse_action(lambda t: (Include if t["kind"] == "@" else FieldRun)(t["name"]))
    sequence = pp.Forward()
    sequence.leave_whitespace().set_name("a pattern")
    group = token("[") - sequence - token("]")
    group.set_parse_action(lambda t: Group(tuple(t)))
    sequence <<= pp.OneOrMore(
        (raw | whole | named | braces | group).leave_whitespace().set_name("text, {hole} or [optional part]")
    )
    return sequence.leave_whitespace().parse_with_tabs()


def _expectation_grammar() -> pp.ParserElement:
    value = pp.QuotedString('"', esc_char="\\", unquote_results=True) | pp.Regex(r"\S*")
    pair = pp.Group(_NAME + pp.Suppress("=").leave_whitespace() + value.leave_whitespace())
    bare = pp.Regex(r"([a-z_][a-z0-9_]*)=([^\s\"]\S*)", as_group_list=True).set_parse_action(lambda t: [list(t[0])])
    return pp.OneOrMore(bare | pair)


_PATTERN = _pattern_grammar()
_EXPECT = _expectation_grammar()
_TOP = ("format", "envelope", "type", "define", "fields", "table", "event", "ignore", "damaged")


class _Reader:
    """Reads one file line by line; a block lasts until the next line that begins in column one."""

    def __init__(self, path: str, text: str, grammar: Grammar) -> None:
        self.path, self.grammar = path, grammar
        self.format: Format | None = None
        self.block: Rule | Envelope | Format | list[tuple[int, Pattern]] | dict[str, str] | None = None
        self.sample: tuple[int, str] | None = None
        for number, line in enumerate(text.split("\n"), 1):
            self.number = number
            bare = line.strip()
            if not bare or bare.startswith("#"):
                continue
            indent = len(line) - len(line.lstrip(" "))
            if indent == 0:
                self._top(bare)
            elif indent >= 8 and self.sample:
                self._expectation(bare, indent)
            elif indent >= 8:
                self._fail(indent, "column=value pairs stand below a sample, other lines of a block are indented by four blanks")
            else:
                self._finish_sample()
                self._inner(line[4:] if indent >= 4 else self._fail(indent, "lines of a block are indented by four blanks"))
        self._finish_sample()

    def _fail(self, column: int, problem: str) -> NoReturn:
        raise GrammarError(self.path, self.number, column + 1, problem)

    def _form(self) -> Format:
        if self.format is None:
            self._fail(0, "this must stand below a 'format' line")
        return self.format

    def _parse(self, parser: pp.ParserElement, text: str, column: int) -> list[Any]:
        try:
            return list(parser.parse_string(text, parse_all=True).as_list())
        except pp.ParseBaseException as error:
            found = f"found {text[error.loc : error.loc + 20]!r}" if error.loc < len(text) else "the line ends"
            wanted = f"{error.msg[:1].lower()}{error.msg[1:]}"
            if "end of text" in wanted:
                wanted = "expected text, a hole or the line's end (a bracket that is text is written \\[ or \\{)"
            self._fail(column + error.loc, f"{wanted}, {found}")

    def _pattern(self, text: str, column: int) -> tuple[int, Pattern]:
        return self.number, tuple(self._parse(_PATTERN, text, column))

    # --- statements in column one
    def _top(self, line: str) -> None:
        self._finish_sample()
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word not in _TOP:
            self._fail(0, f"expected one of {', '.join(_TOP)}, found {word!r}")
        if word in ("format", "envelope", "type", "define", "fields", "table") and not re.match(r"\w", rest):
            self._fail(len(line), f"expected a name after '{word}', the line ends")
        if word not in ("envelope", "format", "type") and self.format is None:
            self._fail(0, f"'{word}' must stand below a 'format' line")
        if word == "format":
            self.format = self.block = Format(self.path, self.number, rest, mta=rest)
            self.grammar.formats.append(self.format)
        elif word == "envelope":
            self.block = Envelope(self.path, self.number, rest)
            self.grammar.envelopes.append(self.block)
        elif word == "type":
            name, _, expression = rest.partition(" ")
            if found := re.search(r"\(\?<?[=!]|(?<!\\)\\[1-9]", expression):
                self._fail(
                    line.index(expression) + found.start(),
                    "expected no look-around and no back reference: lines are read in one pass",
                )
            try:
                re.compile(expression.strip())
            except re.error as error:
                self._fail(len(line) - len(expression), f"not a regular expression: {error}")
            self._put(self.format.types if self.format else self.grammar.types, name, expression.strip())
            self.block = None
        elif word == "define":
            name, _, text = rest.partition(" ")
            self._put(self._form().defines, name, self._pattern(text.strip(), line.index(text))[1])
            self.block = None
        elif word == "fields":
            self.block = self._form().fields.setdefault(rest, [])
        elif word == "table":
            self.block = self._form().tables.setdefault(rest, {})
        else:
            event, _, programs = rest.partition("from ") if word == "event" else (None, "", re.sub(r"^from\b", "", rest).strip())
            event = event.strip() if event else None
            if word == "event" and event not in EVENT_NAMES:
                self._fail(6, f"expected an event ({', '.join(EVENT_NAMES)}), found {event!r}")
            state = {"event": "parsed", "ignore": "ignored"}.get(word, word)
            self.block = Rule(self.path, self.number, event, tuple(programs.split()), state)
            self._form().rules.append(self.block)

    def _put(self, named: dict[str, Any], name: str, value: object) -> None:
        if name in named:
            self._fail(0, f"{name} is defined twice in this format")
        named[name] = value

    # --- lines of a block
    def _inner(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        block = self.block
        if isinstance(block, list):
            block.append(self._pattern(line, 4))
        elif isinstance(block, dict):
            key, _, value = line.strip().partition(" ")
            block[key] = value.strip()
        elif block is None:
            self._fail(4, "this line belongs to no block")
        elif word == "sample":
            self.sample = (self.number, rest)
            self._expect: dict[str, str] = {}
        elif isinstance(block, Format):
            self._format_line(block, word, rest.strip())
        elif word == "ref":
            block.references.append(rest.strip())
        elif isinstance(block, Envelope) and word == "json":
            for pair in rest.split():
                part, _, path = pair.partition("=")
                key, _, kind = path.partition(":")
                block.json_paths[part] = (key, kind)
            if not {"time", "message"} <= set(block.json_paths):
                self._fail(4, "expected time=KEY:TYPE and message=KEY after 'json'")
        elif isinstance(block, Envelope) and word == "for":
            block.format = rest.strip()
        elif isinstance(block, Rule) and word == "set":
            block.constants |= dict(self._parse(_EXPECT, rest, 8))
        elif isinstance(block, Rule) and word == "lookup":
            words = rest.split()
            if len(words) != 5 or words[1::2] != ["from", "in"]:
                self._fail(11, f"expected 'lookup COLUMN from HOLE in TABLE', found {rest!r}")
            if words[4] not in self._form().tables:
                self._fail(4 + line.index(words[4]), f"no 'table {words[4]}' above this line")
            block.lookups.append((words[0], words[2], words[4]))
        else:
            block.patterns.append(self._pattern(line, 4))

    def _format_line(self, block: Format, word: str, rest: str) -> None:
        if word == "tag":
            block.tags.append(self._pattern(rest, 8))
        elif word == "parts":
            block.parts.append(self._pattern(rest, 10))
        elif word == "mta":
            block.mta = "" if rest == "-" else rest  # "-": no mail server
        elif word == "title":
            block.title = rest
        elif word == "ref":
            block.references.append(rest)
        else:
            block.options.setdefault(word, []).append((self.number, rest))

    def _expectation(self, line: str, indent: int) -> None:
        self._expect |= dict(self._parse(_EXPECT, line, indent))

    def _finish_sample(self) -> None:
        if self.sample and isinstance(self.block, Rule | Envelope | Format):
            self.block.samples.append(Sample(self.sample[1], self._expect, self.sample[0]))
            self.sample = None


def read(files: dict[str, str]) -> Grammar:
    """Read grammar files.

    Parameters
    ----------
    files
        Name of each file (used in error messages) and its text.

    Raises
    ------
    GrammarError
        With file, line, column and what was expected.
    """
    grammar = Grammar()
    for name, text in sorted(files.items()):
        _Reader(name, text, grammar)
    return grammar


def find(extra: Path | None = None) -> dict[str, str]:
    """The shipped grammar files, and those in the folder `extra`: name to text.

    Raises
    ------
    UsageError
        When there is no such folder, or no grammar in it.
    """
    from maillog_forensics.resources import folder

    if extra and not any(extra.glob("*.grammar")):
        why = "holds no file that ends in .grammar" if extra.is_dir() else "there is no such folder"
        raise UsageError(f"--parsers {extra}: {why}")
    places = [folder("parsers"), *([extra] if extra else [])]
    return {str(p): p.read_text("utf-8") for place in places for p in sorted(place.glob("*.grammar"))}
