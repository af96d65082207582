"""A claimed execution, for the tests of its outcome."""

from typing import Any

import pytest

from executions.models import Execution
from executions.state_machine.moves import Claim
from tenancy.models import Tenant
from tests import making


@pytest.fixture
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS = 2, 10
    settings.RETRY_MULTIPLIER, settings.RETRY_JITTER = 2, 0


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def execution(owner: Tenant) -> Execution:
    return making.execution(owner)


@pytest.fixture
def claim(owner: Tenant, execution: Execution) -> Claim:
    return making.claimed(owner)[0]
