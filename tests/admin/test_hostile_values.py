"""No value in an address, a query or a form makes a page fail."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from django.test import Client
from django.urls import resolve, reverse

from tenancy.models import Tenant
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_open_what import PAGES
from tests.cases import cases
from tests.hostile_values import NUMBERS, TEXTS, headers

pytestmark = pytest.mark.timeout(600)
VALUES = [*TEXTS.values(), *map(str, NUMBERS)]
WORST = [*(TEXTS[name] for name in ("U+0000", "a newline", "a far date", "a large exponent")), "9" * 400, "2147483647"]
# Parameters that the admin reads from any query, in addition to those of its filters and forms.
PARAMETERS = {
    "q",
    "o",
    "p",
    "e",
    "all",
    "page",
    "next",
    "shown",
    "outcome",
    "_popup",
    "_to_field",
    "_changelist_filters",
}
LISTED = {"term", "app_label", "model_name", "field_name"}


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


def answered(client: Client, method: str, url: str, data: dict[str, Any] | None = None) -> Any:
    answer = getattr(client, method)(url, data or {})
    assert answer.status_code < 500, (method, url, data, answer.status_code)
    return answer


def forms_of(answer: Any) -> list[Any]:
    """Return the forms of a page. A download has none."""
    return [] if answer.streaming else Forms(answer.text).found


@cases("page", PAGES)
def test_no_query_value_makes_a_page_fail(page: str, log_in: LogIn, acme: World) -> None:
    client, url = log_in("superuser"), PAGES[page][0](acme)
    shown = client.get(url)
    names = {name for method, fields in forms_of(shown) if method == "get" for name in fields}
    listing = getattr(shown, "context", None) and shown.context.get("cl")
    filters = getattr(listing, "list_filter", ())
    names |= {each.parameter_name for each in filters if hasattr(each, "parameter_name")}
    searched = {"q"} & names  # alone, because a value that another parameter refuses prevents the search
    for value in WORST:
        # Only lists read the general parameters. One value shows that other pages do not.
        general = PARAMETERS if listing or value == WORST[0] else set()
        for together in filter(None, (names, general, searched)):
            answered(client, "get", f"{url}?{urlencode(dict.fromkeys(together, value))}")


@cases("page", PAGES)
def test_no_form_value_makes_a_page_fail(page: str, log_in: LogIn, acme: World) -> None:
    client, url = log_in("superuser"), PAGES[page][0](acme)
    forms = [fields for method, fields in forms_of(client.get(url)) if method == "post"]
    for fields in forms:
        for name in fields.keys() - {"csrfmiddlewaretoken"}:
            for value in WORST:
                answered(client, "post", url, {**fields, name: value})


@cases("value", [*WORST, *(TEXTS[name] for name in ("two dots", "a percent sign", "quotes"))])
def test_no_value_in_an_address_makes_a_page_fail(value: str, log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    for page, (address, _, _) in PAGES.items():
        url = address(acme)
        segments = url.strip("/").split("/")
        for place in range(1, len(segments)) if page == "release" else captured(url, segments):
            changed = [*segments[:place], quote(value, safe=""), *segments[place + 1 :]]
            answered(client, "get", f"/{'/'.join(changed)}/")


def captured(url: str, segments: list[str]) -> list[int]:
    """Return the places of the segments that the URL's pattern captures. Every other value leads to the same 404."""
    match = resolve(url)
    values = {str(value) for value in (*match.args, *match.kwargs.values())}
    return [place for place, segment in enumerate(segments) if unquote(segment) in values]


@cases(
    ("method", "url"),
    [
        ("get", "/admin/login/"),
        ("post", "/admin/login/"),
        ("get", "/health/live"),
        ("get", "/nowhere"),
        ("get", "/static/nothing.js"),
    ],
)
def test_no_header_or_cookie_makes_a_page_fail(method: str, url: str, acme: World, settings: Any) -> None:
    client = Client()
    for sent in headers(settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME, "messages"):
        client.cookies.clear()
        answer = getattr(client, method)(url, headers=sent)
        assert answer.status_code < 500, sent


@cases("name", sorted(LISTED))
def test_no_value_makes_the_autocompletion_fail(name: str, log_in: LogIn, acme: World) -> None:
    parameters = {"term": "a", "app_label": "tenancy", "model_name": "membership", "field_name": "tenant"}
    for value in VALUES:
        query = urlencode({**parameters, name: value})
        answered(log_in("superuser"), "get", f"{reverse('admin:autocomplete')}?{query}")


def test_a_retention_term_outside_its_bounds_is_refused(log_in: LogIn, acme: World) -> None:
    page = reverse("admin:tenancy_tenant_change", args=[acme.tenant.pk])
    for value in ("36501", "2147483647", "2147483648", str(10**30)):
        answer = answered(log_in("superuser"), "post", page, {"name": "Acme", "retention_days": value})
        assert answer.status_code == 200
        assert answer.context["adminform"].form.errors.keys() == {"retention_days"}
    assert Tenant.objects.get(pk=acme.tenant.pk).retention_days == acme.tenant.retention_days
