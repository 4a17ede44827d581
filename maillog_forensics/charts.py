"""Charts over time as static SVG, with the numbers of their table twins."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import axes, svg
from maillog_forensics.figures import seconds_text
from maillog_forensics.findings import Series
from maillog_forensics.language import mark, number, say

MAX_STEPS = 110
"""Steps drawn at most: each is then some pixels wide, and the table twin can still be read."""
_DWARFED = 0.06
"""Below this part of all mail the incident would be a hair line on top of it; then it is drawn alone."""
_LAYERS = 6


@dataclass(frozen=True)
class Step:
    """A drawn step: several bins together."""

    time: dt.datetime
    messages: int
    others: int
    detail: dict[str, int]


@dataclass(frozen=True)
class Chart:
    """A picture, what its steps are, and the same numbers as rows."""

    wide: Markup
    narrow: Markup
    told: str
    """Its conclusion in a sentence, for those who do not see it."""
    step_s: int
    rows: tuple[Step, ...]
    keys: tuple[str, ...] = ()
    note: str = ""
    noun: str = "messages"
    has_rest: bool = False
    """Whether some of the layers' messages have none of the keys."""

    @property
    def unit(self) -> str:
        """messages a minute, messages in 30 s."""
        return unit(self.step_s, self.noun)


@dataclass(frozen=True)
class Mark:
    """What is drawn over the rate: the time of the incident, and how it ended."""

    started: dt.datetime
    ended: dt.datetime
    label: str
    ending: str = ""
    ended_at: dt.datetime | None = None
    baseline: float = 0.0


def rate(
    ident: str,
    title: str,
    description: str,
    series: Series,
    mark: Mark | None = None,
    *,
    height: float = 172,
    layers: bool = False,
    noun: str = "messages",
) -> Chart:
    """Messages over time: all others below, the incident's on top of them.

    Parameters
    ----------
    ident
        Ours, for the ids inside the picture.
    mark
        The incident's time, shaded, and its ending as a line.
    noun
        What is counted.
    layers
        Draw the incident's messages by `Bin.detail` (status codes) instead of the others below it.
    """
    steps, step_s = merged(series)
    top = max((s.messages + (0 if layers else s.others) for s in steps), default=0)
    mine = max((s.messages for s in steps), default=0)
    alone = not layers and 0 < mine < _DWARFED * top
    keys = _keys(steps) if layers else ()
    note = ""
    if alone:
        others = sorted(s.others for s in steps)
        usual = f"{number(others[len(others) // 2])} {unit(step_s)}"
        note = say("All other mail, about %(usual)s, is not drawn: it would hide the incident.", usual=usual)

    def draw(width: float, suffix: str) -> Markup:
        return _picture(
            f"{ident}{suffix}",
            title,
            description,
            steps,
            step_s,
            mark,
            width,
            height,
            keys,
            series.baseline * step_s / series.step_s,
            alone or layers,
        )

    return Chart(
        draw(720, ""),
        draw(344, "n"),
        description,
        step_s,
        tuple(steps),
        keys,
        note,
        noun,
        has_rest=bool(keys) and any(s.messages > sum(s.detail.get(k, 0) for k in keys) for s in steps),
    )


