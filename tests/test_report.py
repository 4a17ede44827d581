"""The report page: what it says equals the document, what an attacker wrote stays text, and it fits the screen."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from maillog_forensics import axes, charts, figures, plain, terminal, view
from maillog_forensics.findings import Bin, Findings, Series
from maillog_forensics.report import MAX_BYTES, render, style_sheet
from tests.documents import DOCUMENTS, at, document, two_parties

GOLD = Path(__file__).parent / "gold"
GOLD_DOCUMENTS = tuple(
    f"{name}.{kind}"
    for name in ("two_parties", "ring_of_three", "list_loop", "storm", "nothing", "degraded", "several")
    for kind in ("html", "txt")
) + (
    "hostile.html",
    "notification.html",
    "pseudonymized.html",
    "two_parties.fil.html",
    "two_parties.fil.report.txt",
    "storm.fil.html",
    "nothing.fil.html",
    "two_parties.md",
    "storm.md",
    "nothing.md",
    "two_parties.report.txt",
    "two_parties.letter.txt",
)
SMALL = tuple(name for name in DOCUMENTS if name != "huge")
VOID = {"meta", "br", "link", "img", "input", "hr", "base", "wbr"}
FIRST_SCREEN = (
    "two_parties",
    "ring_of_three",
    "ring_of_four",
    "ring_of_six",
    "ring_of_ten",
    "between_servers",
    "list_loop",
    "notification",
    "storm",
    "several",
    "degraded",
    "nothing",
)


@cache
def page(name: str, *, print_variant: bool = False, lang: str = "en") -> str:
    return render(DOCUMENTS[name](), print_variant=print_variant, lang=lang)


class Tree(HTMLParser):
    """All elements with their attributes, the text of the page, and whether everything is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(attrs) != len(dict(attrs)):
            self.faults.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> inside of {self.open[-3:]}")
        else:
            self.open.pop()
        if tag in {"td", "th", "dt", "dd", "li", "p", "text", "div"}:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@cache
def tree(name: str) -> Tree:
    return Tree(page(name))


# --- what the page says ----------------------------------------------------------------------------------------------


def test_numbers_of_a_loop_are_those_of_the_document() -> None:
    findings = DOCUMENTS["two_parties"]()
    i = findings.incidents[0]
    words = tree("two_parties").text
    assert f"{i.messages} " in words and i.headline in words
    assert "12.1 s" in words and "71.2 kB" in words and "11 % of all mail" in words
    assert "Ended 14:13:52 by our sending limit" in words
    for arrow in i.arrows:
        assert f"{arrow.messages} × {arrow.program}, {figures.seconds_text(arrow.median_lag_s or 0)} later" in words
    for line in i.evidence:
        assert f"{line.source}:{line.line}" in words and line.text in words and f"@{line.offset}" in words
    for item in findings.inputs:
        assert item.path in words and item.sha256 in words and f"{item.lines:,}" in words


def test_numbers_of_a_storm_are_those_of_the_document() -> None:
    i = DOCUMENTS["storm"]().incidents[0]
    words = tree("storm").text
    for name, count in {**i.origins, **i.codes}.items():
        assert f"{name} {count}" in words.replace("\n", " "), name
    assert "6 servers" in words and "2.28 MB" in words and "41 % of all mail" in words


def test_every_number_of_the_rate_stands_in_its_table() -> None:
    i = DOCUMENTS["two_parties"]().incidents[0]
    assert i.series
    steps, _ = charts.merged(i.series)
    assert sum(s.messages for s in steps) == sum(b.messages for b in i.series.bins)
    assert sum(s.others for s in steps) == sum(b.others for b in i.series.bins)


def test_running_and_ended_are_told_apart() -> None:
    assert "Running: the logs end 10 s after the last turn" in tree("list_loop").text
    assert "Type now" in tree("list_loop").text
    assert "If it starts again" in tree("two_parties").text
    assert "end not logged" in tree("storm").text


