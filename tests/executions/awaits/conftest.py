import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.submission.continuing import order
from tests.receiving import local_receivers, receiver

__all__ = ["local_receivers", "receiver"]


@pytest.fixture(scope="module")
def ready(module_world: None) -> tuple[Tenant, Release]:
    return making.ready(schemaVersion=2, canonicalTypes=order("n"))
