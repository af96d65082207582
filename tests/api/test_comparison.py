"""REST: the comparison of two releases and the pre-flight of one, and that a caller meets what they predict."""

from typing import Any

import pytest

from releases.activation import policy
from releases.models import Release
from tests import making
from tests.api.tenant_api import TenantApi, refused

pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
COMPARISON, PREFLIGHT = f"{PIPELINE}/comparison", f"{PIPELINE}/releases/2.0/preflight"
ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture
def first(ours: TenantApi) -> Release:
    """The active release. Its input is an order without a price."""
    release = making.active(ours.tenant, "1.1", canonicalTypes=order(ID))
    making.worker(release, "worker-1.1")
    return release


@pytest.fixture
def second(first: Release, ours: TenantApi) -> Release:
    """A release that requires a price."""
    return making.registered(ours.tenant, "2.0", canonicalTypes=order(ID, PRICE))


def read(ours: TenantApi, path: str) -> dict[str, Any]:
    response = ours.get(path)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def submit(ours: TenantApi, key: str, value: dict[str, Any]) -> Any:
    return ours.post("executions", {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key})


def test_what_a_preflight_says_is_what_the_activation_and_the_callers_meet(
    ours: TenantApi, theirs: TenantApi, second: Release
) -> None:
    policy.change(second.pipeline, {"workerGate": "require"}, actor="user:eva")
    sent = submit(ours, "before", {"id": "very secret"}).json()
    submit(theirs, "k", {})
    found = read(ours, PREFLIGHT)
    assert (found["releaseVersion"], found["activeReleaseVersion"], found["kind"]) == ("2.0", "1.1", "activation")
    assert (found["allowed"], [each["code"] for each in found["refusals"]]) == (False, ["WORKER_REQUIRED"])
    assert [(gate["name"], gate["verdict"]) for gate in found["gates"]] == [("worker", "unmet")]
    assert [each["concern"] for each in found["warnings"]] == ["workers", "callers", "inputs"]
    assert found["differences"][0]["path"] == 'steps["Validate"].input.price'
    assert found["remaining"] == {"blockers": [{"kind": "QUEUED", "count": 1}], "openQuestions": 0}
    callers = {each["name"]: each for each in found["callers"]["callers"]}
    assert callers.keys() == {"token:test", "token:client-0"}, "none of another tenant"
    assert (callers["token:client-0"]["checked"], callers["token:client-0"]["failing"]) == (1, 1)
    [example] = callers["token:client-0"]["examples"]
    assert example == {
        "executionId": sent["executionId"],
        "href": f"/api/v1/tenants/{ours.tenant.slug}/executions/{sent['executionId']}",
        "path": "input.price",
        "rule": "is required",
    }
    assert ours.call("GET", example["href"]).status_code == 200
    assert "very secret" not in str(found)
    refused(ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}), 409, "WORKER_REQUIRED")
    making.worker(second, "worker-2.0", capacity=3)
    found = read(ours, PREFLIGHT)
    assert (found["allowed"], found["refusals"], found["workers"]) == (True, [], {"eligible": 1, "capacity": 3})
    assert ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}).status_code == 201
    problem = refused(submit(ours, "after", {"id": "a"}), 422, "INPUT_INVALID")
    assert [error["field"] for error in problem["errors"]] == [example["path"]]
