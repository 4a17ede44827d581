"""Half a year of an institution's mail as real logs through the whole program: what is claimed though it is no loop, and which loops are missed.

usage: python -m tests.half_year [--people N] [--days N] [--loops N] [--lookalikes] [--interactions FILE] [--seed S] [--keep DIR]

Without --interactions the people are invented (`tests.generator.institution`); with it, mailboxes write when those of a table of real
interactions wrote: lines of `from to … second`, as published collections of mail have them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from maillog_forensics import api
from maillog_forensics.findings import Kind, Severity
from tests.detection import judge
from tests.generator import Scenario, write
from tests.generator.institution import DAY, Institution, outages, replay
from tests.generator.lookalikes import LOOKALIKES
from tests.generator.loops import HARD
from tests.generator.places import Stage
from tests.generator.scenario import finish

KINDS = ("postfix", "exim", "exchange")
MAY_BE_POSSIBLE = ("echo_probe", "crossing_monitors")


def interactions(path: Path) -> Iterator[tuple[float, str, str]]:
    """second, from, to of a table whose lines begin with the two and hold the second last (or third, where a column of ones follows)."""
    rows = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line[:1].isdigit()]
    at = max((2, -1), key=lambda i: float(rows[0][i]))
    first = min(float(row[at]) for row in rows)
    yield from ((float(row[at]) - first, row[0], row[1]) for row in rows)


def scenario(
    seed: int, *, people: int = 300, days: float = 183, loops: int = 0, lookalikes: bool = False, table: Path | None = None
) -> Scenario:
    """The logs of an institution with servers of all three kinds, and `loops` loops of all kinds at any time."""
    rng = random.Random(f"half year/{seed}")
    rows = list(interactions(table)) if table else []
    start = dt.datetime(2025, 9, 1, tzinfo=dt.UTC).timestamp() + rng.uniform(0, 30) * DAY
    stage = Stage(rng, start, start + (rows[-1][0] if rows else days * DAY), 4, kinds=KINDS, is_hard=True, goes_on=True)
    stage.facts |= {"kind": table.name if table else "people"}
    for host in stage.ours:
        host.backlog = (0.02, 240.0)
    outages(stage.world, stage.outside, rng)
    stage.crowd = Institution(stage, people)
    if table:
        replay(stage, rows)
    else:
        stage.crowd.months()
    for name in LOOKALIKES if lookalikes else ():
        LOOKALIKES[name](stage)
    for k in range(loops):
        stage.facts["t0"] = rng.uniform(stage.world.start, stage.world.end - DAY)
        HARD[list(HARD)[k % len(HARD)]][0](stage)
    return finish("half_year", "background", stage, rng)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--days", type=float, default=183)
    parser.add_argument("--loops", type=int, default=0)
    parser.add_argument("--lookalikes", action="store_true", help="echo probes, crossing crons and the like, once each")
    parser.add_argument("--interactions", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the logs, the truth and the findings")
    given = parser.parse_args()
    made = scenario(
        given.seed,
        people=given.people,
        days=given.days,
        loops=given.loops,
        lookalikes=given.lookalikes,
        table=given.interactions,
    )
    with tempfile.TemporaryDirectory() as folder:
        base = write(made, given.keep or Path(folder))
        lines = sum(body.count(b"\n") for body in made.files.values())
        began = time.process_time()
        findings = api.analyze([str(base)]).findings
        spent = time.process_time() - began
    if given.keep:
        text = json.dumps([{"id": i.id, "headline": i.headline} for i in findings.incidents], indent=1, ensure_ascii=False)
        (given.keep / "half_year.claims.json").write_text(text + "\n", encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{lines:,} lines of {len(made.files)} files; analyzed in {spent:.0f} s of processor time, peak {peak:,.0f} MiB")
    rows, false = judge(made.truth, list(findings.incidents))
    for row in rows:
        bad = not row["found"] or row["members"] < 1 or row.get("messages", 0) > 0.05
        bad = bad or max(row.get("first_s", 0), row.get("last_s", 0)) > 60
        if bad:
            print("  ", row)
    print(f"{len(rows)} loops, {sum(r['found'] for r in rows)} found; {len(false)} false alarms")
    for claim in false:
        print("   false alarm", claim.id, claim.headline)
    for i in findings.incidents:
        if i.kind is not Kind.MAIL_LOOP or i.severity is Severity.INFO:
            print("   told too:", i.kind.value, i.severity.value, i.headline)


if __name__ == "__main__":
    main()
