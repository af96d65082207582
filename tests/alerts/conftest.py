import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.receiving import local_receivers, receiver

__all__ = ["local_receivers", "receiver"]


@pytest.fixture(autouse=True)
def calls(local_receivers: None) -> None:
    """All tests call receivers on this machine."""


@pytest.fixture(scope="module")
def ready(module_world: None) -> tuple[Tenant, Release]:
    made = making.ready()
    making.lasting(made[0])
    return made


@pytest.fixture
def owner(ready: tuple[Tenant, Release]) -> Tenant:
    return ready[0]
