from datetime import timedelta
from io import StringIO
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.password_validation import password_validators_help_texts, validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils import timezone

from foundation.errors import NotFound
from tenancy import access, members, preferences
from tenancy.models import ApiToken, AuditEntry, Membership, SavedView, Tenant
from tenancy.roles import GRANTS, Role, Scope, granted
from tests import making
from tests.cases import cases
from tests.raw_sql import refused

pytestmark = pytest.mark.django_db

READ = Scope.READ
PAGE = SavedView.Page.EXECUTIONS


@pytest.fixture(scope="module")
def tenant(module_world: None) -> Tenant:
    return making.tenant()


def member(tenant: Tenant, role: Role, **attributes: Any) -> User:
    user = User.objects.create_user(f"{role.value}-{tenant.slug}", **attributes)
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


@cases("role", Role)
def test_each_role_grants_its_scopes_only_in_its_own_tenant(tenant: Tenant, role: Role) -> None:
    assert set(GRANTS) == set(Role)
    user, other = member(tenant, role), making.tenant()
    member(other, Role.TENANT_ADMIN)
    for scope in Scope:
        assert access.has_scope(user, tenant, scope) is (scope in GRANTS[role]), scope
        assert not access.has_scope(user, other, scope)
        assert set(access.tenants_of(user, scope)) == ({tenant} if scope in GRANTS[role] else set())


def test_who_holds_nothing_and_who_everything(tenant: Tenant) -> None:
    former = member(tenant, Role.TENANT_ADMIN, is_active=False, is_superuser=True)
    users: tuple[User | AnonymousUser, ...] = (former, User.objects.create_user("outsider"), AnonymousUser())
    for user, scope in product(users, Scope):
        with pytest.raises(NotFound):
            access.require(user, tenant, scope)
    with pytest.raises(access.ScopeMissing, match="releases:activate"):
        access.require(member(tenant, Role.VIEWER), tenant, Scope.ACTIVATE)
    root = User.objects.create_superuser("root")
    assert all(access.has_scope(root, tenant, scope) for scope in Scope)


@cases("roles", [(Role.AUDITOR, Role.APPROVER), (Role.ON_CALL, Role.RELEASE_MANAGER)])
def test_the_roles_of_a_user_in_a_tenant_add_up(tenant: Tenant, roles: tuple[Role, Role]) -> None:
    user = User.objects.create_user("both")
    Membership.objects.bulk_create(Membership(user=user, tenant=tenant, role=role) for role in roles)
    expected = GRANTS[roles[0]] | GRANTS[roles[1]]
    assert {scope for scope in Scope if access.has_scope(user, tenant, scope)} == expected
    assert list(access.tenants_of(user)) == [tenant]
    assert granted(roles) == expected
    token, _ = access.issue_token(tenant, user, "both", sorted(expected), lifetime=None)
    assert access.valid_token(token.digest).usable_scopes == expected
    Membership.objects.get(user=user, role=roles[0]).delete()
    assert access.valid_token(token.digest).usable_scopes == GRANTS[roles[1]]
    assert {scope for scope in Scope if access.has_scope(user, tenant, scope)} == GRANTS[roles[1]]


def test_a_token_also_has_what_its_scopes_imply_as_far_as_its_owner_does(tenant: Tenant) -> None:
    owner = member(tenant, Role.TENANT_ADMIN)
    token, _ = access.issue_token(tenant, owner, "old", [Scope.ACTIVATE, Scope.ADMINISTER], lifetime=None)
    implying = {Scope.ACTIVATE, Scope.VOTE, Scope.ADMINISTER, Scope.AUDIT}
    assert access.valid_token(token.digest).usable_scopes == implying
    Membership.objects.filter(user=owner).update(role=Role.APPROVER)
    assert access.valid_token(token.digest).usable_scopes == {Scope.VOTE}


@cases("role", Role)
def test_a_token_gets_only_scopes_that_its_issuer_holds(tenant: Tenant, role: Role) -> None:
    issuer = member(tenant, role)
    for scope in set(Scope) - GRANTS[role]:
        with pytest.raises(access.ScopeMissing):
            access.issue_token(tenant, issuer, "t", [READ, scope], lifetime=None)
    with pytest.raises(NotFound):
        access.issue_token(making.tenant(), issuer, "t", [READ], lifetime=None)
    assert not ApiToken.objects.filter(user=issuer).exists()
    for scope in GRANTS[role]:
        assert access.issue_token(tenant, issuer, scope, [scope], lifetime=None)[0].scopes == [scope.value]


def test_a_token_always_expires_within_the_longest_lifetime(tenant: Tenant, settings: Any) -> None:
    settings.TOKEN_MAX_DAYS = 30
    issuer = member(tenant, Role.TENANT_ADMIN)
    token, _ = access.issue_token(tenant, issuer, "longest", [READ], lifetime=None)
    assert timedelta(days=29) < token.expiry - timezone.now() <= timedelta(days=30)
    for days in (-1, 0, 31):
        with pytest.raises(access.TokenLifetimeInvalid):
            access.issue_token(tenant, issuer, "t", [READ], lifetime=timedelta(days=days))
    change = "UPDATE tenancy_apitoken SET expiry = {} WHERE digest = %s"
    assert refused(change.format("expiry + interval '1 second'"), token.digest) == "token_ends_earlier"
    longer = ApiToken.objects.create(  # type: ignore[no-untyped-call]  # knox has no types
        tenant=tenant, user=issuer, name="longer", scopes=[READ], expiry=timedelta(days=4000)
    )[0]
    longer.refresh_from_db()
    assert longer.expiry - longer.created == timedelta(days=365)
    with pytest.raises(IntegrityError, match="expiry"), transaction.atomic():
        ApiToken.objects.filter(pk=token.pk).update(expiry=None)


