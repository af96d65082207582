import csv
import logging
import re
import time
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from knox.crypto import hash_token

from tenancy import members
from tenancy.access import issue_token
from tenancy.models import ApiToken, AuditEntry, Membership, UserSession
from tenancy.roles import Role, Scope
from tests.admin.browsing import exported, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases

PASSWORD = "correct-horse-battery-staple"
NEW = "another-horse-battery-staple"
CHANGE = "/admin/password_change/"
EVERYWHERE = "/admin/auth/user/log-out-everywhere/"
ACCOUNT, END = "/admin/auth/user/account/", "/admin/auth/user/account/end-session/"
HTMX = {"HX-Request": "true"}


def move_back(client: Client, seconds: float, *timestamps: str) -> None:
    session = client.session
    for timestamp in timestamps:
        session[timestamp] -= seconds
    session.save()


def is_logged_in(client: Client, **headers: str) -> bool:
    return client.get(to("index"), headers=headers).status_code == 200


@cases(
    ("timestamp", "limit", "headers", "rest"),
    [
        ("active_at", "SESSION_IDLE_SECONDS", {}, 1.1),  # a request begins the time again
        ("active_at", "SESSION_IDLE_SECONDS", HTMX, 0.2),  # an automatic update does not
        ("began_at", "SESSION_MAX_SECONDS", {}, 0.2),
    ],
)
def test_a_session_ends_after_its_idle_time_or_its_maximum(
    log_in: LogIn, settings: Any, timestamp: str, limit: str, headers: dict[str, str], rest: float
) -> None:
    client, seconds = log_in("viewer"), getattr(settings, limit)
    move_back(client, 0.9 * seconds, timestamp)
    assert all(is_logged_in(client, **headers) for _ in range(3))
    move_back(client, rest * seconds, timestamp)
    assert not is_logged_in(client, **headers)
    assert not Session.objects.exists()


def test_a_log_in_begins_the_times_again_and_removes_sessions_that_are_over(viewer: Client) -> None:
    move_back(viewer, 1000, "began_at", "active_at")
    Session.objects.update(expire_date=timezone.now())
    viewer.force_login(User.objects.get(username="viewer"))
    assert Session.objects.filter(expire_date__gt=timezone.now()).count() == Session.objects.count() == 1
    session = viewer.session
    assert time.time() - session.pop("began_at") < 30
    session.save()
    assert not is_logged_in(viewer)


@pytest.fixture
def ada(acme: World, fast_hashing: None) -> User:
    user = User.objects.get(username="tenant-admin-of-acme")
    user.set_password(PASSWORD)
    user.save()
    return user


def rows(answer: Any) -> list[str]:
    """Return the texts of the rows of the table of sessions."""
    [body] = re.findall(r"<table[^>]*data-sessions>.*?<tbody>(.*?)</tbody>", answer.text, re.DOTALL)
    return [" ".join(re.sub("<[^>]*>", " ", row).split()) for row in body.split("</tr>")[:-1]]


def logged_in(user: User, **headers: Any) -> Client:
    client = Client(**headers)
    form = {"username": user.username, "password": PASSWORD}
    assert client.post(to("login"), form).status_code == 302
    return client


def test_logging_out_everywhere_ends_only_the_own_sessions_and_tokens(ada: User, acme: World, globex: World) -> None:
    token, _ = issue_token(acme.tenant, ada, "robot", [Scope.READ], lifetime=None)
    here, there, other = logged_in(ada), logged_in(ada), Client()
    other.force_login(globex.token.user)
    assert Client().get(EVERYWHERE).status_code == 302
    assert here.post(EVERYWHERE, {"password": "wrong"}).status_code == 400
    assert is_logged_in(there)
    assert here.post(EVERYWHERE, {"password": PASSWORD}).status_code == 302
    assert [is_logged_in(client) for client in (here, there, other)] == [False, False, True]
    for row, is_over in ((token, True), (globex.token, False)):
        row.refresh_from_db()
        assert (row.expiry <= timezone.now()) == is_over
    assert is_logged_in(logged_in(ada))


