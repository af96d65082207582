"""The migration that gives tokens the scope `payloads:read`, and the scopes of tokens for which none are named."""

from importlib import import_module
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from tenancy.access import issue_token
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making, raw_sql
from tests.cases import cases

pytestmark = pytest.mark.django_db
MIGRATION = import_module("tenancy.migrations.0007_payload_scope")


def owner(tenant: Tenant, role: Role) -> User:
    user = User.objects.create_user(f"{role.value}-{tenant.slug}")
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


def test_every_token_that_reads_gets_the_scope_and_no_other_token() -> None:
    tenant = making.tenant()
    admin = owner(tenant, Role.TENANT_ADMIN)
    before: dict[str, list[Scope]] = {
        "reads": [Scope.READ],
        "submits": [Scope.SUBMIT],
        "reads and submits": [Scope.SUBMIT, Scope.READ],
        "has it": [Scope.READ, Scope.PAYLOADS],
    }
    for name, scopes in before.items():
        issue_token(tenant, admin, name, scopes, lifetime=None)

    def scopes_of() -> dict[str, list[str]]:
        return dict(ApiToken.objects.filter(tenant=tenant).values_list("name", "scopes"))

    raw_sql.run(MIGRATION.FORWARD)
    after = {
        "reads": ["payloads:read", "read"],
        "submits": ["executions:submit"],
        "reads and submits": ["executions:submit", "payloads:read", "read"],
        "has it": ["payloads:read", "read"],
    }
    assert scopes_of() == after
    raw_sql.run(MIGRATION.FORWARD)
    assert scopes_of() == after
    raw_sql.run(MIGRATION.BACKWARD)
    assert scopes_of()["reads and submits"] == ["executions:submit", "read"]


@cases("role", Role)
def test_a_token_without_named_scopes_reads_payloads_if_its_owner_may(role: Role) -> None:
    tenant = making.tenant()
    user = owner(tenant, role)
    call_command("issue_token", tenant.slug, "reader", "--user", user.username, stdout=StringIO())
    scopes = ApiToken.objects.get(tenant=tenant, name="reader").scopes
    assert scopes == (["read"] if role is Role.VIEWER else ["payloads:read", "read"])
