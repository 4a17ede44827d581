"""A grammar, compiled: every pattern of every rule and envelope as one regular expression, made once for a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maillog_forensics import schema
from maillog_forensics.errors import GrammarError
from maillog_forensics.grammar import Envelope, Format, Grammar, Rule
from maillog_forensics.patterns import Compiled, compile_pattern

_WORKING = frozenset({"pid", "zone", "pri"})  # holes that help a rule and reach no column


@dataclass(frozen=True)
class CompiledRule:
    rule: Rule
    patterns: tuple[Compiled, ...]


@dataclass(frozen=True)
class CompiledEnvelope:
    envelope: Envelope
    patterns: tuple[Compiled, ...]


@dataclass
class Plan:
    """A grammar, compiled once and used for every chunk."""

    grammar: Grammar
    envelopes: tuple[CompiledEnvelope, ...]
    rules: dict[str, tuple[CompiledRule, ...]]
    fields: dict[tuple[str, str], tuple[Compiled, ...]]
    tags: tuple[tuple[Format, Compiled], ...]
    parts: tuple[tuple[Format, Compiled], ...] = ()
    claims: dict[str, frozenset[str]] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was worked out once for this grammar, by who needs it."""


def compile_grammar(grammar: Grammar) -> Plan:
    """Compile every pattern of `grammar`.

    Raises
    ------
    GrammarError
        For an unknown type, fragment or column, with file and line.
    """
    envelopes = []
    for e in grammar.envelopes:
        compiled = tuple(compile_pattern(p, grammar.types, {}, (e.file, n)) for n, p in e.patterns)
        envelopes.append(CompiledEnvelope(e, compiled))
    rules: dict[str, tuple[CompiledRule, ...]] = {}
    fields: dict[tuple[str, str], tuple[Compiled, ...]] = {}
    tags: list[tuple[Format, Compiled]] = []
    parts: list[tuple[Format, Compiled]] = []
    claims = {}
    for f in grammar.formats:
        for name, lines in f.fields.items():
            fields[f.name, name] = tuple(compile_pattern(p, f.types, f.defines, (f.file, n), anchored=False) for n, p in lines)
        compiled_rules = []
        for rule in f.rules:
            patterns = tuple(compile_pattern(p, f.types, f.defines, (rule.file, n)) for n, p in rule.patterns)
            for (number, _), pattern in zip(rule.patterns, patterns):
                for block in pattern.runs.values():
                    if block not in f.fields:
                        raise GrammarError(rule.file, number, 5, f"no 'fields {block}' in this file")
            wanted = {c for p in patterns for c in p.types} | set(rule.constants)
            wanted |= {column for column, _, _ in rule.lookups}
            wanted |= {c for p in patterns for run in p.runs.values() for c in _columns_of(f.name, run, fields)}
            unknown = sorted(c for c in wanted if c not in schema.EVENTS and c not in _WORKING and not c.startswith("_"))
            if unknown:
                raise GrammarError(rule.file, rule.line, 1, f"no column {', '.join(unknown)} in the events table")
            compiled_rules.append(CompiledRule(rule, patterns))
        rules[f.name] = tuple(compiled_rules)
        claims[f.name] = frozenset(p for r in f.rules for p in r.programs)
        tags += [(f, compile_pattern(p, f.types, f.defines, (f.file, n))) for n, p in f.tags]
        parts += [(f, compile_pattern(p, f.types, f.defines, (f.file, n))) for n, p in f.parts]
    return Plan(grammar, tuple(envelopes), rules, fields, tuple(tags), tuple(parts), claims)


def _columns_of(form: str, block: str, fields: dict[tuple[str, str], tuple[Compiled, ...]]) -> set[str]:
    """Every column that a block of fields can fill, those of the blocks that search its values included."""
    patterns = fields.get((form, block), ())
    return {c for p in patterns for c in p.types} | {
        c for p in patterns for b in p.runs.values() if b != block for c in _columns_of(form, b, fields)
    }
