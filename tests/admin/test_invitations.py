import logging
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from alerts import deliveries, tasks
from outbox.invitation_mail import OUTBOX
from tenancy import invitations, members
from tenancy.access import ScopeMissing
from tenancy.models import AuditEntry, Invitation, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases
from tests.mail_server import MailServer, mail_server
from tests.raw_sql import run, unguarded
from tests.wakeups import announced

pytestmark = pytest.mark.django_db
ADDRESS, PASSWORD = "eva@example.com", "correct-horse-battery-staple"
PAGE = "/admin/invitation/"
FORM = {"first_name": "Eva", "last_name": "", "password": PASSWORD, "repeated": PASSWORD}


@pytest.fixture
def owner(fast_hashing: None) -> Tenant:
    return making.tenant("owner")


@pytest.fixture
def admin(owner: Tenant) -> User:
    user = User.objects.create_user("admin", is_staff=True)
    Membership.objects.create(user=user, tenant=owner, role=Role.TENANT_ADMIN)
    return user


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with mail_server() as running:
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", running.port, False
        settings.DEFAULT_FROM_EMAIL, settings.PUBLIC_URL = "c@example.com", "https://coordinator.example"
        yield running


def invited(owner: Tenant, admin: User, email: str = ADDRESS, *roles: Role, groups: tuple[str, ...] = ()) -> Invitation:
    return invitations.invite(owner, email, roles or (Role.VIEWER,), groups, inviter=admin, actor="user:admin")


def link(server: MailServer) -> str:
    """Send the e-mails that are due, and return the path of the newest link."""
    while OUTBOX.send():
        pass
    [address] = re.findall(
        r"https://coordinator\.example(/admin/invitation/\S+)", str(server.mails[-1].message.get_payload())
    )
    return str(address)


def opened(browser: Client, path: str) -> Any:
    """Follow a link. Return the page, with the fields that its form sends."""
    page: Any = browser.get(path, follow=True)
    match = re.search('name="shown" value="([^"]*)"', page.text)
    page.fields = {"shown": match[1] if match else ""}
    return page


def accepted(browser: Client, path: str, form: dict[str, str] | None = None) -> Any:
    return browser.post(PAGE, {**(form or FORM), **opened(browser, path).fields})


def roles(username: str) -> list[tuple[str, str, list[str]]]:
    rows = Membership.objects.filter(user__username=username).order_by("tenant__slug", "role")
    return list(rows.values_list("tenant__slug", "role", "groups"))


