"""REST of re-drive campaigns."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions.campaigns import campaigns
from executions.models import Campaign, CampaignEvent, CampaignItem, DeadLetter, Execution, ExecutionEvent
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import MALFORMED, Caller
from tests.executions.campaigns.campaigning import record
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter, Campaign, CampaignItem, CampaignEvent)
NO_SUCH = uuid.UUID(int=1)
FILTERS = {"pipelineId": making.PIPELINE}
CAMPAIGN = {"filters": FILTERS, "reason": "the bank is back", "ratePerMinute": 60}
POSTS = [
    ("campaigns/preview", {"filters": FILTERS}),
    ("campaigns", CAMPAIGN),
    ("campaigns/{campaign}/pause", {}),
    ("campaigns/{campaign}/resume", {}),
    ("campaigns/{campaign}/cancel", {}),
    ("campaigns/{campaign}/start", {}),
    ("campaigns/{campaign}/discard", {}),
]
GETS = ["campaigns", "campaigns/{campaign}", "campaigns/{campaign}/items"]


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ)


@pytest.fixture
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


@pytest.fixture
def campaign(operator: Caller, dead: list[Execution]) -> str:
    return str(operator.post("campaigns", CAMPAIGN, 201)["campaignId"])


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


def pass_time(seconds: int) -> None:
    """Move the start of each campaign back. In the test's transaction, the time of the database does not change."""
    Campaign.objects.filter(status="RUNNING").update(rate_since=F("rate_since") - timedelta(seconds=seconds))


def test_a_preview_counts_and_changes_nothing(operator: Caller, owner: Tenant, dead: list[Execution]) -> None:
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


def test_a_campaign_runs_from_its_start_to_its_end(operator: Caller, campaign: str, dead: list[Execution]) -> None:
    pass_time(2)
    campaigns.advance()
    found = operator.get(f"campaigns/{campaign}")
    stopped = {"cancelled": 0, "paused": 0}
    assert found["progress"] == {"total": 3, "pending": 1, "redriven": 2, "resubmitted": 0, "skipped": 0, **stopped}
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


def test_a_campaign_says_what_became_of_its_executions(operator: Caller, owner: Tenant, dead: list[Execution]) -> None:
    bounds = {"canary": 2, "stopAfterFailures": 5}
    made = operator.post("campaigns", {**CAMPAIGN, **bounds}, 201)
    assert {name: made[name] for name in bounds} == bounds
    assert (made["canaryOver"], made["cause"], made["cut"]) == (False, None, False)
    pass_time(60)
    campaigns.advance()
    first, second = making.claimed(owner)
    record(making.failure(first, retryable=False))
    record(making.outcome_of(second))
    campaigns.advance()
    counted = {"running": 0, "waiting": 0, "succeeded": 1, "failedAgain": 1, "cancelled": 0, "removed": 0}
    found = operator.get(f"campaigns/{made['campaignId']}")
    assert (found["status"], found["cause"], found["results"]) == ("PAUSED", "canary", counted)
    assert operator.get("campaigns")["items"][0]["results"] == counted


def test_a_draft_is_started_with_its_options_or_others(operator: Caller, owner: Tenant, dead: list[Execution]) -> None:
    chosen = {"executionIds": [str(dead[0].pk), str(dead[1].pk)], "reason": "fixed", "ratePerMinute": 60}
    made = operator.post("campaigns", {**chosen, "draft": True, "canary": 1, "stopAfterFailures": 2}, 201)
    assert (made["status"], made["filters"], made["progress"]["total"], made["events"]) == ("DRAFT", {}, 2, [])
    making.dead(owner, "later")
    started = operator.post(f"campaigns/{made['campaignId']}/start", {"canary": None, "ratePerMinute": 30})
    assert (started["status"], started["progress"]["total"], started["ratePerMinute"]) == ("RUNNING", 2, 30)
    assert (started["canary"], started["stopAfterFailures"], started["reason"]) == (None, 2, "fixed")
    refused = operator.post(f"campaigns/{made['campaignId']}/start", {}, 409)
    assert (refused["code"], refused["campaignStatus"]) == ("CAMPAIGN_REFUSED", "RUNNING")


def test_a_draft_is_discarded(operator: Caller, dead: list[Execution]) -> None:
    made = operator.post("campaigns", {**CAMPAIGN, "draft": True}, 201)
    removed = operator.post(f"campaigns/{made['campaignId']}/discard", {"reason": "no"})
    assert (removed["status"], removed["progress"]["total"]) == ("DRAFT", 3)
    assert operator.get(f"campaigns/{made['campaignId']}", 404)["code"] == "CAMPAIGN_UNKNOWN"


