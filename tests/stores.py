"""A real S3 server on loopback for tests: moto's, as a thread of its own."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


@contextmanager
def started() -> Iterator[dict[str, str]]:
    """The environment of a user of the server, which has an empty bucket `logs` and an empty bucket `lake`.

    moto keeps its buckets in the process, so they would outlive their server: each server starts from nothing.
    """
    pytest.importorskip("obstore", reason="obstore is not installed (pip install '.[objects]')")
    threaded = pytest.importorskip("moto.server", reason="moto's server is not installed (make .venv/tested)")
    server = threaded.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "anna",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "NO_COLOR": "1",
    }
    post(env, "reset")
    client = s3(env)
    for bucket in ("logs", "lake"):
        client.create_bucket(Bucket=bucket)
    yield env
    server.stop()


def s3(env: dict[str, str]) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], aws_access_key_id="anna", aws_secret_access_key="secret",
                        region_name="us-east-1")  # fmt: skip


def refuse_from(env: dict[str, str], count: int) -> None:
    """moto asks for real credentials from the given number of requests on, and answers as AWS does."""
    post(env, "reset-auth", str(count).encode())


def post(env: dict[str, str], command: str, body: bytes = b"") -> None:
    request = urllib.request.Request(f"{env['AWS_ENDPOINT_URL']}/moto-api/{command}", body, {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request) as answer:
        answer.read()