def test_zero_harm_is_said() -> None:
    words = tree("two_parties").text
    assert "Mailboxes filled none seen" in words and "Signs of overload none seen" in words and "blocklists none seen" in words


def test_nothing_found_proves_that_it_looked() -> None:
    findings = DOCUMENTS["nothing"]()
    words = tree("nothing").text
    assert "No mail loop and no NDR storm in 1,420 messages." in words
    for s in findings.searches:
        assert s.detector in words and f"{s.candidates} looked at" in words
    assert all(i.sha256 in words for i in findings.inputs)


def test_degraded_input_is_confessed() -> None:
    words = tree("degraded").text
    assert (
        "40 damaged lines" in words and "not ruled out: people writing quickly" in words and "the compressed stream ends" in words
    )
    assert "weird[77]" in words and "zone assumed for 1 file" in words


def test_inference_is_marked_and_fact_is_not() -> None:
    assert re.search(r'<i class="inferred"><span class="tag">Probably</span> Neither side marks', page("two_parties"))
    assert not re.search(r"inferred.{0,60}A responder answers bounces", page("notification"))


def test_no_letter_is_written_to_ourselves() -> None:
    words = Tree(render(document(two_parties(ours=("anna@alpha.example", "bob@beta.example"))))).text
    assert "Side to mend: both are ours" in words and "letter to the other side" not in words and "Dear postmaster" not in words
    assert "Dear postmaster" in tree("two_parties").text


def test_several_incidents_are_sorted_by_severity_and_the_first_three_are_open() -> None:
    cards = [a for a in tree("several").all("details") if a.get("class") == "card"]
    assert ["open" in a for a in cards] == [True, True, True, False, False, False]
    order = [i.severity.value for i, _ in view.page(DOCUMENTS["several"](), view.Caps(), print_variant=False).listed]
    assert order == ["critical", "high", "high", "medium", "medium", "info"]


def test_print_variant_unfolds_everything() -> None:
    folds = Tree(page("several", print_variant=True)).all("details")
    assert folds and all("open" in a for a in folds)


def test_huge_documents_make_pages_below_a_megabyte_that_count_what_they_leave_out() -> None:
    text = page("huge")
    assert len(text.encode()) < MAX_BYTES
    words = Tree(text).text
    assert re.search(r"Left out here: [\d,]+ incidents; all are in the findings file", words) and re.search(
        r"Left out here: [\d,]+ files;", words
    )


def test_one_document_makes_one_page() -> None:
    assert render(DOCUMENTS["several"]()) == page("several")


def test_old_documents_without_remedies_or_series_still_render() -> None:
    bare = two_parties().model_copy(
        update={"remedies": (), "series": None, "arrows": (), "trigger": None, "moments": (), "harm": type(two_parties().harm)()}
    )
    assert "What to do" in render(document(bare))


# --- what it is made of ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_elements_are_closed_and_ids_are_unique(name: str) -> None:
    found = tree(name)
    assert not found.faults and not found.open
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for a in found.all("a") if (a.get("href") or "").startswith("#")}  # type: ignore[index]
    assert links <= set(ids)
    for _, a in found.elements:
        for key in ("aria-labelledby",):
            assert all(i in ids for i in (a.get(key) or "").split())


