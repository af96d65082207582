"""Tests in this package commit, and use several connections."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.scenes import NOWHERE
from tests.concurrency.sessions import bounded_waits
from tests.race_database import connected_to, emptied


@pytest.fixture(autouse=True)
def committed(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Run the test on `race_database`, in all threads, and empty it afterwards."""
    with django_db_blocker.unblock(), connected_to(race_database), bounded_waits(), emptied():
        yield


@pytest.fixture(autouse=True)
def permissions(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.WEBHOOK_ATTEMPTS = 1
    settings.REST_WORKER_ORIGINS = [NOWHERE]


@pytest.fixture
def ready(committed: None) -> tuple[Tenant, Release]:
    return making.ready()
