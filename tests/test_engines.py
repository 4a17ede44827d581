"""A cluster finds what this process finds, byte for byte, whatever becomes of its workers."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import pickle
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maillog_forensics import accounts, api, clock, intake, objects, reading, schema, settlements, watches, writers
from maillog_forensics.engines import chosen, parts, wire
from maillog_forensics.engines.telling import telling
from maillog_forensics.errors import UsageError
from tests import stores
from tests.clusters import YEAR, Cluster, document
from tests.test_cli import ENTRY, run, said


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with stores.started() as env:
        yield env


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, store: dict[str, str]) -> Iterator[Cluster]:
    """Its workers have the environment of a user of the object store."""
    started = Cluster(tmp_path_factory.mktemp("cluster"), store)
    yield started
    started.stop()


def recorded(samples: Path) -> list[Path]:
    """All recorded incidents that are here: those beside the checkout, else the project's own."""
    beside = samples.parents[1] / "shared"
    sources = [samples, beside / "incidents", beside / "incidents_other_formats"]
    return [p for folder in sources if folder.is_dir() for p in sorted(folder.iterdir()) if p.is_dir()]


def local(paths: list[Path], *, events_to: str = "") -> dict:
    result = api.analyze([*map(str, paths)], year=YEAR, keep_events=bool(events_to))
    if events_to:
        writers.write_events(result.events, events_to)
    return json.loads(json.dumps(document(result.findings)))


