"""Every page of the admin: who opens it, who changes what with it, and that tenants never see each other.

A page without a row in `pages.py` fails this module.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.urls import resolve, reverse

from coordinator import urls
from coordinator.middleware.admin_denials import ACTS
from tenancy.audit.acts import NAMES
from tenancy.models import AuditEntry, Membership, Tenant
from tests import signing
from tests.admin import pages
from tests.admin.conftest import USERS, World, furnished, log_in_as
from tests.admin.forms import forms_of
from tests.admin.named import named, secret
from tests.admin.pages import CHANGES, ELSEWHERE, EVERYONE, READS
from tests.cases import cases, rolled_back
from tests.hostile_values import NUMBERS, TEXTS, headers

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
LIVE = {"releases_release_status release", "executions_execution_live execution", "executions_campaign_live campaign"}
LEADING = (
    *("executions_interaction_", "executions_failuregroup_", "tenancy_tenant_worker_key"),
    *("executions_campaign_begin", "executions_campaign_discard", "executions_campaign_instead"),
)
"""Forms whose address leads to the page of the form."""
LISTS = [page for page in READS if page.endswith("_changelist") and "tenant-admin" in READS[page]]
PEOPLE = (*EVERYONE, "anonymous")
WORST = [*(TEXTS[name] for name in ("U+0000", "a newline", "a far date", "a large exponent")), "9" * 400, "2147483647"]
IN_ADDRESS = [*WORST, "0", "x", "1/change/../..", *(TEXTS[name] for name in ("two dots", "a percent sign", "quotes"))]
PARAMETERS = {"q", "o", "p", "e", "all", "page", "next", "shown", "outcome", "_popup", "_to_field"}
"""Parameters that the admin reads from any query, in addition to those of its filters and forms."""


@dataclass
class Admin:
    """Two tenants with an object of each kind: acme and globex."""

    names: dict[str, object]
    theirs: dict[str, object]
    sessions: dict[str, str]

    def client(self, who: str, **options: Any) -> Client:
        """Return a new client with the session of the user. A response may replace the session of a client."""
        client = Client(**options)
        if who != "anonymous":
            client.cookies[settings.SESSION_COOKIE_NAME] = self.sessions[who]
        return client

    def url(self, page: str) -> str:
        return pages.url(page, self.names)

    def get(self, client: Client, page: str, query: str = "") -> Any:
        return client.get(f"{self.url(page)}?{query}" if query else self.url(page))

    def post(self, client: Client, page: str) -> Any:
        fields = pages.fields_of(page, self.names)
        return client.post(self.url(page), fields, headers={"X-Request-ID": "request-1"})

    def holders(self, page: str) -> set[str]:
        """Return who may open a page. The stranger administers another tenant, and opens what is not of one."""
        allowed = set(READS[page])
        return allowed | ({"stranger"} if "tenant-admin" in allowed and not self.of_tenant(page) else set())

    def of_tenant(self, page: str) -> bool:
        return pages.has_object(page, self.names)


@pytest.fixture(scope="module")
def site(shared_acme: World) -> Iterator[Admin]:
    with override_settings(PROVENANCE_KEY=signing.private_pem("coordinator")):
        globex = furnished("globex", "globex.secrets")
        names, theirs = named(shared_acme), named(globex)
        sessions = {who: log_in_as(who).cookies[settings.SESSION_COOKIE_NAME].value for who in EVERYONE}
        yield Admin(names, theirs, sessions)


def content(response: Any) -> str:
    return (b"".join(response) if response.streaming else response.content).decode(errors="replace")


def opened(response: Any) -> bool:
    """True if the page is shown, or leads to another page than the log-in."""
    if response.status_code == 302:
        return not response["Location"].startswith(reverse("admin:login"))
    return response.status_code in {200, 204}


def written() -> list[tuple[Any, ...]]:
    """Return how many rows this transaction has inserted, updated and deleted in each table.

    Sessions and the audit log do not count.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables"
            " WHERE relname !~ '^(django_session|tenancy_audit.*)$'"
            " AND n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY 1"
        )
        return list(cursor.fetchall())


def url_names(found: Sequence[Any]) -> Iterator[str]:
    for each in found:
        if hasattr(each, "url_patterns"):
            yield from url_names(each.url_patterns)
        elif each.name:
            yield each.name


assert urls.urlpatterns  # importing them registers the pages
ALL = set(url_names(admin.site.urls[0]))
WITH_ROW = {page.split()[0] for page in (*READS, *CHANGES)}


