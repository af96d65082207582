"""REST of campaigns that re-drive, resubmit, cancel or pause executions."""

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
from tests.api.caller import Caller
from tests.cases import cases
from tests.executions.campaigns.campaigning import record
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter, Campaign, CampaignItem, CampaignEvent)
FILTERS = {"pipelineId": making.PIPELINE}
CAMPAIGN = {"filters": FILTERS, "reason": "the bank is back", "ratePerMinute": 60}
RESUBMIT = {**CAMPAIGN, "kind": "resubmit"}


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ)


@pytest.fixture(scope="module")
def submitter(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ, Scope.SUBMIT)


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


def advance(seconds: int = 60) -> int:
    """Move the start of each campaign back. In the test's transaction, the time of the database does not change."""
    Campaign.objects.filter(status="RUNNING").update(rate_since=F("rate_since") - timedelta(seconds=seconds))
    return campaigns.advance()


def test_a_preview_counts_and_changes_nothing(operator: Caller, owner: Tenant, dead: list[Execution]) -> None:
    making.dead(owner, "failed", code="Other", retryable=False)
    before = everything()
    found = operator.post("campaigns/preview", {"filters": FILTERS, "allowFailed": True})
    pin = {"pipelineId": making.PIPELINE, "contractVersion": dead[0].contract_version, "releaseVersion": "1.0"}
    assert found["count"] == len(found["executions"]) == 4
    assert found["byErrorCode"] == [{"errorCode": "SomeError", "count": 3}, {"errorCode": "Other", "count": 1}]
    assert found["byRelease"] == [{"pin": pin, "count": 4}]
    assert {(each["status"], each["error"]["code"]) for each in found["executions"]} == {
        ("DLQ", "SomeError"),
        ("FAILED", "Other"),
    }
    for filters, count in (
        ({"finishedTo": "2020-01-01T00:00:00+02:00"}, 0),
        ({"finishedFrom": "2020-01-01T00:00:00+02:00", "finishedTo": "9999-12-31T23:59:59Z"}, 3),
    ):
        assert operator.post("campaigns/preview", {"filters": filters})["count"] == count
    assert everything() == before


def test_a_campaign_runs_from_its_start_to_its_end(operator: Caller, dead: list[Execution]) -> None:
    path = f"campaigns/{operator.post('campaigns', CAMPAIGN, 201)['campaignId']}"
    advance(2)
    found = operator.get(path)
    counts = {"total": 3, "pending": 1, "redriven": 2, "resubmitted": 0, "skipped": 0, "cancelled": 0, "paused": 0}
    assert found["progress"] == counts
    assert {name: found[name] for name in CAMPAIGN} == CAMPAIGN
    assert (found["status"], [event["kind"] for event in found["events"]]) == ("RUNNING", ["STARTED"])
    assert operator.get("campaigns")["items"][0]["progress"] == found["progress"]
    first = operator.get(f"{path}/items?pageSize=2")
    items = first["items"] + operator.http.get(first["next"]).json()["items"]
    assert {item["executionId"] for item in items} == {str(execution.pk) for execution in dead}
    assert [(item["outcome"], item["executionStatus"]) for item in items] == [
        ("REDRIVEN", "QUEUED"),
        ("REDRIVEN", "QUEUED"),
        ("PENDING", "DLQ"),
    ]
    assert len(operator.get(f"{path}/items?outcome=PENDING")["items"]) == 1
    advance(1)
    assert operator.get(path)["status"] == "COMPLETED"
    assert operator.get("campaigns?status=RUNNING")["items"] == []


def test_a_campaign_says_what_became_of_its_executions(operator: Caller, owner: Tenant, dead: list[Execution]) -> None:
    bounds = {"canary": 2, "stopAfterFailures": 5}
    made = operator.post("campaigns", {**CAMPAIGN, **bounds}, 201)
    assert {name: made[name] for name in bounds} == bounds
    assert (made["canaryOver"], made["cause"], made["cut"]) == (False, None, False)
    advance()
    first, second = making.claimed(owner)
    record(making.failure(first, retryable=False))
    record(making.outcome_of(second))
    campaigns.advance()
    counted = {"running": 0, "waiting": 0, "succeeded": 1, "failedAgain": 1, "cancelled": 0, "removed": 0}
    found = operator.get(f"campaigns/{made['campaignId']}")
    assert (found["status"], found["cause"], found["results"]) == ("PAUSED", "canary", counted)
    assert operator.get("campaigns")["items"][0]["results"] == counted


def test_a_draft_is_started_with_other_options_or_discarded(
    operator: Caller, owner: Tenant, dead: list[Execution]
) -> None:
    chosen = {"executionIds": [str(dead[0].pk), str(dead[1].pk)], "reason": "fixed", "ratePerMinute": 60}
    made = operator.post("campaigns", {**chosen, "draft": True, "canary": 1, "stopAfterFailures": 2}, 201)
    assert (made["status"], made["filters"], made["progress"]["total"], made["events"]) == ("DRAFT", {}, 2, [])
    making.dead(owner, "later")
    path = f"campaigns/{made['campaignId']}"
    started = operator.post(f"{path}/start", {"canary": None, "ratePerMinute": 30})
    assert (started["status"], started["progress"]["total"], started["ratePerMinute"]) == ("RUNNING", 2, 30)
    assert (started["canary"], started["stopAfterFailures"], started["reason"]) == (None, 2, "fixed")
    refused = operator.post(f"{path}/start", {}, 409)
    assert (refused["code"], refused["campaignStatus"]) == ("CAMPAIGN_REFUSED", "RUNNING")
    path = f"campaigns/{operator.post('campaigns', {**CAMPAIGN, 'draft': True}, 201)['campaignId']}"
    removed = operator.post(f"{path}/discard", {"reason": "no"})
    assert (removed["status"], removed["progress"]["total"]) == ("DRAFT", 4)
    assert operator.get(path, 404)["code"] == "CAMPAIGN_UNKNOWN"


