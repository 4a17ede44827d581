"""Speed and memory beside the tools that people run today, in one run, as ratios.

usage: python -m tests.bench [--megabytes 300] [--runs 3] [--growth 100,1000] [--files 2000]

Makes logs (the same each time), then runs in turn this program and the peers, several times, and prints medians. Only the
ratios mean something: the machine may be shared. Peers that are not installed are left out. Then what a start costs, one log in several
sizes, and one log as it is, compressed and cut into many files.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests import bench_logs

ENTRY = [sys.executable, "-m", "maillog_forensics"]
PEERS = {
    "postfix": ["pflogsumm"],
    "exim": ["eximstats", "-ne", "-nr"],
    "exchange": [sys.executable, "-c", "import polars,sys; polars.read_csv(sys.argv[1], skip_rows=5, has_header=False)"],
}
NAMES = {"postfix": "pflogsumm", "exim": "eximstats", "exchange": "polars.read_csv"}


@dataclass(frozen=True)
class Cost:
    """Median wall and processor time in seconds, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


_TIMED = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def cost(command: list[str], runs: int) -> Cost:
    """Run `command` several times with its output thrown away.

    Each under a small process of its own: Linux counts what the starting process held as its child's peak.
    """
    timed = [sys.executable, "-I", "-c", _TIMED, *command]
    told = [subprocess.run(timed, stdout=subprocess.PIPE, check=True).stdout.split() for _ in range(runs)]
    return Cost(*(statistics.median(map(float, values)) for values in zip(*told)))


def analyze(*paths: str, out: str) -> list[str]:
    """The main job: everything, report and findings written."""
    return [*ENTRY, "analyze", *paths, "--findings", f"{out}.json", "--report", f"{out}.html", "--quiet", "--year", "2026"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--growth", default="10,100,300", help="sizes of one Postfix log in MB")
    parser.add_argument("--files", type=int, default=200, help="number of files that one log is cut into")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _peers(Path(folder), given.megabytes, given.runs)
        _starts(Path(folder), given.runs)
        _growth(Path(folder), [int(size) for size in given.growth.split(",")])
        _shapes(Path(folder), given.files, given.runs)


def _peers(folder: Path, megabytes: int, runs: int) -> None:
    print("| log | program | wall s | cpu s | peak MiB | MB/s | peer's time : ours (wall, cpu) |\n|---|---|---|---|---|---|---|")
    for kind in bench_logs.WRITERS:
        log = folder / f"{kind}.log"
        bench_logs.write(kind, log, megabytes)
        out = str(folder / "out")
        rival = cost([*PEERS[kind], str(log)], runs) if shutil.which(PEERS[kind][0]) else None
        if rival:
            _row(kind, NAMES[kind], rival, log, None)
        if search := shutil.which("rg"):
            _row(kind, "ripgrep -c status=", cost([search, "-c", "-e", "status=|=>|DELIVER", str(log)], runs), log, rival)
        _row(kind, "`analyze` (hash, read, parse, correlate, detect, report)", cost(analyze(str(log), out=out), runs), log, rival)
        normalize = [*ENTRY, "normalize", str(log), "-o", f"{out}.parquet", "--year", "2026"]
        _row(kind, "`normalize` to Parquet", cost(normalize, runs), log, rival)
        log.unlink()


def _row(kind: str, label: str, c: Cost, log: Path, rival: Cost | None) -> None:
    ratio = f"{rival.wall_s / c.wall_s:.2f}, {rival.cpu_s / c.cpu_s:.2f}" if rival else ""
    rate = log.stat().st_size / 1e6 / c.wall_s
    print(f"| {kind} | {label} | {c.wall_s:.1f} | {c.cpu_s:.1f} | {c.peak_mib:.0f} | {rate:.1f} | {ratio} |", flush=True)


def _starts(folder: Path, runs: int) -> None:
    print("\n| start | wall s | cpu s | peak MiB |\n|---|---|---|---|")
    log = folder / "short.log"
    bench_logs.write("postfix", folder / "short.all", 1)
    log.write_bytes(b"".join((folder / "short.all").read_bytes().splitlines(keepends=True)[:1000]))
    for label, command in (
        ("`--help`", [*ENTRY, "--help"]),
        ("`analyze` of 1,000 lines", analyze(str(log), out=str(folder / "out"))),
    ):
        c = cost(command, runs)
        print(f"| {label} | {c.wall_s:.2f} | {c.cpu_s:.2f} | {c.peak_mib:.0f} |", flush=True)


def _growth(folder: Path, sizes: list[int]) -> None:
    print("\n| Postfix log, MB | `analyze` wall s | cpu s | cpu s for each 100 MB | peak MiB |\n|---|---|---|---|---|")
    for size in sizes:
        log = folder / "growth.log"
        bench_logs.write("postfix", log, size)
        c = cost(analyze(str(log), out=str(folder / "out")), 1)
        print(f"| {size} | {c.wall_s:.1f} | {c.cpu_s:.1f} | {c.cpu_s / size * 100:.1f} | {c.peak_mib:.0f} |", flush=True)
        log.unlink()


def _shapes(folder: Path, files: int, runs: int) -> None:
    print("\n| one log of 20 MB | wall s | cpu s | peak MiB | against plain (cpu) |\n|---|---|---|---|---|")
    log, many = folder / "mail.log", folder / "many"
    bench_logs.write("postfix", log, 20)
    packed = folder / "mail.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes(), 6))
    many.mkdir()
    lines = log.read_bytes().splitlines(keepends=True)
    size = -(-len(lines) // files)
    for number in range(files):
        (many / f"host{number:05d}.log").write_bytes(b"".join(lines[number * size : (number + 1) * size]))
    plain = None
    for label, path in (("plain", log), ("gzip", packed), (f"{files} files", many)):
        c = cost(analyze(str(path), out=str(folder / "out")), runs)
        plain = plain or c
        print(f"| {label} | {c.wall_s:.1f} | {c.cpu_s:.1f} | {c.peak_mib:.0f} | {c.cpu_s / plain.cpu_s:.2f} |", flush=True)


if __name__ == "__main__":
    main()
