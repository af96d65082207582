"""Gradual activations over REST: how submissions are routed."""

from typing import Any

import pytest

from releases.models import Release
from tenancy.roles import Scope
from tests import gradual, making
from tests.api.tenant_api import TenantApi

pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
ALL = f"{PIPELINE}/gradual-activations"
STEPS = [{"share": share, "minimumSample": 20, "minimumMinutes": 0} for share in (5, 12.5, 50)]
STEP = STEPS[0]
BODY: dict[str, Any] = {"releaseVersion": "2.0", "steps": STEPS}
WHY = {"reason": "because"}


@pytest.fixture
def candidate(ours: TenantApi) -> Release:
    return gradual.candidate(ours.tenant)


def begin(ours: TenantApi, **changes: Any) -> str:
    """Start a gradual activation. Return its path."""
    response = ours.post(ALL, {**BODY, **changes})
    assert response.status_code == 201, response.content
    return f"{ALL}/{response.json()['gradualActivationId']}"


# --- submissions ---


def test_routing_keys_and_tags_of_a_submission(ours: TenantApi, candidate: Release) -> None:
    begin(ours, steps=[{**STEP, "share": 0}], groups={"tags": ["beta"], "tokens": ["client-1"]})
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "routingKey": "customer-7", "tags": ["beta", "eu"]}
    for key in ("cold", "warm"):
        response = ours.post("executions", {**body, "idempotencyKey": key})
        assert response.status_code == 202, response.content
        made = response.json()
        assert (made["pin"]["releaseVersion"], made["tags"]) == ("2.0", ["beta", "eu"])
        again = ours.post("executions", {**body, "idempotencyKey": key, "tags": []}).json()
        assert (again["duplicate"], again["tags"]) == (True, ["beta", "eu"])
        assert ours.get(f"executions/{made['executionId']}").json()["tags"] == ["beta", "eu"]
    plain = {**body, "idempotencyKey": "plain", "tags": [], "routingKey": None}
    assert ours.post("executions", plain).json()["pin"]["releaseVersion"] == "1.0"
    by_group = ours.post("executions", {**plain, "idempotencyKey": "group"}, token=ours.token(Scope.SUBMIT)).json()
    assert (by_group["submittedBy"], by_group["pin"]["releaseVersion"]) == ("token:client-1", "2.0")
