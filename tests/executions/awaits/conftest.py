"""A release with a typed await, and a receiver of webhooks."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.receiving import Receiver, receiving

ORDER = {
    "Order": {
        "fingerprint": "f",
        "definition": {
            "id": "Order",
            "kind": "record",
            "fields": [{"name": "n", "type": {"kind": "scalar", "id": "integer"}}],
        },
    }
}


@pytest.fixture(scope="module")
def ready(module_world: None) -> tuple[Tenant, Release]:
    return making.ready(schemaVersion=2, canonicalTypes=ORDER)


@pytest.fixture
def local_receivers(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.WEBHOOK_ATTEMPTS = 3
    settings.WEBHOOK_DELAY_SECONDS = 10
    settings.RETRY_JITTER = 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made
