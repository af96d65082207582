"""REST: the audit log of a tenant and its exports."""

import csv
import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.http.response import StreamingHttpResponse
from django.utils import timezone

from tenancy import audit
from tenancy.audit import chain
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Caller:
    found = Caller(making.tenant(), Scope.ADMINISTER)
    for number in range(3):
        audit.record(
            f"thing.{'change' if number else 'add'}",
            tenant=found.tenant,
            actor=f"user:{number}",
            object_type="thing",
            object="=1+1",
            number=number,
        )
    audit.deny("thing.change", tenant=found.tenant, actor="user:0", object_type="thing", object="two", reason="no")
    other = making.tenant()
    audit.record("thing.change", tenant=other, actor="user:9", object_type="thing", object="other")
    return found


def export(admin: Caller, query: str) -> bytes:
    response: Any = admin.http.get(f"/api/v1/tenants/{admin.tenant.slug}/audit/export?{query}")
    assert response.status_code == 200, response.content
    assert isinstance(response, StreamingHttpResponse)
    return b"".join(response)


def test_the_log_is_newest_first_and_has_only_entries_of_the_tenant(admin: Caller) -> None:
    found = admin.get("audit")["items"]
    assert [entry["sequence"] for entry in found] == [5, 4, 3, 2, 1]
    assert found[0]["outcome"] == "denied"
    assert found[1]["details"] == {"number": 2}
    assert found[-1]["act"] == "token.issue"
    assert [entry["previousHash"] for entry in found[:-1]] == [entry["hash"] for entry in found[1:]]


def test_pages_continue_at_their_cursor(admin: Caller) -> None:
    first = admin.get("audit?pageSize=2")
    rest = admin.http.get(first["next"]).json()
    assert [entry["sequence"] for entry in first["items"] + rest["items"]] == [5, 4, 3, 2]


def test_the_filters(admin: Caller) -> None:
    later = (timezone.now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    expected = {
        "act=thing.add": [2],
        "actor=user:0": [5, 2],
        "object=two": [5],
        "outcome=denied": [5],
        f"from={later}": [],
        f"to={later}": [5, 4, 3, 2, 1],
        "act=thing.change&outcome=granted": [4, 3],
    }
    found = {query: [entry["sequence"] for entry in admin.get(f"audit?{query}")["items"]] for query in expected}
    assert found == expected


def test_ndjson_has_what_the_hashes_cover(admin: Caller) -> None:
    lines = [json.loads(line) for line in export(admin, "format=ndjson").splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4, 5]
    entries = chain.entries(admin.tenant).order_by("sequence")
    assert [line["hash"] for line in lines] == [chain.entry_hash(entry, admin.tenant.slug) for entry in entries]
    assert [line["at"] for line in lines] == [chain.moment(entry.at) for entry in entries]


def test_csv_contains_no_formula(admin: Caller) -> None:
    names, *rows = csv.reader(StringIO(export(admin, "format=csv&act=thing.add").decode()))
    [row] = [dict(zip(names, row, strict=True)) for row in rows]
    assert row["object"] == "'=1+1"
    assert row["details"] == '{"number":0}'


def test_an_export_reads_the_entries_in_chunks(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "CHUNK", 2)
    assert len(export(admin, "format=ndjson&act=thing.change").splitlines()) == 3


@cases("query", ["", "format=xml", "format=csv&surprise=1", "format=csv&act=", "format=csv&from=x"])
def test_a_wrong_query_is_rejected(admin: Caller, query: str) -> None:
    assert admin.get(f"audit/export?{query}", status=400)["code"] == "INVALID_REQUEST"


def test_a_request_id_is_kept_if_it_is_a_token_and_else_made(admin: Caller) -> None:
    for sent, kept in (("a-1.b_c", True), ("x" * 65, False), ("a b", False), ("", False)):
        response = admin.http.get(f"/api/v1/tenants/{admin.tenant.slug}/audit", headers={"X-Request-ID": sent})
        assert (response.headers["X-Request-ID"] == sent) is kept
        assert 0 < len(response.headers["X-Request-ID"]) <= 64


def test_an_entry_has_the_id_and_the_address_of_its_request(admin: Caller) -> None:
    admin.http.post(
        f"/api/v1/tenants/{admin.tenant.slug}/trusted-keys", {}, headers={"X-Request-ID": "r-1"}, format="json"
    )
    caller = Caller(admin.tenant, Scope.READ)
    path = f"/api/v1/tenants/{admin.tenant.slug}/trusted-keys"
    assert caller.http.post(path, {}, headers={"X-Request-ID": "r-2"}, format="json").status_code == 403
    entry = AuditEntry.objects.get(request_id="r-2")
    assert (entry.act, entry.actor, entry.outcome) == ("trusted_key.add", f"token:{caller.token}", "denied")
    assert entry.address == "127.0.0.1"