@pytest.mark.parametrize("name", SMALL)
def test_headings_are_in_order(name: str) -> None:
    levels = [int(tag[1]) for tag, _ in tree(name).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("name", SMALL)
def test_tables_have_captions_and_scopes_and_pictures_have_words(name: str) -> None:
    found = tree(name)
    assert len(found.all("table")) == len(found.all("caption"))
    assert all(a.get("scope") in ("row", "col") for a in found.all("th"))
    for a in found.all("svg"):
        assert a["role"] == "img" and a["aria-labelledby"]
    assert found.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize("name", SMALL)
def test_the_policy_allows_the_style_sheet_and_nothing_else(name: str) -> None:
    text = page(name)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style and text.count("<style") == 1
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    policies = [a for a in tree(name).all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert [a["content"] for a in policies] == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    metas = [tag for tag, _ in tree(name).elements if tag not in ("html", "head")]
    assert metas[:2] == ["meta", "meta"]  # charset, then the policy, before anything that could load


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_fetched_run_or_styled_in_place(name: str) -> None:
    for tag, attributes in tree(name).elements:
        assert tag not in {
            "script",
            "iframe",
            "object",
            "embed",
            "link",
            "img",
            "base",
            "form",
            "input",
            "button",
            "foreignobject",
            "use",
            "image",
            "a:a",
        }
        for key, value in attributes.items():
            assert not key.startswith("on") and key not in {"style", "src", "srcset", "xlink:href", "action", "ping"}
            if key == "href":
                assert re.fullmatch(r"#[a-z0-9-]+", value or "")
            assert "url(" not in (value or "") or re.fullmatch(r"url\(#[a-z0-9-]+\)", value or "")
    assert not re.search(r"@import|url\(|expression\(", style_sheet())


@pytest.mark.parametrize("name", SMALL)
def test_attributes_hold_nothing_from_logs(name: str) -> None:
    """Ids, classes and labels are ours: letters, digits and plain words only."""
    for _, attributes in tree(name).elements:
        for key in ("id", "class", "href", "aria-label", "marker-end"):
            if attributes.get(key):
                assert re.fullmatch(r"[#A-Za-z0-9 ,()_-]+", attributes[key]), (key, attributes[key])  # type: ignore[arg-type]


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts))


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_pictures_have_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    """4.5 for text, 3 for what a picture means by its outline (WCAG 2.2, 1.4.3 and 1.4.11); light and dark."""
    roots = re.findall(r":root\{(.*?)\}", style_sheet())
    colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", roots[0])) | (
        dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", roots[1])) if scheme else {}
    )
    for back in ("paper", "code", "band"):
        for text in ("ink", "soft", "signal", "ok", "warn", "link"):
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back)
    for line in ("rim", "signal", "l0", "l1", "l2", "l3", "l4", "l5"):
        assert _contrast(colours[line], colours["paper"]) >= 3.0, line
    assert _contrast(colours["paper"], colours["signal"]) >= 4.5


# --- hostile text ----------------------------------------------------------------------------------------------------


def test_hostile_text_makes_no_element() -> None:
    """The elements are those of the same document with harmless text of the same structure."""
    tags = {tag for tag, _ in tree("hostile").elements}
    usual = {tag for name in ("several", "degraded", "ring_of_six") for tag, _ in tree(name).elements}
    assert tags <= usual | {"br"}
    assert "<script>alert(1)</script>@evil.example" in tree("hostile").text
    assert "{{ 7*7 }}" in tree("hostile").text and "49@evil" not in tree("hostile").text


def test_invisible_and_steering_characters_are_shown_as_escapes() -> None:
    words = page("hostile")
    assert not re.search(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]", words
    )
    for shown in (
        r"\x1b[31mred\x07",
        r"\u202egnp.exe\u2066",
        r"nul\x00tail",
        r"zero\u200bwidth\ufeff",
        r"line\nbreak\x0d\nsecond",
        r"tag\U000e0041s",
    ):
        assert html.escape(shown) in words, shown


def test_a_parser_of_browsers_sees_the_same_elements() -> None:
    html5lib = pytest.importorskip("html5lib")
    for name in ("hostile", "several"):
        parsed = html5lib.parse(page(name), namespaceHTMLElements=False)
        seen = sorted(re.sub(r"\{.*\}", "", e.tag) for e in parsed.iter() if isinstance(e.tag, str))
        want = sorted(tag for tag, _ in tree(name).elements)
        assert [t.lower() for t in seen] == want


