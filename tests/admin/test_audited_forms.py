"""Every form of the admin leaves one entry in the audit log, granted or denied. So do log-ins."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from coordinator.middleware.admin_denials import ACTS
from releases.activation.activation import activate
from tenancy.audit import recording
from tenancy.audit.acts import NAMES
from tenancy.models import AuditEntry
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_change_what import FORMS, PEOPLE, running, shared_view, unneeded
from tests.admin.test_who_may_open_what import activation_request, alert, campaign, draft, key

PASSWORD = "correct horse battery"


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.order_by("id"))


def test_a_form_leaves_one_entry_granted_or_denied(log_in: LogIn, acme: World, subtests: pytest.Subtests) -> None:
    operator_rows.question(acme)
    campaign(acme)
    draft(acme)
    key(acme)
    unneeded(acme)
    running(acme)
    shared_view(acme)
    alert(acme)
    activate(making.registered(acme.tenant, "0.9", pipeline_id="acme.orders"), actor="user:test")
    activate(acme.release, actor="user:test", reason="back")
    activation_request(acme)
    clients = {who: log_in(who) for who in PEOPLE}
    users = {"tenant-admin": "tenant-admin-of-acme", "stranger": "tenant-admin-of-globex"}
    for name, arguments, fields, allowed in FORMS:
        address = reverse(f"admin:{name}", args=arguments(acme))
        for who, client in clients.items():
            with subtests.test(name, who=who), transaction.atomic():
                recording.repeats.reset()
                before = len(entries())
                client.post(address, fields, headers={"X-Request-ID": "request-1"})
                [entry] = entries()[before:]
                assert entry.outcome == ("granted" if who in allowed else "denied")
                assert entry.act in NAMES
                assert entry.act != "admin.page"
                assert (entry.actor, entry.request_id) == (f"user:{users.get(who, who)}", "request-1")
                assert who not in allowed or entry.tenant == acme.tenant
                transaction.set_rollback(True)


def test_a_superuser_leaves_entries_for_tenants_and_users(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    password = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    for address, fields, act in (
        (reverse("admin:tenancy_tenant_add"), {"slug": "new", "name": "New"}, "tenant.create"),
        (reverse("admin:tenancy_tenant_change", args=[acme.tenant.pk]), {"name": "Other"}, "tenant.change"),
        (reverse("admin:auth_user_add"), {"username": "mia", **password}, "user.create"),
    ):
        before = len(entries())
        answer = client.post(address, fields)
        assert answer.status_code == 302, answer.content
        assert [(entry.act, entry.actor) for entry in entries()[before:]] == [(act, "user:superuser")]
    mia = User.objects.get(username="mia")
    before = len(entries())
    client.post(reverse("admin:auth_user_change", args=[mia.pk]), {"username": "mia", "is_superuser": "on"})
    client.post(reverse("admin:auth_user_password_change", args=[mia.pk]), password)
    changed, renewed = entries()[before:]
    assert (changed.act, renewed.act) == ("user.change", "user.password")
    assert '"is_active":false' in changed.details
    assert '"is_superuser":true' in changed.details
    assert PASSWORD not in "".join(f"{entry.__dict__}" for entry in entries())


def test_log_ins_and_log_outs_leave_entries(acme: World, fast_hashing: None) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client, login = Client(), reverse("admin:login")
    before = len(entries())
    client.post(login, {"username": "root", "password": "wrong"})
    client.post(login, {"username": PASSWORD, "password": "wrong"})
    client.post(login, {"username": "root", "password": PASSWORD})
    client.post(reverse("admin:logout"))
    assert [(entry.act, entry.outcome, entry.actor, entry.object) for entry in entries()[before:]] == [
        ("user.log_in", "failed", "anonymous", "root"),
        ("user.log_in", "failed", "anonymous", "(unknown)"),
        ("user.log_in", "granted", "user:root", "root"),
        ("user.log_out", "granted", "user:root", "root"),
    ]
    assert all(entry.tenant is None and entry.address == "127.0.0.1" for entry in entries()[before:])


def test_too_many_failed_log_ins_are_denied(acme: World, settings: Any, fast_hashing: None) -> None:
    settings.LOGIN_ATTEMPTS = 2
    before = len(entries())
    for _ in range(6):
        Client().post(reverse("admin:login"), {"username": "viewer", "password": "wrong"})
    assert [entry.outcome for entry in entries()[before:]] == ["failed", "denied"]


def test_a_plain_token_is_in_no_entry(log_in: LogIn, acme: World) -> None:
    before = len(entries())
    fields = {"tenant": acme.tenant.pk, "name": "ci", "scopes": ["read"], "lifetime": "30"}
    plain = log_in("tenant-admin").post(reverse("admin:tenancy_apitoken_add"), fields).context["plain"]
    [_, issued] = entries()[before:]
    assert (issued.act, issued.object) == ("token.issue", "ci")
    assert plain not in f"{issued.__dict__}"


def test_the_pages_with_acts_exist() -> None:
    pages = {pattern.name for pattern in patterns(admin.site.urls[0])}
    assert pages >= ACTS.keys()
    assert set(ACTS.values()) <= set(NAMES)


def patterns(found: Sequence[Any]) -> Iterator[Any]:
    for each in found:
        yield from patterns(each.url_patterns) if hasattr(each, "url_patterns") else [each]
