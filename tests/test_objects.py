"""Logs in an object store and tables written to one, against a real S3 server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests import stores
from tests.stores import refuse_from, s3
from tests.test_cli import ENTRY, said

LOG = "loop_postfix_exim/mx1.alpha.example.mail.log"


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """The environment of a user of an S3 server that has a bucket `logs` and a bucket `lake`."""
    with stores.started() as env:
        yield env


def keys(env: dict[str, str], bucket: str) -> list[str]:
    return [o["Key"] for o in s3(env).list_objects_v2(Bucket=bucket).get("Contents", [])]


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*ENTRY, *args], capture_output=True, env=env, check=False)


def upload(env: dict[str, str], samples: Path, folder: str, prefix: str) -> None:
    for path in sorted((samples / folder).iterdir()):
        s3(env).put_object(Bucket="logs", Key=f"{prefix}/{path.name}", Body=path.read_bytes())


def test_what_is_found_in_a_store_is_what_is_found_on_disk(store: dict[str, str], samples: Path) -> None:
    upload(store, samples, "loop_postfix_exim", "2026/march")
    there = run(store, "analyze", "s3://logs/2026/", "--year", "2026", "--findings", "-", "--quiet")
    here = run(store, "analyze", str(samples / "loop_postfix_exim"), "--year", "2026", "--findings", "-", "--quiet")
    assert there.returncode == 0, said(there)
    remote, local = json.loads(there.stdout), json.loads(here.stdout)
    assert [i["path"] for i in remote["inputs"]] == [f"s3://logs/2026/march/{Path(i['path']).name}" for i in local["inputs"]]
    assert remote["incidents"][0]["evidence"][0]["text"], "evidence is read again where it stands"
    told = [[(i["id"], i["headline"], [e["text"] for e in i["evidence"]]) for i in d["incidents"]] for d in (remote, local)]
    assert told[0] == told[1] != []


def test_a_report_and_findings_are_written_to_a_store(store: dict[str, str], samples: Path) -> None:
    words = ["--report", "s3://lake/out/r.html", "--findings", "s3://lake/out/f.json", "--summary", "s3://lake/out/s.json"]
    result = run(store, "analyze", str(samples / "loop_postfix_exim"), *words, "--quiet")
    assert result.returncode == 0, said(result)

    def body(key: str) -> bytes:
        return bytes(s3(store).get_object(Bucket="lake", Key=key)["Body"].read())

    assert len(json.loads(body("out/f.json"))["incidents"]) == 1
    assert json.loads(body("out/s.json"))["outputs"] == ["s3://lake/out/f.json", "s3://lake/out/r.html"]
    assert body("out/r.html").startswith(b"<!doctype html>")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl", "csv"])
def test_an_object_is_the_file_byte_for_byte(store: dict[str, str], samples: Path, tmp_path: Path, kind: str) -> None:
    local = tmp_path / f"e.{kind}"
    assert run(store, "normalize", str(samples / LOG), "-o", str(local)).returncode == 0
    result = run(store, "normalize", str(samples / LOG), "-o", f"s3://lake/one/e.{kind}")
    assert result.returncode == 0, said(result)
    assert s3(store).get_object(Bucket="lake", Key=f"one/e.{kind}")["Body"].read() == local.read_bytes()


def test_a_globbed_prefix_becomes_partitions_that_polars_reads(
    store: dict[str, str], samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(store, samples, "quiet_day", "quiet/day")
    result = run(store, "normalize", "s3://logs/quiet/*/*.log", "-o", "s3://lake/parts", "--partition-by", "day,host")
    assert result.returncode == 0, said(result)
    written = [k for k in keys(store, "lake") if k.startswith("parts/")]
    assert len(written) == 1 and written[0].startswith("parts/day=2026-03-23/log_host=mx1/events-")
    for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, store[name])
    table = pl.scan_parquet("s3://lake/parts/**/*.parquet", hive_partitioning=True).collect()
    assert set(table["source"]) == {"s3://logs/quiet/day/mx1.alpha.example.mail.log"}


def test_a_bucket_or_an_object_that_is_not_there_is_one_sentence(store: dict[str, str], samples: Path) -> None:
    for words, code, sentence in (
        (["analyze", "s3://nowhere/x/"], 3, "s3://nowhere/x/: no such bucket or object; check the spelling of nowhere"),
        (["analyze", "s3://logs/nothing/here"], 3, "s3://logs/nothing/here: no such object"),
        (["normalize", str(samples / LOG), "-o", "s3://nowhere/e.parquet"], 2, "check the spelling of nowhere"),
        (["normalize", str(samples / LOG), "-o", "s3://lake", "--to", "csv"], 2, "the name of an object is missing"),
    ):
        result = run(store, *words)
        assert result.returncode == code, said(result)
        assert sentence in said(result) and "Traceback" not in said(result)
        assert len(said(result)) < 400


def test_credentials_that_are_refused_are_one_sentence(store: dict[str, str], samples: Path) -> None:
    refuse_from(store, 0)
    try:
        wrong = {**store, "AWS_ACCESS_KEY_ID": "nobody"}
        reading = run(wrong, "analyze", "s3://logs/2026/")
        writing = run(wrong, "normalize", str(samples / LOG), "-o", "s3://lake/refused.parquet")
    finally:
        refuse_from(store, 1_000_000)
    assert (reading.returncode, writing.returncode) == (3, 2)
    for result in (reading, writing):
        assert "the store refused these credentials" in said(result)
        assert "Traceback" not in said(result)
    assert "refused.parquet" not in keys(store, "lake")


def test_a_server_that_does_not_answer_is_one_sentence(store: dict[str, str]) -> None:
    result = run({**store, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "analyze", "s3://logs/2026/")
    assert result.returncode == 3
    assert "the store can't be reached; check AWS_ENDPOINT_URL" in said(result) and "Traceback" not in said(result)


def test_an_object_that_was_never_finished_is_not_read(store: dict[str, str], samples: Path, tmp_path: Path) -> None:
    client = s3(store)
    client.put_object(Bucket="logs", Key="half/whole.log", Body=(samples / LOG).read_bytes())
    begun = client.create_multipart_upload(Bucket="logs", Key="half/cut.log")
    client.upload_part(Bucket="logs", Key="half/cut.log", PartNumber=1, UploadId=begun["UploadId"], Body=b"x" * (5 << 20))
    result = run(store, "normalize", "s3://logs/half/", "-o", "-", "--summary", str(tmp_path / "s.json"))
    assert result.returncode == 0, said(result)
    assert [i["path"] for i in json.loads((tmp_path / "s.json").read_text())["inputs"]] == ["s3://logs/half/whole.log"]


def test_an_upload_that_breaks_leaves_nothing_under_the_name(
    store: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server refuses from the third request on: the multipart upload has begun and can't end."""
    from maillog_forensics import objects
    from maillog_forensics.errors import UsageError

    for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, store[name])
    (tmp_path / "big").write_bytes(os.urandom(24 << 20))

    refuse_from(store, 3)
    try:
        with pytest.raises(UsageError):
            objects.put(str(tmp_path / "big"), "s3://lake/big.parquet")
    finally:
        refuse_from(store, 1_000_000)
    assert "big.parquet" not in keys(store, "lake")
    objects.put(str(tmp_path / "big"), "s3://lake/big.parquet")
    assert s3(store).head_object(Bucket="lake", Key="big.parquet")["ContentLength"] == 24 << 20


def test_a_partition_without_mail_writes_nothing(store: dict[str, str]) -> None:
    s3(store).put_object(Bucket="logs", Key="web/access.log", Body=b'192.0.2.1 - - "GET / HTTP/1.1" 200\n' * 9)
    for words in (["-o", "s3://lake/web.parquet"], ["-o", "s3://lake/web/", "--partition-by", "day"]):
        result = run(store, "normalize", "s3://logs/web/", *words)
        assert result.returncode == 3
        assert "no line of a mail server was found" in said(result)
    assert not [k for k in keys(store, "lake") if k.startswith("web")]
