"""A tenant with something of everything in it, and a client that speaks with a token of any scopes."""

from typing import Any

import pytest

from tests.api.tenant_api import TenantApi, tenant_api


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    """The folder of static files is there in every installation, and its server warns where it is not."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture
def ours() -> TenantApi:
    return tenant_api()


@pytest.fixture
def theirs() -> TenantApi:
    return tenant_api()
