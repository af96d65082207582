import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from coordinator import library_settings
from embedded.s3 import S3Server
from releases.artifacts.s3_store import S3ArtifactStore
from tests.artifact_stores import use_store
from tests.http_server import HttpServer, Request, body_of, head


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

    def backend(self, root: Path, **options: Any) -> library_settings.Backend:
        return library_settings.s3_store(
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
    use_store(settings, "s3", place.backend(settings.ARTIFACT_ROOT))


Fault = Callable[[bytes], bytes]


def short(body: bytes) -> bytes:
    return body[:-1]


def wrong(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


class FaultyProxy(HttpServer):
    """Spoils the next reads of `folder` by `faults`, one each. While `silent` is True, it never answers."""

    protocol = "HTTP/1.1"

    def __init__(self, place: S3Place) -> None:
        super().__init__()
        self.place = replace(place, endpoint_url=self.origin)
        self.faults: list[Fault] = []
        self.folder = "sha256"
        self.silent = False
        self._over = Event()
        self._server = urlsplit(place.endpoint_url).netloc

    def respond(self, request: Request) -> None:
        if self.silent:
            self._over.wait()
            return
        connection = HTTPConnection(self._server)
        connection.request(request.command, request.path, body_of(request), dict(request.headers))
        response = connection.getresponse()
        body, headers = response.read(), dict(response.headers)
        connection.close()
        if request.command != "HEAD":
            if self.faults and request.command == "GET" and self._is_blob(request.path):
                body = self.faults.pop(0)(body)
            headers["Content-Length"] = str(len(body))
        headers.pop("Transfer-Encoding", None)
        head(request, response.status, headers)
        request.wfile.write(body)

    def _is_blob(self, path: str) -> bool:
        """Return False for a list of objects or parts."""
        return f"/{self.folder}/" in path and "uploadId=" not in path

    def release(self) -> None:
        self._over.set()


@contextmanager
def faulty_proxy(place: S3Place) -> Iterator[FaultyProxy]:
    with FaultyProxy(place).running() as proxy:
        yield proxy
