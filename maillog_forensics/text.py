"""Making text from a log safe to show: what is invisible or would steer a terminal becomes visible."""

from __future__ import annotations

import re

_RANGES = (
    (0x00, 0x08), (0x0A, 0x1F), (0x7F, 0x9F),  # controls, but for the tab
    (0x061C, 0x061C), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F),  # marks and overrides of direction, no width
    (0xFEFF, 0xFEFF), (0xFFF0, 0xFFFB), (0xE0000, 0xE0FFF),  # byte order mark, annotations, tags
    (0xD800, 0xDFFF),  # surrogates
    # what else Unicode lets a program show as nothing (Default_Ignorable_Code_Point)
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
)  # fmt: skip
_PILED = re.compile(
    "(?<=[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
"""A fourth combining mark on one letter, and all beyond: no script has them, and they are drawn over the lines around."""
_STEERING = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES) + "]")


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control, bidirectional and zero-width characters written as escapes, and cut at `limit` characters."""
    if limit is None:
        return _escaped(text)
    shown = _escaped(text[:limit])  # an escape is never shorter than what it stands for
    left = max(len(text), len(shown)) - limit
    return f"{shown[:limit]}… (+{left} characters)" if left > 0 else shown


def _escaped(text: str) -> str:
    if text.isascii() and not _STEERING.search(text):
        return text
    text = _PILED.sub(lambda match: _mark(ord(match.group())), text)
    return text.translate(_ESCAPES) if _STEERING.search(text) else text


def _mark(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


_ESCAPES = {code: _mark(code) for first, last in _RANGES for code in range(first, last + 1)} | {10: "\\n"}
