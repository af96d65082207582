"""REST: the pre-flight of a release, and that the activation then does what it said."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from releases.activation import policy
from releases.models import Release
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, everything, refused
from tests.api.test_responses import conforms

pytestmark = pytest.mark.django_db
PREFLIGHT = "pipelines/{pipeline_id}/releases/2.0/preflight"
DOCUMENTED = "pipelines/{pipeline_id}/releases/{release_version}/preflight"
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
    """A release that requires a price, and may only be activated if a worker hosts it."""
    release = making.registered(ours.tenant, "2.0", canonicalTypes=order(ID, PRICE))
    policy.change(release.pipeline, {"workerGate": "require"}, actor="user:eva")
    return release


def preflight(ours: TenantApi, **more: Any) -> dict[str, Any]:
    response = ours.get(PREFLIGHT, **more)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def submit(ours: TenantApi, key: str, value: dict[str, Any]) -> Any:
    return ours.post("executions", {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key})


def test_what_it_says_is_what_the_activation_and_the_callers_meet(ours: TenantApi, second: Release) -> None:
    sent = submit(ours, "before", {"id": "very secret"}).json()
    found = preflight(ours)
    assert (found["releaseVersion"], found["activeReleaseVersion"], found["kind"]) == ("2.0", "1.1", "activation")
    assert (found["allowed"], [each["code"] for each in found["refusals"]]) == (False, ["WORKER_REQUIRED"])
    assert [(gate["name"], gate["verdict"]) for gate in found["gates"]] == [("worker", "unmet")]
    assert [each["concern"] for each in found["warnings"]] == ["workers", "callers", "inputs"]
    assert found["differences"][0]["path"] == 'steps["Validate"].input.price'
    assert found["remaining"] == {"blockers": [{"kind": "QUEUED", "count": 1}], "openQuestions": 0}
    callers = {each["name"]: each for each in found["callers"]["callers"]}
    [name] = [name for name in callers if name.startswith("token:client")]
    assert (callers[name]["checked"], callers[name]["failing"]) == (1, 1)
    [example] = callers[name]["examples"]
    assert example == {
        "executionId": sent["executionId"],
        "href": f"/api/v1/tenants/{ours.tenant.slug}/executions/{sent['executionId']}",
        "path": "input.price",
        "rule": "is required",
    }
    assert ours.call("GET", example["href"]).status_code == 200
    assert "very secret" not in str(found)

    refused(ours.post("pipelines/{pipeline_id}/activations", {"releaseVersion": "2.0"}), 409, "WORKER_REQUIRED")
    making.worker(second, "worker-2.0", capacity=3)
    found = preflight(ours)
    assert (found["allowed"], found["refusals"], found["workers"]) == (True, [], {"eligible": 1, "capacity": 3})
    assert ours.post("pipelines/{pipeline_id}/activations", {"releaseVersion": "2.0"}).status_code == 201
    problem = refused(submit(ours, "after", {"id": "a"}), 422, "INPUT_INVALID")
    assert [error["field"] for error in problem["errors"]] == [example["path"]]


def test_the_response_conforms_to_the_document(ours: TenantApi, second: Release) -> None:
    submit(ours, "before", {"id": "a"})
    document = ours.call("GET", "/api/schema/?format=json").json()
    conforms(document, "GET", DOCUMENTED, ours.get(PREFLIGHT))


def test_it_changes_nothing(ours: TenantApi, second: Release) -> None:
    token = ours.all_scopes
    before = everything()
    preflight(ours, token=token)
    assert everything() == before


def test_reading_is_enough_and_needed(ours: TenantApi, second: Release) -> None:
    assert ours.get(PREFLIGHT, token=ours.token(Scope.READ)).status_code == 200
    others = ours.token(*(scope for scope in Scope if scope is not Scope.READ))
    assert refused(ours.get(PREFLIGHT, token=others), 403, "SCOPE_MISSING")["scope"] == "read"


def test_releases_of_another_tenant_are_unknown(ours: TenantApi, theirs: TenantApi, second: Release) -> None:
    making.registered(theirs.tenant, "7.0")
    refused(ours.get("pipelines/{pipeline_id}/releases/7.0/preflight"), 404, "RELEASE_UNKNOWN")
    refused(ours.get("pipelines/nowhere/releases/2.0/preflight"), 404, "PIPELINE_UNKNOWN")
    refused(ours.call("GET", theirs.url("pipelines/{pipeline_id}/releases/7.0/preflight")), 404, "NOT_FOUND")


def test_callers_of_another_tenant_are_not_named(ours: TenantApi, theirs: TenantApi, second: Release) -> None:
    theirs.post("executions", {"pipelineId": making.PIPELINE, "input": {}, "idempotencyKey": "k"})
    names = [each["name"] for each in preflight(ours)["callers"]["callers"]]
    assert names == ["token:test"]  # the execution of the fixture


def test_the_number_of_queries_is_bounded(ours: TenantApi, second: Release) -> None:
    submit(ours, "first", {"id": "a"})
    preflight(ours)
    with CaptureQueriesContext(connection) as few:
        preflight(ours)
    making.worker(second, "w1")
    making.worker(second, "w2")
    with CaptureQueriesContext(connection) as more:
        preflight(ours)
    assert len(more) == len(few) < 60
