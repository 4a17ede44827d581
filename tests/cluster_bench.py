"""Both engines on the same logs: every recorded incident by itself, and a large set; that they find the same, and how fast.

usage: python -m tests.cluster_bench [--megabytes 2000] [--only large|recorded]

Starts a Spark cluster of one master and two workers on loopback, and stops it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import exim_log, postfix_log
from tests.clusters import YEAR, Cluster

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_logs"


def main() -> None:
    """Print a line for each set."""
    words = argparse.ArgumentParser()
    words.add_argument("--megabytes", type=int, default=2000)
    words.add_argument("--only", choices=["large", "recorded"])
    words.add_argument("--folder", type=Path, help="keep the large set here, and use what is there")
    wanted = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="maillog-forensics-") as scratch:
        folder = Path(scratch)
        (folder / "cluster").mkdir()
        sets: list[str] = []
        if wanted.only != "large":
            beside = ROOT.parent / "shared" / "incidents"
            sets += [str(p) for place in (SAMPLES, beside) if place.is_dir() for p in sorted(place.iterdir()) if p.is_dir()]
        if wanted.only != "recorded":
            large = wanted.folder or folder / "large"
            make(large, wanted.megabytes)
            sets.append(f"{large}:{SAMPLES}")
        cluster = Cluster(folder / "cluster")
        try:
            faults = sum(not compared(cluster, one, folder / str(n)) for n, one in enumerate(sets))
        finally:
            cluster.stop()
    print(f"{len(sets)} sets, {faults} faults")
    sys.exit(faults > 0)


def make(folder: Path, megabytes: int) -> None:
    """Ordinary traffic of a Postfix in one log that is read in parts, and of an Exim."""
    folder.mkdir(exist_ok=True)
    if not (folder / "mx1.mail.log").exists():
        postfix_log(folder / "mx1.mail.log", megabytes * 3 // 4)
        exim_log(folder / "mx2.example.exim_mainlog", megabytes // 4)


def compared(cluster: Cluster, paths: str, out: Path) -> bool:
    """Whether both engines find the same in one set of paths."""
    out.mkdir()
    size = sum(f.stat().st_size for p in paths.split(":") for f in Path(p).rglob("*") if f.is_file()) / 1e6
    began = time.monotonic()
    if cluster.start(out, paths).wait():
        print((out / "said").read_text())
        return False
    there = time.monotonic() - began
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "maillog_forensics",
        "analyze",
        *paths.split(":"),
        "--year",
        str(YEAR),
        "--quiet",
        "--findings",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([*command, str(out / "local.json")], check=True)
    here = time.monotonic() - began
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    local = json.loads((out / "local.json").read_text())
    del local["run"]
    same = local == json.loads((out / "0.json").read_text())
    print(
        f"{Path(paths.split(':')[0]).name:28} {size:8.1f} MB  cluster {there:6.1f} s  local {here:6.1f} s (cpu {cpu:.1f})  "
        f"incidents {len(local['incidents'])}  {'same' if same else 'DIFFERENT'}",
        flush=True,
    )
    return same


if __name__ == "__main__":
    main()
