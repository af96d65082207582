import csv
import json
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http.response import StreamingHttpResponse

from alerts.models import AlertChannel
from releases.registration import tenant_bytes
from tenancy import audit, members
from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import Caller, TenantApi, fields, refused, unchanged, upload
from tests.cases import cases

EXECUTIONS = "executions"
NONE = dict.fromkeys(
    ("submissionsPerSecond", "openExecutions", "payloadBytes", "storageBytes", "uploadsPerHour", "workers")
)


@pytest.fixture
def eva() -> User:
    return User.objects.create_user("eva", first_name="Eva", last_name="Example")


def body(role: str = "operator", username: str = "eva") -> dict[str, Any]:
    return {"username": username, "role": role}


def test_roles_are_added_listed_and_removed(ours: TenantApi, eva: User) -> None:
    added = ours.post("members", body())
    assert (added.status_code, added.json()) == (201, {**body(), "name": "", "active": None, "groups": []})
    audit.record(Act.EXECUTION_CANCEL, tenant=ours.tenant, actor="user:eva", object="e")
    assert [ours.post("members", body(role)).status_code for role in ("operator", "viewer")] == [200, 201]
    listed = ours.get("members").json()["items"]
    assert [(member["username"], member["role"]) for member in listed] == [
        (ours.admin.username, "tenant-admin"),
        ("eva", "operator"),
        ("eva", "viewer"),
    ]
    removed = ours.post("members/remove", body())
    shown = {**body(), "name": "Eva Example", "active": True, "groups": []}
    assert (removed.status_code, removed.json()) == (200, shown)
    assert [membership.role for membership in Membership.objects.filter(tenant=ours.tenant, user=eva)] == ["viewer"]
    refused(ours.post("members/remove", body()), 404, "MEMBER_UNKNOWN")


def test_answers_do_not_tell_whether_a_user_exists(ours: TenantApi, eva: User) -> None:
    """Neither do the list, the audit log, and the lists of people to whom failures and questions are passed on."""
    User.objects.create_user("gone", is_active=False)
    seen = []
    for name in ("eva", "gone", "nobody"):
        answers = [ours.post("members", body(username=name)) for _ in range(2)]
        [listed] = [item for item in ours.get("members").json()["items"] if item["username"] == name]
        people = [name in members.names(ours.tenant, Scope.OPERATE), members.holds(ours.tenant, name, Scope.ANSWER)]
        answers += [ours.post("members/remove", body(username=name)) for _ in range(2)]
        entries = AuditEntry.objects.filter(tenant=ours.tenant, object=name).order_by("id")
        log = [(entry.actor, entry.act, entry.details) for entry in entries]
        texts = [re.sub(r'"requestId":"[^"]*"', "", answer.text) for answer in answers]
        statuses = [answer.status_code for answer in answers]
        seen.append(repr([texts, statuses, listed, people, log]).replace(name, "NAME"))
    assert seen == [seen[0]] * 3
    assert "[201, 200, 200, 404]" in seen[0]


def test_a_token_gives_only_roles_that_allow_no_more(ours: TenantApi, eva: User) -> None:
    token = ours.token(Scope.ADMINISTER, *GRANTS[Role.VIEWER])
    assert ours.post("members", body("viewer"), token=token).status_code == 201
    with unchanged():
        for role in ("operator", "on-call", "release-manager", "tenant-admin"):
            refused(ours.post("members", body(role), token=token), 403, "SCOPE_MISSING")


def quota(owner: Tenant, **limits: int | None) -> None:
    Tenant.objects.filter(pk=owner.pk).update(**{f"quota_{name}": limit for name, limit in limits.items()})


