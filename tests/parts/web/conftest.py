"""Fixtures: a tenant of the running product, and a separate web process that tests may end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.children import Child
from embedded.product import Product
from releases.artifacts.store.local import LocalArtifactStore
from tests.running import RunningProduct, TenantInUse, wait_for_web_processes


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


@pytest.fixture
def own(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """Another instance of the product on the same servers. None of its processes is started."""
    made = Product(tmp_path / "product", running.product.servers, running.product.settings)
    LocalArtifactStore(Path(made.environment["ARTIFACT_ROOT"])).set_up()
    yield made
    made.stop()


def start_web(own: Product) -> Child:
    """Start the web processes and wait until all of them serve."""
    web = own.start_web()
    own.wait_until_ready()
    wait_for_web_processes(own, web)
    return web