@pytest.mark.parametrize(("kind", "outcome"), [("cancel", "CANCELLED"), ("pause", "PAUSED")])
def test_executions_that_have_not_ended_are_cancelled_or_paused(
    kind: str, outcome: str, operator: Caller, owner: Tenant, dead: list[Execution]
) -> None:
    live = [making.execution(owner, key) for key in ("l0", "l1")]
    by_id = {"executionIds": [str(dead[0].pk), str(live[0].pk)], "kind": kind, "reason": "r", "ratePerMinute": 60}
    assert operator.post("campaigns", {**by_id, "draft": True}, 201)["progress"]["total"] == 1
    made = operator.post("campaigns", {**CAMPAIGN, "kind": kind}, 201)
    assert made["progress"]["total"] == 2
    pass_time(60)
    campaigns.advance()
    items = operator.get(f"campaigns/{made['campaignId']}/items")["items"]
    assert [item["outcome"] for item in items] == [outcome, outcome]
    for more in ({"canary": 1}, {"targetReleaseVersion": "1.0"}, {"filters": {"reason": "await_failed"}}):
        refused = operator.post("campaigns", {**CAMPAIGN, "kind": kind, **more}, 422)
        assert refused["code"] == "CAMPAIGN_TARGET_INVALID"


def test_a_draft_that_resubmits_is_started_only_with_the_submit_scope(
    operator: Caller, owner: Tenant, dead: list[Execution]
) -> None:
    both = Caller(owner, Scope.OPERATE, Scope.SUBMIT)
    made = both.post("campaigns", {**CAMPAIGN, "draft": True, "kind": "resubmit"}, 201)
    before = everything()
    assert operator.post(f"campaigns/{made['campaignId']}/start", {}, 403)["code"] == "SCOPE_MISSING"
    assert everything() == before
    assert both.post(f"campaigns/{made['campaignId']}/start", {})["status"] == "RUNNING"


def test_a_campaign_is_paused_resumed_and_cancelled(operator: Caller, campaign: str) -> None:
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


def test_items_and_campaigns_come_in_pages(operator: Caller, campaign: str, dead: list[Execution]) -> None:
    first = operator.get(f"campaigns/{campaign}/items?pageSize=2")
    rest = operator.http.get(first["next"]).json()
    assert len(first["items"] + rest["items"]) == 3
    another = operator.post("campaigns", CAMPAIGN, 201)["campaignId"]
    first = operator.get("campaigns?pageSize=1")
    rest = operator.http.get(first["next"]).json()
    assert {each["campaignId"] for each in first["items"] + rest["items"]} == {campaign, another}


def test_the_times_of_a_filter_respect_their_offset(operator: Caller, dead: list[Execution]) -> None:
    earlier = {"filters": {"finishedTo": "2020-01-01T00:00:00+02:00"}}
    later = {"filters": {"finishedFrom": "2020-01-01T00:00:00+02:00", "finishedTo": "9999-12-31T23:59:59Z"}}
    assert operator.post("campaigns/preview", earlier)["count"] == 0
    assert operator.post("campaigns/preview", later)["count"] == 3


# --- rejected requests ---


