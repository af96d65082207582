from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.orders import PIPELINES, Orders
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build


@pytest.fixture(scope="module")
def orders(
    running: RunningProduct, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Orders]:
    """The orders of a tenant that the tests of a module share. It has the name of the module."""
    tenant = running.tenant(request.module.__name__.rpartition("test_")[2])
    try:
        yield Orders(tenant, tmp_path_factory.mktemp("orders"))
    finally:
        tenant.stop_workers()


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> Iterator[TenantInUse]:
    created = running.tenant(name)
    yield created
    created.stop_workers()


@pytest.fixture
def v1(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")


@pytest.fixture
def v2(tmp_path: Path) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v2", tmp_path / "v2", "2.0")