def test_pages_without_a_row_change_nothing(site: Admin) -> None:
    """They are Django's own, which the product does not offer: nobody adds, changes or deletes a row with them."""
    client, before = site.client("superuser"), written()
    found = {}
    for name in ALL - WITH_ROW - ELSEWHERE:
        assert name.endswith(("_add", "_delete", "_history", "_change")), f"{name} needs a row in pages.py"
        model = name.rpartition("_")[0]
        rows = [page for page in READS if page.startswith(f"{model}_change ")]
        key = site.names[rows[0].split()[1]] if rows else 1
        address = reverse(f"admin:{name}", args=[] if name.endswith("_add") else [key])
        if resolve(address).url_name == name:  # else another page has the address
            found[name] = client.get(address).status_code, client.post(address, {"post": "yes"}).status_code
    others = {name: status for name, status in found.items() if not set(status) <= {403, 404, 405}}
    assert {name for name in others if not name.endswith("_history")} == set(), others
    for page in READS:
        if re.match(r"\w+_change(list)?\b", page) and page not in CHANGES:
            fields = {"release_version": "9", "action": "delete_selected", "_selected_action": "1"}
            assert client.post(site.url(page), fields).status_code in {200, 302, 403, 405}, page
    assert written() == before


def test_each_act_of_a_page_has_a_name() -> None:
    assert ACTS.keys() <= ALL
    assert set(ACTS.values()) <= set(NAMES)


@cases("page", READS)
def test_a_page_opens_only_for_users_whose_role_permits_it(site: Admin, page: str) -> None:
    """It changes nothing, hides payloads from viewers, and shows nothing of another tenant."""
    before, allowed = written(), site.holders(page)
    foreign = [str(site.names[name]) for name in ("slug", "execution", "question")]
    for who in PEOPLE:
        response = site.get(site.client(who), page)
        assert opened(response) == (who in allowed), (who, response.status_code)
        text = content(response)
        assert "default-src 'none'" in response["Content-Security-Policy"]
        if who == "anonymous":
            if page in LIVE:
                assert (response.status_code, response["HX-Refresh"]) == (403, "true")
            else:
                assert response["Location"].startswith(reverse("admin:login"))
        elif who not in allowed:
            hidden = who == "stranger" and site.of_tenant(page) and not page.startswith("auth_user")
            assert response.status_code in ({404} if hidden else {403, 404})
        if who not in pages.READERS:
            assert secret("acme") not in text
        if who in {"stranger", "nobody"}:
            assert not [each for each in foreign if each in text]
    assert written() == before


@cases("page", CHANGES)
def test_a_form_makes_its_change_only_for_users_whose_role_permits_it(site: Admin, page: str) -> None:
    """Each request leaves one entry in the audit log, granted or denied. A denial changes nothing."""
    allowed = {*CHANGES[page].who, "superuser"}
    for who in EVERYONE:
        with rolled_back():
            client = site.client(who)
            before, entries = written(), AuditEntry.objects.count()
            response = site.post(client, page)
            changed = written() != before
            assert changed == (who in allowed), (who, response.status_code)
            if who == "stranger" and not site.of_tenant(page) and response.status_code in {200, 400}:
                continue  # the form offers the tenants of the user
            assert who in allowed or response.status_code in {403, 404}, who
            *more, entry = AuditEntry.objects.order_by("id")[entries:]
            assert len(more) == (who in allowed and "password" in page), "the sessions end, too"
            assert entry.outcome == ("granted" if who in allowed else "denied")
            assert (entry.actor, entry.request_id) == (f"user:{USERS.get(who, who)}", "request-1")
            assert entry.act in NAMES
            assert entry.act != "admin.page"
            if who in allowed and "superuser" not in CHANGES[page].who[:1]:
                assert entry.tenant_id == site.names["tenant"]


@cases("page", CHANGES)
def test_a_form_needs_a_csrf_token_and_a_post_request(site: Admin, page: str) -> None:
    before = written()
    assert site.client("superuser", enforce_csrf_checks=True).post(site.url(page)).status_code == 403
    response = site.get(site.client("superuser"), page, urlencode(pages.fields_of(page, site.names), doseq=True))
    assert response.status_code in ({200, 302} if page in READS or page.startswith(LEADING) else {405})
    assert site.client("anonymous").post(site.url(page)).status_code == 302
    assert written() == before


# --- two tenants ---


@cases("page", LISTS)
def test_a_list_its_filters_and_its_search_show_only_rows_of_the_users_tenant(site: Admin, page: str) -> None:
    stranger = site.client("stranger")
    listing = site.get(stranger, page).context["cl"]
    mine = {str(row.pk) for row in listing.result_list}
    everyone = {str(row.pk) for row in site.get(site.client("superuser"), page).context["cl"].result_list}
    assert mine
    assert mine < everyone
    names = {each.parameter_name for each in listing.list_filter or () if hasattr(each, "parameter_name")} | {"q"}
    values = {
        "q": ("slug", "pipeline_id", "execution", "question"),
        **{"pipeline": ("pipeline_id", "pipeline"), "release": ("release",), "group": ("group",)},
    }
    for name in names:
        for key in values.get(name, ("slug",)):
            value = site.names[key]
            response = site.get(stranger, page, urlencode({name: value}))
            assert response.status_code in {200, 302, 400}
            found = response.context["cl"].result_list if response.context else ()
            assert {str(row.pk) for row in found} <= mine
    for lookup in ("tenant__slug__startswith=a", "input__n=1", "digest__startswith=0", "user__password__startswith=a"):
        assert site.get(stranger, page, lookup).status_code == 400


