"""`analyze` on a Spark cluster: the functions of the local engine, each on a part of the logs or on a bucket of queue ids.

    parts of logs ──mapInArrow──> raw events ──shuffle by queue id──> applyInArrow ──> messages ──> here: links, graph, incidents

What a part tells of its input's clock comes here first, so that zone and year of an input are settled once, before its
events are looked at. Collected here are the messages and deliveries, and what no message belongs to (refusals).
"""

from __future__ import annotations

import datetime as dt
import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from maillog_forensics import accounts, buckets, logfiles, objects, sources
from maillog_forensics.accounts import InputReport
from maillog_forensics.engines import parts, wire, workers
from maillog_forensics.errors import MaillogForensicsError, UsageError
from maillog_forensics.reading import Engine, Request
from maillog_forensics.settlements import Settlement
from maillog_forensics.spool import Spool

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BUCKET_LOG_BYTES = 64 << 20
"""Bytes of (decompressed) log for each bucket of queue ids: what a worker holds at once is some of that."""

_SETTINGS = {
    "spark.driver.maxResultSize": "0",  # messages are collected; whoever starts this knows how large the driver is
    "spark.log.level": "FATAL",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",  # what comes to the driver at once is one bucket
    "spark.sql.execution.arrow.useLargeVarTypes": "true",
    "spark.ui.showConsoleProgress": "false",
}


class EngineError(MaillogForensicsError):
    """The cluster could not do its work."""


def engine(master: str | None) -> Engine:
    """The engine of a cluster.

    Parameters
    ----------
    master
        Its URL (spark://host:7077, yarn, k8s://…, local[4]); None: that of the session there is, or of spark-submit.

    Raises
    ------
    UsageError
        Where PySpark is missing or the cluster can't be reached.
    """

    def put_together(
        request: Request, since: dt.datetime | None, until: dt.datetime | None, events: Spool | None
    ) -> tuple[buckets.Read, list[str]]:
        if request.on_unrecognised is not None:
            raise UsageError(
                "--engine spark does not bring unknown lines together; type: maillog-forensics normalize FILE -o - --unrecognised OUT"
            )
        if any(not objects.is_url(name) and name != logfiles.label(path) for path, name in (request.shown or {}).items()):
            raise UsageError(
                "--engine spark reads objects of a store, and files that every worker sees under the same path, no standard input"
            )
        session = _session(master)
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            return _Job(session, request, since, until, events).run()
        except (PySparkException, Py4JError) as error:
            raise EngineError(f"the cluster gave up: {_first_words(str(error))}; its own log tells more") from error

    return put_together


def _session(master: str | None) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UsageError("--engine spark needs PySpark; type: pip install 'maillog-forensics[spark]'") from error
    builder = SparkSession.builder.appName("maillog-forensics")
    if master:
        builder = builder.master(master)
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # py4j and pyspark raise what the JVM threw, RuntimeError without Java
        where = master or "the cluster of this environment"
        raise UsageError(
            f"--master {where}: no Spark session ({_first_words(str(error))}); check the URL, and that Java 17 or newer is there"
        ) from error


def _first_words(text: str) -> str:
    lines = [line.strip(" :") for line in text.splitlines() if line.strip(" :")]
    told = [line for line in lines if "Error" in line or "Exception" in line] or lines or ["no reason told"]
    return told[-1 if "Traceback" in text else 0][:200]