@pytest.mark.parametrize(
    ("path", "body", "field", "code"),
    [
        ("campaigns", {**CAMPAIGN, "ratePerMinute": 0}, "ratePerMinute", "MIN_VALUE"),
        ("campaigns", {**CAMPAIGN, "ratePerMinute": 10**6}, "ratePerMinute", "MAX_VALUE"),
        ("campaigns", {**CAMPAIGN, "ratePerMinute": "60"}, "ratePerMinute", "NOT_INTEGER"),
        ("campaigns", {"filters": FILTERS, "reason": "x"}, "ratePerMinute", "REQUIRED"),
        ("campaigns", {"filters": FILTERS, "ratePerMinute": 1}, "reason", "REQUIRED"),
        ("campaigns", {**CAMPAIGN, "reason": " "}, "reason", "BLANK"),
        ("campaigns", {**CAMPAIGN, "filters": None}, "filters", "NULL"),
        ("campaigns", {**CAMPAIGN, "filters": []}, "filters", "INVALID"),
        ("campaigns", {**CAMPAIGN, "filters": {"status": "DLQ"}}, "filters.status", "UNKNOWN_MEMBER"),
        ("campaigns", {**CAMPAIGN, "filters": {"pipelineId": ""}}, "filters.pipelineId", "BLANK"),
        ("campaigns", {**CAMPAIGN, "filters": {"pipelineId": None}}, "filters.pipelineId", "NULL"),
        ("campaigns", {**CAMPAIGN, "filters": {"reason": "nonsense"}}, "filters.reason", "INVALID_CHOICE"),
        ("campaigns", {**CAMPAIGN, "filters": {"reason": ["await_failed"]}}, "filters.reason", "INVALID_CHOICE"),
        ("campaigns", {**CAMPAIGN, "filters": {"finishedFrom": "yesterday"}}, "filters.finishedFrom", "INVALID"),
        ("campaigns", {**CAMPAIGN, "filters": {"finishedFrom": 20200101}}, "filters.finishedFrom", "INVALID"),
        (
            "campaigns",
            {**CAMPAIGN, "filters": {"finishedTo": "0001-01-01T00:00:00+14:00"}},
            "filters.finishedTo",
            "OVERFLOW",
        ),
        ("campaigns/preview", {"filters": FILTERS, "ratePerMinute": 1}, "ratePerMinute", "UNKNOWN_MEMBER"),
        ("campaigns/preview", {}, "filters", "REQUIRED"),
        ("campaigns", {**CAMPAIGN, "executionIds": [str(NO_SUCH)]}, "filters", "ONE_SELECTION"),
        ("campaigns", {"reason": "x", "ratePerMinute": 1}, "filters", "ONE_SELECTION"),
        ("campaigns", {"reason": "x", "ratePerMinute": 1, "executionIds": []}, "executionIds", "MIN_LENGTH"),
        ("campaigns", {"reason": "x", "ratePerMinute": 1, "executionIds": [1]}, "executionIds.0", "NOT_TEXT"),
        ("campaigns", {**CAMPAIGN, "canary": 0}, "canary", "MIN_VALUE"),
        ("campaigns", {**CAMPAIGN, "stopAfterFailures": "10"}, "stopAfterFailures", "NOT_INTEGER"),
        ("campaigns", {**CAMPAIGN, "kind": "destroy"}, "kind", "INVALID_CHOICE"),
        ("campaigns", {**CAMPAIGN, "draft": 1}, "draft", "NOT_BOOLEAN"),
    ],
)
def test_an_invalid_body_is_rejected_member_by_member(
    operator: Caller, dead: list[Execution], path: str, body: Any, field: str, code: str
) -> None:
    before = everything()
    refused = operator.post(path.format(id=dead[0].pk), body, 400)
    assert refused["code"] == "INVALID_REQUEST"
    assert (field, code) in [(error["field"], error["code"]) for error in refused["errors"]]
    assert everything() == before


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize("path", ["campaigns", "campaigns/preview"])
def test_a_malformed_body_changes_nothing(operator: Caller, dead: list[Execution], path: str, body: bytes) -> None:
    before = everything()
    assert operator.post(path.format(id=dead[0].pk), body, 400)["code"] == "INVALID_REQUEST"
    assert everything() == before


def test_empty_filters_are_rejected(operator: Caller, dead: list[Execution]) -> None:
    before = everything()
    for path, body in (("campaigns", {**CAMPAIGN, "filters": {}}), ("campaigns/preview", {"filters": {}})):
        assert operator.post(path, body, 422)["code"] == "FILTER_REQUIRED"
    nothing = {**CAMPAIGN, "filters": {"errorCode": "no such"}}
    assert operator.post("campaigns", nothing, 409)["code"] == "CAMPAIGN_EMPTY"
    assert everything() == before


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_operations_need_the_operate_scope(
    owner: Tenant, campaign: str, dead: list[Execution], path: str, body: Any
) -> None:
    others = Caller(owner, *(set(Scope) - {Scope.OPERATE}))
    before = everything()
    refused = others.post(path.format(campaign=campaign), body, 403)
    assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", "executions:operate")
    assert everything() == before


@pytest.mark.parametrize("path", GETS)
def test_reads_need_only_the_read_scope(owner: Tenant, campaign: str, path: str) -> None:
    url = path.format(campaign=campaign)
    Caller(owner, Scope.READ).get(url)
    assert Caller(owner, Scope.OPERATE).get(url, 403)["code"] == "SCOPE_MISSING"


@pytest.mark.parametrize("path", [path for path, _ in POSTS if "{" in path])
def test_campaigns_of_another_tenant_are_like_unknown_ones(campaign: str, path: str) -> None:
    stranger = Caller(making.tenant(), Scope.OPERATE, Scope.READ)
    before = everything()
    for name in (campaign, NO_SUCH):
        assert stranger.post(path.format(campaign=name), {}, 404)["code"] == "CAMPAIGN_UNKNOWN"
    assert everything() == before


@pytest.mark.parametrize("path", [path for path in GETS if "{" in path])
def test_another_tenants_campaign_cannot_be_read(campaign: str, path: str) -> None:
    stranger = Caller(making.tenant(), Scope.READ)
    for name in (campaign, NO_SUCH):
        assert stranger.get(path.format(campaign=name), 404)["code"] == "CAMPAIGN_UNKNOWN"
