"""How well loops are found: recall, precision, member and span errors by kind, on generated labelled logs.

usage: python -m tests.detection [--count N] [--seed S] [--mix plain,hard,lookalikes,background] [--kind NAME] [--show]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from maillog_forensics import api
from maillog_forensics.findings import Incident, Kind, Severity
from tests.generator import generate, write

MIXES = ("plain", "hard", "lookalikes", "background")


def _when(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def judge(truth: dict, incidents: list[Incident]) -> tuple[list[dict], list[Incident]]:
    """Each loop of the truth with how it was found, and the claims that belong to none."""
    loops = [i for i in incidents if i.kind is Kind.MAIL_LOOP and i.severity is not Severity.INFO]
    used: set[str] = set()
    rows = []
    for want in truth["loops"]:
        members = {m.lower() for m in want["members"]}
        optional = {m.lower() for m in want.get("optional_members", [])}
        low, high = want.get("messages_range") or (want["messages"], want["messages"])
        best = max(loops, key=lambda i: _jaccard(members, set(i.members) - optional), default=None)
        share = _jaccard(members, set(best.members) - optional) if best else 0.0
        own = [i for i in loops if set(i.members) <= members | optional and len(set(i.members) & members) > 1]
        row = {
            "kind": want.get("kind", "?"),
            "variant": want.get("variant", ""),
            "found": share > 0,
            "members": share,
            "claims": len(own),
        }
        if best and share > 0:
            used.add(best.id)
            row["messages"] = max(low - best.messages, best.messages - high, 0) / max(1, want["messages"])
            row["counted"] = (best.messages, low, high)
            if want.get("first"):
                row["first_s"] = abs((best.started - _when(want["first"])).total_seconds())
                row["last_s"] = abs((best.ended - _when(want["last"])).total_seconds())
            row["ended"] = (want.get("ended_by"), best.ended_by.reason.value)
        rows.append(row)
    mine = {m for want in truth["loops"] for m in [*want["members"], *want.get("optional_members", [])]}
    storms = [i for i in incidents if i.kind is Kind.NDR_STORM and not truth["storms"] and not set(i.members) <= mine]
    return rows, [i for i in loops if i.id not in used and not set(i.members) <= mine] + storms


def run(mix: str, count: int, seed: int, show: bool, kind: str = "") -> None:
    """Write `count` scenarios of one mix, analyze each, print what came out; `kind` is part of the names of those that are wanted."""
    found: dict[str, list[dict]] = defaultdict(list)
    false: list[str] = []
    splits = 0
    with tempfile.TemporaryDirectory() as folder:
        index = made = 0
        while made < count:
            scenario = generate(mix, index, seed)
            index += 1
            if kind in scenario.name:
                write(scenario, Path(folder))
                made += 1
            elif index > 100 * (made + 1):
                raise SystemExit(f"no kind of the mix {mix} is named {kind}")
        for path in sorted(Path(folder).glob("*.truth.json")):
            truth = json.loads(path.read_text())
            name = path.name.removesuffix(".truth.json")
            result = api.analyze([str(Path(folder) / name)])
            rows, claims = judge(truth, list(result.findings.incidents))
            splits += sum(row["claims"] > 1 for row in rows)
            for row in rows:
                found[row["kind"]].append(row)
                bad = (
                    not row["found"]
                    or row["members"] < 1
                    or row.get("messages", 0) > 0.05
                    or row["claims"] > 1
                    or max(row.get("first_s", 0), row.get("last_s", 0)) > 60
                )
                if show and bad:
                    print(f"   {name}: {row} of {truth['loops'][0]['members']}")
            false += [f"{name}: {i.headline}" for i in claims]
    total = sum(len(rows) for rows in found.values())
    hits = sum(r["found"] for rows in found.values() for r in rows)
    recall = f"{hits / total:.3f}" if total else "-"
    precision = f"{hits / (hits + len(false)):.3f}" if hits + len(false) else "-"
    print(
        f"{mix}: {count} scenarios, {total} loops, recall {recall}, precision {precision}, false alarms {len(false)}, splits {splits}"
    )
    for kind, rows in sorted(found.items()):
        good = [r for r in rows if r["found"]]
        n = max(1, len(good))
        late = [max(r.get("first_s", 0.0), r.get("last_s", 0.0)) for r in good]
        print(
            f"  {kind:<14} {len(rows):>4} loops  recall {len(good) / len(rows):.3f}  members {sum(r['members'] for r in good) / n:.3f}  "
            f"messages within 5 %: {sum(r['messages'] <= 0.05 for r in good) / n:.2f}  span within 60 s: {sum(x <= 60 for x in late) / n:.2f}"
        )
        endings = Counter(r["ended"] for r in good)
        print("                 endings (true, told): " + ", ".join(f"{a}->{b} {c}" for (a, b), c in endings.most_common()))
    for claim in false if show else []:
        print("   false alarm", claim)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mix", default=",".join(MIXES))
    parser.add_argument("--kind", default="", help="only scenarios whose name has this")
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    for mix in given.mix.split(","):
        run(mix, given.count, given.seed, given.show, given.kind)


if __name__ == "__main__":
    main()