@cases(("page", "field", "refused"), [(EVERYWHERE, "password", 400), (CHANGE, "old_password", 200)])
def test_guesses_of_the_own_password_are_limited_and_recorded(ada: User, page: str, field: str, refused: int) -> None:
    client, before = logged_in(ada), AuditEntry.objects.count()
    new = {"new_password1": NEW, "new_password2": NEW}
    answers = [client.post(page, {**new, field: "wrong"}).status_code for _ in range(7)]
    assert answers == [refused] * 5 + [429] * 2
    assert client.post(page, {**new, field: PASSWORD}).status_code == 429
    entries = AuditEntry.objects.order_by("id")[before:]
    assert {(entry.act, entry.object, entry.outcome) for entry in entries} == {
        ("user.log_in", ada.username, "failed"),
        ("user.log_in", ada.username, "denied"),
    }


def test_a_person_sees_the_own_sessions_and_ends_them(ada: User, viewer: Client) -> None:
    agents = ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "curl/8", "Mozilla/5.0 (iPhone) Version/18 Safari/604")
    here, there, phone = (logged_in(ada, HTTP_USER_AGENT=agent, REMOTE_ADDR="192.0.2.7") for agent in agents)
    cards = rows(here.get(ACCOUNT))
    devices = [re.split(" this one| End| 20", card)[0] for card in cards]
    assert devices == ["Firefox on Linux", "Safari on iPhone", "curl"]
    assert ["this one" in card for card in cards] == [True, False, False]
    assert all("192.0.2.7" in card for card in cards)
    text, [theirs] = here.get(ACCOUNT).text, UserSession.objects.exclude(user=ada)
    assert not any(session.session_key in text for session in Session.objects.all())
    [first] = UserSession.objects.filter(user_agent="curl/8")
    for wrong in (theirs.pk, "x", "9" * 40, ""):
        here.post(END, {"session": wrong})
    assert [is_logged_in(client) for client in (here, there, phone, viewer)] == [True] * 4
    here.post(END, {"session": first.pk})
    assert [is_logged_in(client) for client in (here, there, phone, viewer)] == [True, False, True, True]
    here.post(END, {"session": "others"})
    assert [is_logged_in(client) for client in (here, phone, viewer)] == [True, False, True]
    entries = AuditEntry.objects.filter(act="user.end_sessions").values_list("actor", "object")
    assert list(entries) == [(f"user:{ada.username}", ada.username)] * 2


@cases(
    ("ending", "kept"),
    [
        ("own password", [True, False]),
        ("password", [False, False]),
        ("deactivation", [False, False]),
        ("last role", [False, False]),
        ("a role of two", [True, True]),
        ("superuser", [False, False]),
        ("tenant admin", [False, False]),
        ("tenant admin, with a role elsewhere", [True, True]),
    ],
)
def test_what_ends_the_sessions_of_a_person(
    ada: User, acme: World, globex: World, superuser: Client, log_in: LogIn, ending: str, kept: list[bool]
) -> None:
    here, there, admin = logged_in(ada), logged_in(ada), log_in("superuser")
    membership = Membership.objects.get(user=ada)
    if "elsewhere" in ending or "two" in ending:
        members.add(globex.tenant, ada.username, Role.VIEWER, actor="user:test")
    if ending == "own password":
        form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
        assert here.post(CHANGE, form).status_code == 302
        entry = AuditEntry.objects.latest("id")
        assert (entry.act, entry.actor, entry.object) == ("user.password", f"user:{ada.username}", ada.username)
    elif ending == "password":
        token, _ = issue_token(acme.tenant, ada, "robot", [Scope.READ], lifetime=None)
        disabled = {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"}
        for form, is_over in ((disabled, False), ({"password1": NEW, "password2": NEW}, True)):
            admin.post(to("auth_user_password_change", ada), form)
            ada.refresh_from_db()
            token.refresh_from_db()
            assert (ada.check_password(NEW if is_over else PASSWORD), token.expiry <= timezone.now()) == (True, is_over)
    elif ending == "deactivation":
        User.objects.filter(pk=ada.pk).update(is_active=False)
    elif "role" in ending and "admin" not in ending:
        members.remove(acme.tenant, ada.username, Role.TENANT_ADMIN, actor="user:test")
    elif ending == "superuser":
        assert rows(admin.get(to("auth_user_change", ada)))
        admin.post(to("end_user_sessions", ada))
    else:
        page = to("tenancy_membership_end_sessions", membership)
        assert "unless they have roles elsewhere" in superuser.post(page, follow=True).text
    assert [is_logged_in(client) for client in (here, there)] == kept
    assert Session.objects.filter(usersession__user=ada).count() == sum(kept)
    assert len(rows(admin.get(ACCOUNT))) == 2, "the session of who ended them is listed, also under its new key"


ISSUE, ADD = "tenancy_apitoken_add", "tenancy_membership_add"


def token_form(world: World, **more: Any) -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "name": "robot", "scopes": ["read"], "lifetime": "30", **more}


