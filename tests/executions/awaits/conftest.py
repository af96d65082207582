"""A release with a typed await, and a receiver of webhooks."""

import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.receiving import local_receivers, receiver

__all__ = ["local_receivers", "receiver"]

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
