"""The pages of the audit log, and what it has of the acts and denials of the admin."""

import csv
from io import StringIO
from typing import Any
from urllib.parse import quote, urlencode

from django.urls import reverse

from tenancy import audit
from tenancy.models import AuditEntry
from tests.admin.conftest import LogIn, World

LIST = "admin:tenancy_auditentry_changelist"


def exported(client: object, form: str, query: str = "") -> str:
    response = client.get(f"{reverse('admin:tenancy_auditentry_export', args=[form])}?{query}")  # type: ignore[attr-defined]
    assert response.status_code == 200
    return b"".join(response).decode()


def add(world: World | None, of: str) -> None:
    tenant = world.tenant if world else None
    audit.record("thing.change", tenant=tenant, actor="user:eva", object_type="thing", object=of, reason="<b>why</b>")


def test_a_tenant_admin_sees_the_entries_of_the_tenant(log_in: LogIn, acme: World, globex: World) -> None:
    for world, of in ((acme, "ours"), (globex, "theirs"), (None, "of-the-installation")):
        add(world, of)
    page = log_in("tenant-admin").get(reverse(LIST)).content.decode()
    assert "ours" in page
    assert "theirs" not in page
    assert "of-the-installation" not in page
    assert "<b>why</b>" not in page
    everything = log_in("superuser").get(reverse(LIST)).content.decode()
    assert all(of in everything for of in ("ours", "theirs", "of-the-installation"))


def test_an_entry_of_the_installation_opens_only_for_superusers(log_in: LogIn, acme: World) -> None:
    add(None, "x")
    entry = AuditEntry.objects.filter(tenant=None, act="thing.change").get()
    address = reverse("admin:tenancy_auditentry_change", args=[entry.pk])
    assert {who: log_in(who).get(address).status_code for who in ("superuser", "tenant-admin")} == {
        "superuser": 200,
        "tenant-admin": 404,
    }


def test_the_filters_select_entries_and_exports(log_in: LogIn, acme: World, globex: World) -> None:
    for world, of in ((acme, "one"), (acme, "two"), (globex, "theirs"), (None, "three")):
        add(world, of)
    client = log_in("superuser")
    act = "act=thing.change"
    for query, expected in {
        act: ["three", "one", "two", "theirs"],
        f"{act}&tenant=acme": ["one", "two"],
        f"{act}&tenant=-": ["three"],
        f"{act}&object=two": ["two"],
        f"{act}&outcome=denied": [],
        f"{act}&actor=user:eva&from=2020-01-01&tenant=acme": ["one", "two"],
        f"{act}&to=2020-01-01T00:00:00Z": [],
        f"{act}&from=nonsense": [],
    }.items():
        rows = list(csv.DictReader(StringIO(exported(client, "csv", query))))
        assert sorted(row["object"] for row in rows) == sorted(expected), query
        assert len(exported(client, "ndjson", query).splitlines()) == len(expected)
        assert client.get(f"{reverse(LIST)}?{query}").status_code == 200
    assert exported(log_in("tenant-admin"), "csv", act).count("thing.change") == 2


def test_an_object_is_listed_with_what_belongs_to_it(log_in: LogIn, acme: World) -> None:
    for of in ("orders", "orders/1.1", "orders/1.1/request", "orders/1.10", "orders_2/1.1"):
        add(acme, of)
    for wanted, expected in {
        "orders": ["orders", "orders/1.1", "orders/1.1/request", "orders/1.10"],
        "orders/1.1": ["orders/1.1", "orders/1.1/request"],
        "orders/1": [],
        "orders_": [],
        "%": [],
    }.items():
        text = exported(log_in("tenant-admin"), "csv", urlencode({"act": "thing.change", "object": wanted}))
        assert [row["object"] for row in csv.DictReader(StringIO(text))] == expected


def test_the_list_says_how_many_entries_match(log_in: LogIn, acme: World) -> None:
    client, address = log_in("tenant-admin"), f"{reverse(LIST)}?act=thing.change"
    for count, text in ((1, "1 entry"), (2, "2 entries")):
        add(acme, f"thing {count}")
        assert f"data-counted>{text}<" in client.get(address).text


def test_the_list_shows_details(log_in: LogIn, acme: World) -> None:
    details: dict[str, Any] = {"decision": "approve", "nothing": None, "why": "<b>"}
    audit.record("thing.change", tenant=acme.tenant, actor="user:eva", object_type="thing", object="x", **details)
    page = log_in("tenant-admin").get(reverse(LIST)).text
    assert "decision: &quot;approve&quot;, why: &quot;&lt;b&gt;&quot;" in page


def test_the_pages_of_pipelines_and_releases_link_to_their_entries(log_in: LogIn, acme: World) -> None:
    release, log = acme.release, reverse(LIST)
    for model, row, name in (
        ("pipeline", release.pipeline, release.pipeline.pipeline_id),
        ("release", release, release.audit_name),
    ):
        address = reverse(f"admin:releases_{model}_change", args=[row.pk])
        link = f"{log}?object={quote(name, safe='')}&amp;tenant=acme"
        assert link in log_in("tenant-admin").get(address).text
        assert f"{log}?" not in log_in("release-manager").get(address).text


def test_only_admins_export(log_in: LogIn, acme: World) -> None:
    address = reverse("admin:tenancy_auditentry_export", args=["csv"])
    assert {log_in(who).get(address).status_code for who in ("viewer", "operator", "release-manager")} == {404}
    assert log_in("tenant-admin").get(reverse("admin:tenancy_auditentry_export", args=["xml"])).status_code == 404