def test_the_terminal_gets_no_escapes_from_logs() -> None:
    for make in (DOCUMENTS["hostile"], DOCUMENTS["several"], DOCUMENTS["nothing"], DOCUMENTS["empty"]):
        words = terminal.summary(make())
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", words)
        assert 1 <= words.count("\n") + 1 <= 25


# --- figures and charts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peak", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6, 8]),
        (49, [0, 20, 40, 60]),
        (1000, [0, 500, 1000]),
        (99999, [0, 50000, 100000]),
    ],
)
def test_axes_have_round_steps_up_to_the_peak(peak: int, ticks: list[int]) -> None:
    assert axes.value_ticks(peak) == ticks


def test_time_axis_names_the_day_at_midnight() -> None:
    begin = dt.datetime(2025, 12, 31, 22, tzinfo=dt.UTC).timestamp()
    labels = [label for _, label in axes.time_ticks(begin, begin + 4 * 3600, 6)]
    assert labels == ["22:00", "23:00", "1 Jan", "01:00", "02:00"]


@pytest.mark.parametrize("step", [1, 7, 60, 86400])
def test_merging_keeps_every_message_and_stays_drawable(step: int) -> None:
    series = Series(
        step_s=step, bins=tuple(Bin(time=at(n * step), messages=n % 3, others=1, detail={"5.1.1": n % 2}) for n in range(400))
    )
    steps, merged_step = charts.merged(series)
    assert merged_step % step == 0 and len(steps) <= charts.MAX_STEPS + 1
    assert sum(s.messages for s in steps) == sum(b.messages for b in series.bins)
    assert sum(s.detail.get("5.1.1", 0) for s in steps) == 200


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0 s"),
        (0.081, "81 ms"),
        (12.1, "12.1 s"),
        (119.9, "119.9 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (270000, "3 d 3 h"),
        (3599.7, "1 h"),
    ],
)
def test_lengths_of_time(value: float, words: str) -> None:
    assert figures.seconds_text(value) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (1, "100 %"), (0.9999, "> 99.9 %"), (0.0002, "< 0.1 %"), (0.987, "99 %"), (0.113, "11 %"), (0.05, "5.0 %")],
)
def test_shares_never_round_to_all_or_nothing(share: float, words: str) -> None:
    assert figures.share_text(share) == words


# --- gold pages ------------------------------------------------------------------------------------------------------


def gold_text(name: str) -> str:
    """The page or the summary, with what changes with every edit of the style sheet scrubbed, one element a line."""
    document_name, _, kind = name.partition(".")
    lang, kind = ("fil", kind.removeprefix("fil.")) if kind.startswith("fil.") else ("en", kind)
    if kind == "md":
        return plain.markdown(DOCUMENTS[document_name]())
    if kind == "report.txt":
        return plain.text(DOCUMENTS[document_name](), lang=lang)
    if kind == "letter.txt":
        return plain.letter(DOCUMENTS[document_name](), DOCUMENTS[document_name]().incidents[0].id)
    if kind == "txt":
        return terminal.summary(DOCUMENTS[document_name]()) + "\n"
    text = re.sub(r"<style>.*?</style>", "<style>…</style>", page(document_name, lang=lang), flags=re.DOTALL)
    text = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-…", text)
    return re.sub(r"(?<=>)(?=<(?!/))", "\n", text) + "\n"


@pytest.mark.parametrize("name", GOLD_DOCUMENTS)
def test_pages_are_as_they_were(name: str) -> None:
    """After a wanted change: `python -m tests.refresh_gold`, and read the diff."""
    assert gold_text(name) == (GOLD / name).read_text("utf-8"), "run python -m tests.refresh_gold and read the diff"


