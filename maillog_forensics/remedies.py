"""What to do about an incident: at once (hold before delete) and for good. The wording lives under reports/.

Everything here is printed and nothing is run. Words from logs reach a command through a quoting filter only
(`quoting`); a template that forgets one fails.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from jinja2 import BaseLoader, Environment, StrictUndefined

from maillog_forensics import quoting
from maillog_forensics.errors import MaillogForensicsError
from maillog_forensics.findings import Kind, LoopType, Remedy, StormType
from maillog_forensics.language import mark, told
from maillog_forensics.quoting import Quoted, Word
from maillog_forensics.resources import folder

CAUSES = (
    "responder_pair",
    "responder_list",
    "forward_ring",
    "self_routing",
    "routing_loop",
    "ndr_loop",
    "responder_mailer_daemon",
    "ticket_pair",
    "backscatter",
    "outbound_bounces",
    "double_bounces",
    "delay_notices",
    "unknown",
)
MTAS = {"postfix": "Postfix", "exim": "Exim", "exchange": "Exchange"}
_NAMES = {**MTAS, "sieve": "Dovecot Sieve"}
_SHOWN_IDS = 40
_SHOWN_ADDRESSES = 12
_ADDRESSED = re.compile(r"\b(?:addresses|lowered|plain|plain_texts|either|recipient)\b")
"""What a recipe names where it is about all addresses of the incident."""
_LINE = 64


@dataclass(frozen=True)
class Mta:
    """A mail server on our side, and what of the incident was in its queue when the logs end."""

    mta: str
    """postfix, exim or exchange."""
    host: str
    queued: tuple[str, ...] = ()
    """Queue ids that the logs show as not yet gone."""


@dataclass(frozen=True)
class RemedyFacts:
    """All that a remedy depends on.

    `members` are in cycle order; of a list loop the first is the list; of a storm the only one is its target.
    `aliases` are other addresses under which the members occur in the queues.
    """

    kind: Kind
    type: LoopType | StormType
    cause: str
    members: tuple[str, ...]
    mtas: tuple[Mta, ...]
    date: dt.date
    running: bool
    aliases: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    """Members whose mailboxes lie on our hosts."""
    null_sender_share: float = 0.0
    """Part of the incident's messages with the null reverse-path, 0 to 1."""
    is_source: bool = True
    """Storms: whether our hosts made the notifications (else we only receive them)."""


@dataclass(frozen=True)
class CauseWords:
    """What the page says about a cause."""

    title: str
    explanation: str
    mend: str
    """What the side to mend has to change, in one or two sentences."""
    rule: str = ""
    """The rule that was broken, with its RFC."""
    now: str = "parties"
    """Which emergency recipes fit: parties, recipients or notifications."""
    lasting: tuple[str, ...] = ()
    """Names of lasting recipes (file.name), in order of preference."""

    def told(self) -> CauseWords:
        """The same words in the language that is spoken."""
        return replace(
            self, title=told(self.title), explanation=told(self.explanation), mend=told(self.mend), rule=told(self.rule)
        )


@dataclass(frozen=True)
class _Recipe:
    title: str
    commands: str
    warning: str = ""
    touches: str = ""
    needs: str = ""


@cache
def cause_words(cause: str) -> CauseWords:
    """Title, explanation, what to mend and the broken rule of a cause; a cause that nobody has written about is `unknown`."""
    name = cause if cause in CAUSES else "unknown"
    raw = _toml("causes", name)
    lasting = tuple(raw.pop("lasting", ()))
    return CauseWords(lasting=lasting, **{key: unwrapped(value) for key, value in raw.items()})


def remedies(facts: RemedyFacts) -> tuple[Remedy, ...]:
    """What to type now on each of our servers, then what to change for good.

    Returns
    -------
    tuple of Remedy
        First all with `when` "now", in the order hold, keep a sample, cut, clean up; then the lasting ones: those for
        the servers that we have, then those for any.
    """
    words = cause_words(facts.cause)
    out: list[Remedy] = []
    for kind in dict.fromkeys(m.mta for m in facts.mtas if m.mta in MTAS):
        hosts = [m for m in facts.mtas if m.mta == kind]
        for recipe in _recipes(f"now_{kind}").get(words.now, ()):
            for host in hosts if recipe.touches else hosts[:1]:  # queue ids are of one host, all else is typed alike on each
                view = _view(facts, host)
                if _fits(recipe, view):
                    out.append(_filled(recipe, "now", MTAS[kind], view, host.host if recipe.touches and len(hosts) > 1 else ""))
    ours = {m.mta for m in facts.mtas}
    for name in words.lasting:
        file, _, key = name.partition(".")
        if file in MTAS and file not in ours and ours:
            continue
        host = next((m for m in facts.mtas if m.mta == file), Mta(file, ""))
        view = _view(facts, host)
        out += [_filled(r, "lasting", _NAMES.get(file, mark("Any server")), view) for r in _recipes(file)[key] if _fits(r, view)]
    return tuple(out)


def _fits(recipe: _Recipe, view: Mapping[str, Any]) -> bool:
    """Whether everything that the recipe names is known."""
    return all(view[name] for name in recipe.needs.split())


