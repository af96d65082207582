"""Gradual activations over REST: plans, steps, evidence, and how submissions are routed."""

from typing import Any

import pytest

from releases.models import Release
from tenancy.roles import Scope
from tests import gradual, making
from tests.api.furnished import conforms
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


def test_a_start_shows_the_plan_with_its_defaults(ours: TenantApi, candidate: Release) -> None:
    before = ours.get(f"{PIPELINE}/active").json()
    made = ours.post(ALL, {**BODY, **WHY, "groups": {"tags": ["beta"]}, "expectedReleaseVersion": "1.0"}).json()
    assert (made["candidateReleaseVersion"], made["baselineReleaseVersion"]) == ("2.0", "1.0")
    assert (made["status"], made["step"], made["reason"], made["actor"]) == ("RUNNING", 0, "because", "token:client-0")
    assert (made["steps"], made["groups"]) == (STEPS, {"tags": ["beta"], "tokens": []})
    assert made["bounds"] == {"failurePercentagePoints": 5.0, "durationFactor": 1.5, "significance": 0.001}
    assert made["evidence"]["candidate"] == {"ended": 0, "failed": 0, "timed": 0, "medianSeconds": None}
    assert (made["cause"], made["endedAt"], made["endedBy"], made["endReason"]) == (None,) * 4
    for shown in (ours.get(PIPELINE).json(), ours.get("pipelines").json()["items"][0]):
        assert (shown["candidateReleaseVersion"], shown["candidateShare"]) == ("2.0", 5.0)
        assert shown["activeReleaseVersion"] == "1.0"
    # The start of a candidate does not change who activated the active release, and why.
    now = ours.get(f"{PIPELINE}/active").json()
    assert (now["activation"], now["replacedAt"]) == (before["activation"], None)
    assert (before["candidateReleaseVersion"], before["candidateShare"]) == (None, None)
    assert (now["candidateReleaseVersion"], now["candidateShare"]) == ("2.0", 5.0)


def test_one_has_the_evidence_and_says_why_it_was_withdrawn(
    ours: TenantApi, candidate: Release, document: dict[str, Any]
) -> None:
    path = begin(ours)
    gradual.ended(ours.release, succeeded=[1.0] * 30)
    gradual.ended(candidate, succeeded=[2.0] * 15, failed=15)
    found = conforms(document, "GET", f"{ALL}/{{gradual_id}}", ours.get(path))["evidence"]
    assert found["candidate"] == {"ended": 30, "failed": 15, "timed": 15, "medianSeconds": 2.0}
    assert found["baseline"] == {"ended": 30, "failed": 0, "timed": 30, "medianSeconds": 1.0}
    assert 0 < found["failureProbability"] < 0.001
    assert (found["durationProbability"], found["crossed"]) == (None, "failures")
    done = ours.post(f"{path}/withdrawal", WHY).json()
    assert (done["status"], done["cause"], done["endReason"]) == ("WITHDRAWN", "person", "because")
    assert done["endedAt"] is not None
    [listed] = ours.get(ALL).json()["items"]
    assert (listed["status"], "evidence" in listed) == ("WITHDRAWN", False)


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
