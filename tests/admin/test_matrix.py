"""Every page of the admin: who opens it, who changes what with it, and that tenants never see each other.

A page without a row in `pages.py` fails this module.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from benchmarks.costs.ledger import PAGE_STATEMENTS
from coordinator import urls
from docs.generators import roles
from tenancy.audit.acts import Act, Declaration, declared
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import GRANTS
from tests import signing
from tests.admin import pages
from tests.admin.conftest import USERS, World, furnished, log_in_as
from tests.admin.named import named, secret
from tests.admin.pages import CHANGES, ELSEWHERE, EVERYONE, READS, SUPERUSERS
from tests.cases import cases, rolled_back
from tests.hostile_values import TEXTS
from tests.words import words

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
LATER = {"releases_pipeline_health pipeline", "releases_release_activate_form release"}
LIVE = {"releases_release_status release", "executions_execution_live execution", "executions_campaign_live campaign"}
LIVE_LISTS = {"executions_interaction_news"}
STAYS = "executions_interaction_live question"
"""The part of a page that stays after a log-out, because it has a form."""
LEADING = words("executions_interaction_ executions_failuregroup_ executions_campaign_ tenancy_tenant_worker_key")
"""Forms whose address leads to the page of the form."""
LISTS = [page for page in READS if page.endswith("_changelist") and "tenant-admin" in READS[page]]
OUTSIDERS = ("stranger", "nobody")
WORST = [*(TEXTS[name] for name in ("U+0000", "a newline", "a far date", "a large exponent")), "9" * 400, "2147483647"]
IN_ADDRESS = [*WORST, "0", "x", "1/change/../..", *(TEXTS[name] for name in ("two dots", "a percent sign", "quotes"))]
FILTERS = {
    "q": ("slug", "execution", "question"),
    **{"tenant": ("slug",), "pipeline": ("pipeline_id", "pipeline"), "release": ("release",), "group": ("group",)},
}
"""The filters of lists that select by a row, and the names of rows of acme that they select by."""
PARAMETERS = {"q", "o", "p", "e", "all", "page", "next", "shown", "outcome", "_popup", "_to_field"}
"""Parameters that the admin reads from any query, in addition to those of its filters and forms."""


@dataclass
class Admin:
    """Two tenants with an object of each kind: acme and globex."""

    names: dict[str, object]
    theirs: dict[str, object]
    sessions: dict[str, str]
    _shown: dict[str, Any] = field(default_factory=dict)

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

    def shown(self, page: str) -> Any:
        """Return the page as superusers see it."""
        if page not in self._shown:
            with CaptureQueriesContext(connection) as sent:
                self._shown[page] = self.get(self.client("superuser"), page)
                content(self._shown[page])  # a download is read to its end, which closes its file
            assert len(sent) <= PAGE_STATEMENTS, page
        return self._shown[page]

    def post(self, client: Client, page: str) -> Any:
        fields = pages.fields_of(page, self.names)
        return client.post(self.url(page), fields, headers={"X-Request-ID": "request-1"})

    def of_tenant(self, page: str) -> bool:
        return any(argument in self.names for argument in page.split()[1:])


@pytest.fixture(scope="module")
def site(shared_acme: World) -> Iterator[Admin]:
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    mail = {"EMAIL_HOST": "mail.example", "PUBLIC_URL": "https://coordinator.example"}
    with override_settings(PROVENANCE_KEY=signing.private_pem("coordinator"), PASSWORD_HASHERS=hashers, **mail):
        globex = furnished("globex", "globex.secrets")
        names, theirs = named(shared_acme), named(globex)
        sessions = {who: log_in_as(who).cookies[settings.SESSION_COOKIE_NAME].value for who in EVERYONE}
        yield Admin(names, theirs, sessions)


def deciding(allowed: tuple[str, ...], of_tenant: bool) -> list[str]:
    """Return the weakest user who may, the strongest members who may not, and the outsiders.

    To the object of a tenant, a member of no tenant is like a member of another one.
    """
    refused = [role for role in GRANTS if role not in allowed]
    strongest = [role for role in refused if not any(GRANTS[role] < GRANTS[other] for other in refused)]
    return [allowed[0], *strongest, "stranger", *([] if of_tenant else ["nobody"])]


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


def patterns(urls: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for url in urls:
        if hasattr(url, "url_patterns"):
            yield from patterns(url.url_patterns)
        elif url.name:
            yield url.name, url.callback


assert urls.urlpatterns  # importing them registers the pages
ALL = {name for name, _ in patterns(admin.site.urls[0])}
UNUSED = ("_add", "_delete", "_history", "_change")
"""The ends of the names of Django's own pages. `test_pages_without_a_row_change_nothing` tries them."""
DJANGOS = set(
    words("index login logout password_change password_change_done autocomplete jsi18n app_list view_on_site search")
)
declares_nothing = Declaration(None, (), reads=False)
WITH_ROW = {page.split()[0] for page in (*READS, *CHANGES)}


