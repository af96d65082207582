from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import BuiltRelease, RunningProduct, TenantInUse, build

PIPELINES = Path(__file__).parent / "pipelines"


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
