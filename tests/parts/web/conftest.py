import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator_client.api import Client, Connection
from embedded.children import Child
from embedded.guard import descendants
from embedded.product import Product
from pipelines.release.publish import publish
from tenancy.roles import Scope
from tests.running import RunningProduct, TenantInUse, another_product, wait_for_web_processes


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


@pytest.fixture
def product(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """Another instance of the product on the same servers. None of its processes is started."""
    with another_product(tmp_path, running.product.servers, running.product.settings) as made:
        yield made


def start_web(product: Product) -> Child:
    web = product.start_web()
    product.wait_until_ready()
    wait_for_web_processes(product, web)
    return web


def published(url: str, tenant: TenantInUse, file: Path) -> str:
    """Release a large file that is no archive, through the web process. Return its digest."""
    with file.open("rb") as data:
        digest = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
    document = {
        "schemaVersion": 1,
        "pipelineId": "org.example.large",
        "contractVersion": "1",
        "releaseVersion": "1",
        "artifacts": [{"artifactId": "large", "kind": "native-binary", "uri": file.name, "digest": digest}],
    }
    file.with_name("pipeline-release.json").write_text(json.dumps(document))
    client = Client(Connection(url, tenant.tenant.slug, tenant.token([Scope.READ, Scope.REGISTER])))
    release = publish(file.parent, client, progress=lambda done, total: None, direct_bytes=2**40)
    assert release["status"] == "REGISTERED", release["findings"]
    return digest


def peaks(root: int) -> dict[int, int]:
    """Return the peak memory of each descendant of a process in bytes."""
    peaks_of = {}
    for pid in descendants(root):
        status = Path(f"/proc/{pid}/status").read_text()
        peaks_of[pid] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return peaks_of


def opened(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    made.sendall(sent)
    return made


def everything(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received
