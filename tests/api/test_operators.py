"""The operator's REST: what each order answers, who may give it, and that bad input changes nothing."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from rest_framework.test import APIClient

from executions.campaigns import campaigns
from executions.models import Campaign, CampaignEvent, CampaignItem, DeadLetter, Execution, ExecutionEvent
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter, Campaign, CampaignItem, CampaignEvent)
FILTERS = {"pipelineId": making.PIPELINE}
ORDER = {"filters": FILTERS, "reason": "the bank is back", "ratePerMinute": 60}


class Client:
    """A client of one tenant's API with a token that holds `scopes`."""

    def __init__(self, tenant: Tenant, *scopes: Scope) -> None:
        self.tenant = tenant
        admin = User.objects.create_user(f"admin-{uuid.uuid4()}")
        Membership.objects.create(user=admin, tenant=tenant, role=Role.TENANT_ADMIN)
        _, plain = issue_token(tenant, admin, f"{uuid.uuid4()}", scopes, lifetime=None)
        self.http = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}")

    def url(self, path: str) -> str:
        return f"/api/v1/tenants/{self.tenant.slug}/{path}"

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.http.get(self.url(path))
        assert answer.status_code == status, answer.content
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        data = "" if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
        answer = self.http.post(self.url(path), data, content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json()


@pytest.fixture(autouse=True)
def static_root(settings: Any) -> None:
    """The folder of static files is there in every installation, and its server warns where it is not."""
    settings.STATIC_ROOT.mkdir(exist_ok=True)


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def operator(owner: Tenant) -> Client:
    return Client(owner, Scope.OPERATE, Scope.READ)


@pytest.fixture
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


@pytest.fixture
def campaign(operator: Client, dead: list[Execution]) -> str:
    return str(operator.post("campaigns", ORDER, 201)["campaignId"])


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


def pass_time(seconds: int) -> None:
    Campaign.objects.filter(finished_at=None).update(rate_since=F("rate_since") - timedelta(seconds=seconds))


# --- re-drive and cancel ---


def test_a_redrive_keeps_the_pin(operator: Client, dead: list[Execution]) -> None:
    body = {"reason": "mended", "expectedVersion": 2, "allowFailed": False}
    told = operator.post(f"executions/{dead[0].pk}/redrive", body)
    pin = {
        "pipelineId": making.PIPELINE,
        "contractVersion": dead[0].contract_version,
        "releaseVersion": "1.0",
    }
    dead[0].refresh_from_db()
    assert told == {
        "executionId": str(dead[0].pk),
        "pin": pin,
        "previousStatus": "DLQ",
        "status": "QUEUED",
        "version": 3,
        "currentStepIndex": 0,
        "attempt": 1,
        "updatedAt": dead[0].updated_at.isoformat().replace("+00:00", "Z"),
    }
    event = dead[0].events.get(kind="REDRIVEN")
    assert event.data["reason"] == "mended"
    assert event.actor.startswith("token:")


@pytest.mark.parametrize("body", [None, {}, {"expectedVersion": None}, {"expectedVersion": 2.0}, {"reason": ""}])
def test_a_redrive_needs_no_body(operator: Client, dead: list[Execution], body: Any) -> None:
    assert operator.post(f"executions/{dead[0].pk}/redrive", body)["status"] == "QUEUED"


def test_a_failed_execution_is_redriven_only_on_request(operator: Client, owner: Tenant) -> None:
    [failed] = making.dead(owner, "failed", retryable=False)
    refused = operator.post(f"executions/{failed.pk}/redrive", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("REDRIVE_REFUSED", "FAILED")
    assert operator.post(f"executions/{failed.pk}/redrive", {"allowFailed": True})["previousStatus"] == "FAILED"


def test_an_outdated_version_is_rejected_without_effect(operator: Client, dead: list[Execution]) -> None:
    before = everything()
    for version in (0, 1, 3, 2**63 - 1):
        refused = operator.post(f"executions/{dead[0].pk}/redrive", {"expectedVersion": version}, 409)
        assert (refused["code"], refused["currentVersion"]) == ("VERSION_MISMATCH", 2)
    assert everything() == before


def test_a_cancellation_returns_the_execution_and_can_be_repeated(operator: Client, owner: Tenant) -> None:
    live = making.execution(owner)
    first = operator.post(f"executions/{live.pk}/cancel", {"reason": "a mistake"})
    again = operator.post(f"executions/{live.pk}/cancel")
    assert (first["status"], first["version"]) == ("CANCELLED", 1)
    assert again == first
    refused = operator.post(f"executions/{live.pk}/redrive", status=409)
    assert refused["detail"] == f"Execution {live.pk} cannot be re-driven from status CANCELLED"


def test_a_finished_execution_cannot_be_cancelled(operator: Client, dead: list[Execution]) -> None:
    before = everything()
    refused = operator.post(f"executions/{dead[0].pk}/cancel", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("CANCEL_REFUSED", "DLQ")
    assert everything() == before


# --- dead letters ---


def test_a_dead_letter_shows_the_failure(operator: Client, dead: list[Execution]) -> None:
    operator.post(f"executions/{dead[0].pk}/redrive")
    found = operator.get(f"dead-letters?executionId={dead[0].pk}")["items"]
    assert len(found) == 1
    letter = found[0]
    assert letter.pop("createdAt")
    assert letter == {
        "executionId": str(dead[0].pk),
        "pin": {
            "pipelineId": making.PIPELINE,
            "contractVersion": dead[0].contract_version,
            "releaseVersion": "1.0",
        },
        "idempotencyKey": "k0",
        "executionStatus": "QUEUED",
        "executionVersion": 2,
        "transitionKey": f"{dead[0].pk}:0:0",
        "terminalStatus": "DLQ",
        "reason": "retry_exhausted",
        "errorCode": "SomeError",
        "errorMessage": "why",
        "retryable": True,
        "retriesObserved": 0,
        "stepIndex": 0,
    }


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", {"k0", "k1", "k2", "failed"}),
        ("errorCode=SomeError", {"k0", "k1", "k2"}),
        ("errorCode=Other&reason=non_retryable", {"failed"}),
        ("reason=await_timeout", set()),
        ("releaseVersion=1.0&pipelineId=org.example.orders", {"k0", "k1", "k2", "failed"}),
        ("pipelineId=another", set()),
        ("releaseVersion=2.0", set()),
    ],
)
def test_dead_letters_are_filtered(
    operator: Client, owner: Tenant, dead: list[Execution], query: str, keys: set[str]
) -> None:
    making.dead(owner, "failed", code="Other", retryable=False)
    stranger, _ = making.ready()
    making.dead(stranger, "of another tenant")
    assert {letter["idempotencyKey"] for letter in operator.get(f"dead-letters?{query}")["items"]} == keys


def test_dead_letters_come_in_pages(operator: Client, dead: list[Execution]) -> None:
    first = operator.get("dead-letters?pageSize=2")
    answer = operator.http.get(first["next"]).json()
    keys = [letter["idempotencyKey"] for letter in first["items"] + answer["items"]]
    assert (sorted(keys), answer["next"]) == (["k0", "k1", "k2"], None)


@pytest.mark.parametrize("query", ["reason=nonsense", "cursor=xyz", "executionId=1"])
def test_an_invalid_filter_of_dead_letters_is_rejected(operator: Client, query: str) -> None:
    assert operator.get(f"dead-letters?{query}", 400)["code"] == "INVALID_REQUEST"


# --- campaigns ---


def test_a_preview_counts_and_changes_nothing(operator: Client, owner: Tenant, dead: list[Execution]) -> None:
    making.dead(owner, "failed", code="Other", retryable=False)
    before = everything()
    found = operator.post("campaigns/preview", {"filters": FILTERS, "allowFailed": True})
    pin = {
        "pipelineId": making.PIPELINE,
        "contractVersion": dead[0].contract_version,
        "releaseVersion": "1.0",
    }
    assert found["count"] == len(found["executions"]) == 4
    assert found["byErrorCode"] == [{"errorCode": "SomeError", "count": 3}, {"errorCode": "Other", "count": 1}]
    assert found["byRelease"] == [{"pin": pin, "count": 4}]
    assert {each["status"] for each in found["executions"]} == {"DLQ", "FAILED"}
    assert {each["error"]["code"] for each in found["executions"]} == {"SomeError", "Other"}
    assert everything() == before


def test_a_campaign_runs_from_its_start_to_its_end(operator: Client, campaign: str, dead: list[Execution]) -> None:
    pass_time(2)
    campaigns.advance()
    found = operator.get(f"campaigns/{campaign}")
    assert found["progress"] == {"total": 3, "pending": 1, "redriven": 2, "skipped": 0}
    assert (found["status"], found["filters"], found["reason"], found["ratePerMinute"]) == (
        "RUNNING",
        FILTERS,
        "the bank is back",
        60,
    )
    assert [event["kind"] for event in found["events"]] == ["STARTED"]
    assert operator.get("campaigns")["items"][0]["progress"] == found["progress"]
    items = operator.get(f"campaigns/{campaign}/items")["items"]
    assert {item["executionId"] for item in items} == {str(execution.pk) for execution in dead}
    assert [(item["outcome"], item["executionStatus"]) for item in items] == [
        ("REDRIVEN", "QUEUED"),
        ("REDRIVEN", "QUEUED"),
        ("PENDING", "DLQ"),
    ]
    assert len(operator.get(f"campaigns/{campaign}/items?outcome=PENDING")["items"]) == 1
    pass_time(1)
    campaigns.advance()
    assert operator.get(f"campaigns/{campaign}")["status"] == "COMPLETED"
    assert operator.get("campaigns?status=RUNNING")["items"] == []


def test_a_campaign_is_paused_resumed_and_cancelled(operator: Client, campaign: str) -> None:
    assert operator.post(f"campaigns/{campaign}/pause", {"reason": "wait"})["status"] == "PAUSED"
    assert operator.post(f"campaigns/{campaign}/resume")["status"] == "RUNNING"
    ended = operator.post(f"campaigns/{campaign}/cancel", {"reason": "enough"})
    assert (ended["status"], ended["progress"]["skipped"]) == ("CANCELLED", 3)
    assert [(event["kind"], event["data"].get("reason")) for event in ended["events"]] == [
        ("STARTED", "the bank is back"),
        ("PAUSED", "wait"),
        ("RESUMED", None),
        ("CANCELLED", "enough"),
    ]
    refused = operator.post(f"campaigns/{campaign}/resume", status=409)
    assert (refused["code"], refused["campaignStatus"]) == ("CAMPAIGN_REFUSED", "CANCELLED")


def test_items_and_campaigns_come_in_pages(operator: Client, campaign: str, dead: list[Execution]) -> None:
    first = operator.get(f"campaigns/{campaign}/items?pageSize=2")
    rest = operator.http.get(first["next"]).json()
    assert len(first["items"] + rest["items"]) == 3
    another = operator.post("campaigns", ORDER, 201)["campaignId"]
    first = operator.get("campaigns?pageSize=1")
    rest = operator.http.get(first["next"]).json()
    assert {each["campaignId"] for each in first["items"] + rest["items"]} == {campaign, another}


def test_the_times_of_a_filter_respect_their_offset(operator: Client, dead: list[Execution]) -> None:
    earlier = {"filters": {"finishedTo": "2020-01-01T00:00:00+02:00"}}
    later = {"filters": {"finishedFrom": "2020-01-01T00:00:00+02:00", "finishedTo": "9999-12-31T23:59:59Z"}}
    assert operator.post("campaigns/preview", earlier)["count"] == 0
    assert operator.post("campaigns/preview", later)["count"] == 3


# --- what is refused ---

NO_SUCH = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("path", "body", "field", "code"),
    [
        ("executions/{id}/redrive", {"unknown": 1}, "unknown", "UNKNOWN_MEMBER"),
        ("executions/{id}/redrive", {"expectedVersion": "2"}, "expectedVersion", "NOT_INTEGER"),
        ("executions/{id}/redrive", {"expectedVersion": 2.5}, "expectedVersion", "NOT_INTEGER"),
        ("executions/{id}/redrive", {"expectedVersion": True}, "expectedVersion", "NOT_INTEGER"),
        ("executions/{id}/redrive", {"expectedVersion": -1}, "expectedVersion", "MIN_VALUE"),
        ("executions/{id}/redrive", {"expectedVersion": 2**63}, "expectedVersion", "MAX_VALUE"),
        ("executions/{id}/redrive", {"allowFailed": "true"}, "allowFailed", "NOT_BOOLEAN"),
        ("executions/{id}/redrive", {"allowFailed": 1}, "allowFailed", "NOT_BOOLEAN"),
        ("executions/{id}/redrive", {"allowFailed": None}, "allowFailed", "NULL"),
        ("executions/{id}/redrive", {"reason": 7}, "reason", "NOT_TEXT"),
        ("executions/{id}/redrive", {"reason": "x" * 1001}, "reason", "MAX_LENGTH"),
        ("executions/{id}/cancel", {"allowFailed": True}, "allowFailed", "UNKNOWN_MEMBER"),
        ("executions/{id}/cancel", {"expectedVersion": []}, "expectedVersion", "NOT_INTEGER"),
        ("campaigns", {**ORDER, "ratePerMinute": 0}, "ratePerMinute", "MIN_VALUE"),
        ("campaigns", {**ORDER, "ratePerMinute": 10**6}, "ratePerMinute", "MAX_VALUE"),
        ("campaigns", {**ORDER, "ratePerMinute": "60"}, "ratePerMinute", "NOT_INTEGER"),
        ("campaigns", {"filters": FILTERS, "reason": "x"}, "ratePerMinute", "REQUIRED"),
        ("campaigns", {"filters": FILTERS, "ratePerMinute": 1}, "reason", "REQUIRED"),
        ("campaigns", {**ORDER, "reason": " "}, "reason", "BLANK"),
        ("campaigns", {**ORDER, "filters": None}, "filters", "NULL"),
        ("campaigns", {**ORDER, "filters": []}, "filters", "INVALID"),
        ("campaigns", {**ORDER, "filters": {"status": "DLQ"}}, "filters.status", "UNKNOWN_MEMBER"),
        ("campaigns", {**ORDER, "filters": {"pipelineId": ""}}, "filters.pipelineId", "BLANK"),
        ("campaigns", {**ORDER, "filters": {"pipelineId": None}}, "filters.pipelineId", "NULL"),
        ("campaigns", {**ORDER, "filters": {"reason": "nonsense"}}, "filters.reason", "INVALID_CHOICE"),
        ("campaigns", {**ORDER, "filters": {"reason": ["await_failed"]}}, "filters.reason", "INVALID_CHOICE"),
        ("campaigns", {**ORDER, "filters": {"finishedFrom": "yesterday"}}, "filters.finishedFrom", "INVALID"),
        ("campaigns", {**ORDER, "filters": {"finishedFrom": 20200101}}, "filters.finishedFrom", "INVALID"),
        (
            "campaigns",
            {**ORDER, "filters": {"finishedTo": "0001-01-01T00:00:00+14:00"}},
            "filters.finishedTo",
            "OVERFLOW",
        ),
        ("campaigns/preview", {"filters": FILTERS, "ratePerMinute": 1}, "ratePerMinute", "UNKNOWN_MEMBER"),
        ("campaigns/preview", {}, "filters", "REQUIRED"),
    ],
)
def test_an_invalid_body_is_rejected_member_by_member(
    operator: Client, dead: list[Execution], path: str, body: Any, field: str, code: str
) -> None:
    before = everything()
    refused = operator.post(path.format(id=dead[0].pk), body, 400)
    assert refused["code"] == "INVALID_REQUEST"
    assert (field, code) in [(error["field"], error["code"]) for error in refused["errors"]]
    assert everything() == before


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"reason": "\xff"}', b'{"reason": "\\u0000"}', b'{"reason": "a", "reason": "b"}', b"[" * 99]
)
@pytest.mark.parametrize(
    "path", ["executions/{id}/redrive", "executions/{id}/cancel", "campaigns", "campaigns/preview"]
)
def test_a_malformed_body_changes_nothing(operator: Client, dead: list[Execution], path: str, body: bytes) -> None:
    before = everything()
    assert operator.post(path.format(id=dead[0].pk), body, 400)["code"] == "INVALID_REQUEST"
    assert everything() == before