def test_pages_without_a_row_change_nothing(site: Admin) -> None:
    """They are Django's own, which the product does not offer: no user adds, changes or deletes a row with them."""
    client, before = site.client("superuser"), written()
    statuses = {}
    for name in ALL - WITH_ROW - ELSEWHERE:
        assert name.endswith(("_add", "_delete", "_history", "_change")), f"{name} needs a row in pages.py"
        model = name.rpartition("_")[0]
        rows = [page for page in READS if page.startswith(f"{model}_change ")]
        key = site.names[rows[0].split()[1]] if rows else 1
        address = reverse(f"admin:{name}", args=[] if name.endswith("_add") else [key])
        if resolve(address).url_name == name:  # else another page has the address
            statuses[name] = client.post(address, {"post": "yes"}).status_code
    others = {name: status for name, status in statuses.items() if status not in {403, 404, 405}}
    assert {name for name in others if not name.endswith("_history")} == set(), others
    for page in READS:
        if re.match(r"\w+_change(list)?\b", page) and page not in CHANGES:
            fields = {"release_version": "9", "action": "delete_selected", "_selected_action": "1"}
            refused = {403, 405} if "_change " in page else {200, 302, 403, 405}
            assert client.post(site.url(page), fields).status_code in refused, page
    assert written() == before


def test_each_page_that_changes_something_declares_its_act() -> None:
    """Django's own pages that no user may open have none, and neither have lists, which have no actions."""
    views = {name: declared(view) for name, view in patterns(admin.site.urls[0])}
    assert [page for page in CHANGES if not (views[page.split()[0]] or declares_nothing).act] == []
    others = {name for name, declaration in views.items() if declaration is None}
    assert {name for name in others - DJANGOS if not name.endswith(("_changelist", *UNUSED))} == set()
    # docs/reference/roles.md says which roles may do the acts of these pages.
    allowed: dict[Act | None, set[str]] = {}
    for page, change in CHANGES.items():
        act = (views[page.split()[0]] or declares_nothing).act
        allowed.setdefault(act, set()).update({*change.who} - {*SUPERUSERS})
    for act, needed in roles.scopes_of_acts().items():
        known = {str(role) for role, granted in GRANTS.items() for scopes in needed if scopes <= granted}
        assert act not in allowed or allowed[act] == known, act


@cases("page", READS)
def test_a_page_opens_only_for_users_whose_role_permits_it(site: Admin, page: str) -> None:
    """It changes nothing, sends few statements, hides payloads from viewers, and shows nothing of another tenant."""
    before, allowed = written(), READS[page]
    foreign = [str(site.names[name]) for name in ("slug", "execution", "question")]
    assert opened(site.shown(page))
    for who in (*deciding(allowed, site.of_tenant(page)), "anonymous"):
        response = site.get(site.client(who), page)
        opens = who in allowed or (who == "stranger" and "tenant-admin" in allowed and not site.of_tenant(page))
        assert opened(response) == opens, (who, response.status_code)
        text = content(response)
        assert "default-src 'none'" in response["Content-Security-Policy"]
        if who == "anonymous":
            assert response["Location"].startswith(reverse("admin:login"))
            if page in {*LIVE, *LIVE_LISTS, *LATER, STAYS}:
                refused = site.client(who).get(site.url(page), headers={"HX-Request": "true"})
                expected = (200, None) if page == STAYS else (403, "true")
                assert (refused.status_code, refused.get("HX-Refresh")) == expected
        elif not opens:
            hidden = who == "stranger" and site.of_tenant(page) and not page.startswith("auth_user")
            assert response.status_code in ({404} if hidden else {403, 404})
        if who not in pages.READERS:
            assert secret("acme") not in text
        if who in OUTSIDERS:
            assert not [value for value in foreign if value in text]
    assert written() == before


