"""Making text from a log safe to show: what is invisible or would steer a terminal becomes visible."""

from __future__ import annotations

import re

_RANGES = (
    (0x00, 0x08), (0x0A, 0x1F), (0x7F, 0x9F),  # controls, but for the tab
    (0x061C, 0x061C), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x2069),  # marks and overrides of direction, no width
    (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F),  # byte order mark, annotations, tags
    (0xD800, 0xDFFF),  # surrogates
)  # fmt: skip
_STEERING = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES) + "]")


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control, bidirectional and zero-width characters written as escapes, and cut at `limit` characters."""
    if limit is None:
        return _escaped(text)
    shown = _escaped(text[:limit])  # an escape is never shorter than what it stands for
    left = max(len(text), len(shown)) - limit
    return f"{shown[:limit]}… (+{left} characters)" if left > 0 else shown


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _STEERING.search(text) else text


def _mark(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


_ESCAPES = {code: _mark(code) for first, last in _RANGES for code in range(first, last + 1)} | {10: "\\n"}
