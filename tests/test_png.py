"""The rate as a PNG for mail: the picture of the page, small enough for a digest, and words where the extra is not installed."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from itertools import pairwise

import pytest

from maillog_forensics import png
from maillog_forensics.report import style_sheet
from tests.documents import DOCUMENTS, document, two_parties

drawable = pytest.mark.skipif(not png.is_drawable(), reason="the extra `charts` (vl-convert) is not installed: no PNG was drawn")


def pixels(data: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height and the colours of a PNG of 8-bit RGBA (PNG, section 9: five ways of filtering a row)."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height, *kind = struct.unpack(">IIBBBBB", data[16:29])
    assert kind[:2] == [8, 6]
    packed, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(data[at + 4 : at + 8] + body)
        packed += body if data[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    raw, seen = zlib.decompress(packed), set()
    above = bytearray(width * 4)
    for row in range(height):
        start = row * (width * 4 + 1)
        filter_type, line = raw[start], bytearray(raw[start + 1 : start + 1 + width * 4])
        for n in range(width * 4):
            left, up, corner = line[n - 4] if n >= 4 else 0, above[n], above[n - 4] if n >= 4 else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda v, g=guess: abs(g - v))
            line[n] = (line[n] + (0, left, up, (left + up) // 2, paeth)[filter_type]) & 255
        seen |= {bytes(line[n : n + 3]) for n in range(0, width * 4, 4)}
        above = line
    return width, height, seen


def colour(name: str) -> bytes:
    found = re.search(rf"--{name}:#([0-9a-f]{{6}})", style_sheet())
    assert found
    return bytes.fromhex(found[1])


@drawable
@pytest.mark.parametrize("name", ["two_parties", "storm", "nothing"])
def test_the_picture_has_the_colours_of_the_page_and_fits_a_mail(name: str) -> None:
    picture = png.rate(DOCUMENTS[name]())
    assert picture and len(picture.png) < 25_000
    width, height, colours = pixels(picture.png)
    assert (width, height) == (2 * picture.width, 2 * picture.height) and picture.width == 600
    assert {colour("paper"), colour("traffic")} <= colours
    assert (colour("fill") in colours) == (name != "nothing")


@drawable
def test_the_words_for_those_who_see_no_picture_state_the_conclusion() -> None:
    picture = png.rate(DOCUMENTS["two_parties"](), lang="fil")
    assert picture and picture.words.startswith("152 mensahe mula 2026-03-05 13:43:24")


@drawable
def test_more_messages_make_another_picture() -> None:
    i = two_parties()
    assert i.series
    bins = tuple(b.model_copy(update={"messages": b.messages * 9}) for b in i.series.bins)
    louder = i.model_copy(update={"series": i.series.model_copy(update={"bins": bins})})
    pictures = [png.rate(document(x)) for x in (i, i, louder)]
    assert [a.png == b.png for a, b in pairwise(p for p in pictures if p)] == [True, False]


def test_nothing_to_draw_is_no_picture() -> None:
    assert png.rate(DOCUMENTS["empty"]()) is None


def test_without_the_extra_there_is_no_picture_and_a_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['vl_convert'] = None\n"
        "from maillog_forensics import png\n"
        "from tests.documents import DOCUMENTS\n"
        "print(png.rate(DOCUMENTS['two_parties']()), png.is_drawable(), png.MISSING)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("None False") and "maillog-forensics[charts]" in told