def test_findings_survive_their_file(tmp_path: Path) -> None:
    from maillog_forensics import findings as f

    for name in ("several", "degraded"):
        made = DOCUMENTS[name]()
        (tmp_path / "x.json").write_text(f.write(made), "utf-8")
        assert render(f.read(str(tmp_path / "x.json"))) == page(name)
        assert Findings.model_validate(json.loads(f.write(made))) == made


# --- in a browser ----------------------------------------------------------------------------------------------------

CHROMIUM = next((p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), None)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: layout and console are not checked")
PROBE = """<script>
addEventListener('load', () => {
  const box = e => e.getBoundingClientRect(), all = q => [...document.querySelectorAll(q)];
  const inner = e => e.closest('.scroll') || e.closest('pre') || e.closest('svg');
  const wide = all('body *').filter(e => !inner(e) && box(e).right > innerWidth + 1);
  const cut = all('.first .pic text').filter(e => box(e).width && (box(e).left < 0 || box(e).right > innerWidth));
  document.title = 'PROBE' + JSON.stringify({
    scroll: document.documentElement.scrollWidth, trust: Math.round(box(document.querySelector('.trust')).bottom),
    wide: wide.slice(0, 5).map(e => e.tagName + '.' + e.className), cut: cut.length});
});
</script>"""


def chromium(file: Path, width: int, height: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                *arguments,
                f"file://{file}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "HOME": profile},
        )


WIDTHS = {(name, 1280, 720) for name in FIRST_SCREEN} | {
    (name, width, 800) for name in ("several", "hostile", "nothing", "degraded", "ring_of_ten") for width in (360, 768, 1920)
}


@cache
def measured() -> dict[str, dict[str, object]]:
    """Each page in a frame of each size (a headless window can't be narrower than 500), its policy off for the probe."""
    frames, scripts = [], []
    for n, (name, width, height) in enumerate(sorted(WIDTHS)):
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page(name)).replace("</body>", PROBE + "</body>")
        quoted = json.dumps(text.encode("utf-8", "backslashreplace").decode()).replace("</", "<\\/")
        frames.append(f"<iframe id=f{n} width={width} height={height}></iframe>")
        scripts.append(
            f"f{n}.onload=()=>setTimeout(()=>{{o.append('{name}-{width}='+f{n}.contentDocument.title+'\\n')}},50);f{n}.srcdoc={quoted};"
        )
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder) / "frames.html"
        outer.write_text(
            f"<!doctype html><meta charset=utf-8><style>iframe{{border:0}}</style>{''.join(frames)}<pre id=o></pre><script>{''.join(scripts)}</script>",
            "utf-8",
        )
        out = chromium(outer, 1300, 900, "--virtual-time-budget=20000", "--dump-dom").stdout
    found = re.search(r"<pre id=\"o\">(.*?)</pre>", out, re.DOTALL)
    assert found, out[-500:]
    rows = (line.partition("=PROBE") for line in html.unescape(found.group(1)).splitlines() if "=PROBE" in line)
    return {key: json.loads(value) for key, _, value in rows}


@browser
@pytest.mark.parametrize("name", FIRST_SCREEN)
def test_first_screen_fits_1280_by_720(name: str) -> None:
    seen = measured()[f"{name}-1280"]
    assert seen["trust"] <= 720, seen  # type: ignore[operator]
    assert seen["scroll"] == 1280 and not seen["wide"], seen


@browser
@pytest.mark.parametrize(("name", "width", "height"), sorted(WIDTHS))
def test_no_sideways_scrolling(name: str, width: int, height: int) -> None:
    seen = measured()[f"{name}-{width}"]
    assert seen["scroll"] == width and not seen["wide"] and not seen["cut"], seen


@browser
def test_the_browser_has_nothing_to_complain_about(tmp_path: Path) -> None:
    for name in ("several", "hostile"):
        file = tmp_path / f"{name}.html"
        file.write_text(page(name), "utf-8", "backslashreplace")
        done = chromium(file, 1280, 720, "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom")
        assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        assert "</html>" in done.stdout
