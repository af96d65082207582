"""Two tenants with clients of their REST APIs, which the tests of a module share."""

import copy
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from releases.models import Release
from tenancy.models import Tenant
from tests import making, signing
from tests.api.tenant_api import TenantApi, tenant_api


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    """Create the folder of static files. Whitenoise warns if it is missing."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def provenance_key(settings: Any) -> None:
    settings.PROVENANCE_KEY = signing.private_pem("coordinator")


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    written = StringIO()
    call_command("spectacular", "--format=openapi-json", "--validate", "--fail-on-warn", stdout=written)
    found: dict[str, Any] = json.loads(written.getvalue())
    return found


@pytest.fixture(scope="module")
def shared_ours(module_world: None) -> TenantApi:
    return tenant_api()


@pytest.fixture(scope="module")
def shared_theirs(module_world: None) -> TenantApi:
    return tenant_api()


@pytest.fixture
def ours(shared_ours: TenantApi) -> TenantApi:
    return copy.deepcopy(shared_ours)


@pytest.fixture
def theirs(shared_theirs: TenantApi) -> TenantApi:
    return copy.deepcopy(shared_theirs)


@pytest.fixture(scope="module")
def ready(module_world: None) -> tuple[Tenant, Release]:
    """A tenant with an active release that a healthy worker hosts."""
    return making.ready()


@pytest.fixture(scope="module")
def owner(ready: tuple[Tenant, Release]) -> Tenant:
    return ready[0]
