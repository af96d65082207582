"""REST: the plan of transition workers."""

from typing import Any

import pytest

from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, everything, refused
from tests.api.test_responses import conforms

pytestmark = pytest.mark.django_db
PLAN = "worker-plan"


def items(api: TenantApi) -> list[dict[str, Any]]:
    response = api.get(PLAN)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["items"]
    return found


def test_the_plan_names_the_release_its_reasons_and_its_workers(ours: TenantApi) -> None:
    [found] = items(ours)
    artifact = ours.release.artifacts.get()
    assert found.pop("queueAgeSeconds") >= 0
    assert found == {
        "pipelineId": making.PIPELINE,
        "contractVersion": ours.release.contract_version,
        "releaseVersion": "1.0",
        "artifactDigest": artifact.digest,
        "image": "",
        "reasons": ["active", "openExecutions"],
        "workers": 1,
        "liveWorkers": 1,
        "dueExecutions": 1,
        "mayGo": False,
    }


def test_the_response_conforms_to_the_document(ours: TenantApi) -> None:
    document = ours.call("GET", "/api/schema/?format=json").json()
    assert conforms(document, "GET", PLAN, ours.get(PLAN))["items"]


def test_reading_is_enough_and_needed(ours: TenantApi) -> None:
    assert ours.get(PLAN, token=ours.token(Scope.READ)).status_code == 200
    others = ours.token(*(scope for scope in Scope if scope is not Scope.READ))
    before = everything()
    assert refused(ours.get(PLAN, token=others), 403, "SCOPE_MISSING")["scope"] == "read"
    assert everything() == before


def test_another_tenant_sees_nothing_of_it(ours: TenantApi, theirs: TenantApi) -> None:
    making.active(ours.tenant, pipeline_id="org.example.second")
    assert {each["pipelineId"] for each in items(theirs)} == {making.PIPELINE}
    refused(theirs.call("GET", ours.url(PLAN)), 404, "NOT_FOUND")