def test_a_cluster_finds_the_same_in_all_recorded_incidents_whatever_becomes_of_its_workers(
    cluster: Cluster, samples: Path, tmp_path: Path
) -> None:
    """Findings and events. Several sets, since one of several files and one of a single file go different ways; `make cluster` takes each by itself.

    In the last, without events, which is a way of its own, a worker is killed when the events are settled and not yet gathered: its share
    of them is lost, and the other worker reads those logs again.
    """
    storm = samples / "backscatter_storm" / "mx1.alpha.example.exim_mainlog"
    sets = [recorded(samples), [storm], [samples / "exchange_autoreply"]]
    job = cluster.start(tmp_path, *(f"events:{','.join(map(str, paths))}" for paths in sets), f"pause:{samples}")
    while not (tmp_path / "settled").exists():
        assert job.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.05)
    cluster.kill(1)
    (tmp_path / "go").touch()
    assert job.wait() == 0, (tmp_path / "said").read_text()
    for number, paths in enumerate(sets):
        assert json.loads((tmp_path / f"{number}.json").read_text()) == local(paths, events_to=str(tmp_path / "local.parquet"))
        assert (tmp_path / f"{number}.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert json.loads((tmp_path / f"{len(sets)}.json").read_text()) == local([samples])


def test_objects_of_a_store_are_read_by_the_workers(cluster: Cluster, store: dict[str, str], samples: Path) -> None:
    """What is found, and the evidence, which is fetched from the store afterwards, plain or compressed, are those of one machine."""
    client = stores.s3(store)
    for log in sorted(p for p in (samples / "loop_postfix_exim").iterdir() if p.is_file()):
        client.put_object(Bucket="logs", Key=f"2026/march/{log.name}", Body=log.read_bytes())
    storm = samples / "backscatter_storm" / "mx1.alpha.example.exim_mainlog"
    client.put_object(Bucket="logs", Key=f"2026/march/{storm.name}.gz", Body=gzip.compress(storm.read_bytes()))
    found = []
    for more in (["--engine", "spark", "--master", cluster.url], []):
        words = [
            *ENTRY,
            "analyze",
            "s3://logs/2026/",
            "--year",
            str(YEAR),
            *more,
            "--findings",
            "-",
            "--quiet",
            "--fail-on",
            "loop",
        ]
        result = subprocess.run(words, capture_output=True, env=cluster.env, check=False)
        assert result.returncode == 10, result.stderr.decode()
        document = json.loads(result.stdout)
        del document["run"]
        found.append(document)
    assert found[0] == found[1]
    assert [i["path"].rpartition("/")[0] for i in found[0]["inputs"]] == ["s3://logs/2026/march"] * len(found[0]["inputs"])
    assert {tuple(i["members"]) for i in found[0]["incidents"] if i["kind"] == "mail_loop"} == {
        ("anna@alpha.example", "bob@beta.example")
    }
    assert len(found[0]["incidents"]) == 2
    assert all(e["text"] for i in found[0]["incidents"] for e in i["evidence"])


def test_what_a_cluster_cannot_do_is_one_sentence(samples: Path, tmp_path: Path) -> None:
    words = [*ENTRY, "analyze", str(samples / "loop_postfix_exim"), "--engine", "spark", "--master", "spark://127.0.0.1:1"]
    for more, sentence in ((["--unrecognised", str(tmp_path / "u")], "normalize FILE"), (["-"], "no standard input")):
        result = subprocess.run([*words, *more], capture_output=True, input=b"", check=False)
        assert result.returncode == 2 and sentence in result.stderr.decode()
        assert "Traceback" not in result.stderr.decode()


def test_an_engine_that_is_not_there_is_one_sentence(samples: Path) -> None:
    for words, sentence in (
        (["--engine", "ray"], "no such engine; write local or spark"),
        (["--master", "spark://x:7077"], "write --engine spark too"),
    ):
        result = run("analyze", str(samples / "quiet_day"), *words)
        assert result.returncode == 2 and sentence in said(result)
    with pytest.raises(UsageError):
        chosen("dask")


# --- without a cluster: the parts and what travels


CHUNK = 256 << 10


@pytest.mark.parametrize("place", ["file", "object"])
def test_a_log_in_parts_is_the_log(
    store: dict[str, str], samples: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at the chunks of the local engine, the parts tell the same events, ledger, hashes and times as the whole."""
    log = tmp_path / "mx1.alpha.example.mail.log"
    whole = (samples / "quiet_day" / log.name).read_bytes() * 6 + b"\xe9 broken\nMar 24 08:00:00 mx1 postfix/qmgr[1]: cut"
    log.write_bytes(whole)
    setting = parts.Settings(None, None, is_lean=False, chunk_bytes=CHUNK, part_bytes=2 * CHUNK)
    from_where = parts.Log(str(log))
    if place == "object":
        for name in stores.NAMES:
            monkeypatch.setenv(name, store[name])
        url = f"s3://logs/parts/{log.name}"
        stores.s3(store).put_object(Bucket="logs", Key=f"parts/{log.name}", Body=whole)
        with objects.fetched([url], only_names=True) as (_, shown):
            ((stand_in, named),) = shown.items()
            assert (Path(stand_in).name, Path(stand_in).stat().st_size, named) == (log.name, len(whole), url)
        from_where = parts.Log(stand_in, url)
    surveyed = parts.survey(0, from_where, setting)
    assert surveyed is not None and len(surveyed.parts) >= 3
    tables = [t for part in surveyed.parts for t in parts.read(part, setting)]
    told = [pickle.loads(t[wire.TOLD][0]) for t in tables if t[wire.TOLD].is_not_null().any()]
    account = accounts.Account()
    for chunk in (chunk for one in sorted(told, key=lambda t: t.order) for chunk in one.chunks):
        account.add(chunk)
    options = intake.Options(year=YEAR, chunk_bytes=CHUNK)
    report, settlement = account.close(surveyed.about, told[-1].form, tz=None, year=YEAR, next_began=None)
    travelled = wire.unpack(pl.concat(t for t in tables if t[wire.TOLD].is_null().all())).with_columns(
        _turn=pl.lit(0, dtype=pl.Int32)
    )
    settlement = replace(settlement, source=str(log))
    events = settlements.settled([travelled], {0: settlement}, {}).select(list(schema.EVENTS))
    expected, ledger = intake.take_in(str(log), reading.load(), options).whole()
    assert events.equals(expected)
    assert (report.parsed, report.ignored, report.unrecognised, report.damaged) == (
        ledger.parsed, ledger.ignored, ledger.unrecognised, ledger.damaged,
    )  # fmt: skip
    assert (report.about.sha256, report.about.lines, report.first, report.last) == (
        ledger.about.sha256, ledger.about.lines, ledger.first, ledger.last,
    )  # fmt: skip
    assert [vars(s) for s in report.shapes] == [vars(s) for s in ledger.shapes]


def test_what_must_be_read_as_a_whole_is_not_cut(samples: Path, tmp_path: Path) -> None:
    log = samples / "quiet_day" / "mx1.alpha.example.mail.log"
    setting = parts.Settings(None, None, is_lean=False, chunk_bytes=CHUNK)
    (tmp_path / "mail.log.gz").write_bytes(gzip.compress(log.read_bytes()))
    (tmp_path / "wide.log").write_bytes(log.read_text().encode("utf-16"))
    (tmp_path / "long.log").write_bytes(log.read_bytes() + b"x" * (2 << 20) + b"\n" + log.read_bytes())
    tracking = next((samples / "exchange_autoreply").rglob("*.LOG"))
    for path in (*tmp_path.iterdir(), tracking, tmp_path / "gone.log"):
        assert parts.survey(0, parts.Log(str(path)), setting) is None, path.name
    assert parts.survey(0, parts.Log(str(log)), setting) is not None


START = dt.datetime(2000, 1, 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 365 * 24), st.sampled_from([(False, True), (False, False), (True, False)])), max_size=12
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_few_rows_tell_the_clock_as_much_as_all(chunks: list[list[tuple[int, tuple[bool, bool]]]]) -> None:
    """Whatever jumps the stamps make: years, zones, leap days, first and last time."""
    full, few = watches.Watch(), watches.Watch()
    line = 0
    for chunk in chunks:
        rows = [(line + n, START + dt.timedelta(hours=h), utc, yearless) for n, (h, (utc, yearless)) in enumerate(chunk)]
        line += len(rows)
        table = pl.DataFrame(
            rows, {"line": pl.UInt64, "_wall": pl.Datetime("us"), "_utc": pl.Boolean, "_yearless": pl.Boolean}, orient="row"
        )
        tables = [t for t in (table.gather_every(2), table.gather_every(2, 1)) if t.height]
        if not tables:
            continue
        seen, told = full.see(tables), few.see(telling(tables))
        every = pl.concat(t.select("line", "_turn") for t in seen).join(
            pl.concat(tables).filter("_yearless").select("line"), on="line", how="semi"
        )
        some = pl.concat(t.filter("_yearless").select("line", told="_turn") for t in told).sort("line")
        met = every.sort("line").join_asof(some, on="line")
        assert met["_turn"].to_list() == met["told"].to_list()
    one, other = full.evidence(None, None), few.evidence(None, None)
    assert (one is None) == (other is None)
    if one and other:
        assert one.seen.equals(other.seen)
        assert [(e.yearless, e.zoneless, e.last_wall, e.turns, e.leap_turns) for e in (one,)] == [
            (e.yearless, e.zoneless, e.last_wall, e.turns, e.leap_turns) for e in (other,)
        ]
        basis = clock.decide(one, year=YEAR)
        assert full.span(basis) == few.span(basis)
