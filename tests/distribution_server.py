"""A real registry server, Docker's own (CNCF distribution), where it is installed: Debian's `docker-registry`."""

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
    """Its host, while it runs."""
    host = f"localhost:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    assert BINARY is not None
    child = Child([BINARY, "serve", str(config)], name="registry", log=folder / "log", environment={}, directory=folder)
    try:
        eventually(lambda: _answers(host), what="the registry")
        yield host
    finally:
        child.stop()


def push(host: str) -> str:
    """Put an image without layers into the registry; the digest of its manifest."""
    base = f"http://{host}/v2/{REPOSITORY}"
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    place = requests.post(f"{base}/blobs/uploads/", timeout=10).headers["Location"]
    joined = f"{place}{'&' if '?' in place else '?'}digest={digest}"
    requests.put(joined, data=config, timeout=10).raise_for_status()
    manifest = (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":'
        f'"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{len(config)}}},"layers":[]}}'
    ).encode()
    answer = requests.put(f"{base}/manifests/1.0", data=manifest, headers={"Content-Type": MANIFEST}, timeout=10)
    answer.raise_for_status()
    return str(answer.headers["Docker-Content-Digest"])


def _answers(host: str) -> bool:
    try:
        return requests.get(f"http://{host}/v2/", timeout=2).ok
    except requests.RequestException:
        return False
