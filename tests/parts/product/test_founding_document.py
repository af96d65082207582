"""Two coordinators with S3, an image in a registry, and Celery workers: what the founding document says, end to end."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from embedded.product import Product
from embedded.valkey import Valkey
from tests.building import eventually
from tests.database_template import connected_to, database
from tests.parts.product.conftest import start_hosting
from tests.parts.product.oci_registry import OciRegistry, oci_registry
from tests.running import BuiltRelease, RunningProduct, TenantInUse
from tests.s3 import S3Place, client_of
from tests.servers import NUMBER, ordinary_url
from wire.documents.contract import CONTRACT_ENTRY

REPOSITORY = "acme/pinned"


@dataclass
class Coordinators:
    """Two coordinators with folders of their own, which share PostgreSQL, Valkey and S3. Each sees the same tenant."""

    one: TenantInUse
    other: TenantInUse
    place: S3Place
    registry: OciRegistry

    def keys(self) -> list[str]:
        found = client_of(self.place).list_objects_v2(Bucket=self.place.bucket, Prefix=f"{self.place.prefix}/")
        return [each["Key"].removeprefix(f"{self.place.prefix}/") for each in found.get("Contents", [])]


@pytest.fixture
def coordinators(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    gathered_static_files: str,
    s3_place: S3Place,
    tmp_path: Path,
    name: str,
) -> Iterator[Coordinators]:
    """Both web processes run, and no control worker."""
    with ExitStack() as up:
        registry = up.enter_context(oci_registry(tmp_path / "registry"))
        valkey = up.enter_context(Valkey(tmp_path / "valkey", durable=False))
        made = up.enter_context(database(f"test_{NUMBER}_founding"))
        up.enter_context(connected_to(made))
        servers = {"DATABASE_URL": ordinary_url(made), "REDIS_URL": valkey.url, "REDIS_OWNER_URL": valkey.owner_url}
        settings = {
            **s3_place.environment(),
            "STATIC_ROOT": gathered_static_files,
            "SECRET_KEY": "one-secret-for-both-coordinators-of-this-test-alone",
            "WORKER_SECRET": "another-secret-for-both-coordinators-of-this-test-alone",
            "SWEEP_SECONDS": "0.5",
            "IMAGE_REGISTRY_CHECK": "true",
            "IMAGE_REGISTRIES_PLAIN_HTTP": registry.host,
            "IMAGE_REGISTRY_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        products = [Product(tmp_path / folder, servers, settings, web_processes=1) for folder in ("one", "other")]
        up.enter_context(django_db_blocker.unblock())
        for product in products:
            up.callback(product.stop)
            product.start_web()
        for product in products:
            product.wait_until_ready()
        one = RunningProduct(products[0]).tenant(name)
        yield Coordinators(one, TenantInUse(products[1], one.tenant, one.admin), s3_place, registry)


def image_release(v2: BuiltRelease, folder: Path, reference: str, version: str = "2.0") -> tuple[Path, bytes]:
    """Write the descriptor of a release that has only an image. Return its path, and the contract."""
    digest = reference.partition("@")[2]
    artifact = {"artifactId": "worker", "kind": "container-image", "uri": reference, "digest": digest}
    folder.mkdir()
    path = folder / "pipeline-release.json"
    path.write_text(json.dumps({**v2.document, "releaseVersion": version, "artifacts": [artifact]}))
    with zipfile.ZipFile(v2.artifact) as archive:
        return path, archive.read(CONTRACT_ENTRY)


def uploaded(tenant: TenantInUse, pipeline_id: str, descriptor: Path, contract: bytes) -> None:
    files = {"descriptor": descriptor.read_bytes(), "contract": contract}
    response = tenant.http.post(tenant.url(f"pipelines/{pipeline_id}/releases"), files=files)
    assert response.status_code == 202, response.text


def verdict(tenant: TenantInUse, pipeline_id: str, version: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        found: dict[str, Any] = tenant.get(f"pipelines/{pipeline_id}/releases/{version}")
        return found if found["status"] in {"REGISTERED", "REJECTED"} else None

    return eventually(reached, seconds=60, what=f"the verdict on {version}")


def run_control(product: Product, *, instead_of: Product | None = None) -> None:
    """Start the control worker and the clock of one coordinator, after those of the other have stopped."""
    if instead_of is not None:
        for child in instead_of.children.started:
            if child.name in {"control-worker", "clock"}:
                child.stop()
    product.start_control_worker()
    product.start_clock()


@pytest.mark.timeout(300)
def test_two_coordinators_run_an_artifact_of_s3_and_an_image_of_a_registry(
    coordinators: Coordinators, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path
) -> None:
    one, other, registry = coordinators.one, coordinators.other, coordinators.registry
    pipeline_id = v1.pipeline_id
    # An artifact: sent to one coordinator, and read from S3, verified and activated by the other.
    assert one.upload(v1).status_code == 202
    run_control(other.product)
    registered = verdict(other, pipeline_id, "1.0")
    assert registered["status"] == "REGISTERED", registered["findings"]
    digest = v1.document["artifacts"][0]["digest"]
    assert coordinators.keys() == [f"sha256/{digest.removeprefix('sha256:')}"]
    assert other.http.get(other.url(f"artifacts/{digest}")).content == v1.artifact.read_bytes()
    other.start_worker(v1, "celery-1")
    other.activate(v1)
    first = one.accepted(pipeline_id, {"number": 1}, "first")["executionId"]
    assert other.wait_for(first, "SUCCEEDED")["pin"]["releaseVersion"] == "1.0"

    # An image: pushed to its registry, referenced by its digest, and confirmed by the control worker of the first one.
    run_control(one.product, instead_of=other.product)
    image = registry.push(REPOSITORY, {"app/pinned.py": (v2.directory / "pinned.py").read_bytes()})
    descriptor, contract = image_release(v2, tmp_path / "image", f"{registry.host}/{REPOSITORY}@{image}")
    uploaded(other, pipeline_id, descriptor, contract)
    registered = verdict(one, pipeline_id, "2.0")
    assert registered["status"] == "REGISTERED", registered["findings"]
    absent = f"{registry.host}/{REPOSITORY}@sha256:{'0' * 64}"
    uploaded(one, pipeline_id, *image_release(v2, tmp_path / "absent", absent, "3.0"))
    rejected = verdict(other, pipeline_id, "3.0")
    assert [each["code"] for each in rejected["findings"]] == ["IMAGE_MANIFEST_MISSING"]
    start_hosting(one, "celery-2", descriptor, "--from-source=pinned:pipeline", directory=v2.directory)
    one.activate(v2)
    second = other.accepted(pipeline_id, {"number": 2}, "second")["executionId"]
    assert one.wait_for(second, "SUCCEEDED")["pin"]["releaseVersion"] == "2.0"

    # Both results are read from either coordinator, each on its own release. No image left the registry.
    for tenant in (one, other):
        assert tenant.result(first) == {"number": 1, "made_by": "code v1, attempt 0"}
        assert tenant.result(second)["made_by"].startswith("code v2")
    assert {path for _, path in registry.requests_of_others()} == {
        f"{REPOSITORY}/manifests/{each}" for each in (image, f"sha256:{'0' * 64}")
    }
    assert {method for method, _ in registry.requests_of_others()} == {"HEAD"}
    assert len(coordinators.keys()) == 1
    for tenant in (one, other):
        files = [path for path in (tenant.product.folder / "artifacts").rglob("*") if path.is_file()]
        assert files == [], "a coordinator must not store artifacts on its own disk"
