"""REST of resubmissions: one execution, and campaigns."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions.campaigns import campaigns
from executions.lifecycle.retention import remove
from executions.models import Campaign, Execution, ExecutionEvent, Resubmission
from executions.submission.resubmission import LINKS_SHOWN
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import MALFORMED, Caller
from tests.executions.submission import continuing
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
NEEDED = (Scope.READ, Scope.SUBMIT, Scope.OPERATE)
CAMPAIGN = {
    "filters": {"pipelineId": making.PIPELINE},
    "reason": "fixed in 1.1",
    "ratePerMinute": 60,
    "kind": "resubmit",
}


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def operator(owner: Tenant) -> Caller:
    return Caller(owner, *NEEDED)


@pytest.fixture
def dead(owner: Tenant) -> Execution:
    """A failed execution on 1.0. The release 1.1 is registered and has a worker."""
    [execution] = making.dead(owner, "key")
    release = making.registered(owner, "1.1")
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=release.pk), "worker-1.1")
    return execution


def everything() -> list[Any]:
    return [rows(model) for model in (Execution, ExecutionEvent, Resubmission, Campaign)]


def test_the_new_execution_and_the_old_one_name_each_other(operator: Caller, dead: Execution) -> None:
    body = {"reason": "fixed", "releaseVersion": "1.1", "input": {"n": 2}, "operationKey": "k", "expectedVersion": 2}
    new = operator.post(f"executions/{dead.pk}/resubmit", body, 202)
    assert (new["status"], new["pin"]["releaseVersion"], new["version"]) == ("QUEUED", "1.1", 0)
    assert (new["resubmittedFrom"], new["resubmittedAs"]) == (str(dead.pk), [])
    assert new["idempotencyKey"] == f"resubmit:{dead.pk}:k"
    assert operator.get(f"executions/{new['executionId']}") == new
    old = operator.get(f"executions/{dead.pk}")
    assert (old["status"], old["pin"]["releaseVersion"], old["resubmittedFrom"]) == ("DLQ", "1.0", None)
    [link] = old["resubmittedAs"]
    assert link.pop("createdAt")
    assert link == {
        "executionId": new["executionId"],
        "releaseVersion": "1.1",
        "status": "QUEUED",
        "edited": True,
        "checkpointStep": None,
        "reason": "fixed",
        "actor": f"token:{operator.token}",
        "campaignId": None,
    }
    found = operator.get(f"executions?resubmittedFrom={dead.pk}")["items"]
    assert [each["executionId"] for each in found] == [new["executionId"]]
    assert operator.get(f"executions?resubmittedFrom={uuid.uuid4()}")["items"] == []


def test_a_new_execution_continues_from_the_checkpoint() -> None:
    owner = continuing.ready()
    operator, old = Caller(owner, *NEEDED), continuing.failed(owner)
    continuing.release(owner, "1.1", types=continuing.order("n", optional=["m"]))
    body = {"from": "checkpoint", "releaseVersion": "1.1", "operationKey": "k"}
    new = operator.post(f"executions/{old.pk}/resubmit", body, 202)
    assert (new["currentStepIndex"], new["pin"]["releaseVersion"]) == (1, "1.1")
    [link] = operator.get(f"executions/{old.pk}")["resubmittedAs"]
    assert (link["executionId"], link["checkpointStep"]) == (new["executionId"], 1)
    assert operator.post(f"executions/{old.pk}/resubmit", body, 202) == new
    refused = operator.post(f"executions/{old.pk}/resubmit", {**body, "from": "input"}, 409)
    assert refused["code"] == "RESUBMIT_KEY_REUSED"


def test_a_checkpoint_that_is_not_proven_is_refused_with_what_differs() -> None:
    owner = continuing.ready()
    operator, old = Caller(owner, *NEEDED), continuing.failed(owner)
    continuing.release(owner, "1.1", types=continuing.order("n", "m"))
    before = everything()
    body = {"from": "checkpoint", "releaseVersion": "1.1"}
    refused = operator.post(f"executions/{old.pk}/resubmit", body, 409)
    assert (refused["code"], refused["checkpointStep"]) == ("CHECKPOINT_INCOMPATIBLE", 1)
    assert refused["errors"] == [
        {
            "field": "checkpoint.m",
            "code": "NOT_PROVEN",
            "message": "Values of parked work have no such field, so it stays on the older release.",
        }
    ]
    edited = operator.post(f"executions/{old.pk}/resubmit", {"from": "checkpoint", "input": {"n": 9}}, 409)
    assert [(each["field"], each["code"]) for each in edited["errors"]] == [("input", "EDITED")]
    assert everything() == before


def test_an_execution_without_a_checkpoint_is_refused(operator: Caller, dead: Execution) -> None:
    before = everything()
    refused = operator.post(f"executions/{dead.pk}/resubmit", {"from": "checkpoint"}, 409)
    assert refused["code"] == "CHECKPOINT_MISSING"
    assert everything() == before


def test_a_repeated_key_returns_the_first_execution(operator: Caller, dead: Execution) -> None:
    body = {"reason": "fixed", "operationKey": "k"}
    first = operator.post(f"executions/{dead.pk}/resubmit", body, 202)
    before = everything()
    assert operator.post(f"executions/{dead.pk}/resubmit", body, 202) == first
    refused = operator.post(f"executions/{dead.pk}/resubmit", {**body, "input": 1}, 409)
    assert (refused["code"], refused["executionId"]) == ("RESUBMIT_KEY_REUSED", first["executionId"])
    assert everything() == before


@pytest.mark.parametrize("body", [None, {}])
def test_a_resubmission_needs_no_body(operator: Caller, dead: Execution, body: Any) -> None:
    new = operator.post(f"executions/{dead.pk}/resubmit", body, 202)
    assert new["pin"]["releaseVersion"] == "1.0"


@pytest.mark.parametrize("value", [False, [], "text"])
def test_an_input_may_be_any_value(operator: Caller, dead: Execution, value: Any) -> None:
    new = operator.post(f"executions/{dead.pk}/resubmit", {"input": value}, 202)
    assert Execution.objects.get(pk=new["executionId"]).input == value


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"releaseVersion": "2.0"}, 404, "RELEASE_UNKNOWN"),
        ({"releaseVersion": "1.2"}, 409, "RELEASE_NOT_ADMITTED"),
        ({"expectedVersion": 1}, 409, "VERSION_MISMATCH"),
        ({"releaseVersion": "1.3"}, 422, "INPUT_INVALID"),
        ({"releaseVersion": "1.4"}, 503, "WORKER_UNAVAILABLE"),
    ],
)
def test_a_refusal_has_a_code_and_changes_nothing(
    operator: Caller, owner: Tenant, dead: Execution, body: dict[str, Any], status: int, code: str
) -> None:
    contract = making.contract()
    data = making.archive(contract, code="unverified")
    making.upload(owner, making.descriptor(contract, data, "1.2"), data)
    many = making.registered(owner, "1.3", steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=many.pk), "worker-1.3")
    making.registered(owner, "1.4")
    before = everything()
    operator.http.raise_request_exception = False
    assert operator.post(f"executions/{dead.pk}/resubmit", body, status)["code"] == code
    assert everything() == before


def test_an_open_execution_is_refused(operator: Caller, owner: Tenant) -> None:
    live = making.execution(owner, "live")
    before = everything()
    refused = operator.post(f"executions/{live.pk}/resubmit", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("RESUBMIT_REFUSED", "QUEUED")
    assert everything() == before


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"unknown": 1}, "unknown", "UNKNOWN_MEMBER"),
        ({"releaseVersion": "a/b"}, "releaseVersion", "NOT_SEGMENT"),
        ({"releaseVersion": 1}, "releaseVersion", "NOT_TEXT"),
        ({"operationKey": ""}, "operationKey", "BLANK"),
        ({"operationKey": "k" * 201}, "operationKey", "MAX_LENGTH"),
        ({"expectedVersion": "2"}, "expectedVersion", "NOT_INTEGER"),
        ({"from": "result"}, "from", "INVALID_CHOICE"),
        ({"input": None}, "input", "NULL"),
        ({"reason": 1}, "reason", "NOT_TEXT"),
        ({"reason": "x" * 1001}, "reason", "MAX_LENGTH"),
    ],
)
def test_a_wrong_member_is_named(
    operator: Caller, dead: Execution, body: dict[str, Any], field: str, code: str
) -> None:
    before = everything()
    [error] = operator.post(f"executions/{dead.pk}/resubmit", body, 400)["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert everything() == before


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_body_is_rejected(operator: Caller, dead: Execution, body: bytes) -> None:
    before = everything()
    assert operator.post(f"executions/{dead.pk}/resubmit", body, 400)["code"]
    assert everything() == before


@pytest.mark.parametrize("missing", [Scope.SUBMIT, Scope.OPERATE])
@pytest.mark.parametrize("path", ["executions/{id}/resubmit", "campaigns"])
def test_both_scopes_are_needed(owner: Tenant, dead: Execution, path: str, missing: Scope) -> None:
    caller = Caller(owner, *({*Scope} - {missing}))
    before = everything()
    body = CAMPAIGN if path == "campaigns" else {}
    refused = caller.post(path.format(id=dead.pk), body, 403)
    assert (refused["code"], refused["scope"]) == ("SCOPE_MISSING", missing.value)
    assert everything() == before


def test_an_execution_of_another_tenant_is_like_an_unknown_one(dead: Execution) -> None:
    stranger = Caller(making.ready()[0], *NEEDED)
    before = everything()
    for execution_id in (dead.pk, uuid.uuid4()):
        assert stranger.post(f"executions/{execution_id}/resubmit", status=404)["code"] == "EXECUTION_UNKNOWN"
    assert everything() == before


def test_the_list_of_new_executions_is_bounded(operator: Caller, dead: Execution) -> None:
    made = [operator.post(f"executions/{dead.pk}/resubmit", {}, 202)["executionId"] for _ in range(LINKS_SHOWN + 1)]
    shown = [each["executionId"] for each in operator.get(f"executions/{dead.pk}")["resubmittedAs"]]
    assert shown == sorted(made, reverse=True)[:LINKS_SHOWN]


def test_links_to_removed_executions(operator: Caller, owner: Tenant, dead: Execution) -> None:
    new = operator.post(f"executions/{dead.pk}/resubmit", {}, 202)["executionId"]
    operator.post(f"executions/{new}/cancel")
    making.aged(Execution.objects.get(pk=new), days=2)
    Tenant.objects.filter(pk=owner.pk).update(retention_days=1)
    assert remove(seconds=10) == 1
    [link] = operator.get(f"executions/{dead.pk}")["resubmittedAs"]
    assert (link["executionId"], link["status"], link["releaseVersion"]) == (new, "", "")


# --- campaigns ---


def test_a_campaign_resubmits(operator: Caller, dead: Execution) -> None:
    made = operator.post("campaigns", {**CAMPAIGN, "targetReleaseVersion": "1.1"}, 201)
    assert (made["kind"], made["targetReleaseVersion"]) == ("resubmit", "1.1")
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=60))
    assert campaigns.advance() == 1
    done = operator.get(f"campaigns/{made['campaignId']}")
    assert (done["status"], done["progress"]["resubmitted"], done["progress"]["redriven"]) == ("COMPLETED", 1, 0)
    [item] = operator.get(f"campaigns/{made['campaignId']}/items?outcome=RESUBMITTED")["items"]
    new = operator.get(f"executions/{item['newExecutionId']}")
    assert (new["resubmittedFrom"], new["pin"]["releaseVersion"]) == (str(dead.pk), "1.1")
    [link] = operator.get(f"executions/{dead.pk}")["resubmittedAs"]
    assert link["campaignId"] == made["campaignId"]
    assert len(operator.get("campaigns?kind=resubmit")["items"]) == 1
    assert operator.get("campaigns?kind=redrive")["items"] == []


def test_a_campaign_continues_from_checkpoints() -> None:
    owner = continuing.ready()
    operator, old = Caller(owner, *NEEDED), continuing.failed(owner)
    made = operator.post("campaigns", {**CAMPAIGN, "from": "checkpoint"}, 201)
    assert made["from"] == "checkpoint"
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=60))
    assert campaigns.advance() == 1
    [link] = operator.get(f"executions/{old.pk}")["resubmittedAs"]
    assert (link["campaignId"], link["checkpointStep"]) == (made["campaignId"], 1)


def test_a_campaign_that_redrives_needs_no_right_to_submit(owner: Tenant, dead: Execution) -> None:
    made = Caller(owner, Scope.OPERATE).post("campaigns", {**CAMPAIGN, "kind": "redrive"}, 201)
    assert (made["kind"], made["targetReleaseVersion"], made["from"]) == ("redrive", "", "input")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"kind": "redrive", "targetReleaseVersion": "1.1"}, 422, "CAMPAIGN_TARGET_INVALID"),
        ({"kind": "redrive", "from": "checkpoint"}, 422, "CAMPAIGN_TARGET_INVALID"),
        ({"from": "result"}, 400, "INVALID_REQUEST"),
        ({"kind": "restart"}, 400, "INVALID_REQUEST"),
        ({"targetReleaseVersion": "a/b"}, 400, "INVALID_REQUEST"),
    ],
)
def test_a_wrong_campaign_is_refused(
    operator: Caller, dead: Execution, changes: dict[str, Any], status: int, code: str
) -> None:
    before = everything()
    assert operator.post("campaigns", {**CAMPAIGN, **changes}, status)["code"] == code
    assert everything() == before