def test_a_new_person_joins_with_the_link_of_the_e_mail_once(
    owner: Tenant, admin: User, server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    with announced() as tasks, transaction.atomic():
        made = invited(owner, admin, " Eva@Example.com", Role.OPERATOR, Role.VIEWER, groups=("finance",))
    assert [task for task, _, _ in tasks] == [invitations.SEND_TASK]
    with announced() as tasks:
        deliveries.announce()
    assert (invitations.SEND_TASK,) in [task[:1] for task in tasks], "a lost wake-up delays the e-mail only"
    path, browser = link(server), Client()
    [mail] = server.mails
    assert (mail.recipients, mail.message["Subject"]) == ([ADDRESS], f"Invitation to {owner.name}")
    made.refresh_from_db()
    assert (made.mail, path.split("/")[-2] in made.token_hash) == ("SENT", False)
    assert ADDRESS in opened(browser, path).text
    with caplog.at_level(logging.INFO):
        for names, wrong in (("password repeated", "short"), ("repeated", "other"), ("first_name", "Eva\nis locked")):
            assert accepted(browser, path, FORM | dict.fromkeys(names.split(), wrong)).status_code == 400
    assert (PAGE in caplog.text, path in caplog.text) == (True, False)
    assert not User.objects.filter(username=ADDRESS).exists()
    assert accepted(browser, path).status_code == 302
    assert [browser.get(path).status_code for path in ("/admin/", PAGE)] == [200, 404]
    user = User.objects.get(username=ADDRESS)
    assert (user.email, user.first_name, user.is_staff, user.is_superuser) == (ADDRESS, "Eva", True, False)
    assert roles(ADDRESS) == [("owner", "operator", ["finance"]), ("owner", "viewer", ["finance"])]
    entry = AuditEntry.objects.get(act="invitation.accept")
    assert (entry.tenant, entry.actor, entry.object) == (owner, f"user:{ADDRESS}", ADDRESS)
    again = accepted(Client(), path)
    assert (again.status_code, User.objects.filter(email=ADDRESS).count()) == (404, 1)
    made.refresh_from_db()
    assert (made.state, made.user, made.token_hash) == ("ACCEPTED", user, "")


@cases("ending", ["withdrawn", "expired", "sent again", "inviter left", "inviter deactivated", "inviter demoted"])
def test_a_link_that_is_over_changes_nothing(owner: Tenant, admin: User, server: MailServer, ending: str) -> None:
    server.mails.clear()
    made = invited(owner, admin)
    path, follower = link(server), Client()
    form = FORM | opened(follower, path).fields
    if ending == "withdrawn":
        invitations.withdraw(owner, made.pk, actor="user:admin")
    elif ending == "expired":
        run("UPDATE tenancy_invitation SET expires_at = now()")
    elif ending == "sent again":
        with pytest.raises(invitations.TooManyInvitations):
            invitations.send_again(owner, made.pk, actor="user:admin")
        run("UPDATE tenancy_invitation SET requested_at = now() - interval '6 minutes'")
        invitations.send_again(owner, made.pk, actor="user:admin")
        assert link(server) != path
        assert len({mail.message["Message-ID"] for mail in server.mails}) == 2, "a mail reader hides a repeated one"
    elif ending == "inviter deactivated":
        User.objects.filter(pk=admin.pk).update(is_active=False)
    else:
        members.remove(owner, "admin", Role.TENANT_ADMIN, actor="user:test")
        if ending == "inviter demoted":
            members.add(owner, "admin", Role.OPERATOR, actor="user:test")
    if ending.startswith("inviter"):
        with pytest.raises(invitations.InvitationOver, match="inviter"):
            invitations.send_again(owner, made.pk, actor="user:other")
        run("UPDATE tenancy_invitation SET mail = 'PENDING', next_at = now()")
        assert OUTBOX.send()
        made.refresh_from_db()
        assert (made.mail, len(server.mails)) == ("FAILED", 1)
    before = (User.objects.count(), Membership.objects.count())
    assert [Client().get(path).status_code, follower.post(PAGE, form).status_code] == [404, 404]
    assert (User.objects.count(), Membership.objects.count()) == before


def test_wrong_tokens_are_limited(owner: Tenant, settings: Any) -> None:
    settings.LOGIN_ATTEMPTS_PER_ADDRESS = 2
    assert [Client().get("/admin/invitation/x/").status_code for _ in range(3)] == [404, 404, 429]


@cases(("name", "is_active"), [("bob", True), (ADDRESS, True), (ADDRESS, False), ("Eva@Example.com", False)])
def test_who_has_a_user_logs_in_and_joins(
    owner: Tenant, admin: User, server: MailServer, name: str, is_active: bool
) -> None:
    user = User.objects.create_user(name, is_staff=True, is_active=is_active)
    made = invited(owner, admin, ADDRESS, Role.OPERATOR)
    path, browser = link(server), Client()
    opened(browser, path)
    form = FORM | {"shown": f"{made.pk} "}
    if name != "bob":
        assert browser.post(PAGE, form).status_code == 200
        assert not User.objects.exclude(pk=admin.pk).exclude(username=name).exists()
        user.refresh_from_db()
        assert (user.has_usable_password() and user.check_password(PASSWORD), roles(name)) == (False, [])
    if is_active:
        browser.force_login(user)
        assert f"Join as {name}" in browser.get(PAGE).text
        assert browser.post(PAGE, form).status_code == 409, "the page of before the log-in showed no user"
        assert roles(name) == []
        assert accepted(browser, path).status_code == 302
        assert roles(name) == [("owner", "operator", [])]


def test_a_new_user_gets_the_roles_that_wait_for_the_address_and_no_other(
    owner: Tenant, admin: User, server: MailServer
) -> None:
    other = making.tenant("other")
    for waiting in (ADDRESS, "Eva", "eva"):
        members.add(other, waiting, Role.VIEWER, actor="user:test")
    invited(owner, admin)
    accepted(Client(), link(server), FORM | {"first_name": "eva", "username": "eva"})
    assert roles(ADDRESS) == [("other", "viewer", []), ("owner", "viewer", [])]
    assert set(Membership.objects.filter(user=None).values_list("invited", flat=True)) == {"Eva", "eva"}


def test_who_invites_whom_how_often(owner: Tenant, admin: User, server: MailServer, settings: Any) -> None:
    manager = User.objects.create_user("manager")
    members.add(owner, "manager", Role.RELEASE_MANAGER, actor="user:test")
    with pytest.raises(ScopeMissing):
        invited(owner, manager)
    no_names = ("", "eva", "eva@", "éva@example.com", "o'b@example.com", "a\nb@example.com", "x" * 150 + "@example.com")
    for email in no_names:
        with pytest.raises(invitations.InvitationInvalid):
            invited(owner, admin, email)
    invited(owner, admin, ADDRESS, Role.OPERATOR)
    with pytest.raises(invitations.InvitationOpen):
        invited(owner, admin)
    for number in range(invitations.MOST_PER_HOUR - 1):
        making.invitation(owner, admin, f"{number}@example.com")
    with unguarded(Invitation):
        run("UPDATE tenancy_invitation SET requested_at = now(), created_at = now() - interval '2 hours'")
    with pytest.raises(invitations.TooManyInvitations, match="50 invitations an hour"):
        invited(owner, admin, "more@example.com")
    settings.EMAIL_HOST = ""
    with pytest.raises(invitations.InvitationsUnavailable, match="EMAIL_HOST"):
        invited(owner, admin, "more@example.com")


def test_the_clock_removes_invitations_ninety_days_after_their_end(owner: Tenant, admin: User) -> None:
    for days, state in product((89, 91), Invitation.State):
        made = making.invitation(owner, admin, f"{state}.{days}@example.com".lower())
        Invitation.objects.filter(pk=made.pk).update(state=state, user=admin if state == "ACCEPTED" else None)
        column = "expires_at" if state == "OPEN" else "ended_at"
        with unguarded(Invitation):
            run(f"UPDATE tenancy_invitation SET {column} = now() - interval '{days} days' WHERE id = %s", made.pk)
    assert invitations.remove_old(limit=1) == 1
    tasks.remove_old()
    assert {invitation.email for invitation in Invitation.objects.all()} == {
        f"{state}.89@example.com" for state in ("accepted", "open", "withdrawn")
    }


def test_a_verified_address_of_the_identity_provider_accepts(owner: Tenant, admin: User, server: MailServer) -> None:
    invited(owner, admin, "kim@example.com", groups=("more",))
    user = User.objects.create_user("kim", is_staff=True)
    members.add(owner, "kim", Role.OPERATOR, actor="user:test")
    browser = Client()
    browser.force_login(user)
    for held, expected in ((50, "operator"), (0, "operator viewer")):
        members.set_groups(owner, "kim", [str(number) for number in range(held)], actor="user:test")
        with transaction.atomic():
            # The last one has a Kelvin sign, whose lower case is a k.
            assert not any(map(invitations.locked_of, ("", "x@example.com", "\N{KELVIN SIGN}im@example.com")))
            invitations.accept_each(invitations.locked_of("Kim@example.com"), user)
        assert " ".join(role for _, role, _ in roles("kim")) == expected
        page = accepted(browser, link(server))
        assert (page.status_code, "at most 50 groups" in page.text) == (422 if held else 302, bool(held))
