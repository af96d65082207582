"""Two coordinators run an artifact of S3 and an image of a registry with Celery workers, from upload to result."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from embedded.children import Child, Children, free_port
from embedded.product import PROJECT
from tests.building import eventually
from tests.e2e.test_two_coordinators import PIPELINE, TENANT, Pair, first, pair
from tests.making import digest_of
from tests.running import BuiltRelease
from wire.documents.contract import CONTRACT_ENTRY

__all__ = ["first", "pair"]

REGISTRY = shutil.which("docker-registry", path=f"{os.environ['PATH']}:{PROJECT / '.local/registry/usr/bin'}")
OCI = "application/vnd.oci.image"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Child]]:
    """Debian's docker-registry: the host of its references, without a scheme, and its process."""
    assert REGISTRY, "there is no docker-registry; on Debian: .ci/install-registry or apt-get install docker-registry"
    folder = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port()}"
    storage = {"filesystem": {"rootdirectory": str(folder / "images")}}
    configuration = folder / "config.yml"  # JSON is YAML
    configuration.write_text(json.dumps({"version": "0.1", "storage": storage, "http": {"addr": host}}))
    with Children(folder) as children:
        process = children.start("registry", [REGISTRY, "serve", configuration], environment={})
        eventually(lambda: "listening on" in process.log_tail() or not process.running, what="the registry")
        process.require_running()
        yield host, process


@pytest.fixture(scope="module")
def more_settings(registry: tuple[str, Child]) -> dict[str, str]:
    checks = {"IMAGE_REGISTRY_CHECK": "true", "IMAGE_REGISTRY_ALLOWED_NETWORKS": "127.0.0.0/8"}
    return checks | {"IMAGE_REGISTRIES_PLAIN_HTTP": registry[0]}


def pushed(repository: str, layer: bytes) -> str:
    """Push an image with one layer to the address of its repository, as clients do. Return the manifest's digest."""

    def blob(kind: str, data: bytes) -> dict[str, str | int]:
        begun = requests.post(f"{repository}/blobs/uploads/", timeout=30)
        stored = requests.put(begun.headers["Location"], params={"digest": digest_of(data)}, data=data, timeout=30)
        assert stored.status_code == 201, stored.text
        return {"mediaType": f"{OCI}.{kind}", "digest": digest_of(data), "size": len(data)}

    config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    manifest = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": blob("config.v1+json", config)}
    body = json.dumps({**manifest, "layers": [blob("layer.v1.tar", layer)]}).encode()
    sent = {"Content-Type": f"{OCI}.manifest.v1+json"}
    stored = requests.put(f"{repository}/manifests/1.0", data=body, headers=sent, timeout=30)
    assert (stored.status_code, stored.headers["Docker-Content-Digest"]) == (201, digest_of(body))
    return digest_of(body)


@pytest.mark.timeout(300)
def test_two_coordinators_run_an_artifact_of_s3_and_an_image_of_a_registry(
    pair: Pair, registry: tuple[str, Child], v2: BuiltRelease, tmp_path: Path
) -> None:
    one, other, (host, process) = pair.client(pair.one), pair.client(pair.other), registry
    before = one.submit(PIPELINE, {"number": 1}, "artifact")["executionId"]
    assert other.finished(before)["pin"]["releaseVersion"] == "1.0"

    def upload(version: str, digest: str) -> Path:
        """Register a release that has only this image through the first coordinator. Return its descriptor."""
        image = {"kind": "container-image", "uri": f"{host}/acme/pinned@{digest}", "digest": digest}
        path = tmp_path / f"{version}.json"
        path.write_text(
            json.dumps({**v2.document, "releaseVersion": version, "artifacts": [{"artifactId": "worker", **image}]})
        )
        files = {"descriptor": path.read_bytes(), "contract": zipfile.ZipFile(v2.artifact).read(CONTRACT_ENTRY)}
        url = f"{pair.one.url}/api/v1/tenants/{TENANT}/pipelines/{PIPELINE}/releases"
        sent = requests.post(url, files=files, headers={"Authorization": f"Bearer {pair.token}"}, timeout=30)
        assert sent.status_code == 202, sent.text
        return path

    image, absent = pushed(f"http://{host}/v2/acme/pinned", v2.artifact.read_bytes()), f"sha256:{'0' * 64}"
    upload("absent", absent)
    assert [finding["code"] for finding in other.verified(PIPELINE, "absent")["findings"]] == ["IMAGE_MANIFEST_MISSING"]
    descriptor = upload("2.0", image)
    assert other.verified(PIPELINE, "2.0")["status"] == "REGISTERED"
    # The image's program: the code of the release, and nothing that could be compared with the image.
    shutil.copy(v2.directory / "pinned.py", pair.other.folder)
    source = ["--from-source=pinned:pipeline"]
    pair.other.start_worker("image", release=descriptor, tenant=TENANT, key=pair.worker_key, options=source)
    other.wait_for_worker("image")
    other.activate(PIPELINE, "2.0", "an image")
    after = one.submit(PIPELINE, {"number": 2}, "image")["executionId"]
    assert other.finished(after)["pin"]["releaseVersion"] == "2.0"
    for client in (one, other):
        results = [client.result(execution_id)["made_by"] for execution_id in (before, after)]
        assert results == ["code v1, attempt 0", "code v2, attempt 0"]

    assert pair.stored() == 1
    asked = set(re.findall(r'"(GET|HEAD) /v2/acme/pinned/\w+/(\S+) ', process.log.read_text()))
    assert asked == {("HEAD", image), ("HEAD", absent)}, "no image is pulled"
