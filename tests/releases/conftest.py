from collections.abc import Iterator

import pytest

from releases.artifacts.store import artifact_store
from tenancy.models import Tenant
from tests import making
from tests.wakeups import broker

__all__ = ["broker"]


@pytest.fixture
def owner(db: None) -> Tenant:
    return making.tenant()


@pytest.fixture
def nothing_is_left(artifact_root: None) -> Iterator[None]:
    yield
    staging = artifact_store().staging
    assert not staging.exists() or list(staging.iterdir()) == []
