"""The S3 server of a test run. The first test that needs it starts it, unless the environment names another."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from coordinator import artifact_stores
from embedded.s3 import S3Server
from releases.artifacts.store.s3 import S3ArtifactStore
from tests.artifact_stores import use_store


@dataclass(frozen=True, slots=True)
class S3Place:
    """A prefix in a bucket, and how to reach it."""

    bucket: str
    prefix: str = ""
    endpoint_url: str = ""
    public_endpoint_url: str = ""
    region: str = "us-east-1"
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    timeout_seconds: float = 20.0

    def backend(self, root: Path, **options: Any) -> artifact_stores.Backend:
        """Return the store as an entry of STORAGES."""
        return artifact_stores.s3(
            root,
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint_url=self.endpoint_url,
            public_endpoint_url=self.public_endpoint_url,
            region=self.region,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            timeout_seconds=self.timeout_seconds,
            options=options,
        )

    def environment(self) -> dict[str, str]:
        """Return the settings of a process of the product that uses this store."""
        return {
            "ARTIFACT_STORE": "s3",
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_BUCKET": self.bucket,
            "S3_PREFIX": self.prefix,
            "S3_ACCESS_KEY_ID": self.access_key_id,
            "S3_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def store(self, root: Path, **options: Any) -> S3ArtifactStore:
        return S3ArtifactStore(**self.backend(root, **options)["OPTIONS"])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Place]:
    """Where the server is. An outside one is named by S3_ENDPOINT_URL, S3_BUCKET and the two parts of a key."""
    names = ("S3_BUCKET", "S3_ENDPOINT_URL", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
    if all(os.environ.get(name) for name in names):
        bucket, url, key, secret = (os.environ[name] for name in names)
        yield S3Place(bucket, endpoint_url=url, access_key_id=key, secret_access_key=secret)
        return
    with tempfile.TemporaryDirectory(prefix="coordinator-s3-") as folder, S3Server(Path(folder)) as server:
        yield S3Place(
            server.bucket,
            endpoint_url=server.endpoint_url,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )


@pytest.fixture
def s3_place(s3_server: S3Place, name: str) -> S3Place:
    """A prefix of the test's own."""
    return replace(s3_server, prefix=name, timeout_seconds=5.0)


def client_of(place: S3Place) -> Any:
    return _client(replace(place, prefix=""))


@lru_cache
def _client(place: S3Place) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint_url,
        region_name=place.region,
        aws_access_key_id=place.access_key_id,
        aws_secret_access_key=place.secret_access_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def use_s3(settings: Any, place: S3Place) -> None:
    """Make the product's settings name the store at `place`."""
    use_store(settings, "s3", place.backend(settings.ARTIFACT_ROOT))
