"""A real Spark cluster on loopback for tests, and the analyses that run on it.

usage: python -m tests.clusters MASTER OUT [events:|pause:]PATH[,PATH]...
(in the folder OUT for each a findings file 0.json, 1.json …, the seconds it took in 0.seconds …, the events in 0.parquet …)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maillog_forensics.findings import Findings, write

YEAR = 2026
_PATIENCE_S = 600  # a machine that has much else to do


def document(findings: Findings) -> dict[str, Any]:
    """The findings without the run: what two engines must agree on."""
    found: dict[str, Any] = json.loads(write(findings))
    del found["run"]
    return found


class Cluster:
    """A master and two workers, each a process of its own group."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        pyspark = pytest.importorskip("pyspark", reason="PySpark is not installed (pip install '.[spark]')")
        if shutil.which("java") is None:
            pytest.skip("Java is not installed (apt-get install default-jre-headless)")
        self._spark = Path(pyspark.__file__).parent
        self._folder, self._env = folder, env or dict(os.environ)
        port, page = _free_port(), _free_port()
        self.url = f"spark://127.0.0.1:{port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._begin(port, page)
        except BaseException:
            self.stop()
            raise

    def _begin(self, port: int, page: int) -> None:
        self.processes = [self._start("master", "Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))]
        self._wait(self.url, port)
        for name in ("worker-1", "worker-2"):
            words = ("--host", "127.0.0.1", "--webui-port", str(_free_port()), "--cores", "1", "--memory", "1g", "--work-dir")
            self.processes.append(self._start(name, "Worker", *words, str(self._folder / name), self.url))
        for name in ("worker-1", "worker-2"):
            self._until(name, "Successfully registered with master")

    @property
    def env(self) -> dict[str, str]:
        """The environment of a user of this cluster: Spark's own memory (1 GB for each JVM), everything on loopback."""
        plain = "--conf spark.ui.enabled=false"
        patient = "--conf spark.network.timeout=600s pyspark-shell"  # a machine that has much else to do
        return {
            **self._env,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_SUBMIT_ARGS": f"{plain} {patient}",
            "PYSPARK_PYTHON": sys.executable,
        }

    def _start(self, name: str, role: str, *words: str) -> subprocess.Popen[bytes]:
        env = {**self._env, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m", "PYSPARK_PYTHON": sys.executable}
        env["SPARK_HOME"] = str(self._spark)
        command = [str(self._spark / "bin" / "spark-class"), f"org.apache.spark.deploy.{role.lower()}.{role}", *words]
        with open(self._folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def _wait(self, what: str, port: int) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError(f"{what} does not answer")

    def _until(self, name: str, words: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            if words in (self._folder / f"{name}.log").read_text("utf-8", "replace"):
                return
            time.sleep(0.2)
        raise AssertionError((self._folder / f"{name}.log").read_text("utf-8", "replace"))

    def kill(self, worker: int) -> None:
        """End a worker and the executors that it started, without a word."""
        os.killpg(self.processes[worker].pid, signal.SIGKILL)
        self.processes[worker].wait()

    def stop(self) -> None:
        """End all of it."""
        for process in self.processes[::-1]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def start(self, out: Path, *words: str) -> subprocess.Popen[bytes]:
        """Analyze on the cluster, in a process of its own."""
        command = [sys.executable, "-m", "tests.clusters", self.url, str(out), *words]
        with open(out / "said", "wb") as said:
            return subprocess.Popen(command, env=self.env, stdout=said, stderr=said, cwd=Path(__file__).parents[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(master: str, out: str, *sets: str) -> None:
    """Analyze each set of paths in one session; after `pause:`, wait for the file `go` when the events are settled."""
    from maillog_forensics import api, writers
    from maillog_forensics.engines import chosen, spark

    gather = spark._Job._gather

    def pausing(self: Any, *args: Any) -> Any:
        Path(out, "settled").touch()
        while not Path(out, "go").exists():
            time.sleep(0.05)
        return gather(self, *args)

    engine = chosen("spark", master)
    for number, one in enumerate(sets):
        option, _, paths = one.rpartition(":")
        spark._Job._gather = pausing if option == "pause" else gather  # type: ignore[method-assign]
        began = time.monotonic()
        result = api.analyze(paths.split(","), year=YEAR, engine=engine, keep_events=option == "events")
        if option == "events":
            writers.write_events(result.events, str(Path(out, f"{number}.parquet")))
        Path(out, f"{number}.seconds").write_text(f"{time.monotonic() - began:.2f}")
        Path(out, f"{number}.json").write_text(json.dumps(document(result.findings)))


if __name__ == "__main__":
    main(*sys.argv[1:])
