"""The languages of the report: messages from the catalogues under reports/locale/, numbers and dates from CLDR.

A message is an English sentence with named holes, `"%(n)s lines in %(file)s"`; it is its own id in the catalogues. What
renderers say, they say with `say` in the language of the surrounding `speaking`. What detectors write into the findings is
English and stays English: `said` remembers message and values, and `told` says the sentence again in another language.
Log lines, addresses and commands are values, never messages: nobody translates them.
"""

from __future__ import annotations

import datetime as dt
import gettext
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from babel import Locale, dates, numbers
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

from maillog_forensics.errors import MaillogForensicsError, UsageError
from maillog_forensics.resources import folder

ENGLISH = "en"
_DATES_AS_IN = {"en": "en_GB"}
"""5 March 2026, as the rest of the world writes it."""


class Sentence(Protocol):
    """An English sentence of a document, with what it takes to say it again (`findings.Sentence`)."""

    @property
    def message(self) -> str: ...
    @property
    def values(self) -> Mapping[str, str | int | float]: ...


class Said(str):
    """An English sentence that remembers the message that it was made from, and what filled its holes."""

    message: str
    values: dict[str, str | int | float]

    def __new__(cls, text: str, message: str = "", values: Mapping[str, str | int | float] | None = None) -> Said:
        made = super().__new__(cls, text)
        made.message, made.values = message or text, dict(values or {})
        return made


@dataclass(frozen=True)
class Language:
    """A catalogue, and how numbers and dates are written."""

    code: str
    catalogue: gettext.NullTranslations
    locale: Locale


def languages() -> tuple[str, ...]:
    """Codes of the languages that there are: English, which needs no catalogue, and one for each *.po file."""
    return (ENGLISH, *sorted(p.stem for p in (folder("reports") / "locale").glob("*.po")))


@cache
def language(code: str) -> Language:
    """The language of a code.

    Raises
    ------
    UsageError
        Where there is no catalogue for it.
    """
    if code == ENGLISH:
        return Language(code, gettext.NullTranslations(), Locale.parse(_DATES_AS_IN[code]))
    path = folder("reports") / "locale" / f"{code}.po"
    if code not in languages():
        raise UsageError(f"--lang {code}: there is no such catalogue; there are {', '.join(languages())}")
    return Language(code, _catalogue(path), Locale.parse(code))


def _catalogue(path: Path) -> gettext.NullTranslations:
    """The catalogue, read from its text: an administrator mends a sentence and sees it at once, nothing is compiled."""
    packed = io.BytesIO()
    try:
        with path.open("rb") as file:
            write_mo(packed, read_po(file, abort_invalid=True))
    except (OSError, PoFileError, ValueError) as error:
        raise MaillogForensicsError(f"{path}: {error}") from error
    packed.seek(0)
    return gettext.GNUTranslations(packed)


@dataclass(frozen=True)
class _Spoken:
    language: Language
    sentences: Mapping[str, Sentence]


_SPOKEN: ContextVar[_Spoken | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(code: str, sentences: Mapping[str, Sentence] | None = None) -> Iterator[None]:
    """Say everything inside of the `with` in a language.

    Parameters
    ----------
    code
        en, fil …
    sentences
        Of the document that is shown: English sentence to message and values.
    """
    token = _SPOKEN.set(_Spoken(language(code), sentences or {}))
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def _spoken() -> _Spoken:
    return _SPOKEN.get() or _Spoken(language(ENGLISH), {})


def spoken() -> str:
    """Code of the language that is spoken."""
    return _spoken().language.code


def mark(message: str) -> str:
    """A message that is said later: this only shows it to the extraction."""
    return message


def mark_n(one: str, many: str) -> tuple[str, str]:
    """A message that depends on a number and is said later: this only shows it to the extraction."""
    return one, many


def translated(message: str) -> str:
    """The message in the language that is spoken, its holes still open."""
    return _spoken().language.catalogue.gettext(message)


def translated_n(one: str, many: str, n: int) -> str:
    """The form of a message that fits the number, its holes still open."""
    return _spoken().language.catalogue.ngettext(one, many, n)


def say(message: str, /, **values: object) -> str:
    """The message in the language that is spoken, its holes filled; numbers are grouped as that language groups them."""
    return _filled(translated(message), values)


def say_n(one: str, many: str, n: int, /, **values: object) -> str:
    """A message that depends on a number, which fills the hole `%(n)s`."""
    return _filled(translated_n(one, many, n), {"n": n, **values})


def said(message: str, /, **values: str | int | float) -> Said:
    """An English sentence for the findings, that can be said in another language later."""
    return Said(_filled(message, values, language(ENGLISH)), message, values)


def told(sentence: str) -> str:
    """A sentence of the document in the language that is spoken; English where the catalogue does not have it."""
    now = _spoken()
    if now.language.code == ENGLISH or not sentence:
        return sentence
    known = sentence if isinstance(sentence, Said) else now.sentences.get(sentence)
    message, values = (known.message, known.values) if known else (sentence, {})
    translated = now.language.catalogue.gettext(message)
    if translated == message:
        return sentence
    try:
        return _filled(translated, dict(values))
    except (KeyError, ValueError, TypeError):  # a document that somebody has edited
        return sentence


def is_told(sentence: str) -> bool:
    """Whether `told` has the sentence in the language that is spoken."""
    return spoken() == ENGLISH or not sentence or told(sentence) != sentence


def _filled(message: str, values: Mapping[str, Any], spoken: Language | None = None) -> str:
    if not values:
        return message
    return message % {key: _written(value, spoken) for key, value in values.items()}


def _written(value: object, spoken: Language | None) -> object:
    return number(value, spoken) if isinstance(value, (int, float)) else value


def number(value: float, spoken: Language | None = None) -> str:
    """Digits in groups: 1,204; fractions as short as they are meaningful: 0.4, 12.1."""
    locale = (spoken or _spoken().language).locale
    if isinstance(value, float) and not -1e300 < value < 1e300:
        return str(value)
    pattern = "#,##0" if float(value).is_integer() else "#,##0.##" if abs(value) < 1 else "#,##0.#"
    return numbers.format_decimal(value, pattern, locale=locale)


def day(time: dt.date) -> str:
    """5 March 2026."""
    return dates.format_date(time, "long", locale=_spoken().language.locale)


def weekday(time: dt.date) -> str:
    """Friday."""
    return dates.format_date(time, "EEEE", locale=_spoken().language.locale)


def day_of_month(time: dt.date) -> str:
    """5 Mar."""
    return dates.format_skeleton("MMMd", time, locale=_spoken().language.locale)
