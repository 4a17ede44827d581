"""python -m tests.generator OUTDIR --mix plain|hard|lookalikes|background --count N --seed S"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.generator.scenario import MIXES, generate, write


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.generator", description="Write labelled scenarios for the loop detector."
    )
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--mix", choices=MIXES, default="plain")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.outdir.mkdir(parents=True, exist_ok=True)
    for index in range(given.count):
        scenario = generate(given.mix, index, given.seed)
        write(scenario, given.outdir)
        lines = sum(body.count(b"\n") for body in scenario.files.values())
        print(f"{scenario.name}: {len(scenario.files)} files, {lines} lines, {len(scenario.truth['loops'])} loop(s)")


if __name__ == "__main__":
    main()
