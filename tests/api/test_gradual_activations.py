"""Gradual activations over REST: plans, steps, evidence, and how submissions are routed."""

from typing import Any

import pytest

from releases.models import Activation, Release
from tenancy.roles import Scope
from tests import gradual, making
from tests.api.furnished import conforms
from tests.api.tenant_api import TenantApi, everything, refused
from tests.cases import cases

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


def test_the_activations_show_each_change(ours: TenantApi, candidate: Release) -> None:
    path = begin(ours)
    assert ours.post(f"{path}/step", {"expectedStep": 0}).json()["step"] == 1
    assert ours.post(f"{path}/promotion", {}).json()["status"] == "PROMOTED"
    shown = ours.get(f"{PIPELINE}/activations").json()["items"]
    members = ("kind", "releaseVersion", "candidateReleaseVersion", "share")
    assert [tuple(each[name] for name in members) for each in shown] == [
        ("promotion", "2.0", None, None),
        ("gradual", "1.0", "2.0", 12.5),
        ("gradual", "1.0", "2.0", 5.0),
        ("activation", "1.0", None, None),
    ]
    assert {each["gradualActivationId"] for each in shown[:3]} == {path.rpartition("/")[2]}
    assert ours.get(PIPELINE).json()["candidateReleaseVersion"] is None


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


def test_repeated_requests_with_a_key_happen_once(ours: TenantApi, candidate: Release) -> None:
    path = begin(ours, operationKey="k")
    assert begin(ours, operationKey="k") == path
    for _ in range(2):
        assert ours.post(f"{path}/step", {"operationKey": "s"}).json()["step"] == 1
    assert Activation.objects.count() == 3


@cases(
    ("changes", "status", "code"),
    [
        ({"groups": {"tags": ["a\u0000"]}}, 400, "INVALID_REQUEST"),
        ({"override": True}, 400, "INVALID_REQUEST"),
        ({"steps": [STEP, STEP]}, 422, "GRADUAL_ACTIVATION_INVALID"),
        ({"bounds": {"significance": 0.5}}, 422, "GRADUAL_ACTIVATION_INVALID"),
        ({"releaseVersion": "9.0"}, 404, "RELEASE_UNKNOWN"),
        ({"releaseVersion": "1.0"}, 409, "CANDIDATE_ACTIVE"),
        ({"expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
    ],
)
def test_a_rejected_start_changes_nothing(
    ours: TenantApi, candidate: Release, changes: dict[str, Any], status: int, code: str
) -> None:
    before = everything()
    problem = refused(ours.post(ALL, {**BODY, **changes}), status, code)
    assert everything() == before
    assert status not in {400, 422} or problem["errors"]


@cases(
    ("operation", "body", "code"),
    [
        ("step", {"expectedStep": 1}, "STEP_CHANGED"),
        ("step", {"expectedReleaseVersion": "2.0"}, "ACTIVE_RELEASE_CHANGED"),
        ("promotion", {"expectedReleaseVersion": "2.0"}, "ACTIVE_RELEASE_CHANGED"),
        ("withdrawal", {**WHY, "expectedReleaseVersion": "2.0"}, "ACTIVE_RELEASE_CHANGED"),
    ],
)
def test_a_rejected_operation_changes_nothing(
    ours: TenantApi, candidate: Release, operation: str, body: dict[str, Any], code: str
) -> None:
    path = begin(ours)
    before = everything()
    refused(ours.post(f"{path}/{operation}", body), 409, code)
    assert everything() == before


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


@cases(
    "wrong",
    [
        *({"tags": tags} for tags in (["x"] * 21, ["x" * 101], [""], [1])),
        *({"routingKey": key} for key in ("", "x" * 201)),
    ],
)
def test_invalid_routing_keys_and_tags(ours: TenantApi, wrong: dict[str, Any]) -> None:
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k", **wrong}
    for _ in range(2):  # the second time, the token is cached
        refused(ours.post("executions", body), 400, "INVALID_REQUEST")
    assert ours.post("executions:batch", {"items": [body]}).json()["items"][0]["status"] == 400
