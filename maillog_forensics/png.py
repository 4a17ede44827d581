"""The rate over time as a small PNG, for mail: mail programs show no SVG.

The picture is the one of the page, drawn by `charts`, with the colours of its style sheet; `vl-convert` (the extra `charts`)
turns it into pixels with the fonts that it brings along. Without the extra there is no picture, and the mail says the
same in words.
"""

from __future__ import annotations

import importlib.util
import re
import struct
import zlib
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import view
from maillog_forensics.findings import Findings, Severity
from maillog_forensics.language import ENGLISH, speaking
from maillog_forensics.resources import folder

MISSING = "no picture of the rate: install the extra that draws it (pip install 'maillog-forensics[charts]')"
"""What to tell somebody who wants a picture where `is_drawable` is false."""
_MEDIA = re.compile(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_FONTS = '"Liberation Sans", Arial, sans-serif'


@dataclass(frozen=True)
class Picture:
    """A PNG, and what it shows in words, for the alt text."""

    png: bytes
    words: str
    width: int
    """In CSS pixels; the PNG has twice as many, for dense screens."""
    height: int


def is_drawable() -> bool:
    """Whether the extra that makes pixels is installed."""
    return importlib.util.find_spec("vl_convert") is not None


def rate(findings: Findings, *, width: int = 600, lang: str = ENGLISH) -> Picture | None:
    """The rate of the worst incident, or of all mail where there was no alarm.

    Parameters
    ----------
    width
        In CSS pixels.

    Returns
    -------
    Picture or None
        None where the extra is not installed (`MISSING` says so), or where the document has no rate.
    """
    if not is_drawable():
        return None
    with speaking(lang, findings.sentences):
        page = view.page(findings, view.Caps(cards=1), print_variant=False)
        lead = page.lead
        chart = lead.rate if lead and lead.incident.severity is not Severity.INFO else page.traffic
        if chart is None:
            return None
        return _pixels(chart.wide, chart.told, width)


def _pixels(drawing: Markup, words: str, width: int) -> Picture:
    import vl_convert

    found = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', drawing)
    if not found:
        raise ValueError("a drawing without a viewBox")
    height = round(width * float(found[2]) / float(found[1]))
    png = vl_convert.svg_to_png(standalone(drawing, width, height), scale=2)
    return Picture(_smaller(png), words, width, height)


def _smaller(png: bytes) -> bytes:
    """The same pixels in fewer bytes: the converter packs for speed, and a mail must stay small (PNG, sections 5 and 10)."""
    out, data, at = [png[:8]], b"", 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        data += body if kind == b"IDAT" else b""
        if kind == b"IEND":
            out.append(_chunk(b"IDAT", zlib.compress(zlib.decompress(data), 9)))
        if kind != b"IDAT":
            out.append(_chunk(kind, body))
        at += length + 12
    return b"".join(out)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def standalone(drawing: Markup, width: int, height: int) -> str:
    """A drawing of the page as a file of its own: with its size, a background, and the colours of the style sheet for light."""
    sheet = _MEDIA.sub("", (folder("reports") / "style.css").read_text("utf-8"))
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", sheet))
    rules = [rule for rule in re.findall(r"[^{}]+\{[^{}]*\}", sheet) if re.match(r"\s*\.(?:pic |layer)", rule)]
    style = re.sub(r"var\(--(\w+)\)", lambda m: colours[m[1]], "".join(rules))
    style = re.sub(r"system-ui,[^;}]*", _FONTS, style)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" preserveAspectRatio="xMidYMid slice"'
    paper = f'<rect width="100%" height="100%" fill="{colours["paper"]}"/>'
    inner = re.sub(r"<svg\b", head, str(drawing), count=1)
    return re.sub(r"(<svg[^>]*>)", lambda m: f"{m[1]}<style>{style}</style>{paper}", inner, count=1)