def give(tenant: Tenant, name: str = "eva", role: Role = Role.VIEWER) -> Membership:
    return members.add(tenant, name, role, actor="user:ann")[0]


@cases("way", ["created", "activated", "renamed", "there"])
def test_a_role_reaches_the_active_user_of_the_name(way: str) -> None:
    tenant, other = making.tenant(), making.tenant()
    name = {"created": "", "activated": "eva", "renamed": "old", "there": "eva"}[way]
    user = User.objects.create_user(name, is_active=way != "activated") if name else None
    member_row = give(tenant)
    give(other, "ed")
    assert (member_row.user is None) is (way != "there")
    entries = AuditEntry.objects.filter(act="membership.begin")
    assert not entries.exists()
    if user is None:
        user = User.objects.create_user("eva")
    elif way != "there":
        user.username, user.is_active = "eva", True
        user.save()
    assert (list(access.tenants_of(user)), Membership.objects.get(pk=member_row.pk).user) == ([tenant], user)
    begun = [(entry.tenant, entry.object, entry.details) for entry in entries]
    expected = [(None, "eva", f'{{"role":"viewer","tenant":"{tenant.slug}"}}')]
    assert begun == (expected if way != "there" else []), "the tenant's own chain does not tell"


def test_a_role_that_the_user_has_already_is_not_given_twice_and_a_removed_one_not_at_all() -> None:
    tenant = making.tenant()
    user = User.objects.create_user("old")
    member_row = Membership.objects.create(user=user, tenant=tenant, role=Role.VIEWER)
    for role in (Role.VIEWER, Role.OPERATOR, Role.ON_CALL):
        give(tenant, role=role)
    members.remove(tenant, "eva", Role.OPERATOR, actor="user:ann")
    user.username = "eva"
    user.save()
    assert list(tenant.memberships.order_by("id").values_list("user", "role")) == [
        (user.pk, member_row.role),
        (user.pk, Role.ON_CALL),
    ]


def names(person: User) -> list[str]:
    return [view.name for view in preferences.views(person, PAGE)]


def test_an_own_view_is_only_seen_by_its_owner_and_a_shared_one_by_the_members(tenant: Tenant) -> None:
    eva, ann, other = (member(tenant, role) for role in (Role.OPERATOR, Role.VIEWER, Role.ON_CALL))
    stranger = member(making.tenant(), Role.TENANT_ADMIN)
    for person, error in ((ann, access.ScopeMissing), (stranger, NotFound)):
        with pytest.raises(error):
            preferences.save_view(person, PAGE, "theirs", "", tenant=tenant)
    for shared, seen, remover in ((None, [], eva), (tenant, ["ours"], other)):
        preferences.save_view(eva, PAGE, "ours", "status=live", tenant=shared)
        assert (names(eva), names(ann), names(stranger)) == (["ours"], seen, [])
        for person, error in ((ann, access.ScopeMissing if shared else NotFound), (stranger, NotFound)):
            with pytest.raises(error):
                preferences.remove_view(person, SavedView.objects.get().pk)
        preferences.remove_view(remover, SavedView.objects.get().pk)
        assert not SavedView.objects.exists()


GOOD = "correct-horse-battery-staple"
WEAK = ["short-One-7", "abcabcabcabc", "917364528190", "password1234", "adaLovelace-1815"]


def ada(**attributes: Any) -> User:
    return User(username="adalovelace1815", email="ada.lovelace@example.org", is_staff=True, **attributes)


def test_only_weak_passwords_are_refused_and_the_help_mentions_api_tokens() -> None:
    for password in WEAK:
        with pytest.raises(ValidationError):
            validate_password(password, ada())
    validate_password(GOOD, ada())
    assert any("API tokens" in text for text in password_validators_help_texts())


def test_commands_refuse_weak_passwords_and_record_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", WEAK[-1])
    with pytest.raises(CommandError):
        call_command("createsuperuser", "--username=adalovelace1815", "--email=ada.lovelace@example.org", "--noinput")
    assert not User.objects.exists()

    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", GOOD)
    call_command("createsuperuser", "--username=ada", "--email=", "--noinput", verbosity=0)
    assert User.objects.get(username="ada").check_password(GOOD)
    monkeypatch.delenv("DJANGO_SUPERUSER_PASSWORD")
    call_command("createsuperuser", "--username=eva", "--email=", "--noinput", verbosity=0)
    assert not User.objects.get(username="eva").has_usable_password()
    monkeypatch.setattr("getpass.getpass", lambda prompt: GOOD)
    call_command("changepassword", "eva", stdout=StringIO())
    assert User.objects.get(username="eva").check_password(GOOD)
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.actor, entry.object) == ("user.password", "coordinator changepassword", "eva")