def test_a_member_reads_the_quotas_and_only_a_superuser_changes_them(ours: TenantApi) -> None:
    quotas = ours.get("quotas").json()
    assert {name: member["limit"] for name, member in quotas.items()} == NONE
    assert [quotas[name]["used"] for name in ("openExecutions", "workers", "uploadsPerHour")] == [1, 1, 1]
    assert quotas["storageBytes"]["used"] == tenant_bytes.stored_bytes(ours.tenant) > 0
    assert quotas["payloadBytes"]["used"] is None
    entries = AuditEntry.objects.filter(act="quotas.change").order_by("id")
    refused(ours.call("PUT", ours.url("quotas"), {"workers": 5}), 403, "SCOPE_MISSING")
    assert ours.get("quotas").json() == quotas
    User.objects.filter(pk=ours.admin.pk).update(is_superuser=True)
    for limits in ({"workers": 5, "storageBytes": 10**12}, {"openExecutions": 7}):
        changed = ours.call("PUT", ours.url("quotas"), limits).json()
        assert {name: member["limit"] for name, member in changed.items()} == {**NONE, **limits}
    assert [entry.outcome for entry in entries] == ["denied", "granted", "granted"]


def test_uploads_and_submissions_beyond_a_quota_are_refused(ours: TenantApi) -> None:
    quota(ours.tenant, storage_bytes=tenant_bytes.stored_bytes(ours.tenant))
    path = "pipelines/{pipeline_id}/releases"
    document = refused(ours.post(path, upload("2.0")), 409, "STORAGE_QUOTA_REACHED")
    assert document["quota"] == "storageBytes"
    quota(ours.tenant, storage_bytes=None, uploads=1)
    response = ours.post(path, upload("2.0"))
    assert refused(response, 429, "QUOTA_EXCEEDED")["quota"] == "uploadsPerHour"
    assert response.headers["Retry-After"] == "60"
    quota(ours.tenant, uploads=2, open_executions=2, payload_bytes=10)
    assert ours.post(path, upload("2.0")).status_code == 202

    def submit(key: str, value: Any) -> Any:
        return ours.post(EXECUTIONS, {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key})

    assert refused(submit("a", {"n": 1, "m": "long"}), 413, "PAYLOAD_TOO_LARGE")["quota"] == "payloadBytes"
    assert submit("a", {"n": 1}).status_code == 202
    response = submit("b", {"n": 1})
    assert refused(response, 429, "QUOTA_EXCEEDED") | {"quota": "openExecutions", "retryAfter": 1} == response.json()
    assert response.headers["Retry-After"] == "1"
    assert submit("a", {"n": 1}).status_code == 200
    assert ours.get("quotas").json()["openExecutions"] == {"limit": 2, "used": 2}


@pytest.fixture(scope="module")
def admin(module_world: None) -> Caller:
    """An administrator of a tenant with five entries, and another tenant with one."""
    caller = Caller(making.tenant(), Scope.ADMINISTER)
    more: dict[str, Any] = {"object_type": "thing", "tenant": caller.tenant}
    for number in range(3):
        act = Act.QUOTAS_CHANGE if number else Act.POLICY_CHANGE
        audit.record(act, actor=f"user:{number}", object="=1+1", number=number, **more)
    audit.deny(Act.QUOTAS_CHANGE, actor="user:0", object="two", reason="no", **more)
    audit.record(Act.QUOTAS_CHANGE, **{**more, "tenant": making.tenant()}, actor="user:9", object="other")
    return caller


def export(admin: Caller, query: str) -> bytes:
    response: Any = admin.http.get(f"/api/v1/tenants/{admin.tenant.slug}/audit/export?{query}")
    assert response.status_code == 200, response.content
    assert isinstance(response, StreamingHttpResponse)
    return b"".join(response)


def test_the_log_is_newest_first_and_has_only_entries_of_the_tenant(admin: Caller) -> None:
    entries = admin.get("audit")["items"]
    assert [entry["sequence"] for entry in entries] == [5, 4, 3, 2, 1]
    assert (entries[0]["outcome"], entries[1]["details"]) == ("denied", {"number": 2})
    assert entries[-1]["act"] == "token.issue"
    assert [entry["previousHash"] for entry in entries[:-1]] == [entry["hash"] for entry in entries[1:]]
    for bounds in ("", "&from=2026-01-01T00:00:00Z", "&to=2126-01-01T00:00:00Z"):
        first = admin.get(f"audit?pageSize=2{bounds}")
        rest = admin.http.get(first["next"]).json()
        assert [entry["sequence"] for entry in first["items"] + rest["items"]] == [5, 4, 3, 2]


