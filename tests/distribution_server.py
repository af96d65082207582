"""A real registry server (CNCF distribution), if it is installed. Debian's package is `docker-registry`."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from embedded.children import Child, free_port
from tests.building import eventually
from tests.image_registry import REPOSITORY

BINARY = shutil.which("docker-registry")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextmanager
def distribution_server(folder: Path) -> Iterator[str]:
    """Run the server for the block and yield its host."""
    host = f"localhost:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    assert BINARY is not None
    child = Child([BINARY, "serve", str(config)], name="registry", log=folder / "log", environment={}, directory=folder)
    try:
        eventually(lambda: _is_available(host), what="the registry")
        yield host
    finally:
        child.stop()


def push(host: str) -> str:
    """Push an image without layers to the registry. Return the digest of its manifest."""
    base = f"http://{host}/v2/{REPOSITORY}"
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    location = requests.post(f"{base}/blobs/uploads/", timeout=10).headers["Location"]
    url = f"{location}{'&' if '?' in location else '?'}digest={digest}"
    requests.put(url, data=config, timeout=10).raise_for_status()
    manifest = (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":'
        f'"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{len(config)}}},"layers":[]}}'
    ).encode()
    response = requests.put(f"{base}/manifests/1.0", data=manifest, headers={"Content-Type": MANIFEST}, timeout=10)
    response.raise_for_status()
    return str(response.headers["Docker-Content-Digest"])


def _is_available(host: str) -> bool:
    try:
        return requests.get(f"http://{host}/v2/", timeout=2).ok
    except requests.RequestException:
        return False
