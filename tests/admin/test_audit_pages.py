"""The pages of the audit log, and what it has of the acts and denials of the admin."""

import csv
import json
from io import StringIO
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tenancy import audit
from tenancy.admin import bounded_list
from tenancy.audit import exports
from tenancy.models import AuditEntry
from tenancy.preferences import choose_zone
from tests.admin.conftest import LogIn, World
from tests.raw_sql import run, unguarded

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
        f"{act}&from=1h": ["three", "one", "two", "theirs"],
        f"{act}&to=1h": [],
        f"{act}&request=none": [],
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
        assert f'data-count="{count}">{text}<' in client.get(address).text


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


def listed(client: Client, query: str) -> list[str]:
    return [entry.object for entry in client.get(f"{reverse(LIST)}?{query}").context["cl"].result_list]


def test_days_and_times_are_those_of_the_user(log_in: LogIn, acme: World) -> None:
    add(acme, "one")
    at = AuditEntry.objects.get(object="one").at
    client = log_in("tenant-admin")
    choose_zone(User.objects.get(username="tenant-admin-of-acme"), "Pacific/Kiritimati")
    local = at.astimezone(ZoneInfo("Pacific/Kiritimati"))
    assert listed(client, f"object=one&from={local:%Y-%m-%d %H:%M}") == ["one"]
    assert listed(client, f"object=one&to={local:%Y-%m-%d %H:%M}") == []


def test_a_text_that_is_no_time_says_what_to_type(log_in: LogIn, acme: World) -> None:
    answer = log_in("tenant-admin").get(f"{reverse(LIST)}?from=yesterday")
    assert "It must be a time such as 2026-01-31 14:00, or a span such as 15m, 2h or 7d." in answer.text
    assert 'aria-describedby="problem-from"' in answer.text


def add_many(world: World, count: int) -> None:
    """Add entries without their trigger, which updates one row for each."""
    with unguarded(AuditEntry):
        run(
            "INSERT INTO tenancy_auditentry (tenant_id, sequence, at, actor, act, object_type, object, outcome, "
            "reason, request_id, address, details, previous_hash, hash) SELECT %s, 1000 + number, now(), 'user:eva', "
            "'thing.change', 'thing', number, 'granted', '', '', '', '{}', '', '' FROM generate_series(1, %s) number",
            world.tenant.pk,
            count,
        )


def test_the_list_counts_up_to_a_number(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_many(acme, 101)
    client, address = log_in("tenant-admin"), f"{reverse(LIST)}?act=thing.change"
    assert 'data-count="101"' in client.get(address).text
    assert 'data-count="101"' in client.get(f"{address}&p=2").text
    monkeypatch.setattr(bounded_list, "MOST_COUNTED", 100)
    assert "More than 10,000 entries" in client.get(address).text


def test_a_search_that_takes_too_long_says_so(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_many(acme, 20_000)
    run("DROP INDEX audit_object")
    monkeypatch.setattr(bounded_list, "LIST_SECONDS", 0.001)
    answer = log_in("tenant-admin").get(f"{reverse(LIST)}?object=none")
    assert 'data-problem="QUERY_TOO_SLOW"' in answer.text
    assert "Add a condition" in answer.text
    assert "Nothing matches" not in answer.text


def test_the_page_of_an_entry_shows_its_details_and_links_to_related_entries(log_in: LogIn, acme: World) -> None:
    audit.record(
        "thing.change",
        tenant=acme.tenant,
        actor="user:eva",
        object_type="good_thing",
        object="<i>one</i>",
        before={"name": "<b>old</b>"},
    )
    entry = AuditEntry.objects.get(act="thing.change")
    client = log_in("tenant-admin")
    answer = client.get(reverse("admin:tenancy_auditentry_change", args=[entry.pk]))
    assert answer.context["title"] == "thing.change by user:eva"
    assert "&lt;b&gt;old&lt;/b&gt;" in answer.text
    assert "<i>one" not in answer.text
    assert entry.hash in answer.text
    labels = [label for label, _ in answer.context["related"]]
    assert labels == ["All acts of user:eva", "All acts on this good thing", "All entries of thing.change"]
    for _, address in answer.context["related"]:
        assert client.get(address).context["cl"].result_list == [entry]


def test_entries_of_the_same_request_are_related(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    client.post(reverse("admin:account"), {"time_zone": "UTC"}, headers={"X-Request-ID": "request-1"})
    superuser = log_in("superuser")
    entry = AuditEntry.objects.get(request_id="request-1")
    answer = superuser.get(reverse("admin:tenancy_auditentry_change", args=[entry.pk]))
    label, address = answer.context["related"][-1]
    assert label == "All entries of the same request"
    assert superuser.get(address).context["cl"].result_list == [entry]


def test_an_export_that_is_too_large_is_refused_and_says_what_to_do(
    log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        add(acme, f"{number}")
    monkeypatch.setattr(exports, "MOST", 2)
    address = reverse("admin:tenancy_auditentry_export", args=["csv"])
    answer = log_in("tenant-admin").get(f"{address}?act=thing.change", follow=True)
    assert "More than 2 rows match. Add a condition, such as a time." in answer.text
    assert answer.context["cl"].params == {"act": "thing.change"}


def test_json_lines_have_the_details_as_json(log_in: LogIn, acme: World) -> None:
    audit.record("thing.change", tenant=acme.tenant, actor="a", object_type="thing", object="x", number=1)
    [line] = exported(log_in("tenant-admin"), "ndjson", "act=thing.change").splitlines()
    assert json.loads(line)["details"] == {"number": 1}


def test_the_filter_by_object_selects_what_belongs_to_it(log_in: LogIn, acme: World) -> None:
    long = "x" * 300
    for of in ("a", "a/1.0", "a/1.0/vote", "ab", "a%", "b/a", long, f"{long}/y", f"{long}y", f"{'x' * 200}z"):
        add(acme, of)
    client = log_in("tenant-admin")
    assert sorted(listed(client, "act=thing.change&object=a")) == ["a", "a/1.0", "a/1.0/vote"]
    assert sorted(listed(client, "act=thing.change&object=a/1.0")) == ["a/1.0", "a/1.0/vote"]
    assert listed(client, "act=thing.change&object=a%25") == ["a%"]
    assert sorted(listed(client, f"act=thing.change&object={long}")) == [long, f"{long}/y"]