def test_empty_filters_are_rejected(operator: Client, dead: list[Execution]) -> None:
    before = everything()
    for path, body in (("campaigns", {**ORDER, "filters": {}}), ("campaigns/preview", {"filters": {}})):
        assert operator.post(path, body, 422)["code"] == "FILTER_REQUIRED"
    nothing = {**ORDER, "filters": {"errorCode": "no such"}}
    assert operator.post("campaigns", nothing, 409)["code"] == "CAMPAIGN_EMPTY"
    assert everything() == before


POSTS = [
    ("executions/{execution}/redrive", {}),
    ("executions/{execution}/cancel", {}),
    ("campaigns/preview", {"filters": FILTERS}),
    ("campaigns", ORDER),
    ("campaigns/{campaign}/pause", {}),
    ("campaigns/{campaign}/resume", {}),
    ("campaigns/{campaign}/cancel", {}),
]
GETS = ["dead-letters", "campaigns", "campaigns/{campaign}", "campaigns/{campaign}/items"]


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_operations_need_the_operate_scope(
    owner: Tenant, campaign: str, dead: list[Execution], path: str, body: Any
) -> None:
    others = Client(owner, *(set(Scope) - {Scope.OPERATE}))
    before = everything()
    refused = others.post(path.format(execution=dead[0].pk, campaign=campaign), body, 403)
    assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", "executions:operate")
    assert everything() == before