def merged(series: Series, limit: int = MAX_STEPS) -> tuple[list[Step], int]:
    """Neighbouring bins together, so that at most `limit` steps remain and each has a length that people use."""
    bins = series.bins
    if not bins:
        return [], series.step_s
    spread = (bins[-1].time - bins[0].time).total_seconds() + series.step_s
    step = next((s for s in axes.NICE_S if s >= series.step_s and s % series.step_s == 0 and spread / s <= limit), None)
    if step and step < 60 and spread >= 30 * 60 and 60 % series.step_s == 0:
        step = 60  # by the minute, which people can compare, rather than in a finer step of no use
    step = step or series.step_s * max(1, round(spread / series.step_s / limit))
    out: dict[int, Step] = {}
    for b in bins:
        slot = int(b.time.timestamp() // step)
        old = out.get(slot)
        detail = dict(old.detail) if old else {}
        for key, count in b.detail.items():
            detail[key] = detail.get(key, 0) + count
        at = old.time if old else dt.datetime.fromtimestamp(slot * step, dt.UTC)
        out[slot] = Step(at, b.messages + (old.messages if old else 0), b.others + (old.others if old else 0), detail)
    first, last = min(out), max(out)
    if last - first > 4 * limit:  # a hole of weeks: show what there is
        return [out[k] for k in sorted(out)][: 4 * limit], step
    return [out.get(k) or Step(dt.datetime.fromtimestamp(k * step, dt.UTC), 0, 0, {}) for k in range(first, last + 1)], step


def _keys(steps: Sequence[Step]) -> tuple[str, ...]:
    """The most frequent details; the others are drawn together."""
    total: dict[str, int] = {}
    for s in steps:
        for key, count in s.detail.items():
            total[key] = total.get(key, 0) + count
    ranked = sorted(total, key=lambda k: (-total[k], k))
    return tuple(ranked[:_LAYERS])


def unit(step_s: int, noun: str = "messages") -> str:
    """messages a minute, transfers in 30 s."""
    known = _UNITS[noun]
    return say(known.get(step_s, known[0]), time=seconds_text(step_s))


_UNITS = {
    "messages": {
        1: mark("messages a second"),
        60: mark("messages a minute"),
        3600: mark("messages an hour"),
        86400: mark("messages a day"),
        0: mark("messages in %(time)s"),
    },
    "transfers": {
        1: mark("transfers a second"),
        60: mark("transfers a minute"),
        3600: mark("transfers an hour"),
        86400: mark("transfers a day"),
        0: mark("transfers in %(time)s"),
    },
}


def _picture(
    ident: str,
    title: str,
    description: str,
    steps: list[Step],
    step_s: int,
    mark: Mark | None,
    width: float,
    height: float,
    keys: tuple[str, ...],
    baseline: float,
    alone: bool,
) -> Markup:
    left, right, above, below = 40.0, 8.0, 30.0, 22.0
    inner_w, inner_h = width - left - right, height - above - below
    if not steps:
        return svg.image(
            ident, width, height, title, description, svg.text(width / 2, height / 2, say("no messages"), "tick", "middle")
        )
    begin = steps[0].time.timestamp()
    end = steps[-1].time.timestamp() + step_s
    peak = max(s.messages + (0 if alone else s.others) for s in steps)
    ticks = axes.value_ticks(peak)
    ceiling = max(ticks[-1], peak)

    def x(at: float) -> float:
        return left + min(1.0, max(0.0, (at - begin) / (end - begin))) * inner_w

    def y(value: float) -> float:
        return above + inner_h - value / ceiling * inner_h

    parts: list[Markup] = []
    for tick in ticks:
        parts.append(svg.line(left, y(tick), width - right, y(tick), "axis" if tick == 0 else "grid"))
        parts.append(svg.text(left - 6, y(tick) + 4, number(tick), "tick", "end"))
    if mark:
        a, b = x(mark.started.timestamp()), x(mark.ended.timestamp())
        parts.append(svg.rect(a, above - 8, max(2.0, b - a), inner_h + 8, "span"))
    if not alone:
        parts.append(_area(steps, step_s, x, y, lambda s: 0, lambda s: s.others, "traffic"))
    if keys:
        shown = set(keys)
        base = [0] * len(steps)
        for index, key in enumerate((*keys, "")):
            count = [
                s.detail.get(key, 0) if key else max(0, s.messages - sum(v for k, v in s.detail.items() if k in shown))
                for s in steps
            ]
            if any(count):
                heights = dict(zip((s.time for s in steps), zip(base, count)))
                parts.append(
                    _area(
                        steps,
                        step_s,
                        x,
                        y,
                        lambda s, h=heights: h[s.time][0],
                        lambda s, h=heights: sum(h[s.time]),
                        f"layer{index}",
                    )
                )
                base = [b + c for b, c in zip(base, count)]
    elif mark:
        parts.append(
            _area(
                steps,
                step_s,
                x,
                y,
                lambda s: 0 if alone else s.others,
                lambda s: s.messages + (0 if alone else s.others),
                "looped",
            )
        )
    if keys and baseline > 0:
        parts.append(svg.line(left, y(baseline), width - right, y(baseline), "baseline"))
        parts.append(svg.text(width - right, y(baseline) - 4, say("usual"), "note", "end"))
    parts += [
        svg.text(x(at), height - 6, label, "tick", "middle")
        for at, label in axes.time_ticks(begin, end, inner_w / 74)
        if left + 14 < x(at) < width - right - 14
    ]
    if mark:
        parts += _labels(mark, x, left, width - right, above, y(0))
    return svg.image(ident, width, height, title, description, *parts, classes="rate")


def _labels(mark: Mark, x, left: float, right: float, above: float, floor: float) -> list[Markup]:  # type: ignore[no-untyped-def]
    a, b = x(mark.started.timestamp()), x(mark.ended.timestamp())
    half = len(mark.label) * 3.4
    middle = min(max((a + b) / 2, left + half), right - half)
    parts = [svg.text(middle, 13, mark.label, "spanlabel", "middle")]
    if mark.ending:
        at = x((mark.ended_at or mark.ended).timestamp())
        parts.append(svg.line(at, above - 8, at, floor, "mark"))
        if at + 8 + len(mark.ending) * 6.2 < right:
            parts.append(svg.text(at + 6, above + 4, mark.ending, "note halo"))
        elif at - 8 - len(mark.ending) * 6.2 > left:
            parts.append(svg.text(at - 6, above + 4, mark.ending, "note halo", "end"))
    return parts


def _area(steps: list[Step], step_s: int, x, y, low, high, classes: str) -> Markup:  # type: ignore[no-untyped-def]
    """A stepped band: values hold for the whole of their step, so that nothing is drawn that was not counted."""
    runs: list[list[Step]] = []
    for s in steps:
        if high(s) > low(s):
            if runs and s.time.timestamp() - runs[-1][-1].time.timestamp() <= step_s + 0.5:
                runs[-1].append(s)
            else:
                runs.append([s])
    data = []
    for run in runs:
        upper = [f"H{x(s.time.timestamp() + step_s):.1f}V{y(high(n)):.1f}" for s, n in itertools.pairwise(run)]
        lower = [f"H{x(s.time.timestamp()):.1f}V{y(low(p)):.1f}" for p, s in zip(run[-2::-1], run[:0:-1])]
        first, last = run[0], run[-1]
        data.append(
            f"M{x(first.time.timestamp()):.1f} {y(high(first)):.1f}"
            + "".join(upper)
            + f"H{x(last.time.timestamp() + step_s):.1f}V{y(low(last)):.1f}"
            + "".join(lower)
            + f"H{x(first.time.timestamp()):.1f}Z"
        )
    return svg.path("".join(data) or "M0 0", classes)


def bars(ident: str, title: str, description: str, values: dict[str, int], limit: int = 8) -> Markup:
    """Horizontal bars, the largest first, the rest together; labels are from logs."""
    ranked = sorted(values.items(), key=lambda kv: (-kv[1], kv[0]))
    rest = sum(v for _, v in ranked[limit:])
    rows = ranked[:limit] + ([(say("%(n)s others", n=len(ranked) - limit), rest)] if rest else [])
    top = max((v for _, v in rows), default=1) or 1
    width, pitch = 520.0, 26.0
    parts = []
    for index, (name, value) in enumerate(rows):
        at = index * pitch + 4
        parts.append(svg.text(170, at + 14, svg.fitted(name, 168, 13), "", "end"))
        parts.append(svg.rect(178, at + 2, value / top * 260, 16, "looped"))
        parts.append(svg.text(184 + value / top * 260, at + 14, number(value), "tick"))
    return svg.image(ident, width, len(rows) * pitch + 6, title, description, *parts, classes="bars")
