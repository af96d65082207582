"""The admin pages of tenants, memberships, API tokens and users."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import IntegrityError
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from knox.crypto import hash_token

from executions.lifecycle.cancellation import cancel
from tenancy.access import issue_token
from tenancy.admin.tokens import state_of
from tenancy.models import ApiToken, Membership, Tenant
from tenancy.roles import PURPOSE, Role, Scope
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import check_foreign_keys_now, run

ISSUE = "admin:tenancy_apitoken_add"


def token_form(world: World, **more: Any) -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "name": "robot", "scopes": ["read"], "lifetime": "30", **more}


def test_only_one_response_contains_the_plain_text_of_a_token(
    log_in: LogIn, acme: World, caplog: pytest.LogCaptureFixture
) -> None:
    client = log_in("tenant-admin")
    with caplog.at_level(logging.DEBUG):
        answer = client.post(reverse(ISSUE), token_form(acme, scopes=["read", "executions:submit"]))
    plain = answer.context["plain"]
    token = ApiToken.objects.get(name="robot")
    assert answer.status_code == 200
    assert answer.text.count(plain) == 1
    assert "no-store" in answer["Cache-Control"]
    assert (token.digest, token.scopes) == (hash_token(plain), ["executions:submit", "read"])
    assert token.expiry is not None
    assert plain not in caplog.text
    assert plain not in str(client.cookies)
    assert not any(plain in str(session.get_decoded()) for session in Session.objects.all())
    for name, arguments in (("changelist", []), ("change", [token.pk]), ("delete", [token.pk]), ("add", [])):
        assert plain not in client.get(reverse(f"admin:tenancy_apitoken_{name}", args=arguments)).text


def test_revoking_a_token_deletes_it(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:tenancy_apitoken_delete", args=[acme.token.pk])
    assert log_in("tenant-admin").post(address, {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.filter(pk=acme.token.pk).exists()


@cases(
    "wrong",
    [{"name": ""}, {"scopes": []}, {"scopes": ["everything"]}, {"lifetime": "1000000"}, {"name": "token-of-acme"}],
)
def test_invalid_tokens_are_not_issued(wrong: dict[str, Any], log_in: LogIn, acme: World) -> None:
    before = ApiToken.objects.count()
    answer = log_in("tenant-admin").post(reverse(ISSUE), token_form(acme, **wrong))
    assert answer.status_code == 400
    assert ApiToken.objects.count() == before


def test_only_a_duplicate_name_is_reported_as_one(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    taken = client.post(reverse(ISSUE), token_form(acme, name="token-of-acme"))
    assert taken.context["form"].errors.keys() == {"name"}
    check_foreign_keys_now()
    run("ALTER TABLE tenancy_apitoken ADD CONSTRAINT no_robots CHECK (name <> 'robot')")
    with pytest.raises(IntegrityError, match="no_robots"):
        client.post(reverse(ISSUE), token_form(acme))


def test_only_tenant_admins_issue_and_revoke_tokens(log_in: LogIn, acme: World, globex: World) -> None:
    before = ApiToken.objects.count()
    assert log_in("stranger").post(reverse(ISSUE), token_form(acme)).status_code == 400
    for who in ("viewer", "operator", "release-manager", "nobody"):
        assert log_in(who).post(reverse(ISSUE), token_form(acme)).status_code == 403
    revoke = reverse("admin:tenancy_apitoken_delete", args=[acme.token.pk])
    assert log_in("stranger").post(revoke, {"post": "yes"}).status_code == 404
    assert log_in("viewer").post(revoke, {"post": "yes"}).status_code in {403, 404}
    assert ApiToken.objects.count() == before


def member_form(world: World, username: str = "nobody", role: str = "viewer") -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "username": username, "role": role}


def test_a_tenant_admin_adds_a_member_by_name_and_changes_the_role(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    assert client.post(reverse("admin:tenancy_membership_add"), member_form(acme)).status_code == 302
    made = Membership.objects.get(user__username="nobody")
    assert (made.tenant, made.role) == (acme.tenant, "viewer")
    address = reverse("admin:tenancy_membership_change", args=[made.pk])
    assert client.post(address, {"role": "operator"}).status_code == 302
    made.refresh_from_db()
    assert made.role == "operator"
    assert client.post(reverse("admin:tenancy_membership_delete", args=[made.pk]), {"post": "yes"}).status_code == 302
    assert not Membership.objects.filter(pk=made.pk).exists()


def test_a_member_gets_a_second_role_and_each_role_once(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    form = member_form(acme, "viewer", "on-call")
    assert client.post(reverse("admin:tenancy_membership_add"), form).status_code == 302
    rows = Membership.objects.filter(user__username="viewer").order_by("role")
    assert [row.role for row in rows] == ["on-call", "viewer"]
    answer = client.post(reverse("admin:tenancy_membership_change", args=[rows[1].pk]), {"role": "on-call"})
    assert answer.context["adminform"].form.errors == {"role": ["This user already has this role."]}
    assert [row.role for row in rows.all()] == ["on-call", "viewer"]
    assert (
        client.post(reverse("admin:tenancy_membership_change", args=[rows[1].pk]), {"role": "viewer"}).status_code
        == 302
    )


def messages_of(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_a_changed_role_says_what_the_member_gains_and_loses(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    member = Membership.objects.get(tenant=acme.tenant, role="operator")
    address = reverse("admin:tenancy_membership_change", args=[member.pk])
    said = messages_of(client.post(address, {"role": "release-manager"}, follow=True))
    assert any("operator can now: upload releases; activate" in text for text in said), said
    assert any("operator can no longer: submit executions; " in text for text in said), said
    # A second role that grants nothing new says nothing more.
    said = messages_of(client.post(reverse("admin:tenancy_membership_add"), member_form(acme, "operator"), follow=True))
    assert not any("can now" in text or "can no longer" in text for text in said), said
    page = reverse("admin:tenancy_membership_delete", args=[member.pk])
    said = messages_of(client.post(page, {"post": "yes"}, follow=True))
    assert any("operator can no longer:" in text and "upload releases" in text for text in said), said


def test_the_form_of_a_member_says_what_each_role_allows(log_in: LogIn, acme: World) -> None:
    text = log_in("tenant-admin").get(reverse("admin:tenancy_membership_add")).text
    for role in Role:
        assert escape(PURPOSE[role]) in text


def test_the_form_lists_neither_users_nor_other_tenants(log_in: LogIn, acme: World, globex: World) -> None:
    text = log_in("tenant-admin").get(reverse("admin:tenancy_membership_add")).text
    assert "globex" not in text
    assert "nobody" not in text


@cases(("username", "role"), [("unknown", "viewer"), ("viewer", "viewer"), ("nobody", "emperor")])
def test_invalid_memberships_are_rejected(username: str, role: str, log_in: LogIn, acme: World) -> None:
    before = list(Membership.objects.values_list("user", "tenant", "role"))
    answer = log_in("tenant-admin").post(reverse("admin:tenancy_membership_add"), member_form(acme, username, role))
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors
    assert list(Membership.objects.values_list("user", "tenant", "role")) == before


def test_an_inactive_user_cannot_become_a_member(log_in: LogIn, acme: World) -> None:
    User.objects.filter(username="nobody").update(is_active=False)
    answer = log_in("tenant-admin").post(reverse("admin:tenancy_membership_add"), member_form(acme))
    assert answer.context["adminform"].form.errors.keys() == {"username"}
    assert not Membership.objects.filter(user__username="nobody").exists()


def test_only_tenant_admins_change_memberships(log_in: LogIn, acme: World, globex: World) -> None:
    before = sorted(Membership.objects.values_list("user", "tenant", "role"))
    theirs = Membership.objects.get(tenant=acme.tenant, role="viewer")
    change = reverse("admin:tenancy_membership_change", args=[theirs.pk])
    delete = reverse("admin:tenancy_membership_delete", args=[theirs.pk])
    stranger = log_in("stranger")
    assert "Select a valid choice" in stranger.post(reverse("admin:tenancy_membership_add"), member_form(acme)).text
    assert stranger.post(change, {"role": "tenant-admin"}).status_code == 404
    assert stranger.post(delete, {"post": "yes"}).status_code == 404
    for who in ("viewer", "operator", "release-manager", "nobody"):
        client = log_in(who)
        assert client.post(reverse("admin:tenancy_membership_add"), member_form(acme, who)).status_code == 403
        assert client.post(change, {"role": "tenant-admin"}).status_code in {403, 404}
        assert client.post(delete, {"post": "yes"}).status_code in {403, 404}
    assert sorted(Membership.objects.values_list("user", "tenant", "role")) == before


def test_a_membership_cannot_move_to_another_tenant_or_user(log_in: LogIn, acme: World, globex: World) -> None:
    mine = Membership.objects.get(tenant=acme.tenant, role="viewer")
    other = User.objects.get(username="nobody")
    form = {"role": "operator", "tenant": globex.tenant.pk, "user": other.pk, "username": "nobody"}
    log_in("tenant-admin").post(reverse("admin:tenancy_membership_change", args=[mine.pk]), form)
    kept = Membership.objects.get(pk=mine.pk)
    assert (kept.tenant, kept.user) == (mine.tenant, mine.user)


def test_superusers_create_tenants_and_cannot_change_slugs(log_in: LogIn) -> None:
    client = log_in("superuser")
    form = {"slug": "initech", "name": "Initech"}
    assert client.post(reverse("admin:tenancy_tenant_add"), form).status_code == 302
    made = Tenant.objects.get(slug="initech")
    change = reverse("admin:tenancy_tenant_change", args=[made.pk])
    assert client.post(change, {"slug": "other", "name": "Initech & Co"}).status_code == 302
    made.refresh_from_db()
    assert (made.slug, made.name) == ("initech", "Initech & Co")
    assert client.post(reverse("admin:tenancy_tenant_add"), {"slug": "No Slug", "name": "x"}).status_code == 200
    assert log_in("tenant-admin").post(reverse("admin:tenancy_tenant_add"), form).status_code == 403


def test_a_new_user_can_log_in_but_sees_nothing_without_a_membership(log_in: LogIn) -> None:
    password = "correct-horse-battery-staple"
    form = {"username": "newcomer", "password1": password, "password2": password, "usable_password": "true"}
    assert log_in("superuser").post(reverse("admin:auth_user_add"), form).status_code == 302
    client = log_in("anonymous")
    assert client.login(username="newcomer", password=password)
    assert client.get(reverse("admin:index")).status_code == 200
    assert client.get(reverse("admin:releases_release_changelist")).status_code == 403


def test_no_form_disables_a_password_because_that_would_not_end_the_tokens(log_in: LogIn, acme: World) -> None:
    owner, password = acme.token.user, "correct-horse-battery-staple"
    owner.set_password(password)
    owner.save()
    client, address = log_in("superuser"), reverse("admin:auth_user_password_change", args=[owner.pk])
    client.post(address, {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"})
    owner.refresh_from_db()
    assert owner.check_password(password)
    new = "another-horse-battery-staple"
    assert client.post(address, {"password1": new, "password2": new}).status_code == 302
    acme.token.refresh_from_db()
    assert acme.token.expiry <= timezone.now()


@cases("who", ["tenant-admin", "viewer", "stranger"])
def test_only_superusers_change_users(who: str, log_in: LogIn) -> None:
    victim = User.objects.get(username="superuser")
    client = log_in(who)
    assert client.get(reverse("admin:auth_user_change", args=[victim.pk])).status_code == 403
    assert client.get(reverse("admin:auth_user_password_change", args=[victim.pk])).status_code == 403
    assert client.post(reverse("admin:auth_user_delete", args=[victim.pk]), {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=victim.pk).exists()


def test_users_cannot_be_deleted(log_in: LogIn, acme: World) -> None:
    # Deleting a user would also delete the log of the user's actions.
    delete = reverse("admin:auth_user_delete", args=[acme.token.user.pk])
    assert log_in("superuser").post(delete, {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=acme.token.user.pk).exists()


def test_a_superuser_sets_retention_and_sees_what_each_term_would_remove(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:tenancy_tenant_change", args=[acme.tenant.pk])
    client = log_in("superuser")
    cancel(acme.tenant, acme.execution.pk, actor="user:ann", reason="")
    making.aged(acme.execution, days=40)
    shown = client.get(address).text
    assert "cancelled: 1 after 1 day, 1 after 7 days, 1 after 30 days, 0 after 90 days" in shown
    form = {"name": "Acme", "retention_days": "45", "failed_retention_days": ""}
    assert client.post(address, form).status_code == 302
    acme.tenant.refresh_from_db()
    assert (acme.tenant.retention_days, acme.tenant.failed_retention_days) == (45, None)
    assert "0 after 45 days" in client.get(address).text
    assert client.post(address, {**form, "retention_days": "0"}).status_code == 200


def test_a_superuser_sets_quotas_and_sees_how_much_of_each_is_used(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:tenancy_tenant_change", args=[acme.tenant.pk])
    client = log_in("superuser")
    assert "Open executions: 1, no limit" in client.get(address).text
    form = {"name": "Acme", "quota_open_executions": "4", "quota_payload_bytes": "1000", "quota_workers": "1"}
    assert client.post(address, form).status_code == 302
    shown = client.get(address).text
    for line in (
        "Open executions: 1 of 4 (25%)",
        "Bytes of an input: at most 1,000 each",
        "Live workers: 1 of 1 (100%)",
    ):
        assert line in shown
    assert client.post(address, {**form, "quota_workers": "-1"}).status_code == 200


def listed(answer: Any) -> set[str]:
    return {token.name for token in answer.context["cl"].result_list}


def test_the_token_list_shows_unused_and_unusable_tokens(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    owner = User.objects.get(username="tenant-admin-of-acme")
    now = timezone.now()
    for name, made, used in (("new", 1, None), ("used", 60, 2), ("idle", 60, 40), ("never", 60, None)):
        token, _ = issue_token(acme.tenant, owner, name, [Scope.READ], lifetime=None)
        used_at = None if used is None else now - timedelta(days=used)
        expiry = token.expiry - timedelta(days=made + 1)
        ApiToken.objects.filter(pk=token.pk).update(
            created=now - timedelta(days=made), last_used_at=used_at, expiry=expiry
        )
    address = reverse("admin:tenancy_apitoken_changelist")
    assert listed(client.get(address, {"unused": "30", "tenant": "acme"})) == {"idle", "never"}
    assert listed(client.get(address, {"unused": "90", "tenant": "acme"})) == set()
    assert listed(client.get(address, {"unused": "x\0", "tenant": "acme"})) >= {"new", "used", "idle", "never"}
    ApiToken.objects.filter(name="idle").update(expiry=now)
    assert states(client.get(address))["idle"] == "expired"
    Membership.objects.filter(user=owner).update(role="viewer")
    assert "owner left" not in states(client.get(address)).values()
    Membership.objects.filter(user=owner).delete()
    assert states(client.get(address))["new"] == "owner left"
    assert states(client.get(address))["idle"] == "expired"


def states(answer: Any) -> dict[str, str]:
    return {token.name: state_of(token) for token in answer.context["cl"].result_list}


def test_tokens_that_expire_soon_are_marked_and_can_be_filtered(log_in: LogIn, acme: World) -> None:
    client, now = log_in("tenant-admin"), timezone.now()
    owner = User.objects.get(username="tenant-admin-of-acme")
    for name, days in (("soon", 13), ("later", 15), ("over", -1)):
        token, _ = issue_token(acme.tenant, owner, name, [Scope.READ], lifetime=None)
        ApiToken.objects.filter(pk=token.pk).update(expiry=now + timedelta(days=days, minutes=1))
    address = reverse("admin:tenancy_apitoken_changelist")
    found = {choice: listed(client.get(address, {"expiry": choice})) for choice in ("soon", "valid", "expired")}
    assert found["soon"] == {"soon"}
    assert found["valid"] == {"soon", "later", "token-of-acme"}
    assert found["expired"] == {"over"}
    answer = client.get(address)
    assert states(answer)["soon"] == "expires soon"
    assert states(answer)["later"] == "valid"
    assert "expires soon" in answer.text


def test_the_token_list_shows_which_scopes_an_owner_lacks(log_in: LogIn, acme: World) -> None:
    owner = User.objects.get(username="tenant-admin-of-acme")
    issue_token(acme.tenant, owner, "robot", [Scope.READ, Scope.SUBMIT], lifetime=None)
    Membership.objects.filter(user=owner).update(role="viewer")
    text = log_in("superuser").get(reverse("admin:tenancy_apitoken_changelist")).text
    assert "executions:submit (owner lacks it), read" in text


def test_the_page_offers_no_lifetime_beyond_the_limit_of_the_installation(
    log_in: LogIn, acme: World, settings: Any
) -> None:
    settings.TOKEN_MAX_DAYS = 45
    client = log_in("tenant-admin")
    assert "45 days" in client.get(reverse(ISSUE)).text
    for lifetime, status in (("", 400), ("90", 400), ("46", 400), ("45", 200)):
        assert client.post(reverse(ISSUE), token_form(acme, lifetime=lifetime)).status_code == status, lifetime
    assert ApiToken.objects.get(name="robot").expiry < timezone.now() + timedelta(days=45)
