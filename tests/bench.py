"""Speed and memory beside the tools that people run today, in one run, as ratios.

usage: python -m tests.bench [--megabytes 100] [--runs 3]

Makes logs (the same each time), then runs in turn this program and the peer, several times, and prints medians. Only the
ratios mean something: the machine may be shared. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ENTRY = [sys.executable, "-m", "maillog_forensics"]


@dataclass(frozen=True)
class Cost:
    """Median wall and processor time in seconds, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def postfix_log(path: Path, megabytes: int) -> int:
    """Ordinary traffic through one Postfix: arrival, delivery, now and then a refusal or a bounce. Returns the lines."""
    rng, at, lines = random.Random(1), dt.datetime(2026, 3, 2, tzinfo=dt.UTC), 0
    with path.open("w") as out:
        while out.tell() < megabytes << 20:
            at += dt.timedelta(seconds=rng.expovariate(5))
            stamp, queue, pid = at.strftime("%b %e %H:%M:%S"), f"{rng.getrandbits(40):010X}", rng.randint(1000, 30000)
            a, b = (
                f"user{rng.randint(0, 4999)}@dom{rng.randint(0, 199)}.example",
                f"user{rng.randint(0, 4999)}@dom{rng.randint(0, 199)}.example",
            )
            host, ip = f"mail{rng.randint(1, 99)}.{a.partition('@')[2]}", f"192.0.2.{rng.randint(1, 254)}"
            head = f"{stamp} mx1 postfix"
            text = [
                f"{head}/smtpd[{pid}]: connect from {host}[{ip}]",
                f"{head}/smtpd[{pid}]: {queue}: client={host}[{ip}]",
                f"{head}/cleanup[{pid}]: {queue}: message-id=<{rng.getrandbits(64):x}@{host}>",
                f"{head}/qmgr[999]: {queue}: from=<{a}>, size={rng.randint(500, 90000)}, nrcpt=1 (queue active)",
                f"{head}/smtpd[{pid}]: disconnect from {host}[{ip}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
                f"{head}/smtp[{pid}]: {queue}: to=<{b}>, relay=mx.{b.partition('@')[2]}[198.51.100.{rng.randint(1, 254)}]:25, delay=0.5, "
                f"delays=0.1/0.01/0.2/0.19, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {rng.getrandbits(40):010X})",
                f"{head}/qmgr[999]: {queue}: removed",
            ]
            lines += len(text)
            out.write("\n".join(text) + "\n")
    return lines


def exim_log(path: Path, megabytes: int) -> int:
    """Ordinary traffic through one Exim. Returns the lines."""
    rng, at, lines = random.Random(2), dt.datetime(2026, 3, 2, tzinfo=dt.UTC), 0
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    with path.open("w") as out:
        while out.tell() < megabytes << 20:
            at += dt.timedelta(seconds=rng.expovariate(5))
            number, code = int(at.timestamp()), ""
            while number:
                number, rest = divmod(number, 62)
                code = digits[rest] + code
            ident = f"{code}-{''.join(rng.choices(digits, k=6))}-{''.join(rng.choices(digits, k=2))}"
            a, b = (
                f"user{rng.randint(0, 4999)}@dom{rng.randint(0, 199)}.example",
                f"user{rng.randint(0, 4999)}@dom{rng.randint(0, 199)}.example",
            )
            stamp, host = at.strftime("%Y-%m-%d %H:%M:%S"), f"mail{rng.randint(1, 99)}.{a.partition('@')[2]}"
            text = [
                f"{stamp} {ident} <= {a} H={host} [192.0.2.{rng.randint(1, 254)}] P=esmtps X=TLS1.3:TLS_AES_256_GCM_SHA384:256 CV=no "
                f"S={rng.randint(500, 90000)} id={rng.getrandbits(64):x}@{host}",
                f'{stamp} {ident} => {b} R=dnslookup T=remote_smtp H=mx.{b.partition("@")[2]} [198.51.100.{rng.randint(1, 254)}] C="250 OK id={ident}"',
                f"{stamp} {ident} Completed",
            ]
            lines += len(text)
            out.write("\n".join(text) + "\n")
    return lines


def cost(command: list[str], runs: int) -> Cost:
    """Run `command` several times with its output thrown away."""
    walls, cpus, peaks = [], [], []
    for _ in range(runs):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # a process of its own, so that the peak is that of the command alone
            before = dt.datetime.now(dt.UTC)
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            wall = (dt.datetime.now(dt.UTC) - before).total_seconds()
            os.write(write, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}".encode())
            os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        wall, cpu, peak = (float(x) for x in os.read(read, 200).split())
        os.close(read)
        walls.append(wall)
        cpus.append(cpu)
        peaks.append(peak)
    return Cost(statistics.median(walls), statistics.median(cpus), statistics.median(peaks))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    print(f"{'log':<9}{'program':<28}{'wall s':>8}{'cpu s':>8}{'MiB':>8}{'MB/s':>8}{'lines/s':>11}   ratio (peer's time : ours)")
    with tempfile.TemporaryDirectory() as folder:
        for name, write, peer in (("postfix", postfix_log, ["pflogsumm"]), ("exim", exim_log, ["eximstats", "-ne", "-nr"])):
            log = Path(folder) / f"{name}.log"
            lines = write(log, given.megabytes)
            out = str(Path(folder) / "out")
            commands = [
                (
                    "analyze",
                    [
                        *ENTRY,
                        "analyze",
                        str(log),
                        "--findings",
                        out + ".json",
                        "--report",
                        out + ".html",
                        "--quiet",
                        "--year",
                        "2026",
                    ],
                ),
                ("normalize to Parquet", [*ENTRY, "normalize", str(log), "-o", out + ".parquet", "--year", "2026"]),
            ]
            rival = cost([*peer, str(log)], given.runs) if shutil.which(peer[0]) else None
            if rival:
                _row(name, peer[0], rival, lines, log, None)
            for label, command in commands:
                _row(name, label, cost(command, given.runs), lines, log, rival)


def _row(name: str, label: str, c: Cost, lines: int, log: Path, rival: Cost | None) -> None:
    ratio = f"wall {rival.wall_s / c.wall_s:.2f}, cpu {rival.cpu_s / c.cpu_s:.2f}" if rival else ""
    rate = log.stat().st_size / 1e6 / c.wall_s
    print(
        f"{name:<9}{label:<28}{c.wall_s:>8.1f}{c.cpu_s:>8.1f}{c.peak_mib:>8.0f}{rate:>8.1f}{lines / c.wall_s:>11,.0f}   {ratio}"
    )


if __name__ == "__main__":
    main()
