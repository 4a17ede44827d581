"""Cases put together: a stage, what happens on it, whose logs are kept, and the truth about it."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.generator.lookalikes import LOOKALIKES
from tests.generator.loops import HARD, PLAIN
from tests.generator.places import Stage
from tests.generator.world import Host, Loop, Stay

MIXES = ("plain", "hard", "lookalikes", "background")
_FORWARDING = ("forwarding_kept", "forwarding_srs", "forwarding_own")
_SAME_S = 30.0
_MEANING = "seed(s) + automatic replies written, each once, whether or not they were delivered; of a forwarding ring the seeds"


@dataclass(frozen=True)
class Scenario:
    """One case: its logs by path, what is true of it, and when each log was last written."""

    name: str
    files: dict[str, bytes]
    truth: dict[str, object]
    ended_at: float


def generate(mix: str, index: int = 0, seed: int = 0) -> Scenario:
    """The case with this number; kinds take turns, everything else is drawn from the seed."""
    rng = random.Random(f"{seed}/{mix}/{index}")
    if mix in ("plain", "hard"):
        return _with_loop(mix, index, rng)
    if mix == "lookalikes":
        return _without(mix, index, rng, [list(LOOKALIKES)[index % len(LOOKALIKES)], *rng.sample(list(LOOKALIKES), 2)])
    if mix == "background":
        return _without(mix, index, rng, rng.sample(list(LOOKALIKES), rng.randint(0, 2)))
    raise ValueError(f"no mix {mix!r}; there are {', '.join(MIXES)}")


def write(scenario: Scenario, folder: Path) -> Path:
    """The logs into folder/NAME/, the truth beside it as NAME.truth.json."""
    base = folder / scenario.name
    for path, body in scenario.files.items():
        file = base / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        os.utime(file, (scenario.ended_at, scenario.ended_at))
    text = json.dumps(scenario.truth, indent=1, ensure_ascii=False)
    (folder / f"{scenario.name}.truth.json").write_text(text + "\n", encoding="utf-8")
    return base


def _start(rng: random.Random, when: str) -> float:
    """A moment of 2024 or 2025: by day, shortly before a midnight, or shortly before a New Year."""
    day = dt.datetime(2024, 1, 8, tzinfo=dt.UTC) + dt.timedelta(days=rng.randint(0, 600))
    if when == "new_year":
        day = dt.datetime(rng.choice((2024, 2025)), 1, 1, tzinfo=dt.UTC)
    if when in ("new_year", "midnight"):
        return day.timestamp() - rng.uniform(240, 500)
    return day.timestamp() + rng.uniform(5, 16) * 3600


def _with_loop(mix: str, index: int, rng: random.Random) -> Scenario:
    is_hard = mix == "hard"
    kinds = HARD if is_hard else PLAIN
    name = list(kinds)[index % len(kinds)]
    function, servers = kinds[name]
    if name in ("ring_of_answers", *_FORWARDING) and is_hard:
        servers = rng.randint(2, servers)
    when = rng.choice(("day", "day", "midnight", "new_year")) if is_hard else "day"
    start = _start(rng, when)
    ours = ("postfix", "exim") if name in (*_FORWARDING, "mailing_list") else ("postfix", "postfix", "exim", "exchange")
    stage = Stage(rng, start, start + rng.uniform(3000, 7000), servers, kinds=ours, is_hard=is_hard)
    stage.facts |= {"kind": name, "when": when, "t0": start + rng.uniform(60, 200)}
    view = _view(stage, rng) if is_hard and name != "hub" else "all"
    if is_hard and rng.random() < 0.3:
        late = rng.choice(stage.ours)
        late.skew_s = rng.choice((-1, 1)) * rng.uniform(5, 85)
        stage.facts["skew"] = {late.name: round(late.skew_s, 1)}
    stage.facts["view"] = view
    function(stage)
    if is_hard:
        for other in rng.sample(list(LOOKALIKES), rng.randint(1, 2)):
            if other not in ("greylisting", "long_chat") or stage.world.end - start > 7200:
                LOOKALIKES[other](stage)
    stage.crowd.chatter(rng.randint(120, 240) * (2 if view == "one_side" else 1) if is_hard else rng.randint(40, 80))
    if is_hard and rng.random() < 0.5:
        stage.crowd.chat(rng.randint(10, 25))
    return finish(f"{mix}_{index:03d}_{name}", mix, stage, rng)


def _view(stage: Stage, rng: random.Random) -> str:
    """Whose logs we have."""
    view = rng.choice(("all", "all", "one_side", "one_side", "hidden_hop"))
    if view == "one_side":
        kept = rng.choice(stage.ours)
        for host in stage.ours:
            host.is_logged = host is kept
    elif view == "hidden_hop":
        rng.choice(stage.ours).is_logged = False
    return view


def _without(mix: str, index: int, rng: random.Random, kinds: list[str]) -> Scenario:
    start = _start(rng, rng.choice(("day", "day", "day", "midnight", "new_year")))
    stage = Stage(rng, start, start + rng.choice((3600, 7200, 14400, 86400, 3 * 86400)), rng.randint(1, 3), is_hard=True)
    stage.facts |= {"kind": "+".join(dict.fromkeys(kinds)) or "people"}
    for name in dict.fromkeys(kinds):
        LOOKALIKES[name](stage)
    stage.crowd.chatter(rng.randint(60, 120) if mix == "lookalikes" else rng.randint(150, 260))
    if mix == "background":
        stage.crowd.chat(rng.randint(8, 39))
    return finish(f"{mix}_{index:03d}_{kinds[0] if kinds else 'people'}", mix, stage, rng)


def finish(name: str, mix: str, stage: Stage, rng: random.Random) -> Scenario:
    """Let it happen on a stage, write the logs, and say what is true of them."""
    world = stage.world
    world.run()
    hosts = _logged(stage)
    loops = [told for loop in world.loops if (told := _told(loop, hosts, world.end))]
    if world.loops and any(len(told["members"]) < 2 for told in loops) | (not loops):
        for host in stage.ours:  # what was kept shows too little of it
            host.is_logged = True
        stage.facts["view"], hosts = "all", _logged(stage)
        loops = [told for loop in world.loops if (told := _told(loop, hosts, world.end))]
    files: dict[str, bytes] = {}
    for host in [h for h in stage.ours if h.is_logged]:
        files |= {path: body for path, body in host.mta.write(host, world.end, rng).items() if body}
    truth = {
        "scenario": name,
        "set": "generated",
        "mix": mix,
        "description": f"generated: {stage.facts['kind']}",
        "parameters": stage.facts,
        "loops": loops,
        "storms": [],
        "benign": world.benign,
        "started": _iso(world.start),
        "ended": _iso(world.end),
        "hosts": [{"host": h.name, "ip": [h.ip], "mta": h.mta.name, "log": h.is_logged} for h in stage.ours],
    }
    return Scenario(name, files, truth, world.end)


def _logged(stage: Stage) -> list[Host]:
    return [h for h in stage.ours if h.is_logged and any(s.at <= stage.world.end for s in h.stays)]


def _told(loop: Loop, hosts: list[Host], end: float) -> dict[str, object] | None:
    """What the logs that we have can show of a loop, in the shape of the recorded incidents' truth."""
    seen: dict[str, Stay] = {}
    names: Counter[str] = Counter()
    reasons: set[str] = set()
    for host in hosts:
        reasons |= {refusal.reason for at, _, _, to, refusal in host.refused if at <= end and to in loop.members}
        for stay in host.stays:
            if stay.mail.loop is not loop or stay.at > end:
                continue
            if stay.at < seen.setdefault(stay.mail.message_id, stay).at:
                seen[stay.mail.message_id] = stay
            names.update({stay.sender, stay.sender_out, *stay.recipients, *(a.recipient for a in stay.attempts)})
            if stay.mail.kind != "list":  # whose post a list passes on stands in no log
                names.update([stay.author])
            reasons |= {a.refusal.reason for a in stay.attempts if a.refusal and a.at <= end}
            reasons |= {stay.note}
    mails = {m.message_id: m for m in loop.mails if any(s.at <= end for s in m.stays)}
    shown = [m for m in mails if m in seen]
    if not shown:
        return None
    told: dict[str, object] = {
        "members": [m for m in loop.members if names[m] >= 3],
        "optional_members": [m for m in loop.members if names[m] < 3],
        "kind": loop.kind,
        "hosts": [h.name for h in hosts],
        "messages": len(shown),
        "messages_meaning": _MEANING,
        "messages_written": len(mails),
        "message_ids": shown,
        "ended_by": loop.ended_by if not loop.end_reason or loop.end_reason in reasons else "stopped",
    }
    if not told["ended_by"]:
        del told["ended_by"]
    seeds = [m for m in shown if not mails[m].is_answer]
    if loop.has_range:
        told["messages_range"] = [len(seeds), len(mails)]
    elif len(shown) < len(mails):
        told["messages_range"] = [len(shown), len(mails)]
    answers = sorted(seen[m].at for m in shown if mails[m].is_answer)
    if loop.has_times and answers:
        told |= {"first": _iso(answers[0]), "last": _iso(answers[-1])}
        begun = min([answers[0], *(seen[m].at for m in seeds)])
        wrong = max(abs(h.skew_s) for h in hosts)
        if answers[0] - begun > min(
            _SAME_S, max(0.0, 85 - wrong)
        ):  # the seed and the first answer are both a beginning, and here not the same one
            told |= {"seeded": _iso(begun), "first_answer": told.pop("first")}
    return told


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(int(at), dt.UTC).isoformat().replace("+00:00", "Z")
