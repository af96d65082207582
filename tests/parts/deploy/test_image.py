"""The images, built by buildah and run with a read-only root as an ordinary user: a release from upload to result."""

import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from embedded.children import Children
from embedded.product import PROJECT, Product
from releases.artifacts.local_store import LocalArtifactStore
from tests.parts.deploy.image_store import Images, inside
from tests.programs import output_of
from tests.running import RunningProduct, TenantInUse, build
from tests.servers import IN_MEMORY, MEMORY
from wire.worker_keys import worker_key

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("image")]
PIPELINES = PROJECT / "tests" / "e2e" / "pipelines"
UNPRIVILEGED = 10001
OF_HOST = {
    "DJANGO_SETTINGS_MODULE",
    "CONSTANTS",
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "PYTHONPATH",
    "STATIC_ROOT",
    "ARTIFACT_ROOT",
}


@dataclass
class Built:
    images: Images
    coordinator: Path
    worker: Path


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    # Two gigabytes in many small files, in memory if there is room.
    folder = Path(tempfile.mkdtemp(prefix="images-", dir=MEMORY if IN_MEMORY else None))
    try:
        images = Images(folder)
        yield Built(images, images.build("coordinator"), images.build("worker"))
    finally:
        shutil.rmtree(folder)


def environment_of(built: Built, image: str) -> dict[str, str]:
    variables = built.images.configuration(image)["Env"]
    assert isinstance(variables, list)
    return dict(variable.split("=", 1) for variable in variables)


@pytest.mark.parametrize(
    ("image", "entry", "arguments"),
    [("coordinator", "coordinator", ["run", "web"]), ("worker", "pipelines", ["worker", "--help"])],
)
def test_the_image_runs_as_an_ordinary_user(built: Built, image: str, entry: str, arguments: list[str]) -> None:
    config = built.images.configuration(image)
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("10001:10001", [entry], arguments)
    assert not {"SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL"} & set(environment_of(built, image))


def test_an_ordinary_user_can_change_nothing_of_the_image(built: Built) -> None:
    for root in (built.coordinator, built.worker):
        owned = output_of(["find", root, "-xdev", "-uid", str(UNPRIVILEGED)])
        assert set(owned.split()) <= {f"{root}/var/lib/coordinator"}


def test_the_sbom_lists_exactly_what_is_installed_and_the_lock_has_it(built: Built) -> None:
    locked = {(row["name"], row["version"]) for row in tomllib.loads((PROJECT / "uv.lock").read_text())["package"]}
    for environment in (built.coordinator / "opt" / "coordinator", built.worker / "opt" / "worker"):
        document = json.loads((environment / "share" / "sbom.cdx.json").read_text())
        components = {(component["name"], component["version"]) for component in document["components"]}
        main = document["metadata"]["component"]
        [packages] = environment.glob("lib/python3*/site-packages")
        present = {
            (re.sub(r"[_.]", "-", distribution.metadata["Name"].lower()), distribution.version)
            for distribution in distributions(path=[str(packages)])
        }
        assert present == components | {(main["name"], main["version"])}
        assert components <= locked


def test_migrations_need_only_the_owner_of_the_database(built: Built, running: RunningProduct) -> None:
    name = str(connection.settings_dict["NAME"])
    owner = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    environment = {**environment_of(built, "coordinator"), "DATABASE_URL": owner}
    command = inside(built.coordinator, ["coordinator", "migrate", "--noinput"], environment)
    assert "No migrations to apply" in output_of(command)


@pytest.fixture
def product(built: Built, running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """Web, control worker and clock of the image, instead of those of the checkout."""
    product = Product(tmp_path / "product", running.product.servers, running.product.settings)
    data = tmp_path / "data"
    LocalArtifactStore(data / "artifacts").set_up()
    for path in (data, *data.rglob("*")):
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    environment = {
        **environment_of(built, "coordinator"),
        **{name: value for name, value in product.environment.items() if name not in OF_HOST},
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(product.port),
    }
    for child in running.product.children.started:
        if child.name in {"control-worker", "clock"}:
            child.stop()
    try:
        with product.children:
            for process in ("control", "clock", "web"):
                start(product.children, built.coordinator, process, environment, {"/var/lib/coordinator": data})
            product.wait_until_ready()
            yield product
    finally:
        running.restore()


def start(children: Children, root: Path, process: str, environment: dict[str, str], data: Mapping[str, Path]) -> None:
    command = inside(root, ["coordinator", "run", process], environment, data)
    children.start(process, command, environment={"PATH": os.environ["PATH"]})


def test_a_release_runs_from_upload_to_result(
    built: Built, product: Product, running: RunningProduct, name: str, tmp_path: Path
) -> None:
    owner = running.tenant(name)
    tenant = TenantInUse(product, owner.tenant, owner.admin)
    release = build("pinned:pipeline", PIPELINES / "v1", tmp_path / "release", "1.0")
    tenant.register(release)
    tenant.activate(release)
    (release.descriptor.parent).chmod(0o755)
    environment = {
        **environment_of(built, "worker"),
        "PIPELINES_TENANT": tenant.tenant.slug,
        "PIPELINES_BROKER_URL": product.broker_url(tenant.tenant.slug),
        "PIPELINES_WORKER_KEY": worker_key(product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
    }
    # The image has another Python than the one with which this test built the release.
    command = ["pipelines", "worker", "--release=/mnt/pipeline-release.json", "--worker-id=of-the-image"]
    arguments = inside(
        built.worker, [*command, "--allow-environment-drift"], environment, {"/mnt": release.descriptor.parent}
    )
    product.children.start("worker", arguments, environment={"PATH": os.environ["PATH"]})
    tenant.wait_for_worker("of-the-image", "HEALTHY")
    accepted = tenant.accepted(release.pipeline_id, {"number": 7}, "of-the-image")
    tenant.wait_for(accepted["executionId"], "SUCCEEDED", seconds=60)
    assert tenant.http.get(f"{product.url}/static/coordinator/favicon.svg").status_code == 200
