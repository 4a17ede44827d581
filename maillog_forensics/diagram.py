"""Who answers whom, drawn: a pair, a ring of up to eight, a list with its responders, or the sources of a storm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import svg
from maillog_forensics.figures import number, plural, seconds_text
from maillog_forensics.findings import Arrow, Incident, Kind, LoopType

PROOFS = {"logged_link": "logged link", "same_message_id": "same Message-ID", "time_pattern": "by time pattern only"}
_MTAS = {"postfix": "Postfix", "exim": "Exim", "exchange": "Exchange"}
MAX_NODES = 8
_NAMED_ARROWS = 4
"""Up to so many arrows are named in the drawing; more are numbered, and the table beside names them."""


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def edge(self, towards: tuple[float, float], gap: float = 4) -> tuple[float, float]:
        """Where the line from the centre to a point leaves the box."""
        cx, cy = self.centre
        dx, dy = towards[0] - cx, towards[1] - cy
        if dx == dy == 0:
            return cx, cy
        factor = min((self.width / 2 + gap) / abs(dx) if dx else math.inf, (self.height / 2 + gap) / abs(dy) if dy else math.inf)
        return cx + dx * factor, cy + dy * factor


def draw(incident: Incident, ident: str) -> Markup:
    """The drawing that fits the incident; `ident` is ours."""
    if incident.kind is Kind.NDR_STORM:
        return _storm(incident, ident)
    if incident.type is LoopType.LIST:
        return _list(incident, ident)
    if len(incident.members) == 2:
        return _pair(incident, ident)
    return _ring(incident, ident)


def where(incident: Incident, member: str, hosts: Sequence[str] = ()) -> str:
    """mx1 · Postfix · ours, as far as it is known."""
    host = next((h for h in hosts if h), "")
    words = [host] if host else []
    if host in incident.host_mtas:
        words.append(_MTAS.get(incident.host_mtas[host], incident.host_mtas[host]))
    if incident.ours:
        words.append("ours" if member in incident.ours else "theirs")
    return " · ".join(words)


def arrow_words(arrow: Arrow) -> str:
    """76 × vacation, 5.9 s later."""
    words = f"{number(arrow.messages)} ×" + (f" {arrow.program}" if arrow.program else "")
    return words + (f", {seconds_text(arrow.median_lag_s)} later" if arrow.median_lag_s is not None else "")


def _node(box: _Box, name: str, below: str, classes: str = "") -> Markup:
    """A box with the address in one line, or its two halves in two."""
    cx = box.x + box.width / 2
    fits = int(box.width / 7.7)
    lines: list[tuple[str, str]] = []
    if len(name) <= fits or "@" not in name:
        lines.append((svg.shortened(name, fits), "name"))
    else:
        local, _, host = name.rpartition("@")
        lines += [(svg.shortened(local, fits), "name"), (svg.shortened("@" + host, fits), "name")]
    if below:
        lines.append((svg.shortened(below, int(box.width / 6.3)), "sub"))
    first = box.y + box.height / 2 - (len(lines) - 1) * 8 + 4.5
    return svg.el(
        "g", svg.rect(box.x, box.y, box.width, box.height, "box", 5), *(svg.text(cx, first + i * 16, words, cls, "middle") for i, (words, cls) in enumerate(lines)),
        class_=f"node {classes}".strip(),
    )  # fmt: skip


def _edge(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float], head: str, proof: str) -> Markup:
    data = f"M{start[0]:.1f} {start[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return svg.path(data, f"edge {proof.replace('_', '-')}", marker_end=f"url(#{head})")


def _description(incident: Incident) -> str:
    told = [f"{a.origin} to {a.target}: {arrow_words(a)}, {PROOFS[a.proof]}" for a in incident.arrows[:MAX_NODES]]
    return "; ".join(told) + "." if told else f"{' to '.join(incident.members[:MAX_NODES])}."


def _pair(incident: Incident, ident: str) -> Markup:
    width, height, box_w, box_h, top = 460.0, 208.0, 176.0, 62.0, 73.0
    left, right = _Box(1, top, box_w, box_h), _Box(width - box_w - 1, top, box_w, box_h)
    head = f"{ident}-h"
    there = next((a for a in incident.arrows if a.origin == incident.members[0]), None)
    back = next((a for a in incident.arrows if a.origin == incident.members[1]), None)
    parts = [svg.arrow_head(head)]
    middle = width / 2
    for arrow, sign in ((there, -1), (back, 1)):
        y = top - 3 if sign < 0 else top + box_h + 3
        start, end = ((left.x + 128, y), (right.x + 48, y)) if sign < 0 else ((right.x + 48, y), (left.x + 128, y))
        parts.append(_edge(start, (middle, y + sign * 62), end, head, arrow.proof if arrow else "time_pattern"))
        if arrow:
            parts.append(svg.text(middle, y + sign * 42 + (0 if sign < 0 else 12), svg.shortened(arrow_words(arrow), 56), "proof", "middle"))
            parts.append(svg.text(middle, y + sign * 10 + (0 if sign < 0 else 8), PROOFS[arrow.proof], "sub", "middle"))
    for box, member, arrow in ((left, incident.members[0], there), (right, incident.members[1], back)):
        parts.append(_node(box, member, where(incident, member, [arrow.host] if arrow else [])))
    return svg.image(ident, width, height, "Who answers whom", _description(incident), *parts, classes="diagram")


def _ring(incident: Incident, ident: str) -> Markup:
    names = list(incident.members) if len(incident.members) > 1 else list(incident.hosts) or list(incident.members)
    more = len(names) - MAX_NODES
    if more > 0:
        names = [*names[: MAX_NODES - 1], f"{more + 1} others"]
    n = len(names)
    few = n <= _NAMED_ARROWS
    width, height = 470.0, (214.0 if few else 290.0)
    box_w, box_h = (164.0, 50.0) if few else (128.0, 40.0)
    cx, cy = width / 2, height / 2
    rx, ry = width / 2 - box_w / 2 - 2, height / 2 - box_h / 2 - (14 if few else 2)
    turn = -math.pi / 2 if n != 2 else math.pi
    boxes = []
    for i in range(n):
        angle = turn + 2 * math.pi * i / n
        stretch = 1 / max(abs(math.cos(angle)), abs(math.sin(angle))) ** 0.35
        boxes.append(_Box(cx + rx * min(1.0, abs(math.cos(angle)) * stretch) * math.copysign(1, math.cos(angle)) - box_w / 2 if abs(math.cos(angle)) > 1e-9 else cx - box_w / 2,
                          cy + ry * math.sin(angle) - box_h / 2, box_w, box_h))  # fmt: skip
    head = f"{ident}-h"
    parts = [svg.arrow_head(head)]
    own_hosts = len(incident.members) == 1
    for i in range(n) if n > 1 else ():
        a, b = boxes[i], boxes[(i + 1) % n]
        arrow = None if own_hosts else next((s for s in incident.arrows if s.origin == names[i]), None)
        mx, my = (a.centre[0] + b.centre[0]) / 2, (a.centre[1] + b.centre[1]) / 2
        bulge = 0.42 if n <= 4 else 0.2
        control = (mx + (mx - cx) * bulge, my + (my - cy) * bulge) if n > 2 else (mx, my + (-60 if i == 0 else 60))
        proof = arrow.proof if arrow else "same_message_id" if own_hosts else "time_pattern"
        parts.append(_edge(a.edge(control), control, b.edge(control), head, proof))
        at = ((mx + control[0]) / 2, (my + control[1]) / 2)
        if arrow and few:
            parts += _ring_label(arrow, at, (cx, cy), width)
        elif arrow:
            parts.append(svg.el("circle", cx=at[0], cy=at[1], r=9, class_="badge"))
            parts.append(svg.text(at[0], at[1] + 4, str(i + 1), "badgetext", "middle"))
    for box, name in zip(boxes, names):
        host = next((a.host for a in incident.arrows if a.origin == name), "")
        below = where(incident, name, [host]) if not own_hosts else _MTAS.get(incident.host_mtas.get(name, ""), "")
        parts.append(_node(box, name, below if few else ""))
    if own_hosts and n > 1:
        parts.append(svg.text(cx, cy + 4, svg.shortened(incident.members[0], 40), "sub", "middle"))
    return svg.image(ident, width, height, "The ring", _description(incident), *parts, classes="diagram")


def _ring_label(arrow: Arrow, at: tuple[float, float], centre: tuple[float, float], width: float) -> list[Markup]:
    """Two short lines outside the arrow."""
    words = f"{number(arrow.messages)} ×" + (f" {arrow.program}" if arrow.program else "")
    lag = f"{seconds_text(arrow.median_lag_s)} later, " if arrow.median_lag_s else ""
    dx, dy = at[0] - centre[0], at[1] - centre[1]
    proof = lag + PROOFS[arrow.proof].removesuffix(" only")
    if abs(dx) < 30:
        y = at[1] + (18 if dy > 0 else -10)
        return [svg.text(at[0], y - 16 if dy > 0 else y, f"{svg.shortened(words, 26)} · {proof}", "sub halo", "middle")]
    anchor, x = ("start", at[0] + 12) if dx > 0 else ("end", at[0] - 12)
    room = int((width - x if dx > 0 else x) / 6.6)
    return [svg.text(x, at[1] - 2, svg.shortened(words, room), "proof", anchor), svg.text(x, at[1] + 14, svg.shortened(proof, room), "sub", anchor)]


def _list(incident: Incident, ident: str) -> Markup:
    responders = list(incident.members[1:5])
    hidden = len(incident.members) - 1 - len(responders)
    pitch, box_w = 64.0, 178.0
    height = max(200.0, pitch * len(responders) + (24 if hidden > 0 else 0) + 46)
    width = 470.0
    hub = _Box(1, (height - 40) / 2 - 29, 150, 58)
    head = f"{ident}-h"
    parts = [svg.arrow_head(head)]
    for index, member in enumerate(responders):
        box = _Box(width - box_w - 1, 6 + index * pitch + (height - 46 - pitch * len(responders)) / 2, box_w, 52)
        answers = next((a for a in incident.arrows if a.origin == member), None)
        y = box.y + box.height / 2
        hy = hub.y + hub.height / 2 + (index - (len(responders) - 1) / 2) * 12
        parts.append(_edge((hub.x + hub.width + 4, hy - 4), ((hub.x + hub.width + box.x) / 2, y - 22), (box.x - 5, y - 8), head, "copy"))
        parts.append(_edge((box.x - 4, y + 9), ((hub.x + hub.width + box.x) / 2, y + 22), (hub.x + hub.width + 5, hy + 6), head, answers.proof if answers else "time_pattern"))
        words = f"{plural(answers.messages, 'answer')}" + (f", {seconds_text(answers.median_lag_s)} later" if answers.median_lag_s is not None else "") if answers else ""
        parts.append(_node(box, member, words or where(incident, member)))
    parts.append(_node(hub, incident.members[0], "list"))
    each = incident.copies / incident.messages if incident.messages else 0
    for k in range(5):
        parts.append(svg.line(hub.x + 52 + k * 11, hub.y + hub.height + 3, hub.x + 30 + k * 22, hub.y + hub.height + 26, "ray"))
    parts.append(svg.text(hub.x, hub.y + hub.height + 44, f"{number(incident.copies)} copies, {number(round(each, 1))} of each post", "sub"))
    if hidden > 0:
        parts.append(svg.text(width - 1, height - 8, f"and {plural(hidden, 'more responder')}", "sub", "end"))
    return svg.image(ident, width, height, "The list and its responders", _description(incident), *parts, classes="diagram")


def _storm(incident: Incident, ident: str) -> Markup:
    origins = sorted((incident.origins or dict.fromkeys(incident.hosts, 0)).items(), key=lambda kv: (-kv[1], kv[0]))
    shown = origins[:4]
    rest = origins[4:]
    if rest:
        shown = [*shown, (f"{len(rest)} other servers", sum(v for _, v in rest))]
    pitch, width = 46.0, 470.0
    height = max(176.0, pitch * len(shown) + 12)
    box_h = 36.0
    target = _Box(width - 171, height / 2 - 31, 170, 62)
    head = f"{ident}-h"
    total = max((v for _, v in shown), default=0) or 1
    parts = [svg.arrow_head(head)]
    top = (height - pitch * len(shown)) / 2 + (pitch - box_h) / 2
    for index, (name, count) in enumerate(shown):
        box = _Box(1, top + index * pitch, 158, box_h)
        y = box.y + box_h / 2
        ty = height / 2 + (index - (len(shown) - 1) / 2) * 10
        weight = 1.5 + 5 * count / total
        start, end, mid = (box.x + box.width + 4, y), (target.x - 6, ty), (box.x + box.width + target.x) / 2
        data = f"M{start[0]:.1f} {start[1]:.1f}C{mid:.1f} {y:.1f} {mid:.1f} {ty:.1f} {end[0] - 6:.1f} {end[1]:.1f}"
        parts.append(svg.path(data, "stream", stroke_width=round(weight, 1)))
        parts.append(svg.path(f"M{end[0] - 8:.1f} {end[1] - 5:.1f}L{end[0]:.1f} {end[1]:.1f}L{end[0] - 8:.1f} {end[1] + 5:.1f}z", "head"))
        parts.append(_node(box, name, ""))
        if count:
            parts.append(svg.text(mid, (y + ty) / 2 - 7, f"{number(count)}", "proof halo", "middle"))
    parts.append(_node(target, incident.members[0] if incident.members else "", "receives the notifications", "target"))
    told = ", ".join(f"{name} {number(count)}" for name, count in shown)
    return svg.image(ident, width, height, "Where the notifications come from", f"Notifications to {incident.members[0] if incident.members else 'one mailbox'}: {told}.", *parts, classes="diagram")
