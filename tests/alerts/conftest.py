import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests.api.conftest import ready
from tests.receiving import local_receivers, receiver

__all__ = ["local_receivers", "ready", "receiver"]


@pytest.fixture(autouse=True)
def calls(local_receivers: None) -> None:
    """All tests call receivers on this machine."""


@pytest.fixture
def owner(ready: tuple[Tenant, Release]) -> Tenant:
    return ready[0]