def test_an_export_has_what_the_hashes_cover_and_no_formula(admin: Caller) -> None:
    exported = export(admin, "format=ndjson")
    lines = [json.loads(line) for line in exported.splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4, 5]
    assert b"".join(chain.lines(chain.entries(admin.tenant), "ndjson", chunk=2)) == exported
    entries = chain.entries(admin.tenant).order_by("sequence")
    assert [line["hash"] for line in lines] == [chain.entry_hash(entry, admin.tenant.slug) for entry in entries]
    assert [line["at"] for line in lines] == [chain.moment(entry.at) for entry in entries]
    assert len(export(admin, "format=ndjson&act=quotas.change").splitlines()) == 3
    names, *rows = csv.reader(StringIO(export(admin, "format=csv&act=policy.change").decode()))
    [row] = [dict(zip(names, row, strict=True)) for row in rows]
    assert (row["object"], row["details"]) == ("'=1+1", '{"number":0}')


HOOK = {"name": "hook", "kind": "webhook", "address": "https://receiver.example/secret-path?token=x"}


def test_a_channel_is_added_changed_tested_and_removed(ours: TenantApi) -> None:
    made = ours.post("alert-channels", HOOK)
    assert made.status_code == 201, made.content
    channel = made.json()
    assert channel["address"] == "https://receiver.example/…"
    assert "secret-path" not in made.content.decode()
    path = f"alert-channels/{channel['channelId']}"
    changed = ours.patch(path, {"name": "other", "enabled": False}).json()
    assert (changed["name"], changed["enabled"]) == ("other", False)
    assert AlertChannel.objects.get().address == HOOK["address"]
    refused(ours.post(f"{path}/test", None), 409, "ALERT_CHANNEL_DISABLED")
    tried = len(ours.get(path).json()["deliveries"])
    ours.patch(path, {"enabled": True})
    test = ours.post(f"{path}/test", None)
    assert (test.status_code, test.json()["kind"], test.json()["state"]) == (202, "TEST", "PENDING")
    sent = {delivery["deliveryId"]: delivery["kind"] for delivery in ours.get(path).json()["deliveries"]}
    assert (tried, list(sent.values()), test.json()["deliveryId"] in sent) == (1, ["TEST"] * 3, True)
    assert ours.post(f"{path}/remove", None).status_code == 200
    refused(ours.get(path), 404, "ALERT_CHANNEL_UNKNOWN")
    refused(ours.post(f"{path}/remove", None), 404, "ALERT_CHANNEL_UNKNOWN")
    assert ours.get("alert-channels").json()["items"] == []
    assert ours.post("alert-channels", {**HOOK, "name": "other"}).status_code == 201, "the name is free again"


@cases(
    ("changes", "wrong"),
    ({"address": "ftp://receiver.example/"}, {"address"}),
    ({"address": "https://user:password@receiver.example/"}, {"address"}),
    ({"kind": "email", "address": "a@example.com\nBcc: b@example.com"}, {"address"}),
    ({"kind": "email", "address": "a@example.com", "secret": "s"}, {"secret"}),
    ({"secret": "file:/etc/passwd"}, {"secret"}),
)
def test_an_invalid_channel_is_refused(ours: TenantApi, changes: dict[str, Any], wrong: set[str]) -> None:
    refusal = refused(ours.post("alert-channels", {**HOOK, **changes}), 400, "ALERT_CHANNEL_INVALID")
    assert set(fields(refusal)) == wrong
    assert AlertChannel.objects.count() == 0
