"""Commands that change something leave entries."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from tenancy.models import AuditEntry, Tenant

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: Any) -> list[tuple[str, str, str]]:
    """Run a command. Return the act, the actor and the object of each new entry."""
    before = AuditEntry.objects.count()
    call_command(*arguments, stdout=StringIO(), stderr=StringIO(), **options)
    return list(AuditEntry.objects.order_by("id").values_list("act", "actor", "object"))[before:]


def test_a_tenant_and_its_members() -> None:
    User.objects.create_user("eva")
    by = "coordinator create_tenant"
    assert run("create_tenant", "acme", "--member", "eva") == [
        ("membership.add", by, "eva"),
        ("tenant.create", by, "acme"),
    ]
    assert run("create_tenant", "acme", "--member", "eva") == []
    assert run("create_tenant", "acme", "--member", "eva", "--role", "viewer") == [("membership.add", by, "eva")]


def test_a_token_and_a_worker_key() -> None:
    User.objects.create_superuser("eva")
    Tenant.objects.create(slug="acme", name="acme")
    assert run("issue_token", "acme", "ci", "--user", "eva") == [("token.issue", "user:eva", "ci")]
    assert run("worker_key", "acme", "--start") == [("worker_key.change", "coordinator worker_key", "2")]
    assert run("worker_key", "acme") == []