class _Job:
    """One analysis."""

    def __init__(
        self,
        session: SparkSession,
        request: Request,
        since: dt.datetime | None,
        until: dt.datetime | None,
        events: Spool | None,
    ) -> None:
        self._session, self._request, self._since, self._until, self._events = session, request, since, until, events
        self._files, self._problems = logfiles.expand(request.paths)
        is_lean = events is None and len(self._files) == 1
        self._settings = parts.Settings(request.format, request.parsers, is_lean)

    def run(self) -> tuple[buckets.Read, list[str]]:
        """Read, settle, gather, link."""
        abouts, work = self._survey()
        raw = self._parse(work)
        try:
            reports, context = self._settle(raw, abouts)
            size = sum(report.about.decompressed_bytes for report in reports.values())
            undated: dict[int, int] = {}
            each = self._gather(raw, context, max(1, -(-size // BUCKET_LOG_BYTES)), undated)
            done = buckets.together(each, [reports[n] for n in sorted(reports)], self._request.tables_bytes)
        finally:
            raw.unpersist()
        for number, lines in undated.items():
            reports[number].undated(lines)
        return done, self._problems

    def _survey(self) -> tuple[dict[int, sources.Input], list[parts.Part]]:
        """What is known of inputs that are read in parts, and all parts, large ones first."""
        shown = self._request.shown or {}
        logs = [parts.Log(f, shown[f] if objects.is_url(shown.get(f, "")) else None) for f in self._files]
        large = [(n, log) for n, log in enumerate(logs) if parts.is_large(log.path)]
        abouts: dict[int, sources.Input] = {}
        work: dict[int, tuple[parts.Part, ...]] = {n: (parts.Part(n, log),) for n, log in enumerate(logs)}
        if large:
            task = partial(workers.survey, self._settings)
            for found in self._session.sparkContext.parallelize(large, len(large)).map(task).collect():
                if found is not None:
                    abouts[found.number], work[found.number] = found.about, found.parts
        return abouts, [part for several in work.values() for part in several]

    def _parse(self, work: list[parts.Part]) -> DataFrame:
        """Raw events, one partition for each part; on the workers' disks, since they are read twice."""
        from pyspark import StorageLevel

        rows = self._session.sparkContext.parallelize([(pickle.dumps(part),) for part in work], max(1, len(work)))
        frame = self._session.createDataFrame(rows, "part binary")
        raw: DataFrame = frame.mapInArrow(partial(workers.read, self._settings), wire.ddl())
        return raw.persist(StorageLevel.DISK_ONLY)

    def _settle(self, raw: DataFrame, abouts: dict[int, sources.Input]) -> tuple[dict[int, InputReport], workers.Context]:
        """Close the account of each input, in the order in which the local engine does."""
        rows = raw.where(f"{wire.TOLD} is not null").select(wire.TOLD).collect()
        told: dict[int, list[parts.PartTold]] = {}
        for row in rows:
            one = pickle.loads(bytes(row[0]))
            told.setdefault(one.number, []).append(one)
        turns: list[pl.DataFrame] = []

        def close(number: int, path: str, plan: Any, options: Any, progress: Any) -> tuple[InputReport, Settlement]:
            account = accounts.Account()
            several = sorted(told[number], key=lambda t: t.order)
            seen = [table for part in several for chunk in part.chunks for table in account.add(chunk)]
            turns.append(_turns(seen, number))
            about = several[0].about or abouts[number]
            if progress:
                progress(about.decompressed_bytes)
            return account.close(about, several[-1].form, tz=options.tz, year=options.year, next_began=options.next_began)

        reports: dict[int, InputReport] = {}
        settlements: dict[int, Settlement] = {}
        for number, (report, settlement) in self._request.each(self._files, close, lambda done: done[0]):
            reports[number], settlements[number] = report, replace(settlement, source=report.about.path)
        copies = buckets.copies([reports[n] for n in sorted(reports)])
        crossed = pl.concat([pl.DataFrame(schema=workers.TURNS), *turns])
        crossed = crossed if (crossed["_turn"] != 0).any() else crossed.clear()
        crossed = crossed.sort("_input", "line")
        keep = self._events is not None
        return reports, workers.Context(settlements, crossed, copies, self._since, self._until, keep)

    def _gather(self, raw: DataFrame, context: workers.Context, count: int, undated: dict[int, int]) -> Iterator[buckets.Bucket]:
        """Messages of each of so many buckets, one by one; the lines of each input that no calendar has are added to `undated`."""
        from pyspark import StorageLevel
        from pyspark.sql import functions as sql

        shared = self._session.sparkContext.broadcast(context)
        self._session.conf.set("spark.sql.shuffle.partitions", str(count))
        events = raw.where(f"{wire.TOLD} is null").withColumn(wire.BUCKET, sql.col(wire.BUCKET) % count)
        # PySpark reads type hints, and fails over those of a partial function
        done = events.groupBy(wire.BUCKET).applyInArrow(lambda table: workers.gather(shared, table), workers.GATHERED)
        done = done.persist(
            StorageLevel.DISK_ONLY
        )  # they come to the driver one by one: neither it nor its JVM can hold them all
        try:
            done.count()  # on all workers at once, not bucket by bucket
            for row in done.where("found is not null").select("found").toLocalIterator():
                bucket, lost = pickle.loads(bytes(row[0]))
                for number, lines in lost.items():
                    undated[number] = undated.get(number, 0) + lines
                yield bucket
                del bucket
            if self._events is not None:
                for row in done.where("events is not null").select("events").toLocalIterator():
                    self._events.add(pl.read_ipc(bytes(row[0])))
        finally:
            done.unpersist()


def _turns(tables: list[pl.DataFrame], number: int) -> pl.DataFrame:
    """Where the count of New Years changes among an input's yearless stamps."""
    columns = [t.filter("_yearless").select("line", "_turn") for t in tables]
    rows = pl.concat([pl.DataFrame(schema={"line": pl.UInt64, "_turn": pl.Int32}), *columns]).sort("line", maintain_order=True)
    changes = rows.filter((pl.col("_turn") != pl.col("_turn").shift(1)).fill_null(True))
    return changes.select(_input=pl.lit(number, dtype=pl.UInt32), line="line", _turn="_turn")
