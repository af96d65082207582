"""The page of a release: the picture of its steps, its types, its executions, and what it is compared with."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.inspection import release_counts
from executions.models import Execution
from releases.activation.activation import activate
from releases.models import Release
from releases.registration import attachments
from tests import making, signing
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.admin.test_release_pages import MARKUP
from tests.cases import cases

MOST_QUERIES = 25


def page_of(release: Release) -> str:
    return reverse("admin:releases_release_change", args=[release.pk])


def test_the_picture_shows_steps_awaits_and_types(log_in: LogIn, acme: World) -> None:
    steps = [
        {**making.STEP, "index": 0, "authoredName": "Check", "inputTypeId": "Order", "outputTypeId": "Checked"},
        {"index": 1, "authoredName": MARKUP, "kind": "await", "awaitTransport": "rest", "outputTypeId": "Decision"},
    ]
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", steps=steps)
    text = log_in("viewer").get(page_of(release)).text
    picture = text.partition("data-diagram")[2].partition("</figure>")[0]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", picture) == [
        *("0. Check", "internal, one to one", "1. &lt;img src=x onerror=alert(1)&gt;", "await over rest"),
        *("Order", "Checked", "Decision"),
    ]
    assert picture.count("dc-diagram-box await") == 1
    assert MARKUP not in text


def test_the_types_show_their_fields(log_in: LogIn, acme: World) -> None:
    types: dict[str, Any] = {
        "Order": {
            "definition": {
                "id": "Order",
                "kind": "record",
                "fields": [
                    {"name": "lines", "type": {"kind": "named", "id": "Line"}, "repeated": True},
                    {"name": MARKUP, "type": {"kind": "scalar", "id": "decimal"}, "optional": True},
                ],
            }
        },
        "Opaque": {},
    }
    release = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders", canonicalTypes=types)
    text = log_in("viewer").get(page_of(release)).text
    listed = text.partition("data-types")[2]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", listed.partition("</table>")[0])
    assert cells == ["lines", "list of Line", "required", "&lt;img src=x onerror=alert(1)&gt;", "decimal", "optional"]
    assert "not defined by the contract" in listed
    assert MARKUP not in text


def test_counts_link_to_exactly_their_rows(log_in: LogIn, acme: World) -> None:
    operator_rows.dead(acme, "a", "b")
    client = log_in("viewer")
    page = client.get(page_of(acme.release))
    [section] = [each.section for each in page.context["sections"] if each.template.endswith("release_executions.html")]
    assert section["counts"]
    for each, _, href in section["counts"]:
        shown = client.get(href).context["cl"].result_list
        assert {row.status for row in shown} == {each.status}
        assert len(shown) == each.count == Execution.objects.filter(release=acme.release, status=each.status).count()
    [(code, count, href)] = section["errors"]
    assert (count, len(client.get(href).context["cl"].result_list)) == (2, 2)
    assert code in page.text.partition("data-errors")[2]


def test_counts_are_bounded(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_counts, "MOST_READ", 2)
    operator_rows.dead(acme, "a", "b", "c")
    text = log_in("viewer").get(page_of(acme.release)).text.partition("data-release-executions")[2]
    assert re.search(r"at least 2</a>", text)


def test_a_release_is_compared_with_any_other(log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    making.rejected(acme.tenant, making.descriptor(making.contract("acme.orders"), b"x", "3.0"), b"y")
    client = log_in("viewer")
    assert client.get(page_of(newer)).context["compared"] == ["1.0"]
    address = reverse("admin:releases_pipeline_compare", args=[newer.pipeline_id])
    answer = client.get(address, {"to": "2.0", "from": "1.0"})
    assert (answer.context["before"].release_version, answer.context["after"].release_version) == ("1.0", "2.0")


@cases("who", ["viewer", "release-manager", "superuser"])
def test_pages_about_releases_make_few_queries(who: str, log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    operator_rows.dead(acme, "a")
    activate(newer, actor="user:test")
    attachments.attach(newer, [signing.envelope(newer.descriptor)], actor="user:test")
    client = log_in(who)
    pages = {
        "release": page_of(newer),
        "upload": reverse("admin:releases_release_upload"),
        "releases": reverse("admin:releases_release_changelist"),
    }
    for name, address in pages.items():
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        assert len(queries) <= MOST_QUERIES, f"{name}: {len(queries)}"
