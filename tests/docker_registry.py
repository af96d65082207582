"""A real image registry (docker-registry, the server of the CNCF), with real manifests and indexes in it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from embedded.children import Child, free_port
from embedded.product import PROJECT
from tests.building import eventually

BINARY = shutil.which("docker-registry", path=f"{os.environ['PATH']}:{PROJECT}/.local/docker-registry/usr/bin")
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
USER, PASSWORD = "test", "test-password"
_BCRYPT_OF_PASSWORD = "$2b$04$qUDe0u1uyQIbM1J73b9ji.SaaEWQ5ADvpmqCCNco5N.2rchiw3Uji"
_TIMEOUT = 10
# The manifest, configuration and layer types of an image in each format, and the manifest type that its index lists.
_IMAGES = {
    OCI_MANIFEST: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"),
    DOCKER_MANIFEST: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}
_LISTED = {OCI_INDEX: OCI_MANIFEST, DOCKER_LIST: DOCKER_MANIFEST}
_CONFIG, _LAYER = b'{"architecture":"amd64","os":"linux"}', b"a layer"


class DockerRegistry:
    """The server. It keeps its port and its images when it is stopped and started again. It ends with this process."""

    def __init__(self, folder: Path, *, requires_password: bool) -> None:
        assert BINARY, "there is no docker-registry; on Debian: apt-get install docker-registry"
        self.host = f"127.0.0.1:{free_port()}"
        self._auth = (USER, PASSWORD) if requires_password else None
        self._folder = folder
        config: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
            "http": {"addr": self.host},
        }
        if requires_password:
            passwords = folder / "passwords"
            passwords.write_text(f"{USER}:{_BCRYPT_OF_PASSWORD}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
        (folder / "registry.json").write_text(json.dumps(config))  # JSON is YAML
        self._command = [BINARY, "serve", str(folder / "registry.json")]
        self._child: Child | None = None

    def start(self) -> None:
        """Start the server and wait until it responds."""
        log = self._folder / "registry.log"
        self._child = Child(self._command, name="docker-registry", log=log, environment={}, directory=self._folder)
        eventually(self._is_available, what="the registry")

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()

    def reference(self, repository: str, digest: str) -> str:
        return f"{self.host}/{repository}@{digest}"

    def push_image(self, repository: str, media_type: str = OCI_MANIFEST) -> str:
        """Push an image with one layer. `media_type` is that of its manifest, or of an index that lists it.

        Return the digest of the manifest or index.
        """
        listed = _LISTED.get(media_type, media_type)
        config, layer = _IMAGES[listed]
        for blob in (_CONFIG, _LAYER):
            self._push_blob(repository, blob)
        members: dict[str, Any] = {"config": _descriptor(config, _CONFIG), "layers": [_descriptor(layer, _LAYER)]}
        manifest, digest = self._push(repository, listed, members)
        if listed == media_type:
            return digest
        platform = {"architecture": "amd64", "os": "linux"}
        listing = {"manifests": [{**_descriptor(listed, manifest), "platform": platform}]}
        return self._push(repository, media_type, listing)[1]

    def _push(self, repository: str, media_type: str, members: dict[str, Any]) -> tuple[bytes, str]:
        """Push a manifest or index. Return it with its digest."""
        document = json.dumps({"schemaVersion": 2, "mediaType": media_type, **members}).encode()
        digest = _digest(document)
        self._send("PUT", f"http://{self.host}/v2/{repository}/manifests/{digest}", document, media_type)
        return document, digest

    def _push_blob(self, repository: str, blob: bytes) -> None:
        upload = self._send("POST", f"http://{self.host}/v2/{repository}/blobs/uploads/").headers["Location"]
        self._send("PUT", f"{upload}&digest={_digest(blob)}", blob, "application/octet-stream")

    def _send(self, method: str, url: str, body: bytes = b"", media_type: str = "") -> requests.Response:
        headers = {"Content-Type": media_type} if media_type else {}
        response = requests.request(method, url, data=body, headers=headers, auth=self._auth, timeout=_TIMEOUT)
        assert response.ok, response.text
        return response

    def _is_available(self) -> bool:
        assert self._child is not None
        self._child.require_running()
        try:
            return requests.get(f"http://{self.host}/v2/", auth=self._auth, timeout=_TIMEOUT).ok
        except requests.ConnectionError:
            return False


@contextmanager
def docker_registry(folder: Path, *, requires_password: bool = False) -> Iterator[DockerRegistry]:
    """Run a registry on a free port of 127.0.0.1 for the block. It keeps its images in `folder`.

    With `requires_password` it serves only USER with PASSWORD.
    """
    registry = DockerRegistry(folder, requires_password=requires_password)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
