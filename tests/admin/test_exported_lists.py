"""Lists with exports: tenants, members, tokens, trusted keys and users."""

import csv
import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tenancy.admin import exported_list
from tenancy.models import ApiToken, Membership, Tenant
from tests import signing
from tests.admin.conftest import LogIn, World
from tests.cases import cases

ADMINS = {"tenant-admin", "superuser"}
MEMBERS = {*ADMINS, "viewer"}
PEOPLE = {*MEMBERS, "nobody"}
# Who may export each list, and the name of the first column.
LISTS: dict[str, tuple[set[str], str]] = {
    "tenancy_tenant": (ADMINS, "slug"),
    "tenancy_membership": (ADMINS, "user"),
    "tenancy_apitoken": (ADMINS, "name"),
    "releases_trustedkey": (MEMBERS, "name"),
    "auth_user": ({"superuser"}, "user"),
}


def export(client: Client, model: str, form: str = "csv", query: str = "") -> str:
    response: Any = client.get(f"{reverse(f'admin:{model}_export', args=[form])}?{query}")
    assert response.status_code == 200
    return b"".join(response).decode()


def rows_of(client: Client, model: str, query: str = "") -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(export(client, model, "csv", query))))


def status(client: Client, address: str) -> int:
    response: Any = client.get(address)
    if response.streaming:
        assert b"".join(response)
    found: int = response.status_code
    return found


@cases("model", LISTS)
def test_only_those_who_see_a_list_export_it(model: str, log_in: LogIn, acme: World) -> None:
    address = reverse(f"admin:{model}_export", args=["csv"])
    got = {who: status(log_in(who), address) for who in PEOPLE}
    allowed, _ = LISTS[model]
    assert got == {who: 200 if who in allowed else 404 for who in PEOPLE}
    assert log_in("superuser").get(reverse(f"admin:{model}_export", args=["xml"])).status_code == 404
    assert log_in("anonymous").get(address).status_code == 302


@cases("model", LISTS)
def test_csv_and_json_lines_have_the_same_rows(model: str, log_in: LogIn, acme: World, globex: World) -> None:
    signing.trusted(acme.tenant)
    client, (_, first) = log_in("superuser"), LISTS[model]
    names = [row[first] for row in rows_of(client, model)]
    assert names
    assert [json.loads(line)[first] for line in export(client, model, "ndjson").splitlines()] == names
    page = client.get(reverse(f"admin:{model}_changelist")).text
    assert f'data-count="{len(names)}"' in page


def test_a_tenant_admin_exports_only_the_own_tenant(log_in: LogIn, acme: World, globex: World) -> None:
    client = log_in("tenant-admin")
    assert {row["tenant"] for row in rows_of(client, "tenancy_membership")} == {"acme"}
    assert [row["name"] for row in rows_of(client, "tenancy_apitoken")] == ["token-of-acme"]
    assert [row["slug"] for row in rows_of(client, "tenancy_tenant")] == ["acme"]


def test_an_export_has_what_the_search_and_the_filters_select(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    assert [row["user"] for row in rows_of(client, "tenancy_membership", "role=viewer")] == ["viewer"]
    assert [row["user"] for row in rows_of(client, "tenancy_membership", "q=on-c")] == ["on-call"]
    assert rows_of(client, "tenancy_apitoken", "expiry=expired") == []


def test_a_page_that_does_not_exist_has_no_export(log_in: LogIn, acme: World) -> None:
    users = User.objects.bulk_create(User(username=f"member-{number}") for number in range(100))
    Membership.objects.bulk_create(Membership(tenant=acme.tenant, user=user, role="viewer") for user in users)
    client, address = log_in("tenant-admin"), reverse("admin:tenancy_membership_export", args=["csv"])
    assert status(client, f"{address}?p=2") == 200
    assert status(client, f"{address}?p=99") == 404


def test_a_tenant_has_its_numbers(log_in: LogIn, acme: World) -> None:
    viewer = Membership.objects.get(tenant=acme.tenant, role="viewer").user
    Membership.objects.create(tenant=acme.tenant, user=viewer, role="operator")
    [row] = rows_of(log_in("tenant-admin"), "tenancy_tenant")
    assert (row["members"], row["validTokens"]) == ("5", "1")


def test_no_cell_is_a_formula(log_in: LogIn, acme: World) -> None:
    User.objects.filter(username="viewer").update(first_name="=HYPERLINK(1)")
    Tenant.objects.filter(pk=acme.tenant.pk).update(name="@SUM(1)")
    client = log_in("superuser")
    assert "'=HYPERLINK(1)" in {row["name"] for row in rows_of(client, "tenancy_membership")}
    assert "'=HYPERLINK(1)" in {row["name"] for row in rows_of(client, "auth_user")}
    assert [row["name"] for row in rows_of(client, "tenancy_tenant")] == ["'@SUM(1)"]


def test_too_many_rows_are_refused_with_a_message(log_in: LogIn, acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported_list, "MOST", 2)
    client, address = log_in("tenant-admin"), reverse("admin:tenancy_membership_export", args=["csv"])
    answer = client.get(f"{address}?q=o", follow=True)
    assert answer.request["QUERY_STRING"] == "q=o"
    assert "More than 2 rows match" in answer.text


def found(client: Client, model: str, query: dict[str, str]) -> set[str]:
    rows = client.get(reverse(f"admin:{model}_changelist"), query).context["cl"].result_list
    return {str(getattr(row, "user", row)) for row in rows}


def test_members_are_filtered_by_role_and_last_log_in(log_in: LogIn, acme: World) -> None:
    client = log_in("tenant-admin")
    User.objects.update(last_login=None)
    client = log_in("tenant-admin")  # this sets the time of the log-in
    assert found(client, "tenancy_membership", {"role": "on-call"}) == {"on-call"}
    never = found(client, "tenancy_membership", {"log-in": "never"})
    assert never == {"viewer", "operator", "on-call", "release-manager"}
    assert found(client, "tenancy_membership", {"log-in": "30"}) == never
    assert len(found(client, "tenancy_membership", {"log-in": "x\0"})) == 5


def test_users_are_filtered_by_state(log_in: LogIn, acme: World) -> None:
    client = log_in("superuser")
    User.objects.filter(username="operator").update(is_active=False)
    assert found(client, "auth_user", {"state": "inactive"}) == {"operator"}
    assert found(client, "auth_user", {"state": "superuser"}) == {"superuser"}
    assert found(client, "auth_user", {"state": "alone"}) == {"nobody"}


def test_keys_are_filtered_by_state(log_in: LogIn, acme: World) -> None:
    key = signing.trusted(acme.tenant)
    client = log_in("viewer")
    assert found(client, "releases_trustedkey", {"state": "trusted"}) == {str(key)}
    assert found(client, "releases_trustedkey", {"state": "revoked"}) == set()


def test_the_tenant_is_a_column_only_for_those_who_see_several(log_in: LogIn, acme: World, globex: World) -> None:
    address = reverse("admin:tenancy_apitoken_changelist")
    assert "column-tenant" not in log_in("tenant-admin").get(address).text
    assert "column-tenant" in log_in("superuser").get(address).text
    assert ApiToken.objects.count() == 2
