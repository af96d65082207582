"""A registry of container images, Debian's docker-registry, and a client that pushes as `docker push` does."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from embedded.children import Child, Children, free_port
from embedded.product import PROJECT
from tests.building import eventually

PROGRAM = shutil.which(
    "docker-registry", path=f"{os.environ['PATH']}:{PROJECT / '.local' / 'registry' / 'usr' / 'bin'}"
)
MISSING = "there is no docker-registry: run .ci/install-registry on Debian, or apt-get install docker-registry"
MANIFEST, CONFIG, LAYER = (
    f"application/vnd.oci.image.{kind}" for kind in ("manifest.v1+json", "config.v1+json", "layer.v1.tar")
)
REQUEST = re.compile(r'"(\w+) /v2/(\S+) HTTP/1.1" \d+ \d+ "[^"]*" "([^"]*)"')


@dataclass(frozen=True)
class OciRegistry:
    """A running registry. `host` has no scheme, as in the reference of an image."""

    host: str
    child: Child

    def push(self, repository: str, files: Mapping[str, bytes]) -> str:
        """Push an image with one layer, which has these files. Return the digest of its manifest."""
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as packed:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                packed.addfile(member, io.BytesIO(data))
        rootfs = {"type": "layers", "diff_ids": [_digest(layer.getvalue())]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self._blob(repository, config)},
            "layers": [{"mediaType": LAYER, **self._blob(repository, layer.getvalue())}],
        }
        body = json.dumps(manifest).encode()
        url = f"http://{self.host}/v2/{repository}/manifests/1.0"
        pushed = requests.put(url, data=body, headers={"Content-Type": MANIFEST}, timeout=30)
        assert pushed.status_code == 201, pushed.text
        assert pushed.headers["Docker-Content-Digest"] == _digest(body)
        return _digest(body)

    def requests_of_others(self) -> list[tuple[str, str]]:
        """Return method and path below `/v2/` of each request that this client did not make."""
        found = REQUEST.findall(self.child.log.read_text())
        return [(method, path) for method, path, agent in found if not agent.startswith("python-requests")]

    def _blob(self, repository: str, data: bytes) -> dict[str, str | int]:
        """Upload a blob, and return its descriptor."""
        begun = requests.post(f"http://{self.host}/v2/{repository}/blobs/uploads/", timeout=30)
        assert begun.status_code == 202, begun.text
        stored = requests.put(begun.headers["Location"], params={"digest": _digest(data)}, data=data, timeout=30)
        assert stored.status_code == 201, stored.text
        return {"digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def oci_registry(folder: Path) -> Iterator[OciRegistry]:
    assert PROGRAM, MISSING
    folder.mkdir()
    host = f"127.0.0.1:{free_port()}"
    configuration = folder / "config.yml"  # JSON is YAML
    storage = {"filesystem": {"rootdirectory": str(folder / "images")}}
    configuration.write_text(json.dumps({"version": "0.1", "storage": storage, "http": {"addr": host}}))
    with Children(folder) as children:
        child = children.start("registry", [PROGRAM, "serve", configuration], environment={})
        eventually(lambda: not child.running or _answers(host), what="the registry")
        child.require_running()
        yield OciRegistry(host, child)


def _answers(host: str) -> bool:
    try:
        return requests.get(f"http://{host}/v2/", timeout=5).ok
    except requests.RequestException:
        return False
