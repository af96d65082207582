import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone

from executions.models import Execution, Worker
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making

LogIn = Callable[..., Client]


@dataclass(frozen=True)
class World:
    tenant: Tenant
    release: Release
    worker: Worker
    execution: Execution
    token: ApiToken
    plain_token: str


@pytest.fixture(scope="module", autouse=True)
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Serve static files without the output of `collectstatic`."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        STATIC_ROOT=tmp_path_factory.mktemp("static"), STORAGES={**settings.STORAGES, "staticfiles": plain}
    ):
        yield


def furnished(slug: str, pipeline_id: str) -> World:
    tenant = making.tenant(slug)
    admin = person(f"tenant-admin-of-{slug}", tenant, Role.TENANT_ADMIN)
    release = making.active(tenant, pipeline_id=pipeline_id)
    lasting = timezone.now() + timedelta(days=1)
    worker = making.worker(release, f"worker-of-{slug}", alive_until=lasting)
    execution = making.execution(tenant, f"key-of-{slug}", pipeline_id=pipeline_id)
    token, plain = issue_token(tenant, admin, f"token-of-{slug}", [Scope.READ], lifetime=None)
    return World(tenant, release, worker, execution, token, plain)


def person(username: str, tenant: Tenant | None = None, role: Role | None = None) -> User:
    user = User.objects.create_user(username, is_staff=True)
    if tenant is not None and role is not None:
        Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


@pytest.fixture(scope="module")
def shared_acme(module_world: None) -> World:
    world = furnished("acme", "acme.orders")
    for role in set(Role) - {Role.TENANT_ADMIN}:
        person(role.value, world.tenant, role)
    person("nobody")
    User.objects.create_superuser("superuser")
    return world


@pytest.fixture
def acme(shared_acme: World, db: None) -> World:
    return copy.deepcopy(shared_acme)


@pytest.fixture
def newer(acme: World) -> Release:
    return making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")


@pytest.fixture
def globex(db: None) -> World:
    return furnished("globex", "globex.secrets")


USERS = {"tenant-admin": "tenant-admin-of-acme", "stranger": "tenant-admin-of-globex"}


def log_in_as(who: str, **options: Any) -> Client:
    """Return a client.

    `who` is a role of acme, `stranger` (an administrator of globex), `nobody` (a member of no tenant), `superuser` or
    `anonymous`.
    """
    client = Client(**options)
    if who != "anonymous":
        client.force_login(User.objects.get(username=USERS.get(who, who)))
    return client


@pytest.fixture
def log_in(acme: World) -> LogIn:
    """Return `log_in_as`. `stranger` creates globex; a test that needs it for another user requests that fixture."""

    def client_of(who: str, **options: Any) -> Client:
        if who == "stranger" and not User.objects.filter(username=USERS[who]).exists():
            furnished("globex", "globex.secrets")
        return log_in_as(who, **options)

    return client_of


def client_as(who: str) -> Callable[..., Client]:
    @pytest.fixture
    def client(log_in: LogIn) -> Client:
        return log_in(who)

    return client


viewer, operator, manager, admin, superuser = map(
    client_as, ("viewer", "operator", "release-manager", "tenant-admin", "superuser")
)
