"""Who answers whom, drawn: a pair, a ring of up to eight, a list with its responders, or the sources of a storm."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from maillog_forensics import narrative, svg
from maillog_forensics.figures import plural, seconds_text
from maillog_forensics.findings import Arrow, Incident, Kind, LoopType
from maillog_forensics.language import mark, number, say

PROOFS = {
    "logged_link": mark("logged link"),
    "same_message_id": mark("same Message-ID"),
    "time_pattern": mark("by time pattern"),
}
MTAS = {"postfix": "Postfix", "exim": "Exim", "exchange": "Exchange"}
MAX_NODES = 8
_WIDTH = 470.0


@dataclass(frozen=True)
class _Node:
    """A party: its name, and lines of small print."""

    name: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Step:
    """An arrow: how often and by what, how it is proved."""

    words: str
    proof: str
    proof_words: str


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
    if incident.type is LoopType.LIST and len(incident.members) > 1:
        return _list(incident, ident)
    if not incident.arrows and not incident.turns:
        return _guarded(incident, ident)
    nodes, steps = _parties(incident)
    title = say("Who answers whom") if incident.type is not LoopType.FORWARDING else say("Who passes it to whom")
    told = _description(nodes, steps)
    if len(nodes) == 2:
        return _pair(nodes, steps, ident, title, told)
    if len(nodes) == 3:
        return _three(nodes, steps, ident, title, told)
    return _ring(nodes, steps, ident, title, told)


def arrow_words(arrow: Arrow) -> str:
    """76 × vacation, 5.9 s later."""
    words = f"{number(arrow.messages)} ×" + (f" {arrow.program}" if arrow.program else "")
    if not arrow.median_lag_s:
        return words
    return f"{words}, {_later(arrow.median_lag_s)}"


def _later(seconds: float) -> str:
    return say("%(time)s later", time=seconds_text(seconds))


def _parties(incident: Incident) -> tuple[list[_Node], list[_Step]]:
    """Members and their arrows; where one mailbox's mail goes round between servers, the servers."""
    if len(incident.members) == 1:
        proof = "same_message_id"
        hosts = list(incident.hosts[:MAX_NODES]) or [say("this server")]
        each = (
            say("%(turns)s at most", turns=plural(incident.turns, "turn"))
            if incident.turns
            else plural(incident.transfers, "transfer")
        )
        nodes = [_Node(h, (MTAS[incident.host_mtas[h]],) if incident.host_mtas.get(h) in MTAS else ()) for h in hosts]
        if len(nodes) == 1:
            nodes.append(_Node(say("the other server"), (say("no log of it"),)))
        return nodes, [_Step(each if n == 0 else "", proof, say(PROOFS[proof])) for n in range(len(nodes))]
    handed = [a for a in incident.arrows if a.program == "forward" and incident.type is LoopType.AUTO_RESPONSE]
    if len(handed) > 1:
        return _through_group(incident, handed)
    shown = list(incident.members[:MAX_NODES])
    nodes, steps = [], []
    for member in shown:
        arrow = next((a for a in incident.arrows if a.origin == member), None)
        nodes.append(_Node(member, _where(incident, member, arrow.host if arrow else "")))
        steps.append(
            _Step(arrow_words(arrow), arrow.proof, say(PROOFS[arrow.proof]))
            if arrow
            else _Step("", "time_pattern", say("not seen"))
        )
    if len(incident.members) > MAX_NODES:
        nodes[-1] = _Node(say("%(n)s others", n=len(incident.members) - MAX_NODES + 1))
        steps[-1] = _Step("", "time_pattern", say("see the table"))
    return nodes, steps


def _through_group(incident: Incident, handed: list[Arrow]) -> tuple[list[_Node], list[_Step]]:
    """Who writes to a group, the group, and those of its members that answer him: a ring of three, whatever their number."""
    groups, answering = (list(dict.fromkeys(names)) for names in ([a.origin for a in handed], [a.target for a in handed]))
    writer = next(m for m in incident.members if m not in groups and m not in answering)
    places = ([writer], groups, answering)
    nodes = []
    for names in places:
        arrow = next((a for a in incident.arrows if a.origin == names[0]), None)
        below = _where(incident, names[0], arrow.host if arrow else "")
        nodes.append(_Node(names[0], below) if len(names) == 1 else _Node(plural(len(names), "mailbox"), below))
    steps = []
    for origins, targets in zip(places, [*places[1:], places[0]]):
        arrows = [a for a in incident.arrows if a.origin in origins and a.target in targets]
        whole = max(arrows, key=lambda a: a.messages)
        n = sum(a.messages for a in arrows)
        steps.append(_Step(arrow_words(whole.model_copy(update={"messages": n})), whole.proof, say(PROOFS[whole.proof])))
    return nodes, steps


