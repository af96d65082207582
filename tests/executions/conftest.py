"""Fixtures of the execution tests.

The tests of a module share a tenant with an active release that a healthy worker hosts.
"""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from executions.models import Execution
from executions.state_machine.moves import Claim
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import using_broker


@pytest.fixture(autouse=True)
def in_transaction(db: None) -> None:
    """What a test writes is rolled back."""


@pytest.fixture
def broken_broker() -> Iterator[None]:
    """Configure a broker that is not available: nothing listens on port 1."""
    with using_broker("redis://127.0.0.1:1/0"):
        yield


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.ready()


@pytest.fixture
def owner(world: tuple[Tenant, Release]) -> Tenant:
    return copy.deepcopy(world[0])


@pytest.fixture
def release(world: tuple[Tenant, Release]) -> Release:
    return copy.deepcopy(world[1])


@pytest.fixture
def ready(owner: Tenant, release: Release) -> tuple[Tenant, Release]:
    return owner, release


@pytest.fixture
def execution(owner: Tenant) -> Execution:
    return making.execution(owner)


@pytest.fixture
def claim(owner: Tenant, execution: Execution) -> Claim:
    [claim] = making.claimed(owner)
    return claim


@pytest.fixture
def app() -> Any:
    return current_app


@pytest.fixture
def retries(settings: Any) -> None:
    """Two retries, after 10 and 20 seconds."""
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS = 2, 10
    settings.RETRY_MULTIPLIER, settings.RETRY_JITTER = 2, 0
