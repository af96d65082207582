"""REST of resubmissions of one execution."""

import uuid
from typing import Any

import pytest

from executions.lifecycle.retention import remove
from executions.models import Execution, ExecutionEvent, Resubmission
from executions.submission.resubmission import LINKS_SHOWN
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.executions.submission import continuing
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
NEEDED = (Scope.READ, Scope.SUBMIT, Scope.OPERATE)


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, *NEEDED)


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> Execution:
    """A failed execution on 1.0. The release 1.1 is registered and has a worker."""
    [execution] = making.dead(owner, "key")
    making.worker(making.registered(owner, "1.1"), "worker-1.1")
    return execution


def everything() -> list[Any]:
    return [rows(model) for model in (Execution, ExecutionEvent, Resubmission)]


def test_the_new_execution_and_the_old_one_name_each_other(operator: Caller, dead: Execution) -> None:
    path = f"executions/{dead.pk}"
    body = {"reason": "fixed", "releaseVersion": "1.1", "input": {"n": 2}, "operationKey": "k", "expectedVersion": 2}
    new = operator.post(f"{path}/resubmit", body, 202)
    assert (new["status"], new["pin"]["releaseVersion"], new["version"]) == ("QUEUED", "1.1", 0)
    assert (new["resubmittedFrom"], new["resubmittedAs"]) == (str(dead.pk), [])
    assert new["idempotencyKey"] == f"resubmit:{dead.pk}:k"
    assert operator.get(f"executions/{new['executionId']}") == new
    old = operator.get(path)
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
    before = everything()
    assert operator.post(f"{path}/resubmit", body, 202) == new, "the key is the same"
    refused = operator.post(f"{path}/resubmit", {**body, "input": 1}, 409)
    assert (refused["code"], refused["executionId"]) == ("RESUBMIT_KEY_REUSED", new["executionId"])
    assert everything() == before


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


@cases(
    ("body", "version", "value"),
    [(None, "1.0", {"n": 1}), ({}, "1.0", {"n": 1}), ({"input": False}, "1.0", False), ({"input": []}, "1.0", [])],
)
def test_a_resubmission_needs_no_body_and_takes_any_input(
    operator: Caller, dead: Execution, body: Any, version: str, value: Any
) -> None:
    new = operator.post(f"executions/{dead.pk}/resubmit", body, 202)
    assert (new["pin"]["releaseVersion"], Execution.objects.get(pk=new["executionId"]).input) == (version, value)


@cases(
    ("body", "status", "code"),
    [
        ({"releaseVersion": "2.0"}, 404, "RELEASE_UNKNOWN"),
        ({"expectedVersion": 1}, 409, "VERSION_MISMATCH"),
        ({"from": "checkpoint"}, 409, "CHECKPOINT_MISSING"),
        ({"releaseVersion": "1.4"}, 503, "WORKER_UNAVAILABLE"),
        ({"releaseVersion": "a/b"}, 400, "INVALID_REQUEST"),
        ({"input": None}, 400, "INVALID_REQUEST"),
    ],
)
def test_a_refusal_has_a_code_and_changes_nothing(
    operator: Caller, owner: Tenant, dead: Execution, body: dict[str, Any], status: int, code: str
) -> None:
    making.registered(owner, "1.4")
    live = making.execution(owner, "live")
    before = everything()
    operator.http.raise_request_exception = False
    assert operator.post(f"executions/{dead.pk}/resubmit", body, status)["code"] == code
    refused = operator.post(f"executions/{live.pk}/resubmit", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("RESUBMIT_REFUSED", "QUEUED")
    assert everything() == before


def test_links_are_bounded_and_say_what_is_left_of_removed_executions(
    operator: Caller, owner: Tenant, dead: Execution
) -> None:
    new = operator.post(f"executions/{dead.pk}/resubmit", {}, 202)["executionId"]
    operator.post(f"executions/{new}/cancel")
    making.aged(Execution.objects.get(pk=new), days=2)
    Tenant.objects.filter(pk=owner.pk).update(retention_days=1)
    assert remove(seconds=10) == 1
    [link] = operator.get(f"executions/{dead.pk}")["resubmittedAs"]
    assert (link["executionId"], link["status"], link["releaseVersion"]) == (new, "", "")
    made = [operator.post(f"executions/{dead.pk}/resubmit", {}, 202)["executionId"] for _ in range(LINKS_SHOWN)]
    shown = [each["executionId"] for each in operator.get(f"executions/{dead.pk}")["resubmittedAs"]]
    assert shown == sorted([*made, new], reverse=True)[:LINKS_SHOWN]
