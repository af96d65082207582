"""Two tenants with clients of their REST APIs."""

from typing import Any

import pytest

from tests import signing
from tests.api.tenant_api import TenantApi, tenant_api


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    """Create the folder of static files. Whitenoise warns if it is missing."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def provenance_key(settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")


@pytest.fixture
def ours() -> TenantApi:
    return tenant_api()


@pytest.fixture
def theirs() -> TenantApi:
    return tenant_api()