def _view(facts: RemedyFacts, mta: Mta) -> dict[str, Any]:
    """The names that a recipe may use."""
    addresses = [a for a in dict.fromkeys([*facts.members, *facts.aliases]) if quoting.can_be_typed(a) and "@" in a]
    shown = addresses[:_SHOWN_ADDRESSES]
    plain = [a for a in shown if quoting.is_plain_address(a)]
    ids = [i for i in mta.queued if quoting.is_queue_id(i)] if mta.mta != "exchange" else []
    ours = [a for a in (facts.ours or facts.members) if quoting.can_be_typed(a)]
    theirs = [a for a in facts.members if a not in facts.ours and quoting.can_be_typed(a)] if facts.ours else []
    domains = list(dict.fromkeys(a.rpartition("@")[2].lower() for a in plain))
    return {
        "addresses": [Word(a) for a in shown],
        "lowered": [Word(quoting.lowered(a)) for a in shown],
        "plain": [Word(a) for a in plain],
        "ours": [Word(a) for a in ours[:_SHOWN_ADDRESSES]],
        "plain_ours": [Quoted(a) for a in ours[:_SHOWN_ADDRESSES] if quoting.is_plain_address(a)],
        "plain_theirs": [Quoted(a) for a in theirs[:_SHOWN_ADDRESSES] if quoting.is_plain_address(a)],
        "their_patterns": [Word(f"^{quoting.pattern([a])}$") for a in theirs[:_SHOWN_ADDRESSES]],
        "theirs": [Word(a) for a in theirs[:_SHOWN_ADDRESSES]],
        "plain_texts": [Quoted(a) for a in plain],
        "plain_left_out": len(shown) - len(plain),
        "their_domains": [
            Quoted(d) for d in dict.fromkeys(a.rpartition("@")[2].lower() for a in theirs if quoting.is_plain_address(a))
        ],
        "domains": [Quoted(d) for d in domains[:4]],
        "target": Word(shown[0]) if shown else None,
        "either": Word(f"^<({quoting.pattern(shown)})?>$"),
        "recipient": Word(f"^({quoting.pattern(shown)})$"),
        "ids": [Quoted(i) for i in ids[:_SHOWN_IDS]],
        "ids_left_out": max(0, len(ids) - _SHOWN_IDS),
        "queued": len(mta.queued),
        "date": Quoted(facts.date.isoformat()),
        "expires": Quoted((facts.date + dt.timedelta(days=7)).isoformat()),
        "running": facts.running,
        "null_sender_share": facts.null_sender_share,
        "is_source": facts.is_source,
        "left_out": len({a for a in (*facts.members, *facts.aliases) if "@" in a}) - len(shown),
    }


def _filled(recipe: _Recipe, when: Literal["now", "lasting"], mta: str, view: Mapping[str, Any], host: str = "") -> Remedy:
    env = _environment()
    try:
        commands = env.from_string(recipe.commands).render(view).strip("\n")
    except ValueError as error:
        raise MaillogForensicsError(f"reports/remedies: {recipe.title!r}: {error}") from error
    if view["left_out"] and _ADDRESSED.search(recipe.commands):
        commands += (
            f"\n# {view['left_out']} more of the incident's addresses are left out here; all are in the findings file (members)"
        )
    touches = view[recipe.touches] if recipe.touches else None
    return Remedy(
        when=when, mta=mta, host=host, title=recipe.title, commands=commands, touches=touches, warning=unwrapped(recipe.warning)
    )


@cache
def _environment() -> Environment:
    env = Environment(  # plain text: nothing of this is HTML; the page escapes it when it prints it
        loader=BaseLoader(),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        finalize=_only_quoted,
    )
    env.filters = {
        "sh": lambda w: quoting.sh(w.text),
        "ps": lambda w: quoting.powershell(w.text),
        "opath": lambda w: quoting.filter_of(w.text),
        "sieve": lambda w: quoting.sieve(w.text),
        "all_sh": lambda ws: _wrapped([quoting.sh(w.text) for w in ws]),
        "all_ps": lambda ws, by=", ": Quoted(by.join(quoting.powershell(w.text) for w in ws)),
        "all_sieve": lambda ws, by=", ": Quoted(by.join(quoting.sieve(w.text) for w in ws)),
        "all": lambda ws, by=" ": Quoted(by.join(ws)) if all(isinstance(w, Quoted) for w in ws) else str(ws[0]),
        "first": lambda ws: ws[0],
    }
    return env


def _wrapped(words: list[Quoted]) -> Quoted:
    """Words of a command, in lines that a page shows without breaking them."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _LINE:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return Quoted(" \\\n    ".join(lines))


def _only_quoted(value: object) -> object:
    if isinstance(value, (Quoted, int)):
        return value
    raise ValueError("a value without quotes was about to be printed into a command")


@cache
def _recipes(name: str) -> dict[str, tuple[_Recipe, ...]]:
    return {
        key: tuple(_Recipe(**one) for one in (value if isinstance(value, list) else [value]))
        for key, value in _toml("remedies", name).items()
    }


def _toml(kind: str, name: str) -> dict[str, Any]:
    path = folder("reports") / kind / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise MaillogForensicsError(f"{path}: {error}") from error


def unwrapped(text: str) -> str:
    """Lines of a wrapped paragraph joined; blank lines stay."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
