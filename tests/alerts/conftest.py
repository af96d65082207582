"""Fixtures of the tests of alerts, which run with the rights of the application role."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.application_role import application_role
from tests.receiving import Receiver, receiving

__all__ = ["application_role"]


@pytest.fixture(scope="module")
def ready(module_world: None) -> tuple[Tenant, Release]:
    made = making.ready()
    making.lasting(made[0])
    return made


@pytest.fixture(autouse=True)
def local_receivers(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.WEBHOOK_ATTEMPTS = 3
    settings.WEBHOOK_DELAY_SECONDS = 10
    settings.RETRY_JITTER = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made
