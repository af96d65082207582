"""The S3 server of a test run. The first test that needs it starts it, unless the environment names another."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from embedded.s3 import S3Server
from releases.artifacts.store import S3Settings


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Settings]:
    """The settings of the server. S3_ENDPOINT_URL, S3_BUCKET and the two variables of a key name an external one."""
    names = ("S3_BUCKET", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
    if all(os.environ.get(name) for name in names):
        bucket, url, key, secret = (os.environ[name] for name in names)
        yield S3Settings(bucket, endpoint_url=url, access_key_id=key, secret_access_key=secret)
        return
    with tempfile.TemporaryDirectory(prefix="coordinator-s3-") as folder, S3Server(Path(folder)) as server:
        yield S3Settings(
            server.bucket,
            endpoint_url=server.endpoint_url,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )


@pytest.fixture
def s3_place(s3_server: S3Settings, name: str) -> S3Settings:
    """The settings with a prefix that only this test uses."""
    return replace(s3_server, prefix=name, timeout_seconds=5.0)


def client_of(where: S3Settings) -> Any:
    return _client(replace(where, prefix=""))


@lru_cache
def _client(where: S3Settings) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=where.endpoint_url,
        region_name=where.region,
        aws_access_key_id=where.access_key_id,
        aws_secret_access_key=where.secret_access_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def use_s3(settings: Any, where: S3Settings) -> None:
    """Set the product's settings to the store at `where`."""
    settings.ARTIFACT_STORE = "s3"
    settings.S3_BUCKET, settings.S3_PREFIX = where.bucket, where.prefix
    settings.S3_ENDPOINT_URL, settings.S3_REGION = where.endpoint_url, where.region
    settings.S3_ACCESS_KEY_ID, settings.S3_SECRET_ACCESS_KEY = where.access_key_id, where.secret_access_key
    settings.S3_TIMEOUT_SECONDS = where.timeout_seconds