def test_a_role_counts_only_in_its_tenant(site: Admin) -> None:
    """A release manager of one tenant who is a viewer of another may not activate there. A former member sees none."""
    client, page = site.client("viewer"), "releases_release_activate release"
    viewer = User.objects.get(username="viewer")
    Membership.objects.create(user=viewer, tenant=Tenant.objects.get(slug="globex"), role="release-manager")
    assert client.get(site.url("releases_release_upload")).status_code == 200
    assert client.get(site.url(page)).status_code == 403
    assert client.get(pages.url(page, site.theirs)).status_code == 200
    Membership.objects.filter(user=viewer, role="viewer").delete()
    assert client.get(site.url("releases_release_change release")).status_code == 404


# --- hostile values ---


def safe(client: Client, method: str, address: str, data: dict[str, Any] | None = None) -> Any:
    response = getattr(client, method)(address, data or {})
    assert response.status_code < 500, (method, address, data)
    if response.streaming:
        assert b"".join(response)
    return response


@cases(("number", "page"), enumerate(READS))
def test_no_query_value_makes_a_page_fail(site: Admin, number: int, page: str) -> None:
    """Each page gets half of the values."""
    client, address = site.client("superuser"), site.url(page)
    shown = safe(client, "get", address)
    names = {name for method, fields in forms_of(shown) if method == "get" for name in fields}
    listing = getattr(shown, "context", None) and shown.context.get("cl")
    filters = getattr(listing, "list_filter", None) or ()
    names |= {each.parameter_name for each in filters if hasattr(each, "parameter_name")}
    searched = {"q"} & names  # alone, because a value that another parameter refuses prevents the search
    for value in WORST[number % 2 :: 2]:
        for together in filter(None, (names, PARAMETERS if listing else set(), searched)):
            safe(client, "get", f"{address}?{urlencode(dict.fromkeys(together, value))}")


@cases(("number", "page"), enumerate(READS))
def test_no_form_value_makes_a_page_fail(site: Admin, number: int, page: str) -> None:
    """All fields of a form get half of the values, and each field alone gets one."""
    client, address = site.client("superuser"), site.url(page)
    for method, fields in forms_of(safe(client, "get", address)):
        names = sorted(fields.keys() - {"csrfmiddlewaretoken"}) if method == "post" else []
        for value in WORST[number % 2 :: 2] if names else ():
            safe(client, "post", address, {**fields, **dict.fromkeys(names, value)})
        for place, name in enumerate(names):
            safe(client, "post", address, {**fields, name: WORST[place % len(WORST)]})


@cases("page", [page for page in READS if len(page.split()) > 1])
def test_a_value_in_an_address_that_is_of_no_object_is_not_found(site: Admin, page: str) -> None:
    address = site.url(page)
    match = resolve(address)
    captured = {quote(str(value), safe="") for value in (*match.args, *match.kwargs.values())}
    segments = address.strip("/").split("/")
    client = site.client("superuser")
    for place in [place for place, segment in enumerate(segments) if segment in captured]:
        for value in IN_ADDRESS:
            changed = [*segments[:place], quote(value, safe=""), *segments[place + 1 :]]
            response = safe(client, "get", f"/{'/'.join(changed)}/")
            assert response.status_code in {301, 302, 403, 404}, changed


@cases("name", ["term", "app_label", "model_name", "field_name"])
def test_no_value_makes_the_autocompletion_fail(site: Admin, name: str) -> None:
    parameters = {"term": "a", "app_label": "tenancy", "model_name": "membership", "field_name": "tenant"}
    client = site.client("superuser")
    for value in [*TEXTS.values(), *map(str, NUMBERS)]:
        query = urlencode({**parameters, name: value})
        safe(client, "get", f"{reverse('admin:autocomplete')}?{query}")


@cases(("number", "address"), enumerate(["/admin/login/", "/health/live", "/static/nothing.js"]))
def test_no_header_or_cookie_makes_a_page_fail(number: int, address: str) -> None:
    """Each address gets a third of the values."""
    client = Client()
    for sent in list(headers(settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, "messages"))[number::3]:
        client.cookies.clear()
        assert client.get(address, headers=sent).status_code < 500, sent
