"""A tenant with failed executions."""

import pytest

from executions.models import Execution
from tenancy.models import Tenant
from tests import making


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def dead(owner: Tenant) -> list[Execution]:
    """Ten executions in DLQ that finished at the same time."""
    return making.dead(owner, *[f"k{number}" for number in range(10)])