def test_only_campaigns_that_resubmit_need_the_submit_scope(
    operator: Caller, submitter: Caller, dead: list[Execution]
) -> None:
    made = submitter.post("campaigns", {**RESUBMIT, "draft": True}, 201)
    before = everything()
    refused = operator.post("campaigns", RESUBMIT, 403)
    assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", "executions:submit")
    assert operator.post(f"campaigns/{made['campaignId']}/start", {}, 403)["code"] == "SCOPE_MISSING"
    assert everything() == before
    assert submitter.post(f"campaigns/{made['campaignId']}/start", {})["status"] == "RUNNING"
    made = operator.post("campaigns", {**CAMPAIGN, "kind": "redrive"}, 201)
    assert (made["kind"], made["targetReleaseVersion"], made["from"]) == ("redrive", "", "input")


def test_a_campaign_resubmits_to_another_release(submitter: Caller, owner: Tenant, dead: list[Execution]) -> None:
    making.worker(making.registered(owner, "1.1"), "worker-1.1")
    made = submitter.post("campaigns", {**RESUBMIT, "targetReleaseVersion": "1.1"}, 201)
    assert (made["kind"], made["targetReleaseVersion"]) == ("resubmit", "1.1")
    assert advance() == 3
    done = submitter.get(f"campaigns/{made['campaignId']}")
    assert (done["status"], done["progress"]["resubmitted"], done["progress"]["redriven"]) == ("COMPLETED", 3, 0)
    item, *_ = submitter.get(f"campaigns/{made['campaignId']}/items?outcome=RESUBMITTED")["items"]
    new = submitter.get(f"executions/{item['newExecutionId']}")
    assert (new["resubmittedFrom"], new["pin"]["releaseVersion"]) == (item["executionId"], "1.1")
    [link] = submitter.get(f"executions/{item['executionId']}")["resubmittedAs"]
    assert link["campaignId"] == made["campaignId"]
    assert len(submitter.get("campaigns?kind=resubmit")["items"]) == 1
    assert submitter.get("campaigns?kind=redrive")["items"] == []


@cases(
    "chosen",
    [
        {"kind": "resubmit", "from": "checkpoint"},
        {"kind": "resubmit", "targetReleaseVersion": "1.0"},
        {"kind": "cancel"},
        {"kind": "pause"},
        {"kind": "redrive", "allowFailed": True, "canary": 1, "stopAfterFailures": 2},
    ],
)
def test_a_draft_shows_what_was_chosen(
    submitter: Caller, owner: Tenant, dead: list[Execution], chosen: dict[str, Any]
) -> None:
    making.execution(owner, "live")
    made = submitter.post("campaigns", {**CAMPAIGN, **chosen, "draft": True}, 201)
    assert {name: made[name] for name in chosen} == chosen
    assert made["progress"]["total"] == (1 if chosen["kind"] in {"cancel", "pause"} else 3)


def test_a_campaign_is_paused_resumed_and_cancelled(operator: Caller, dead: list[Execution]) -> None:
    path = f"campaigns/{operator.post('campaigns', CAMPAIGN, 201)['campaignId']}"
    assert operator.post(f"{path}/pause", {"reason": "wait"})["status"] == "PAUSED"
    assert operator.post(f"{path}/resume")["status"] == "RUNNING"
    ended = operator.post(f"{path}/cancel", {"reason": "enough"})
    assert (ended["status"], ended["progress"]["skipped"]) == ("CANCELLED", 3)
    assert [(event["kind"], event["data"].get("reason")) for event in ended["events"]] == [
        ("STARTED", "the bank is back"),
        ("PAUSED", "wait"),
        ("RESUMED", None),
        ("CANCELLED", "enough"),
    ]
    refused = operator.post(f"{path}/resume", status=409)
    assert (refused["code"], refused["campaignStatus"]) == ("CAMPAIGN_REFUSED", "CANCELLED")


@cases(
    ("changes", "status", "code", "fields"),
    [
        ({"filters": {}}, 422, "FILTER_REQUIRED", None),
        ({"filters": {"errorCode": "no such"}}, 409, "CAMPAIGN_EMPTY", None),
        ({"kind": "redrive", "targetReleaseVersion": "1.1"}, 422, "CAMPAIGN_TARGET_INVALID", None),
        ({"kind": "redrive", "from": "checkpoint"}, 422, "CAMPAIGN_TARGET_INVALID", None),
        ({"reason": " "}, 400, "INVALID_REQUEST", [("reason", "BLANK")]),
        ({"filters": {"finishedFrom": "yesterday"}}, 400, "INVALID_REQUEST", [("filters.finishedFrom", "INVALID")]),
        (
            {"filters": {"finishedTo": "0001-01-01T00:00:00+14:00"}},
            *(400, "INVALID_REQUEST", [("filters.finishedTo", "OVERFLOW")]),
        ),
        ({"executionIds": [str(uuid.UUID(int=1))]}, 400, "INVALID_REQUEST", [("filters", "ONE_SELECTION")]),
    ],
)
def test_an_invalid_campaign_changes_nothing(
    operator: Caller, dead: list[Execution], changes: Any, status: int, code: str, fields: Any
) -> None:
    before = everything()
    refused = operator.post("campaigns", {**CAMPAIGN, **changes}, status)
    assert refused["code"] == code
    assert fields is None or [(error["field"], error["code"]) for error in refused["errors"]] == fields
    assert everything() == before
