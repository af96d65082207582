import pytest

from executions.models import Execution
from releases.models import Release
from tenancy.models import Tenant
from tests import making


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    made = making.ready()
    making.dead(made[0], *[f"k{number}" for number in range(10)])
    return made


@pytest.fixture
def dead(owner: Tenant) -> list[Execution]:
    """Ten executions in DLQ that finished at the same time."""
    return list(Execution.objects.filter(tenant=owner).order_by("execution_key"))


@pytest.fixture
def quiet(db: None) -> Tenant:
    return making.ready()[0]