@pytest.mark.parametrize("path", GETS)
def test_reads_need_only_the_read_scope(owner: Tenant, campaign: str, path: str) -> None:
    address = path.format(campaign=campaign)
    Client(owner, Scope.READ).get(address)
    assert Client(owner, Scope.OPERATE).get(address, 403)["code"] == "SCOPE_MISSING"


@pytest.mark.parametrize("path", [path for path, _ in POSTS if "{" in path])
def test_objects_of_another_tenant_are_like_unknown_ones(campaign: str, dead: list[Execution], path: str) -> None:
    stranger = Client(making.tenant(), Scope.OPERATE, Scope.READ)
    code = "EXECUTION_UNKNOWN" if "{execution}" in path else "CAMPAIGN_UNKNOWN"
    before = everything()
    theirs = stranger.post(path.format(execution=dead[0].pk, campaign=campaign), {}, 404)
    unknown = stranger.post(path.format(execution=NO_SUCH, campaign=NO_SUCH), {}, 404)
    assert theirs["code"] == unknown["code"] == code
    assert everything() == before


@pytest.mark.parametrize("path", [path for path in GETS if "{" in path])
def test_another_tenants_campaign_cannot_be_read(campaign: str, path: str) -> None:
    stranger = Client(making.tenant(), Scope.READ)
    for name in (campaign, NO_SUCH):
        assert stranger.get(path.format(campaign=name), 404)["code"] == "CAMPAIGN_UNKNOWN"
