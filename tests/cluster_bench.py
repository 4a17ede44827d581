"""Both engines on the same logs: every recorded incident by itself, and a large set; that they find the same, and how fast.

usage: python -m tests.cluster_bench [--megabytes 2000] [--only large|recorded] [--folder DIR]

Starts a Spark cluster of one master and two workers on loopback, and stops it. The large set is read twice there: the second
time a worker is killed when the events are settled and not yet gathered.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from maillog_forensics import api
from tests import bench_logs
from tests.clusters import YEAR, Cluster, document

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_logs"


def main() -> None:
    """Print a line for each set and run."""
    words = argparse.ArgumentParser()
    words.add_argument("--megabytes", type=int, default=2000)
    words.add_argument("--only", choices=["large", "recorded"])
    words.add_argument("--folder", type=Path, help="keep the large set here, and use what is there")
    wanted = words.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="maillog-forensics-") as scratch:
        folder = Path(scratch)
        if wanted.only != "large":
            faults += recorded(folder)
        if wanted.only != "recorded":
            logs = wanted.folder or folder / "logs"
            make(logs, wanted.megabytes)
            faults += large(folder, logs)
    print(f"{faults} faults")
    sys.exit(faults > 0)


def recorded(folder: Path) -> int:
    """Each incident by itself, all in one session of the cluster; the number of those that differ."""
    beside = ROOT.parent / "shared"
    sources = [SAMPLES, beside / "incidents", beside / "incidents_other_formats"]
    places = [p for source in sources if source.is_dir() for p in sorted(source.iterdir()) if p.is_dir()]
    out = started(folder / "recorded")
    cluster = Cluster(started(out / "cluster"))
    try:
        ended(cluster.start(out, *map(str, places)), out)
    finally:
        cluster.stop()
    faults = 0
    for number, place in enumerate(places):
        began = time.monotonic()
        found = document(api.analyze([str(place)], year=YEAR, keep_events=False).findings)
        faults += told(place.name, place, out, json.loads(json.dumps(found)), time.monotonic() - began, number=number)
    return faults


class Usage:
    """What the processes of a cluster take while this lasts, by the name of the program: CPU seconds in all, most MiB of one."""

    def __init__(self, sessions: set[int]) -> None:
        self._sessions = sessions
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._seconds: dict[tuple[str, str], float] = {}
        self._mib: dict[str, int] = {}

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def __str__(self) -> str:
        cpu = {name: sum(s for (n, _), s in self._seconds.items() if n == name) for name in sorted(self._mib)}
        return ", ".join(f"{name} cpu {cpu[name]:.0f} s, peak {mib} MiB" for name, mib in sorted(self._mib.items()))

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    head, _, rest = (place / "stat").read_text().rpartition(") ")
                except OSError:
                    continue  # it ended just now
                fields = rest.split()  # as in proc(5), from the state on
                if int(fields[3]) not in self._sessions:
                    continue
                name = head.partition("(")[2]
                ticks = int(fields[11]) + int(fields[12])
                self._seconds[name, place.name] = ticks / os.sysconf("SC_CLK_TCK")
                self._mib[name] = max(self._mib.get(name, 0), int(fields[21]) * os.sysconf("SC_PAGESIZE") >> 20)


def large(folder: Path, logs: Path) -> int:
    """Much traffic with all the samples' incidents, on a cluster, on one that loses a worker, and here."""
    paths = f"{logs},{SAMPLES}"
    began = time.monotonic()
    command = [sys.executable, "-m", "maillog_forensics", "analyze", *paths.split(","), "--year", str(YEAR), "--quiet"]
    here = subprocess.Popen([*command, "--findings", str(folder / "local.json")])
    _, status, usage = os.wait4(here.pid, 0)
    here.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    print(f"local: cpu {usage.ru_utime + usage.ru_stime:.1f} s, peak {usage.ru_maxrss >> 10} MiB", flush=True)
    local = json.loads((folder / "local.json").read_text())
    del local["run"]
    faults = 0
    for name in ("whole", "killed"):
        out = started(folder / name)
        cluster = Cluster(started(out / "cluster"))
        try:
            with Usage({p.pid for p in cluster.processes}) as used:
                job = cluster.start(out, ("pause:" if name == "killed" else "") + paths)
                if name == "killed":
                    while not (out / "settled").exists():
                        assert job.poll() is None, (out / "said").read_text()
                        time.sleep(0.5)
                    cluster.kill(1)
                    (out / "go").touch()
                _, status, usage = os.wait4(job.pid, 0)
                job.returncode = os.waitstatus_to_exitcode(status)
                ended(job, out)
        finally:
            cluster.stop()
        faults += told(f"large, {name}", logs, out, local, seconds)
        seconds_there = usage.ru_utime + usage.ru_stime
        print(f"driver: Python cpu {seconds_there:.0f} s, peak {usage.ru_maxrss >> 10} MiB; workers: {used}", flush=True)
    return faults


def make(folder: Path, megabytes: int) -> None:
    """Ordinary traffic of a Postfix in one log that is read in parts, and of an Exim."""
    folder.mkdir(exist_ok=True)
    if not (folder / "mx1.mail.log").exists():
        bench_logs.write("postfix", folder / "mx1.mail.log", megabytes * 3 // 4)
        bench_logs.write("exim", folder / "mx2.example.exim_mainlog", megabytes // 4)


def started(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir()
    return folder


def ended(job: subprocess.Popen[bytes], out: Path) -> None:
    """Wait for an analysis, which must end well."""
    assert job.wait() == 0, (out / "said").read_text()


def told(name: str, logs: Path, out: Path, local: dict[str, Any], seconds: float, *, number: int = 0) -> int:
    """Print how long both engines took; 1 where they differ."""
    size = sum(f.stat().st_size for f in logs.rglob("*") if f.is_file()) / 1e6
    there = float((out / f"{number}.seconds").read_text())
    same = local == json.loads((out / f"{number}.json").read_text())
    print(
        f"{name:28} {size:8.1f} MB  cluster {there:6.1f} s {size / there:6.1f} MB/s  local {seconds:6.1f} s "
        f"{size / seconds:6.1f} MB/s  incidents {len(local['incidents'])}  {'same' if same else 'DIFFERENT'}",
        flush=True,
    )
    return int(not same)


if __name__ == "__main__":
    main()
