"""A tenant with failed executions, which the tests of a module share."""

import copy

import pytest

from executions.models import Execution
from tenancy.models import Tenant
from tests import making


@pytest.fixture(scope="module")
def failing(module_world: None) -> tuple[Tenant, list[Execution]]:
    owner, _ = making.ready()
    return owner, making.dead(owner, *[f"k{number}" for number in range(10)])


@pytest.fixture
def owner(failing: tuple[Tenant, list[Execution]]) -> Tenant:
    return copy.deepcopy(failing[0])


@pytest.fixture
def dead(failing: tuple[Tenant, list[Execution]]) -> list[Execution]:
    """Ten executions in DLQ that finished at the same time."""
    return copy.deepcopy(failing[1])


@pytest.fixture
def quiet(db: None) -> Tenant:
    """A tenant without executions."""
    return making.ready()[0]