@cases("page", CHANGES)
def test_a_form_makes_its_change_only_for_users_whose_role_permits_it(site: Admin, page: str) -> None:
    """Each request leaves one entry in the audit log, granted or denied. A denial changes nothing."""
    allowed = CHANGES[page].who
    for who in deciding(allowed, site.of_tenant(page)):
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
            assert Act(entry.act)
            assert entry.act != "admin.page"
            if who in allowed and who != "superuser":
                assert entry.tenant_id == site.names["tenant"]


@cases("page", sorted({*LIVE, STAYS}))
def test_a_denied_post_to_a_part_that_its_page_polls_is_recorded_too(site: Admin, page: str) -> None:
    entries = AuditEntry.objects.count()
    assert site.client("stranger").post(site.url(page)).status_code == 404
    [entry] = AuditEntry.objects.order_by("id")[entries:]
    assert (entry.act, entry.outcome, entry.tenant, entry.object) == ("admin.page", "denied", None, site.url(page))
    assert entry.actor == f"user:{USERS['stranger']}"


@cases("page", CHANGES)
def test_a_form_needs_a_csrf_token_and_a_post_request(site: Admin, page: str) -> None:
    before = written()
    assert site.client("superuser", enforce_csrf_checks=True).post(site.url(page)).status_code == 403
    if page not in READS:
        response = site.get(site.client("superuser"), page, urlencode(pages.fields_of(page, site.names), doseq=True))
        assert response.status_code in ({200, 302} if page.startswith(tuple(LEADING)) else {405})
    assert site.client("anonymous").post(site.url(page)).status_code == 302
    assert written() == before


@cases("page", LISTS)
def test_a_list_its_filters_and_its_search_show_only_rows_of_the_users_tenant(site: Admin, page: str) -> None:
    stranger = site.client("stranger")
    listing = site.get(stranger, page).context["cl"]
    mine = {str(row.pk) for row in listing.result_list}
    everyone = {str(row.pk) for row in site.shown(page).context["cl"].result_list}
    assert mine
    assert mine < everyone
    names = {entry.parameter_name for entry in listing.list_filter or () if hasattr(entry, "parameter_name")} | {"q"}
    for name in names & FILTERS.keys():
        for key in FILTERS[name]:
            response = site.get(stranger, page, urlencode({name: site.names[key]}))
            assert response.status_code in {200, 302, 400}
            listed = response.context["cl"].result_list if response.context else ()
            assert {str(row.pk) for row in listed} <= mine
    for lookup in ("tenant__slug__startswith=a", "user__password__startswith=a"):
        assert site.get(stranger, page, lookup).status_code == 400


DENIED = "Your role may not do this. These roles may: "
REQUEST, EXECUTIONS = "releases_activationrequest_change request", "executions_execution_changelist"
TRUE_FOR = [
    ("viewer", EXECUTIONS, f"{DENIED}operator, on-call, tenant admin.", 'class="dc-select"'),
    ("viewer", "executions_campaign_change draft", f"{DENIED}operator, on-call, tenant admin.", 'id="id_why"'),
    ("auditor", "executions_interaction_change question", "may not answer. These roles may: approver, ", "Claim<"),
    ("viewer", REQUEST, "Votes", "Go to the vote"),
    ("approver", REQUEST, "Go to the vote</a>", "Withdraw this request"),
    ("viewer", "releases_release_recovery release", "Check what can continue", 'name="target"'),
    ("auditor", "releases_release_recovery release", 'name="target"', "Check what can continue"),
    ("auditor", "releases_release_recovery_proof release", DENIED, 'name="verdict"'),
    ("auditor", "releases_pipeline_change pipeline", "Acts on the pipeline and its releases", "Change the policy</a>"),
    ("viewer", "releases_pipeline_change asked_pipeline", "cannot be submitted.</p>", "The release stays active"),
]
WRONG = re.compile(r"(?<![\d.,])1 ((more|other|open|earlier) )?(?!has\b|is\b|was\b)[a-z]{2,}s\b|to (view|change) \|")


