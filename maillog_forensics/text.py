"""Making text from a log safe to show: what is invisible or would steer a terminal becomes visible."""

from __future__ import annotations

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control, bidirectional and zero-width characters written as escapes, and cut at `limit` characters."""
    shown = _STEERING.sub(_mark, text.replace("\n", "\\n"))
    if limit is not None and len(shown) > limit:
        return f"{shown[:limit]}… (+{len(shown) - limit} characters)"
    return shown


def _mark(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
