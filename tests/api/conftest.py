import copy
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

from executions.models import Execution
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making, signing
from tests.api.tenant_api import Caller, TenantApi, tenant_api


@pytest.fixture(scope="module", autouse=True)
def installation() -> Iterator[None]:
    """An installation with a key for provenance, a REST worker, and a folder of static files."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)
    with override_settings(
        PROVENANCE_KEY=signing.private_pem("coordinator"),
        REST_WORKER_ORIGINS=["http://worker.example"],
        EMAIL_HOST="mail.example",
        PUBLIC_URL="https://coordinator.example",
    ):
        yield


@pytest.fixture(autouse=True)
def in_transaction(db: None) -> None:
    """What a test writes is rolled back."""


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    written = StringIO()
    call_command("spectacular", "--format=openapi-json", "--fail-on-warn", stdout=written)
    parsed: dict[str, Any] = json.loads(written.getvalue())
    return parsed


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
    made = making.ready()
    making.lasting(made[0])
    return made


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


@pytest.fixture(scope="module")
def owner(ready: tuple[Tenant, Release]) -> Tenant:
    return ready[0]


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ)
