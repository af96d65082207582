"""Fixtures of the tests that run the product's own processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.local.product import Product
from coordinator.local.valkey import Valkey
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> Iterator[TenantInUse]:
    made = running.tenant(name)
    yield made
    made.stop_workers()


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")


@pytest.fixture
def own_broker(running: RunningProduct, tmp_path: Path) -> Iterator[tuple[RunningProduct, Valkey]]:
    """The product once more, over the same database, with a broker of its own that a test may take away."""
    valkey = Valkey(tmp_path / "valkey")
    valkey.start()
    servers = {**running.product.servers, "REDIS_URL": valkey.url}
    product = Product(tmp_path / "product", servers, running.product.settings)
    product.environment["STATIC_ROOT"] = running.product.environment["STATIC_ROOT"]
    try:
        product.start()
        yield RunningProduct(product), valkey
    finally:
        product.stop()
        valkey.stop()