def test_only_one_response_has_the_plain_token(admin: Client, acme: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = admin.post(to(ISSUE), token_form(acme, scopes=["read", "executions:submit"]))
    plain, token = answer.context["plain"], ApiToken.objects.get(name="robot")
    assert (answer.status_code, answer.text.count(plain)) == (200, 1)
    assert "no-store" in answer["Cache-Control"]
    assert (token.digest, token.scopes) == (hash_token(plain), ["executions:submit", "read"])
    assert (plain[:3], len(plain) >= 60) == ("dc_", True)
    assert plain not in caplog.text + str([*ApiToken.objects.values(), *AuditEntry.objects.values(), admin.cookies])
    assert AuditEntry.objects.latest("id").object == "robot"
    assert not any(plain in str(session.get_decoded()) for session in Session.objects.all())
    for name, arguments in (("changelist", []), ("change", [token]), ("delete", [token]), ("add", [])):
        assert plain not in admin.get(to(f"tenancy_apitoken_{name}", *arguments)).text
    assert admin.post(to("tenancy_apitoken_delete", token), {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.filter(pk=token.pk).exists()


@cases("wrong", [{"scopes": []}, {"scopes": ["everything"]}, {"lifetime": "1000000"}, {"name": "token-of-acme"}])
def test_invalid_tokens_are_not_issued(wrong: dict[str, Any], admin: Client, acme: World) -> None:
    before = ApiToken.objects.count()
    answer = admin.post(to(ISSUE), token_form(acme, **wrong))
    assert (answer.status_code, *answer.context["form"].errors) == (400, *wrong)
    assert ApiToken.objects.count() == before


def member_form(world: World, username: str = "nobody", role: str = "viewer") -> dict[str, Any]:
    return {"tenant": world.tenant.pk, "username": username, "role": role}


def test_a_member_is_added_by_name_gets_each_role_once_and_leaves(admin: Client, acme: World, globex: World) -> None:
    text = admin.get(to(ADD)).text
    assert ["globex" in text, "nobody" in text] == [False, False], "the form lists neither users nor other tenants"
    for role in ("viewer", "on-call"):
        assert admin.post(to(ADD), member_form(acme, role=role)).status_code == 302
    rows = Membership.objects.filter(user__username="nobody").order_by("role")
    assert [(row.tenant, row.role) for row in rows] == [(acme.tenant, "on-call"), (acme.tenant, "viewer")]
    viewer, other = rows[1], User.objects.get(username="superuser")
    change = to("tenancy_membership_change", viewer)
    assert admin.post(change, {"role": "on-call"}).context["adminform"].form.errors.keys() == {"role"}
    moved = {"role": "operator", "tenant": globex.tenant.pk, "user": other.pk, "username": "superuser"}
    assert admin.post(change, moved).status_code == 302
    kept = Membership.objects.get(pk=viewer.pk)
    assert (kept.tenant, kept.user, kept.role) == (acme.tenant, viewer.user, "operator")
    removal = to("tenancy_membership_delete", viewer)
    assert ["Remove the role" in admin.get(change).text, f"{kept}" in admin.get(removal).text] == [True, True]
    assert admin.post(removal, {"post": "yes"}).status_code == 302
    assert not Membership.objects.filter(pk=viewer.pk).exists()


def test_only_superusers_see_whether_a_member_is_an_active_user(admin: Client, superuser: Client, acme: World) -> None:
    User.objects.filter(username="nobody").update(first_name="Norma", last_login=timezone.now())
    pages, names = [], ("nobody", "absent")
    for name in names:
        added = admin.post(to(ADD), member_form(acme, name), follow=True)
        row = Membership.objects.latest("id")
        [exported] = rows_of(admin, "tenancy_membership", f"q={name}&log-in=never")
        changed = admin.post(to("tenancy_membership_change", row), {"role": "operator"}, follow=True)
        listed = admin.get(f"{to('tenancy_membership_changelist')}?q={name}").text
        [shown] = re.findall(r"<tbody.*?</tbody>", listed, re.DOTALL)
        form = re.sub(r"<input[^>]*csrf[^>]*>", "", admin.get(to("tenancy_membership_change", row)).text)
        form = form[form.index('id="membership_form"') : form.index("data-roles")]
        members = rows_of(admin, "tenancy_tenant")[0]["members"]
        [active] = [row["active"] for row in rows_of(superuser, "tenancy_membership", f"q={name}")]
        assert active == ("True" if name == "nobody" else "")
        removed = admin.post(to("tenancy_membership_delete", row), {"post": "yes"}, follow=True)
        texts = [[str(message) for message in answer.context["messages"]] for answer in (added, changed, removed)]
        pages.append(repr([exported, texts, shown, form, members]).replace(name, "NAME").replace(f"/{row.pk}/", "/ID/"))
    assert pages[0] == pages[1]
    admin.post(to(ADD), member_form(acme))
    searched = [len(rows_of(client, "tenancy_membership", "q=Norma")) for client in (admin, superuser)]
    assert searched == [0, 1]
    again = admin.post(to(ADD), member_form(acme))
    assert again.context["adminform"].form.errors.keys() == {"username"}


def rows_of(client: Client, model: str, query: str = "") -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(exported(client, model, "csv", query))))


def test_an_export_has_what_the_search_and_the_filters_select_of_the_own_tenant(
    superuser: Client, admin: Client, acme: World, globex: World, settings: Any
) -> None:
    assert {row["tenant"] for row in rows_of(admin, "tenancy_membership")} == {"acme"}
    assert [row["name"] for row in rows_of(admin, "tenancy_apitoken")] == ["token-of-acme"]
    assert [row["user"] for row in rows_of(admin, "tenancy_membership", "role=viewer&q=view")] == ["viewer"]
    [row] = rows_of(admin, "tenancy_tenant")
    assert (row["slug"], row["members"], row["validTokens"]) == ("acme", "7", "1")
    User.objects.filter(username="viewer").update(first_name="=HYPERLINK(1)")
    assert "'=HYPERLINK(1)" in {row["name"] for row in rows_of(superuser, "auth_user")}, "no cell is a formula"
    settings.MOST_EXPORTED = 2
    answer = admin.get(f"{to('tenancy_membership_export', 'csv')}?q=o", follow=True)
    assert "More than 2 rows match" in answer.text


def test_a_session_does_not_authenticate_requests_to_the_api(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    assert client.get("/admin/").status_code == 200
    for method, path in (("GET", "executions"), ("POST", "executions"), ("POST", "members/remove")):
        response = client.generic(method, f"/api/v1/tenants/acme/{path}", "{}", content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (401, "NOT_AUTHENTICATED")
