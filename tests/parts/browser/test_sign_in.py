"""Sign-in with an identity provider: a web process and an OpenID provider, over HTTP."""

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoDbBlocker

from embedded.product import Product
from tenancy.models import AuditEntry, LoginCounter, Membership, Tenant
from tests import making
from tests.browsing import AXE, findings
from tests.database_template import connected_to, database
from tests.oauth_issuer import OpenIdProvider
from tests.running import PASSWORD, another_product
from tests.servers import NUMBER, ordinary_url

NAME = f"test_{NUMBER}_sign_in"
EVERYWHERE = "/admin/auth/user/log-out-everywhere/"
ROLES = "/staff/operators=acme/operator, staff=acme/viewer, staff=globex/viewer"
ADA = {"sub": "1", "preferred_username": "ada", "email": "ada@acme.example", "given_name": "Ada", "groups": ["staff"]}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider().running() as made:
        yield made


@pytest.fixture(scope="module")
def product(
    provider: OpenIdProvider,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    gathered_static_files: str,
) -> Iterator[Product]:
    """A web process with the provider. The database has the tables of the sign-in, which `migrate` adds."""
    more = {"SECOND_FACTOR": "true", "OIDC_NAME": "Acme", "STATIC_ROOT": gathered_static_files}
    chosen = provider.settings(OIDC_ROLES=ROLES, OIDC_GROUPS="staff=acme/finance", **more)
    with django_db_blocker.unblock(), database(NAME) as name:
        servers = {"DATABASE_URL": ordinary_url(name), "REDIS_URL": settings.CELERY_BROKER_URL}
        with another_product(tmp_path_factory.mktemp("sign-in"), servers, chosen) as made:
            made.manage("migrate", DATABASE_URL=urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl())
            with connected_to(name):
                for slug in ("acme", "globex", "other"):
                    making.tenant(slug)
            made.start_web()
            made.wait_until_ready()
            yield made