def test_pages_say_what_is_true_for_the_role_of_the_reader_and_count_in_english(site: Admin) -> None:
    for who, page, said, unsaid in TRUE_FOR:
        text = site.get(site.client(who), page).text
        assert (text.count(said), unsaid in text) == (1, False), (who, page)
    for page in READS:
        text = re.sub(r"<[^>]*>", " ", site.shown(page).text) if not site.shown(page).streaming else ""
        assert not WRONG.search(text), page


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


def safe(client: Client, method: str, address: str, data: dict[str, Any] | None = None) -> Any:
    response = getattr(client, method)(address, data or {})
    assert response.status_code < 500, (method, address, data)
    if response.streaming:
        assert b"".join(response)
    return response


@cases(("number", "page"), enumerate(READS))
def test_no_value_of_a_query_or_a_form_makes_a_page_fail(site: Admin, number: int, page: str) -> None:
    """The queries of each page get a third of the values, and each field of a form gets two."""
    client, address, shown = site.client("superuser"), site.url(page), site.shown(page)
    filled = [] if shown.streaming else Forms(shown.text).found  # a download has no forms
    forms = [(method, fields) for method, fields in filled if fields]
    listing = getattr(shown, "context", None) and shown.context.get("cl")
    filters = getattr(listing, "list_filter", None) or ()
    names = {name for method, fields in forms if method == "get" for name in fields}
    names |= {entry.parameter_name for entry in filters if hasattr(entry, "parameter_name")}
    searched = {"q"} & names  # alone, because a value that another parameter refuses prevents the search
    for value in WORST[number % 3 :: 3]:
        for together in filter(None, (names | (PARAMETERS if listing else set()), searched)):
            safe(client, "get", f"{address}?{urlencode(dict.fromkeys(together, value))}")
    for fields in [fields for method, fields in forms if method == "post"]:
        hostile = sorted(fields.keys() - {"csrfmiddlewaretoken"})
        for shift in (number, number + 3):
            values = {name: WORST[(shift + place) % len(WORST)] for place, name in enumerate(hostile)}
            safe(client, "post", address, {**fields, **values})


@cases(("number", "page"), enumerate(page for page in READS if len(page.split()) > 1))
def test_a_value_in_an_address_that_is_of_no_object_is_not_found(site: Admin, number: int, page: str) -> None:
    """Each page gets a third of the values."""
    address = site.url(page)
    match = resolve(address)
    captured = {quote(str(value), safe="") for value in (*match.args, *match.kwargs.values())}
    segments = address.strip("/").split("/")
    client = site.client("superuser")
    for place in [place for place, segment in enumerate(segments) if segment in captured]:
        for value in IN_ADDRESS[number % 3 :: 3]:
            changed = [*segments[:place], quote(value, safe=""), *segments[place + 1 :]]
            response = safe(client, "get", f"/{'/'.join(changed)}/")
            assert response.status_code in {301, 302, 403, 404}, changed


class Forms(HTMLParser):
    """Collects the forms of a page: the method of each, and the first value of each field."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((attributes.get("method", "get").lower(), {}))
        elif tag in {"input", "select", "textarea"} and attributes.get("name") and self.found:
            self.found[-1][1].setdefault(attributes["name"], attributes.get("value", ""))
            self._select = attributes["name"] if tag == "select" else None
        elif tag == "option" and self.found and getattr(self, "_select", None) and attributes.get("value"):
            fields = self.found[-1][1]
            fields[self._select or ""] = fields[self._select or ""] or attributes["value"]
