"""SVG elements as safe markup: the only module that makes markup out of Python, and it escapes all text on the way."""

from __future__ import annotations

from markupsafe import Markup, escape

from maillog_forensics.text import visible

Child = str | Markup | int | float
Attribute = str | int | float | None

LINE_BREAK = Markup("\n")
"""A real one, between the lines of commands; those inside of values are shown as \\n."""

_TOLD = 1500
"""Characters of a conclusion, which nobody listens to longer."""
_NARROW = frozenset("fijlrtIJ.,:;!|'`()[]/ -")
_WIDE = frozenset("mwMW@%—…")


def el(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """An element; a trailing underscore in attribute names is dropped, others become hyphens (`text_anchor`, `class_`)."""
    parts = ["<", name]
    for key, value in attributes.items():
        if value is None:
            continue
        text = _coordinate(value) if isinstance(value, (int, float)) else visible(value)
        parts.append(f' {_attribute(key)}="{escape(text)}"')
    if not children:
        return Markup("".join([*parts, "/>"]))
    inner = "".join(str(c) if isinstance(c, Markup) else str(escape(visible(str(c)))) for c in children)
    return Markup("".join([*parts, ">", inner, "</", name, ">"]))


def _attribute(key: str) -> str:
    name = key.rstrip("_").replace("_", "-")
    return {
        "viewbox": "viewBox",
        "markerwidth": "markerWidth",
        "markerheight": "markerHeight",
        "markerunits": "markerUnits",
        "refx": "refX",
        "refy": "refY",
    }.get(name, name)


def _coordinate(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def image(ident: str, width: float, height: float, title: str, description: str, *children: Markup, classes: str = "") -> Markup:
    """A whole picture with its name and its conclusion for those who don't see it; `ident` is ours, never from a log."""
    return el(
        "svg",
        el("title", title, id=f"{ident}-t"),
        el("desc", visible(description, _TOLD), id=f"{ident}-d"),
        *children,
        class_=f"pic {classes}".strip(),
        viewbox=f"0 0 {_coordinate(width)} {_coordinate(height)}",
        role="img",
        aria_labelledby=f"{ident}-t {ident}-d",
    )


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start", **attributes: Attribute) -> Markup:
    """A line of text."""
    return el("text", words, x=x, y=y, class_=classes or None, text_anchor=None if anchor == "start" else anchor, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    """A straight line."""
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=classes)


def rect(x: float, y: float, width: float, height: float, classes: str, radius: float | None = None) -> Markup:
    """A rectangle."""
    return el("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), rx=radius, class_=classes)


def path(data: str, classes: str, **attributes: Attribute) -> Markup:
    """A path; `data` is ours."""
    return el("path", d=data, class_=classes, **attributes)


def arrow_head(ident: str, classes: str = "head") -> Markup:
    """Definition of the arrow's head, for `marker-end="url(#ident)"`."""
    tip = el("path", d="M0 0 L10 5 L0 10 z", class_=classes)
    return el(
        "defs",
        el(
            "marker",
            tip,
            id=ident,
            viewbox="0 0 10 10",
            refx=8,
            refy=5,
            markerwidth=12,
            markerheight=12,
            markerunits="userSpaceOnUse",
            orient="auto",
        ),
    )


def width_of(words: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text will be: by the widest of the usual fonts (DejaVu), so that others fit as well."""
    return sum(_em(c) for c in words) * size * (1.12 if bold else 1.0)


def _em(char: str) -> float:
    return 0.37 if char in _NARROW else 0.93 if char in _WIDE else 0.6 if ord(char) < 0x2E80 else 1.0


def fitted(words: str, room: float, size: float, *, bold: bool = False) -> str:
    """The text shortened to the room that it has."""
    shown = visible(words, 400)
    limit = len(shown)
    while limit > 4 and width_of(shortened(shown, limit), size, bold=bold) > room:
        limit -= 1
    return shortened(shown, limit)


def shortened(words: str, limit: int) -> str:
    """At most `limit` characters, with the middle left out: both ends of an address tell more than its beginning."""
    shown = visible(words)
    if len(shown) <= limit:
        return shown
    tail = (limit - 1) // 2
    return f"{shown[: limit - 1 - tail]}…{shown[-tail:]}"


def join(*parts: Markup) -> Markup:
    """Markup after markup."""
    return Markup("").join(parts)