@pytest.fixture(scope="module")
def linking(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A web process with the same database, which links people to local users by their e-mail addresses."""
    chosen = {**product.settings, "OIDC_LINK_USERS": "true", "OIDC_USERNAME_CLAIM": "email"}
    with another_product(tmp_path_factory.mktemp("linking"), product.servers, chosen) as made:
        made.start_web()
        made.wait_until_ready()
        yield made


@pytest.fixture(autouse=True)
def people(product: Product, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), connected_to(NAME):
        yield


def sign_in(product: Product, **query: str) -> requests.Response:
    """Sign in with a new browser. The response is that of the last page."""
    return requests.Session().get(f"{product.url}/admin/sign-in/oidc/login/", params=query)


def roles(username: str) -> set[tuple[str, str]]:
    return set(Membership.objects.filter(user__username=username).values_list("tenant__slug", "role"))


def refused(product: Product, reason: str, status: int = 403) -> None:
    before = list(User.objects.values()), list(Membership.objects.values())
    answer = sign_in(product)
    assert (answer.status_code, reason in answer.text) == (status, True), answer.text
    assert (list(User.objects.values()), list(Membership.objects.values())) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_signs_in_by_keyboard_on_a_phone(
    browser: Browser, product: Product, provider: OpenIdProvider, scheme: Any
) -> None:
    provider.person = ADA
    context = browser.new_context(base_url=product.url, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = context.new_page()
    page.goto("/admin/releases/pipeline/")
    page.evaluate(AXE)
    assert list(findings(page)) == []
    expect(page.get_by_role("link", name="Sign in with Acme")).to_be_in_viewport()
    expect(page.get_by_text("your passkey or your code if you have added one")).to_be_in_viewport()
    page.locator("#id_username").press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{product.url}/admin/releases/pipeline/")
    context.close()
    assert roles("ada") == {("acme", "viewer"), ("globex", "viewer")}


def test_only_a_verified_address_can_be_the_recipient_of_questions(product: Product, provider: OpenIdProvider) -> None:
    address = "boss@acme.example"
    for name, verified in (("m1", {}), ("m2", "true"), ("m3", False), ("m4", True)):
        provider.person = {"sub": name, "preferred_username": name, "email": address, "groups": ["staff"]}
        provider.person |= {"email_verified": verified} if verified != {} else {}
        assert sign_in(product).ok
        assert User.objects.get(username=name).email == (address if verified is True else "")


def test_groups_decide_the_roles_in_their_tenants_at_each_sign_in(product: Product, provider: OpenIdProvider) -> None:
    Membership.objects.create(invited="eva", tenant=Tenant.objects.get(slug="other"), role="viewer")
    for groups, in_acme in (
        (["staff", "/staff/operators"], {"viewer", "operator"}),
        (["/staff/operators"], {"operator"}),
        ([], set()),
    ):
        provider.person = {"sub": "2", "preferred_username": "eva", "groups": groups}
        assert sign_in(product, next="https://evil.example/").url == f"{product.url}/admin/"
        in_globex = {("globex", "viewer")} & {("globex", "viewer") for group in groups if group == "staff"}
        assert roles("eva") == {*(("acme", role) for role in in_acme), *in_globex, ("other", "viewer")}
        held = Membership.objects.filter(user__username="eva", tenant__slug="acme").values_list("groups", flat=True)
        assert {tuple(row) for row in held} == ({("finance",)} if "staff" in groups else {()} if groups else set())
    entries = AuditEntry.objects.filter(tenant__slug="acme", object="eva").order_by("id")
    assert {entry.actor for entry in entries} == {"identity-provider"}
    browser = requests.Session()
    pages = [browser.get(f"{product.url}{path}") for path in ("/admin/sign-in/oidc/login/", EVERYWHERE)]
    form = {"csrfmiddlewaretoken": pages[1].text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]}
    ended = browser.post(f"{product.url}{EVERYWHERE}", form, allow_redirects=False, headers={"Origin": product.url})
    assert (ended.status_code, "/admin/login/" in browser.get(f"{product.url}/admin/").url) == (302, True)
    logged_in = AuditEntry.objects.filter(act="user.log_in", actor="user:eva", outcome="granted")
    assert logged_in.count() == 4
    User.objects.filter(username="eva").update(is_active=False)
    refused(product, "deactivated")


def test_who_is_not_admitted_changes_nothing(product: Product, provider: OpenIdProvider) -> None:
    local = User.objects.create_user("local", is_staff=True)
    for person, reason in (
        ({"preferred_username": "stranger"}, "No tenant has given"),
        ({"preferred_username": local.username, "groups": ["staff"]}, "already has a user"),
        ({"groups": ["staff"]}, "not a valid user name"),
        ({"preferred_username": "a\nb", "groups": ["staff"]}, "not a valid user name"),
        ({"preferred_username": "local\0", "groups": ["staff"]}, "not a valid user name"),
        ({"preferred_username": "LOCAL", "groups": ["staff"]}, "already has a user"),
        ({"preferred_username": "\uff45ve", "groups": ["staff"]}, "not a valid user name"),  # Django stores it as eve
        ({"preferred_username": "x", "groups": {"staff": True}}, "must be a list"),
        ({"preferred_username": "x", "_claim_names": {"groups": "src1"}}, "there are too many"),
    ):
        provider.person = {"sub": "9", **person}
        refused(product, reason)
    denied = AuditEntry.objects.filter(act="user.log_in", outcome="denied", object="local")
    assert "already has a user" in denied.get().reason
    for claims in ({"iss": "https://evil.example"}, {"aud": "another-client"}, {"exp": 1}):
        provider.person = {**ADA, "sub": "9", **claims}
        refused(product, "did not confirm", 502)
    provider.error = "access_denied"
    refused(product, "You cancelled it")
    provider.error = ""
    provider.person = ADA
    for provider.is_down, provider.body in ((True, None), (False, b"[]"), (False, b"<html>")):
        refused(product, "did not confirm", 502)
    provider.body = None
    stolen = requests.get(f"{product.url}/admin/sign-in/oidc/callback/?code=code-1&state=guess")
    assert (stolen.status_code, "sessionid" in stolen.cookies) == (502, False)


def test_a_local_user_is_linked_to_one_person_for_good(linking: Product, provider: OpenIdProvider) -> None:
    for name in ("lin", "boss", "gone", "out"):
        flags = {"is_superuser": name == "boss", "is_active": name != "gone", "is_staff": name != "out"}
        User.objects.create(username=name, **flags)
    for subject, name, verified, reason in (
        ("1-lin", "lin", False, "has not verified"),
        ("1-boss", "boss", True, "already has a user"),
        ("1-gone", "gone", True, "deactivated"),
        ("1-out", "out", True, "may not open this console"),
        ("1-lin", "lin", True, ""),
        ("2-lin", "lin", True, "belongs to another person"),
        ("1-lin", "renamed", True, ""),
    ):
        provider.person = {"sub": subject, "email": name, "email_verified": verified, "groups": ["staff"]}
        if reason:
            refused(linking, reason)
        else:
            assert sign_in(linking).url == f"{linking.url}/admin/"
            assert roles("lin") == {("acme", "viewer"), ("globex", "viewer")}
    assert not User.objects.filter(username="renamed").exists()


def test_sign_ins_that_nobody_completes_are_throttled(product: Product, provider: OpenIdProvider) -> None:
    begin = f"{product.url}/admin/sign-in/oidc/login/"
    answers = [requests.get(begin, allow_redirects=False).status_code for _ in range(60)]
    assert answers[::59] == [302, 429]
    assert provider.asked[-1].keys() >= {"code_challenge", "state"}
    LoginCounter.objects.all().delete()


def app_code(secret: str, steps: int = 0) -> str:
    """Return the code of an authenticator app, of this time step or of a later one."""
    app = TOTP(base64.b32decode(secret), 6, SHA1(), 30)
    return app.generate(int(time.time()) + 30 * steps).decode()


@pytest.fixture
def page(browser: Browser, product: Product) -> Iterator[Page]:
    """A phone whose user is not logged in. Passkeys need a host name, and http only works with this one."""
    User.objects.create_superuser("root", password=PASSWORD)
    address = product.url.replace("127.0.0.1", "localhost")
    context = browser.new_context(base_url=address, viewport={"width": 360, "height": 740})
    yield context.new_page()
    context.close()
    LoginCounter.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM mfa_authenticator")
    User.objects.filter(username="root").delete()


def begin(page: Page, following: str = "") -> None:
    """Log in with the password."""
    page.context.clear_cookies()
    page.goto(f"/admin/login/?next={following}")
    page.fill("#id_username", "root")
    page.fill("#id_password", PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")


def answer(page: Page, code: str, passes: bool = True) -> None:
    page.fill("#id_code", code)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    if passes:
        page.wait_for_url("**/admin/")
    else:
        expect(page.get_by_text("This code is wrong, or it was used before.")).to_be_visible()


def to_add(page: Page, method: str) -> None:
    begin(page)
    page.wait_for_url("**/admin/")
    page.goto("/admin/auth/user/account/")
    page.click("[data-second-factor]")
    page.get_by_role("link", name=f"Add {method}").click()
    page.fill("#id_password", PASSWORD)


def stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT data::text FROM mfa_authenticator")
        return str(cursor.fetchall())


def audited() -> list[tuple[str, str]]:
    entries = AuditEntry.objects.filter(act="user.second_factor", object="root").order_by("id")
    return list(entries.values_list("actor", "details"))


def test_codes_of_an_app_are_asked_for_after_the_password(page: Page, product: Product) -> None:
    to_add(page, "an authenticator app")
    secret = page.locator("[data-secret] .dc-mono").inner_text()
    used = app_code(secret)
    page.fill("#id_code", used)
    page.keyboard.press("Enter")
    expect(page.locator("[data-recovery-codes] li")).to_have_count(10)
    codes = page.locator("[data-recovery-codes] li").all_inner_texts()
    begin(page)
    page.goto("/admin/releases/pipeline/")
    expect(page.locator("#id_password")).to_be_visible()  # the password alone logs nobody in
    begin(page)
    page.evaluate(AXE)
    assert list(findings(page)) == []
    answer(page, used, passes=False)
    answer(page, app_code(secret, 1))
    for code, passes in ((codes[3], True), (codes[3], False), (codes[4], True)):
        begin(page)
        answer(page, code, passes)
    assert [value in str(audited()) + stored() for value in (secret, codes[5])] == [False, False]
    begin(page)
    for _ in range(settings.LOGIN_ATTEMPTS):
        answer(page, "000000", passes=False)
    page.fill("#id_code", codes[6])
    page.keyboard.press("Enter")
    expect(page.get_by_text("Too many failed log-ins")).to_be_visible()
    tried = AuditEntry.objects.filter(act="user.log_in", object="root")
    assert {entry.outcome for entry in tried} == {"granted", "denied", "failed"}
    product.manage("remove_second_factor", "root")
    begin(page)
    page.wait_for_url("**/admin/")
    added = '{"added":"authenticator app","on":true}'
    assert audited()[-2:] == [("user:root", added), ("coordinator remove_second_factor", '{"on":false}')]


CREATE = """async () => { const { publicKey } = JSON.parse(document.querySelector("[data-options]").dataset.options);
return JSON.parse(JSON.stringify(await navigator.credentials.create(
    {publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey)}))) }"""
SIGN = """async () => { const { publicKey } = JSON.parse(document.querySelector("[data-options]").dataset.options);
return JSON.stringify(await navigator.credentials.get(
    {publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey)})) }"""
SEND = """value => { const form = document.querySelector("[data-passkey]");
form.elements.credential.value = value; form.submit() }"""
YES = ("hasUserVerification", "isUserVerified", "automaticPresenceSimulation")
DEVICE = {"protocol": "ctap2", "transport": "internal", **dict.fromkeys(YES, True)}


def test_a_passkey_is_added_asked_for_and_removed(page: Page, browser: Browser) -> None:
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    device = devices.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    to_add(page, "a passkey")
    page.fill("#id_name", "Laptop")
    elsewhere = browser.new_context(base_url=page.url).new_page()
    begin(elsewhere)
    elsewhere.wait_for_url("**/admin/")
    # A page of a subdomain, and characters that base64 ignores and no row can store.
    for host, ending in (("x.localhost", ""), ("localhost", "\0\0\0\0")):
        page.fill("#id_password", PASSWORD)
        created = page.evaluate(CREATE)
        client_data = base64.urlsafe_b64decode(created["response"]["clientDataJSON"] + "==")
        changed = base64.urlsafe_b64encode(client_data.replace(b"//localhost", f"//{host}".encode())).decode()
        created["response"]["clientDataJSON"] = changed + ending
        with page.expect_navigation():
            page.evaluate(SEND, json.dumps(created))
        if not ending:
            expect(page.get_by_text("The browser did not create a passkey for this page.")).to_be_visible()
            devices.send("WebAuthn.clearCredentials", device)
    expect(page.locator("[data-recovery-codes] li")).to_have_count(10)
    codes = page.locator("[data-recovery-codes] li").all_inner_texts()
    [credential] = devices.send("WebAuthn.getCredentials", device)["credentials"]
    elsewhere.reload()
    expect(elsewhere.locator("#id_username")).to_be_visible()
    elsewhere.context.close()
    begin(page, "https://evil.example/")
    page.evaluate(AXE)
    assert list(findings(page)) == []
    page.get_by_role("button", name="Use a passkey").press("Enter")
    page.wait_for_url("**/admin/")
    begin(page)
    signed = page.evaluate(SIGN)
    page.reload()  # a new challenge
    for response in (signed, "", "[]", '{"rawId": "AA"}', "[" * 9000):
        with page.expect_navigation():
            page.evaluate(SEND, response)
        expect(page.get_by_text("The passkey was not accepted.")).to_be_visible()
    LoginCounter.objects.all().delete()
    devices.send("WebAuthn.removeVirtualAuthenticator", device)
    copy = devices.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    devices.send("WebAuthn.addCredential", {**copy, "credential": credential})  # it counts from the beginning
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("The passkey was not accepted.")).to_be_visible()
    answer(page, codes[0])
    page.goto("/admin/second-factor/own/")
    expect(page.get_by_text("9 recovery codes left.")).to_be_visible()
    page.get_by_role("link", name="Remove the passkey Laptop").click()
    expect(page.get_by_text("This turns the second factor off")).to_be_visible()
    before = stored()
    for password, left in (("wrong", before), (PASSWORD, "[]")):
        page.fill("#id_password", password)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert stored() == left
    begin(page)
    page.wait_for_url("**/admin/")
    added, removed = '{"added":"passkey Laptop","on":true}', '{"on":false,"removed":"passkey Laptop"}'
    assert audited()[-2:] == [("user:root", added), ("user:root", removed)]
