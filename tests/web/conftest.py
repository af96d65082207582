"""Fixtures: a tenant of the running product, and a web process of a test's own, to be ended in any way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.local.product import Product
from releases.artifact_store import LocalArtifactStore
from tests.running import RunningProduct, TenantInUse


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


@pytest.fixture
def own(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """The product once more, over the same servers, of which nothing is started yet."""
    made = Product(tmp_path / "product", running.product.servers, running.product.settings)
    LocalArtifactStore(Path(made.environment["ARTIFACT_ROOT"])).set_up()
    yield made
    made.stop()