def _where(incident: Incident, member: str, host: str) -> tuple[str, ...]:
    """The server of a member, and whose it is, as far as that is known."""
    if narrative.whose(incident, member) == "theirs":
        host = ""  # where its mail came in, which is ours
    mta = MTAS.get(incident.host_mtas.get(host, ""), "")
    side = narrative.whose(incident, member)
    second = " · ".join(w for w in (mta, say(narrative.SIDES[side]) if side else "") if w)
    if host and second and len(host) + len(second) < 19:
        return (f"{host} · {second}",)
    return tuple(w for w in (host, second) if w)


def _description(nodes: list[_Node], steps: list[_Step]) -> str:
    turns = zip(nodes, [*nodes[1:], nodes[0]], steps)
    told = (
        say(
            "%(a)s to %(b)s: %(how)s",
            a=narrative.brief(a.name),
            b=narrative.brief(b.name),
            how=f"{s.words + ', ' if s.words else ''}{s.proof_words}",
        )
        for a, b, s in turns
    )
    return "; ".join(told) + "."


def _box(box: _Box, node: _Node, classes: str = "") -> Markup:
    """A box with the address in one line, or its two halves in two, and small print below."""
    cx = box.x + box.width / 2
    room = box.width - 18
    name = node.name
    names = [name]
    if svg.width_of(name, 13, bold=True) > room and "@" in name:
        local, _, host = name.rpartition("@")
        names = [local, "@" + host]
    lines = [(svg.fitted(n, room, 13, bold=True), "name") for n in names] + [(svg.fitted(b, room, 12), "sub") for b in node.below]
    lines = lines[: max(1, int((box.height - 4) / 15))]
    first = box.y + box.height / 2 - (len(lines) - 1) * 8 + 4.5
    return svg.el(
        "g",
        svg.rect(box.x, box.y, box.width, box.height, "box", 5),
        *(svg.text(cx, first + i * 16, words, cls, "middle") for i, (words, cls) in enumerate(lines)),
        class_=f"node {classes}".strip(),
    )


