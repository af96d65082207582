import uuid
from typing import Any

from executions.holds import holds
from executions.models import Execution
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import Caller
from tests.cases import cases
from tests.governance.campaigns.campaigning import advance
from tests.raw_sql import unchanged

FILTERS = {"pipelineId": making.PIPELINE}
CAMPAIGN = {"filters": FILTERS, "reason": "the bank is back", "ratePerMinute": 60}
RESUBMIT = {**CAMPAIGN, "kind": "resubmit"}


def test_a_campaign_runs_from_its_start_to_its_end(operator: Caller, dead: list[Execution]) -> None:
    path = f"campaigns/{operator.post('campaigns', CAMPAIGN, 201)['campaignId']}"
    advance(2)
    campaign = operator.get(path)
    counts = dict.fromkeys(("resubmitted", "skipped", "cancelled", "paused"), 0)
    assert campaign["progress"] == {"total": 3, "pending": 1, "redriven": 2, "drafted": 3, **counts}
    assert {name: campaign[name] for name in CAMPAIGN} == CAMPAIGN
    assert (campaign["status"], [event["kind"] for event in campaign["events"]]) == ("RUNNING", ["STARTED"])
    assert operator.get("campaigns")["items"][0]["progress"] == campaign["progress"]
    assert campaign["blocked"] == []
    first = operator.get(f"{path}/items?pageSize=2")
    items = first["items"] + operator.http.get(first["next"]).json()["items"]
    assert {item["executionId"] for item in items} == {str(execution.pk) for execution in dead}
    states = [(item["outcome"], item["executionStatus"]) for item in items]
    assert states == [("REDRIVEN", "QUEUED"), ("REDRIVEN", "QUEUED"), ("PENDING", "DLQ")]
    assert len(operator.get(f"{path}/items?outcome=PENDING")["items"]) == 1
    advance(1)
    assert operator.get(path)["status"] == "COMPLETED"
    assert operator.get("campaigns?status=RUNNING")["items"] == []


def test_only_resubmissions_need_the_submit_scope(operator: Caller, dead: list[Execution]) -> None:
    submitter = Caller(operator.tenant, Scope.OPERATE, Scope.READ, Scope.SUBMIT)
    made = submitter.post("campaigns", {**RESUBMIT, "draft": True}, 201)
    with unchanged():
        refused = operator.post("campaigns", RESUBMIT, 403)
        assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", "executions:submit")
        assert operator.post(f"campaigns/{made['campaignId']}/start", {}, 403)["code"] == "SCOPE_MISSING"
    denied = AuditEntry.objects.filter(tenant=operator.tenant, outcome="denied").values_list("act", flat=True)
    assert set(denied) == {"campaign.start"}
    assert submitter.post(f"campaigns/{made['campaignId']}/start", {})["status"] == "RUNNING"
    holds.pause(dead[0].release, actor="user:eva", reason="broken", refuses_submissions=True)
    [blocked] = operator.get(f"campaigns/{made['campaignId']}")["blocked"]
    assert (blocked["pipelineId"], blocked["code"]) == (making.PIPELINE, "PIPELINE_PAUSED")
    assert blocked["detail"].endswith("broken")
    made = operator.post("campaigns", {**CAMPAIGN, "kind": "redrive"}, 201)
    assert (made["kind"], made["targetReleaseVersion"], made["from"]) == ("redrive", "", "input")


@cases(
    ("changes", "field", "code"),
    ({"filters": {"finishedFrom": "yesterday"}}, "filters.finishedFrom", "INVALID"),
    ({"executionIds": [str(uuid.UUID(int=1))]}, "filters", "ONE_SELECTION"),
)
def test_an_invalid_selection(operator: Caller, dead: list[Execution], changes: Any, field: str, code: str) -> None:
    with unchanged():
        refused = operator.post("campaigns", {**CAMPAIGN, **changes}, 400)
    assert [(error["field"], error["code"]) for error in refused["errors"]] == [(field, code)]
