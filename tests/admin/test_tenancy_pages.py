"""The admin pages of tenants, memberships, API tokens and users, and the exports of their lists."""

import csv
import json
import logging
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from knox.crypto import hash_token

from executions.lifecycle.cancellation import cancel
from tenancy.access import issue_token
from tenancy.admin import exported_list
from tenancy.admin.tokens import state_of
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import PURPOSE, Role, Scope
from tests import making, signing
from tests.admin.browsing import listed, said, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import check_foreign_keys_now, run

ISSUE, ADD = "tenancy_apitoken_add", "tenancy_membership_add"
PASSWORD = "correct-horse-battery-staple"


@pytest.fixture
def admin(log_in: LogIn) -> Client:
    return log_in("tenant-admin")


@pytest.fixture
def superuser(log_in: LogIn) -> Client:
    return log_in("superuser")


# --- tokens ---


def token_form(world: World, **more: Any) -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "name": "robot", "scopes": ["read"], "lifetime": "30", **more}


def test_only_one_response_contains_the_plain_text_of_a_token(
    admin: Client, acme: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = admin.post(to(ISSUE), token_form(acme, scopes=["read", "executions:submit"]))
    plain, token = answer.context["plain"], ApiToken.objects.get(name="robot")
    assert (answer.status_code, answer.text.count(plain)) == (200, 1)
    assert "no-store" in answer["Cache-Control"]
    assert (token.digest, token.scopes) == (hash_token(plain), ["executions:submit", "read"])
    assert token.expiry is not None
    assert plain not in caplog.text
    assert plain not in str(admin.cookies)
    assert not any(plain in str(session.get_decoded()) for session in Session.objects.all())
    for name, arguments in (("changelist", []), ("change", [token]), ("delete", [token]), ("add", [])):
        assert plain not in admin.get(to(f"tenancy_apitoken_{name}", *arguments)).text
    assert admin.post(to("tenancy_apitoken_delete", token), {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.filter(pk=token.pk).exists()


@cases(
    "wrong",
    [{"name": ""}, {"scopes": []}, {"scopes": ["everything"]}, {"lifetime": "1000000"}, {"name": "token-of-acme"}],
)
def test_invalid_tokens_are_not_issued(wrong: dict[str, Any], admin: Client, acme: World) -> None:
    before = ApiToken.objects.count()
    answer = admin.post(to(ISSUE), token_form(acme, **wrong))
    assert (answer.status_code, *answer.context["form"].errors) == (400, *wrong)
    assert ApiToken.objects.count() == before


def test_only_a_duplicate_name_is_reported_as_one(admin: Client, acme: World) -> None:
    check_foreign_keys_now()
    run("ALTER TABLE tenancy_apitoken ADD CONSTRAINT no_robots CHECK (name <> 'robot')")
    with pytest.raises(IntegrityError, match="no_robots"):
        admin.post(to(ISSUE), token_form(acme))


def test_the_page_offers_no_lifetime_beyond_the_limit_of_the_installation(
    admin: Client, acme: World, settings: Any
) -> None:
    settings.TOKEN_MAX_DAYS = 45
    assert "45 days" in admin.get(to(ISSUE)).text
    for lifetime, status in (("", 400), ("90", 400), ("46", 400), ("45", 200)):
        assert admin.post(to(ISSUE), token_form(acme, lifetime=lifetime)).status_code == status, lifetime
    assert ApiToken.objects.get(name="robot").expiry < timezone.now() + timedelta(days=45)


def tokens(client: Client, query: str = "") -> set[str]:
    return {token.name for token in listed(client, "tenancy_apitoken", query)}


def states(client: Client) -> dict[str, str]:
    return {token.name: state_of(token) for token in listed(client, "tenancy_apitoken")}


def test_the_token_list_shows_unused_expiring_and_unusable_tokens(superuser: Client, acme: World) -> None:
    now, owner = timezone.now(), User.objects.get(username="tenant-admin-of-acme")
    for name, made, used, days in (
        *(("new", 1, None, 100), ("used", 60, 2, 100), ("idle", 60, 40, 100), ("never", 60, None, 100)),
        *(("soon", 1, None, 13), ("later", 1, None, 15), ("over", 1, None, -1)),
    ):
        token, _ = issue_token(acme.tenant, owner, name, [Scope.READ], lifetime=None)
        ApiToken.objects.filter(pk=token.pk).update(
            created=now - timedelta(days=made),
            last_used_at=None if used is None else now - timedelta(days=used),
            expiry=now + timedelta(days=days, minutes=1),
        )
    everything = tokens(superuser)
    assert tokens(superuser, "unused=30&tenant=acme") == {"idle", "never"}
    assert tokens(superuser, "unused=90&tenant=acme") == set()
    assert tokens(superuser, "unused=x%00&tenant=acme") == everything
    assert tokens(superuser, "expiry=soon") == {"soon"}
    assert tokens(superuser, "expiry=valid") == everything - {"over"}
    assert tokens(superuser, "expiry=expired") == {"over"}
    found = states(superuser)
    assert [found[name] for name in ("soon", "later", "over")] == ["expires soon", "valid", "expired"]
    issue_token(acme.tenant, owner, "robot", [Scope.READ, Scope.SUBMIT], lifetime=None)
    Membership.objects.filter(user=owner).update(role="viewer")
    assert "owner left" not in states(superuser).values()
    text = superuser.get(to("tenancy_apitoken_changelist")).text
    assert "executions:submit (owner lacks it), read" in text
    assert "expires soon" in text
    Membership.objects.filter(user=owner).delete()
    found = states(superuser)
    assert (found["new"], found["over"]) == ("owner left", "expired")


# --- members ---


def member_form(world: World, username: str = "nobody", role: str = "viewer") -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "username": username, "role": role}


def test_a_member_is_added_by_name_gets_each_role_once_and_leaves(admin: Client, acme: World, globex: World) -> None:
    text = admin.get(to(ADD)).text
    assert all(escape(PURPOSE[role]) in text for role in Role)
    assert ["globex" in text, "nobody" in text] == [False, False], "the form lists neither users nor other tenants"
    for role in ("viewer", "on-call"):
        assert admin.post(to(ADD), member_form(acme, role=role)).status_code == 302
    rows = Membership.objects.filter(user__username="nobody").order_by("role")
    assert [(row.tenant, row.role) for row in rows] == [(acme.tenant, "on-call"), (acme.tenant, "viewer")]
    viewer, other = rows[1], User.objects.get(username="superuser")
    change = to("tenancy_membership_change", viewer)
    answer = admin.post(change, {"role": "on-call"})
    assert answer.context["adminform"].form.errors == {"role": ["This user already has this role."]}
    moved = {"role": "operator", "tenant": globex.tenant.pk, "user": other.pk, "username": "superuser"}
    assert admin.post(change, moved).status_code == 302
    kept = Membership.objects.get(pk=viewer.pk)
    assert (kept.tenant, kept.user, kept.role) == (acme.tenant, viewer.user, "operator")
    assert admin.post(to("tenancy_membership_delete", viewer), {"post": "yes"}).status_code == 302
    assert not Membership.objects.filter(pk=viewer.pk).exists()


def test_a_changed_role_says_what_the_member_gains_and_loses(admin: Client, acme: World) -> None:
    member = Membership.objects.get(tenant=acme.tenant, role="operator")
    found = said(admin.post(to("tenancy_membership_change", member), {"role": "release-manager"}, follow=True))
    assert any("operator can now: upload releases; activate" in text for text in found), found
    assert any("operator can no longer: submit executions; " in text for text in found), found
    found = said(admin.post(to(ADD), member_form(acme, "operator"), follow=True))
    assert not any("can now" in text or "can no longer" in text for text in found), "the role grants nothing new"
    found = said(admin.post(to("tenancy_membership_delete", member), {"post": "yes"}, follow=True))
    assert any("operator can no longer:" in text and "upload releases" in text for text in found), found


@cases(
    ("username", "role", "active", "wrong"),
    [
        *(("unknown", "viewer", True, "username"), ("nobody", "emperor", True, "role")),
        ("nobody", "viewer", False, "username"),
    ],
)
def test_invalid_memberships_are_rejected(
    username: str, role: str, active: bool, wrong: str, admin: Client, acme: World
) -> None:
    User.objects.filter(username="nobody").update(is_active=active)
    before = Membership.objects.count()
    answer = admin.post(to(ADD), member_form(acme, username, role))
    assert answer.context["adminform"].form.errors.keys() == {wrong}
    assert admin.post(to(ADD), member_form(acme, "viewer")).context["adminform"].form.errors
    assert Membership.objects.count() == before


# --- tenants ---


def test_superusers_create_tenants_and_cannot_change_slugs(superuser: Client) -> None:
    assert superuser.post(to("tenancy_tenant_add"), {"slug": "initech", "name": "Initech"}).status_code == 302
    made = Tenant.objects.get(slug="initech")
    change = to("tenancy_tenant_change", made)
    assert superuser.post(change, {"slug": "other", "name": "Initech & Co"}).status_code == 302
    made.refresh_from_db()
    assert (made.slug, made.name) == ("initech", "Initech & Co")
    assert superuser.post(to("tenancy_tenant_add"), {"slug": "No Slug", "name": "x"}).status_code == 200


def test_a_superuser_sets_retention_and_quotas_and_sees_what_they_mean(superuser: Client, acme: World) -> None:
    address = to("tenancy_tenant_change", acme.tenant)
    assert "Open executions: 1, no limit" in superuser.get(address).text
    quotas = {"quota_open_executions": "4", "quota_payload_bytes": "1000", "quota_workers": "1"}
    form = {"name": "Acme", "retention_days": "45", "failed_retention_days": "", **quotas}
    assert superuser.post(address, form).status_code == 302
    shown = superuser.get(address).text
    for line in ("Open executions: 1 of 4 (25%)", "at most 1,000 each", "Live workers: 1 of 1 (100%)"):
        assert line in shown
    acme.tenant.refresh_from_db()
    assert (acme.tenant.retention_days, acme.tenant.failed_retention_days) == (45, None)
    cancel(acme.tenant, acme.execution.pk, actor="user:ann", reason="")
    making.aged(acme.execution, days=40)
    shown = superuser.get(address).text
    assert "cancelled: 1 after 1 day, 1 after 7 days, 1 after 30 days" in shown
    assert "0 after 45 days" in shown
    for name, value in (
        *(("retention_days", value) for value in ("0", "36501", "2147483648", str(10**30))),
        ("quota_workers", "-1"),
    ):
        answer = superuser.post(address, {**form, name: value})
        assert answer.context["adminform"].form.errors.keys() == {name}
    acme.tenant.refresh_from_db()
    assert acme.tenant.retention_days == 45


# --- users ---


def test_a_new_user_can_log_in_but_sees_nothing_without_a_membership(superuser: Client) -> None:
    form = {"username": "newcomer", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert superuser.post(to("auth_user_add"), form).status_code == 302
    client = Client()
    assert client.login(username="newcomer", password=PASSWORD)
    assert client.get(to("index")).status_code == 200
    assert client.get(to("releases_release_changelist")).status_code == 403


def test_no_form_disables_a_password_because_that_would_not_end_the_tokens(superuser: Client, acme: World) -> None:
    owner = acme.token.user
    owner.set_password(PASSWORD)
    owner.save()
    address, new = to("auth_user_password_change", owner), "another-horse-battery-staple"
    superuser.post(address, {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"})
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)
    assert superuser.post(address, {"password1": new, "password2": new}).status_code == 302
    acme.token.refresh_from_db()
    assert acme.token.expiry <= timezone.now()


def test_users_cannot_be_deleted(log_in: LogIn, acme: World) -> None:
    """Deleting a user would also delete the log of the user's actions."""
    victim = acme.token.user
    for who in ("superuser", "tenant-admin"):
        assert log_in(who).post(to("auth_user_delete", victim), {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=victim.pk).exists()


# --- exports and filters ---

LISTS = {
    **{"tenancy_tenant": "slug", "tenancy_membership": "user", "tenancy_apitoken": "name"},
    **{"releases_trustedkey": "name", "auth_user": "user"},
}
"""The name of the first column of each list."""


def export(client: Client, model: str, form: str = "csv", query: str = "") -> str:
    response: Any = client.get(f"{to(f'{model}_export', form)}?{query}")
    assert response.status_code == 200
    return b"".join(response).decode()


def rows_of(client: Client, model: str, query: str = "") -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(export(client, model, "csv", query))))


def test_csv_and_json_lines_have_the_rows_of_the_list(superuser: Client, acme: World, globex: World) -> None:
    signing.trusted(acme.tenant)
    for model, first in LISTS.items():
        names = [row[first] for row in rows_of(superuser, model)]
        assert names
        assert [json.loads(line)[first] for line in export(superuser, model, "ndjson").splitlines()] == names
        assert f'data-count="{len(names)}"' in superuser.get(to(f"{model}_changelist")).text
        assert superuser.get(to(f"{model}_export", "xml")).status_code == 404


def test_an_export_has_what_the_search_and_the_filters_select_of_the_own_tenant(
    superuser: Client, admin: Client, acme: World, globex: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {row["tenant"] for row in rows_of(admin, "tenancy_membership")} == {"acme"}
    assert [row["name"] for row in rows_of(admin, "tenancy_apitoken")] == ["token-of-acme"]
    for query, names in (("role=viewer", ["viewer"]), ("q=on-c", ["on-call"])):
        assert [row["user"] for row in rows_of(admin, "tenancy_membership", query)] == names
    assert rows_of(admin, "tenancy_apitoken", "expiry=expired") == []
    [row] = rows_of(admin, "tenancy_tenant")
    assert (row["slug"], row["members"], row["validTokens"]) == ("acme", "5", "1")
    for client, is_shown in ((admin, False), (superuser, True)):
        assert ("column-tenant" in client.get(to("tenancy_apitoken_changelist")).text) == is_shown
    User.objects.filter(username="viewer").update(first_name="=HYPERLINK(1)")
    Tenant.objects.filter(pk=acme.tenant.pk).update(name="@SUM(1)")
    for model in ("tenancy_membership", "auth_user"):
        assert "'=HYPERLINK(1)" in {row["name"] for row in rows_of(superuser, model)}, "no cell is a formula"
    assert "'@SUM(1)" in {row["name"] for row in rows_of(superuser, "tenancy_tenant")}
    users = User.objects.bulk_create(User(username=f"member-{number}") for number in range(100))
    Membership.objects.bulk_create(Membership(tenant=acme.tenant, user=user, role="viewer") for user in users)
    assert export(admin, "tenancy_membership", query="p=2")
    assert admin.get(f"{to('tenancy_membership_export', 'csv')}?p=99").status_code == 404
    monkeypatch.setattr(exported_list, "MOST", 2)
    answer = admin.get(f"{to('tenancy_membership_export', 'csv')}?q=o", follow=True)
    assert answer.request["QUERY_STRING"] == "q=o"
    assert "More than 2 rows match" in answer.text


def test_members_users_and_keys_are_filtered(log_in: LogIn, superuser: Client, acme: World) -> None:
    def found(client: Client, model: str, query: str) -> set[str]:
        return {str(getattr(row, "user", row)) for row in listed(client, model, query)}

    User.objects.update(last_login=None)
    admin = log_in("tenant-admin")  # this sets the time of the log-in
    assert found(admin, "tenancy_membership", "role=on-call") == {"on-call"}
    never = found(admin, "tenancy_membership", "log-in=never")
    assert never == {"viewer", "operator", "on-call", "release-manager"}
    assert found(admin, "tenancy_membership", "log-in=30") == never
    assert len(found(admin, "tenancy_membership", "log-in=x%00")) == 5
    User.objects.filter(username="operator").update(is_active=False)
    for state, name in (("inactive", "operator"), ("superuser", "superuser"), ("alone", "nobody")):
        assert found(superuser, "auth_user", f"state={state}") == {name}
    key = signing.trusted(acme.tenant)
    assert found(admin, "releases_trustedkey", "state=trusted") == {str(key)}
    assert found(admin, "releases_trustedkey", "state=revoked") == set()