def _edge(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float], head: str, proof: str) -> Markup:
    data = f"M{start[0]:.1f} {start[1]:.1f}Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return svg.path(data, f"edge {proof.replace('_', '-')}", marker_end=f"url(#{head})")


def _pair(nodes: list[_Node], steps: list[_Step], ident: str, title: str, told: str) -> Markup:
    box_w, box_h, top, middle = 186.0, 66.0, 66.0, _WIDTH / 2
    left, right = _Box(1, top, box_w, box_h), _Box(_WIDTH - box_w - 1, top, box_w, box_h)
    head = f"{ident}-h"
    parts = [svg.arrow_head(head)]
    for step, sign in zip(steps, (-1, 1)):
        y = top - 4 if sign < 0 else top + box_h + 4
        ends = (left.x + 120, right.x + 66)
        start, end = (ends[0], y), (ends[1], y)
        if sign > 0:
            start, end = end, start
        parts.append(_edge(start, (middle, y + sign * 66), end, head, step.proof))
        parts.append(
            svg.text(middle, y + sign * 42 + (-2 if sign < 0 else 14), svg.fitted(step.words, _WIDTH, 13), "proof", "middle")
        )
        parts.append(svg.text(middle, y + sign * 14 + (2 if sign < 0 else 8), step.proof_words, "sub", "middle"))
    parts += [_box(left, nodes[0]), _box(right, nodes[1])]
    return svg.image(ident, _WIDTH, top * 2 + box_h, title, told, *parts, classes="diagram")


def _three(nodes: list[_Node], steps: list[_Step], ident: str, title: str, told: str) -> Markup:
    box_w, box_h, low = 168.0, 54.0, 112.0
    top, right, left = (
        _Box((_WIDTH - box_w) / 2, 1, box_w, box_h),
        _Box(_WIDTH - box_w - 1, low, box_w, box_h),
        _Box(1, low, box_w, box_h),
    )
    head = f"{ident}-h"
    parts = [svg.arrow_head(head)]
    y = top.y + box_h / 2
    parts.append(_edge((top.x + box_w + 4, y), (right.x + 96, y + 2), (right.x + 96, low - 5), head, steps[0].proof))
    parts.append(
        _edge(
            (right.x + 60, low + box_h + 4),
            (_WIDTH / 2, low + box_h + 52),
            (left.x + box_w - 60, low + box_h + 5),
            head,
            steps[1].proof,
        )
    )
    parts.append(_edge((left.x + box_w - 96, low - 4), (left.x + box_w - 96, y + 2), (top.x - 5, y), head, steps[2].proof))
    for step, x, anchor in ((steps[0], right.x + 84, "end"), (steps[2], left.x + box_w - 84, "start")):
        parts += _two_lines(step, x, low - 30, anchor, 148)
    parts += _two_lines(steps[1], _WIDTH / 2, low + 22, "middle", _WIDTH - 2 * box_w - 12)
    parts += [_box(b, n) for b, n in zip((top, right, left), nodes)]
    return svg.image(ident, _WIDTH, low + box_h + 32, title, told, *parts, classes="diagram")


def _two_lines(step: _Step, x: float, y: float, anchor: str, room: float) -> list[Markup]:
    words, _, lag = step.words.partition(", ")
    small = step.proof_words if svg.width_of(f"{lag}, {step.proof_words}", 12) > room or not lag else f"{lag}, {step.proof_words}"
    return [
        svg.text(x, y, svg.fitted(words, room, 13), "proof", anchor),
        svg.text(x, y + 16, svg.fitted(small, room, 12), "sub", anchor),
    ]


def _ring(nodes: list[_Node], steps: list[_Step], ident: str, title: str, told: str) -> Markup:
    """Four to eight parties in two columns: down the right one, up the left one, so that there is room for names."""
    n = len(nodes)
    box_w, box_h = 186.0, 38.0
    right, left = list(range(1, n // 2 + 1)), [0, *range(n - 1, n // 2, -1)]
    rows = max(len(right), len(left))
    height = 52.0 * rows + (46 if rows == 2 else 16 if rows == 3 else 0)
    boxes: dict[int, _Box] = {}
    for column, x in ((left, 1.0), (right, _WIDTH - box_w - 1)):
        pitch = (height - box_h - 4) / max(1, len(column) - 1)
        boxes |= {node: _Box(x, 2 + row * pitch, box_w, box_h) for row, node in enumerate(column)}
    head, middle = f"{ident}-h", _WIDTH / 2
    parts = [svg.arrow_head(head)]
    for i, step in enumerate(steps):
        a, b = boxes[i], boxes[(i + 1) % n]
        words = step.words.partition(", ")[0]
        words = words if svg.width_of(words, 12) <= 84 else words.partition("×")[0] + "×"
        if a.x == b.x:
            down = b.y > a.y
            x = a.centre[0]
            start, end = ((x, a.y + box_h + 3), (x, b.y - 4)) if down else ((x, a.y - 3), (x, b.y + box_h + 4))
            side, anchor = (x - 9, "end") if a.x < middle else (x + 9, "start")
            parts.append(svg.text(side, (start[1] + end[1]) / 2 + 4, svg.fitted(words, 84, 12), "sub", anchor))
        else:
            start = (a.x + box_w + 3, a.centre[1]) if a.x < b.x else (a.x - 3, a.centre[1])
            end = (b.x - 4, b.centre[1]) if a.x < b.x else (b.x + box_w + 4, b.centre[1])
            parts.append(svg.text(middle, a.centre[1] + (-8 if i else 18), svg.fitted(words, 88, 12), "sub", "middle"))
        parts.append(_edge(start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), end, head, step.proof))
    parts += [_box(boxes[i], _Node(node.name)) for i, node in enumerate(nodes)]
    proofs = list(dict.fromkeys(s.proof_words for s in steps if s.words))
    lines = [part for words in proofs[:2] for part in ((words,) if svg.width_of(words, 12) <= 90 else words.rsplit(" ", 1))]
    for line, words in enumerate(lines):
        parts.append(svg.text(middle, height / 2 + 4 + (line - (len(lines) - 1) / 2) * 15, words, "sub", "middle"))
    return svg.image(ident, _WIDTH, height, title, told, *parts, classes="diagram")


def _guarded(incident: Incident, ident: str) -> Markup:
    """Mail for a host that is its own next hop, and that its guard stops at once."""
    host = incident.ended_by.host or next(iter(incident.hosts), say("this server"))
    domains = list(dict.fromkeys(m.rpartition("@")[2] for m in incident.members))
    where = (MTAS[incident.host_mtas[host]],) if incident.host_mtas.get(host) in MTAS else ()
    left, right = _Box(1, 84, 178, 58), _Box(_WIDTH - 187, 84, 186, 58)
    head = f"{ident}-h"
    what = domains[0] if len(domains) == 1 else plural(len(domains), "domain")
    parts = [
        svg.arrow_head(head),
        _edge((left.x + left.width + 4, 113), (_WIDTH / 2, 113), (right.x - 5, 113), head, "logged_link"),
        svg.path(
            f"M{right.x + 128:.0f} 80C{right.x + 150:.0f} 14 {right.x + 36:.0f} 14 {right.x + 58:.0f} 79",
            "edge logged-link",
            marker_end=f"url(#{head})",
        ),
        svg.text(right.x + 93, 16, say("its own next hop"), "proof", "middle"),
        svg.text(right.x + 93, 160, say("stopped by the guard at once"), "sub", "middle"),
        _box(left, _Node(plural(incident.messages, "message"), (say("to %(what)s", what=what),))),
        _box(right, _Node(host, where)),
    ]
    return svg.image(
        ident,
        _WIDTH,
        178,
        say("A server is its own next hop"),
        say(
            "%(messages)s to %(what)s on %(host)s, stopped at the first hop.",
            messages=plural(incident.messages, "message"),
            what=what,
            host=host,
        ),
        *parts,
        classes="diagram",
    )


def _list(incident: Incident, ident: str) -> Markup:
    responders = list(incident.members[1:5])
    hidden = len(incident.members) - 1 - len(responders)
    pitch, box_w, box_h = 66.0, 184.0, 50.0
    height = max(190.0, pitch * len(responders) + (20 if hidden > 0 else 0))
    top = (height - pitch * len(responders) - (20 if hidden > 0 else 0)) / 2 + (pitch - box_h) / 2
    hub = _Box(1, height / 2 - 48, 180, 54)
    head, grey = f"{ident}-h", f"{ident}-g"
    parts = [svg.arrow_head(head), svg.arrow_head(grey, "head pale")]
    x1, x2 = hub.x + hub.width + 4, _WIDTH - box_w - 6
    middle = (x1 + x2) / 2
    for index, member in enumerate(responders):
        box = _Box(_WIDTH - box_w - 1, top + index * pitch, box_w, box_h)
        answers = next((a for a in incident.arrows if a.origin == member), None)
        y, hy = box.y + box_h / 2, hub.y + hub.height / 2 + (index - (len(responders) - 1) / 2) * 20
        parts.append(
            svg.path(
                f"M{x1:.1f} {hy - 4:.1f}C{middle:.1f} {hy - 4:.1f} {middle:.1f} {y - 9:.1f} {x2:.1f} {y - 9:.1f}",
                "edge copy",
                marker_end=f"url(#{grey})",
            )
        )
        proof = (answers.proof if answers else "time_pattern").replace("_", "-")
        parts.append(
            svg.path(
                f"M{x2:.1f} {y + 9:.1f}C{middle:.1f} {y + 9:.1f} {middle:.1f} {hy + 5:.1f} {x1 + 2:.1f} {hy + 5:.1f}",
                f"edge {proof}",
                marker_end=f"url(#{head})",
            )
        )
        words = plural(answers.messages, "answer") if answers else ""
        if answers and answers.median_lag_s is not None:
            words += f", {_later(answers.median_lag_s)}"
        parts.append(_box(box, _Node(member, (words,) if words else ())))
    parts.append(_box(hub, _Node(incident.members[0], (say("the list"),))))
    each = round(incident.copies / incident.messages, 1) if incident.messages else 0
    foot = hub.y + hub.height
    for k in range(5):
        parts.append(svg.line(hub.x + 60 + k * 11, foot + 3, hub.x + 40 + k * 21, foot + 24, "ray"))
    parts.append(svg.text(hub.x + hub.width / 2, foot + 42, f"{plural(incident.copies, 'copy')},", "sub", "middle"))
    parts.append(svg.text(hub.x + hub.width / 2, foot + 57, say("%(n)s of each post", n=each), "sub", "middle"))
    if hidden > 0:
        parts.append(svg.text(_WIDTH - 1, height - 4, say("and %(n)s more", n=hidden), "sub", "end"))
    told = (
        say("Copies that went out: %(n)s", n=incident.copies)
        + "; "
        + ", ".join(
            say("%(who)s: %(answers)s", who=a.origin, answers=plural(a.messages, "answer"))
            for a in incident.arrows
            if a.origin in responders
        )
        + "."
    )
    return svg.image(ident, _WIDTH, height, say("The list and its responders"), told, *parts, classes="diagram")


def _storm(incident: Incident, ident: str) -> Markup:
    origins = sorted((incident.origins or dict.fromkeys(incident.hosts, 0)).items(), key=lambda kv: (-kv[1], kv[0]))
    shown, rest = origins[:4], origins[4:]
    if len(rest) == 1:
        shown, rest = origins[:5], []
    if rest:
        shown = [*shown, (say("%(n)s other servers", n=len(rest)), sum(v for _, v in rest))]
    shown = shown or [(say("not logged"), 0)]
    pitch, box_h = 44.0, 36.0
    height = max(150.0, pitch * len(shown))
    member = incident.members[0] if incident.members else say("one mailbox")
    target = _Box(_WIDTH - 183, height / 2 - 31, 182, 62)
    total = max((v for _, v in shown), default=0) or 1
    parts: list[Markup] = []
    top = (height - pitch * len(shown)) / 2 + (pitch - box_h) / 2
    for index, (name, count) in enumerate(shown):
        box = _Box(1, top + index * pitch, 196, box_h)
        y = box.y + box_h / 2
        ty = height / 2 + (index - (len(shown) - 1) / 2) * 11
        x1, x2 = box.x + box.width + 4, target.x - 6
        mid = (x1 + x2) / 2
        parts.append(
            svg.path(
                f"M{x1:.1f} {y:.1f}C{mid:.1f} {y:.1f} {mid:.1f} {ty:.1f} {x2 - 6:.1f} {ty:.1f}",
                "stream",
                stroke_width=round(1.5 + 5 * count / total, 1),
            )
        )
        parts.append(svg.path(f"M{x2 - 8:.1f} {ty - 5:.1f}L{x2:.1f} {ty:.1f}L{x2 - 8:.1f} {ty + 5:.1f}z", "head"))
        parts.append(_box(box, _Node(name, (MTAS[incident.host_mtas[name]],) if incident.host_mtas.get(name) in MTAS else ())))
        if count:
            parts.append(svg.text(x1 + 24, y + (ty - y) * 0.2 - 6, number(count), "proof halo", "middle"))
    parts.append(_box(target, _Node(member, (say("gets the notifications"),)), "target"))
    codes = sorted(incident.codes.items(), key=lambda kv: (-kv[1], kv[0]))[:2]
    if codes:
        words = (
            say("codes %(codes)s", codes=", ".join(f"{code} {number(n)}" for code, n in codes))
            if len(codes) > 1
            else say("status %(code)s", code=codes[0][0])
        )
        parts.append(
            svg.text(target.x + target.width / 2, target.y + target.height + 19, svg.fitted(words, 200, 12), "sub", "middle")
        )
    told = ", ".join(f"{name} {number(count)}" for name, count in shown)
    return svg.image(
        ident,
        _WIDTH,
        height,
        say("Where the notifications come from"),
        say("Notifications to %(member)s: %(told)s.", member=member, told=told),
        *parts,
        classes="diagram",
    )
