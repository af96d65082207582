"""Gradual activations over REST: who may do what, and what the responses say."""

from typing import Any

import pytest

from releases.activation.gradual.start import start
from releases.models import Activation, GradualActivation, Release
from tenancy.models import Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import gradual, making
from tests.api.tenant_api import TenantApi, everything, refused
from tests.api.test_responses import conforms, document

__all__ = ["document"]
pytestmark = pytest.mark.django_db
ALL = "pipelines/{pipeline_id}/gradual-activations"
STEPS = [{"share": share, "minimumSample": 20, "minimumMinutes": 0} for share in (5, 12.5, 50)]
BODY: dict[str, Any] = {"releaseVersion": "2.0", "steps": STEPS}
WHY = {"reason": "because"}


@pytest.fixture
def candidate(ours: TenantApi) -> Release:
    return gradual.candidate(ours.tenant)


def begin(ours: TenantApi, **changes: Any) -> dict[str, Any]:
    response = ours.post(ALL, {**BODY, **changes})
    assert response.status_code == 201, response.content
    made: dict[str, Any] = response.json()
    return made


def path_of(made: dict[str, Any], operation: str = "") -> str:
    return f"{ALL}/{made['gradualActivationId']}{operation}"


def test_a_start_shows_the_plan_with_its_defaults(
    ours: TenantApi, candidate: Release, document: dict[str, Any]
) -> None:
    response = ours.post(ALL, {**BODY, **WHY, "groups": {"tags": ["beta"]}, "expectedReleaseVersion": "1.0"})
    assert response.status_code == 201
    made = conforms(document, "POST", ALL, response)
    assert (made["candidateReleaseVersion"], made["baselineReleaseVersion"]) == ("2.0", "1.0")
    assert (made["status"], made["step"], made["reason"], made["actor"]) == ("RUNNING", 0, "because", "token:client-0")
    assert made["steps"] == STEPS
    assert made["groups"] == {"tags": ["beta"], "tokens": []}
    assert made["bounds"] == {"failurePercentagePoints": 5.0, "durationFactor": 1.5, "significance": 0.001}
    assert made["evidence"]["candidate"] == {"ended": 0, "failed": 0, "timed": 0, "medianSeconds": None}
    assert (made["cause"], made["endedAt"], made["endedBy"], made["endReason"]) == (None,) * 4
    pipeline = conforms(document, "GET", "pipelines/{pipeline_id}", ours.get("pipelines/{pipeline_id}"))
    assert (pipeline["candidateReleaseVersion"], pipeline["candidateShare"]) == ("2.0", 5.0)
    assert pipeline["activeReleaseVersion"] == "1.0"
    listed = ours.get("pipelines").json()["items"]
    assert [each["candidateReleaseVersion"] for each in listed] == ["2.0"]


def test_the_activations_show_each_change(ours: TenantApi, candidate: Release, document: dict[str, Any]) -> None:
    made = begin(ours)
    assert ours.post(path_of(made, "/step"), {"expectedStep": 0}).json()["step"] == 1
    assert ours.post(path_of(made, "/promotion"), {}).json()["status"] == "PROMOTED"
    path = "pipelines/{pipeline_id}/activations"
    shown = conforms(document, "GET", path, ours.get(path))["items"]
    assert [
        (each["kind"], each["releaseVersion"], each["candidateReleaseVersion"], each["share"]) for each in shown
    ] == [
        ("promotion", "2.0", None, None),
        ("gradual", "1.0", "2.0", 12.5),
        ("gradual", "1.0", "2.0", 5.0),
        ("activation", "1.0", None, None),
    ]
    assert [each["gradualActivationId"] for each in shown[:3]] == [made["gradualActivationId"]] * 3
    assert ours.get("pipelines/{pipeline_id}").json()["candidateReleaseVersion"] is None


def test_what_was_active_names_who_activated_it_and_the_candidate(ours: TenantApi, candidate: Release) -> None:
    """Steps of a candidate do not change who activated the active release, and why."""
    before = ours.get("pipelines/{pipeline_id}/active").json()
    begin(ours)
    now = ours.get("pipelines/{pipeline_id}/active").json()
    assert now["activation"] == before["activation"]
    assert (before["candidateReleaseVersion"], before["candidateShare"]) == (None, None)
    assert (now["candidateReleaseVersion"], now["candidateShare"]) == ("2.0", 5.0)
    assert now["replacedAt"] is None


def test_one_has_the_evidence(ours: TenantApi, candidate: Release, document: dict[str, Any]) -> None:
    made = begin(ours)
    gradual.ended(ours.release, succeeded=[1.0] * 30)
    gradual.ended(candidate, succeeded=[2.0] * 15, failed=15)
    response = ours.get(path_of(made))
    found = conforms(document, "GET", f"{ALL}/{{gradual_id}}", response)["evidence"]
    assert found["candidate"] == {"ended": 30, "failed": 15, "timed": 15, "medianSeconds": 2.0}
    assert found["baseline"] == {"ended": 30, "failed": 0, "timed": 30, "medianSeconds": 1.0}
    assert 0 < found["failureProbability"] < 0.001
    assert found["durationProbability"] is None
    assert found["crossed"] == "failures"


def test_a_withdrawal_says_why(ours: TenantApi, candidate: Release, document: dict[str, Any]) -> None:
    made = begin(ours)
    response = ours.post(path_of(made, "/withdrawal"), WHY)
    done = conforms(document, "POST", f"{ALL}/{{gradual_id}}/withdrawal", response)
    assert (done["status"], done["cause"], done["endReason"]) == ("WITHDRAWN", "person", "because")
    assert done["endedAt"] is not None
    listed = conforms(document, "GET", ALL, ours.get(ALL))["items"]
    assert [each["status"] for each in listed] == ["WITHDRAWN"]
    assert "evidence" not in listed[0]


def test_repeated_requests_with_a_key_happen_once(ours: TenantApi, candidate: Release) -> None:
    made = [begin(ours, operationKey="k") for _ in range(2)]
    assert made[0]["gradualActivationId"] == made[1]["gradualActivationId"]
    for _ in range(2):
        assert ours.post(path_of(made[0], "/step"), {"operationKey": "s"}).json()["step"] == 1
    assert Activation.objects.count() == 3


STEP = STEPS[0]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"steps": []}, 400, "INVALID_REQUEST"),
        ({"steps": [STEP] * 21}, 400, "INVALID_REQUEST"),
        ({"steps": [{**STEP, "share": "5"}]}, 400, "INVALID_REQUEST"),
        ({"steps": [{**STEP, "minimumSample": 20.5}]}, 400, "INVALID_REQUEST"),
        ({"steps": [{**STEP, "gate": "x"}]}, 400, "INVALID_REQUEST"),
        ({"steps": [{"share": 5}]}, 400, "INVALID_REQUEST"),
        ({"groups": {"users": []}}, 400, "INVALID_REQUEST"),
        ({"groups": {"tags": ["a\u0000"]}}, 400, "INVALID_REQUEST"),
        ({"bounds": {"durationFactor": None}}, 400, "INVALID_REQUEST"),
        ({"steps": [STEP, STEP]}, 422, "GRADUAL_ACTIVATION_INVALID"),
        ({"steps": [{**STEP, "share": 101}]}, 422, "GRADUAL_ACTIVATION_INVALID"),
        ({"bounds": {"significance": 0.5}}, 422, "GRADUAL_ACTIVATION_INVALID"),
        ({"releaseVersion": "9.0"}, 404, "RELEASE_UNKNOWN"),
        ({"releaseVersion": "1.0"}, 409, "CANDIDATE_ACTIVE"),
        ({"expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
        ({"expectedReleaseVersion": ""}, 409, "ACTIVE_RELEASE_CHANGED"),
    ],
)
def test_a_rejected_start_changes_nothing(
    ours: TenantApi, candidate: Release, changes: dict[str, Any], status: int, code: str
) -> None:
    assert ours.all_scopes
    before = everything()
    problem = refused(ours.post(ALL, {**BODY, **changes}), status, code)
    assert everything() == before
    assert status not in {400, 422} or problem["errors"]


@pytest.mark.parametrize(
    ("operation", "body", "status", "code"),
    [
        ("/step", {"expectedStep": 1}, 409, "STEP_CHANGED"),
        ("/step", {"expectedStep": "0"}, 400, "INVALID_REQUEST"),
        ("/step", {"expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
        ("/promotion", {"expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
        ("/promotion", {"step": 1}, 400, "INVALID_REQUEST"),
        ("/withdrawal", {}, 400, "INVALID_REQUEST"),
        ("/withdrawal", {"reason": " "}, 400, "INVALID_REQUEST"),
        ("/withdrawal", {**WHY, "expectedReleaseVersion": "2.0"}, 409, "ACTIVE_RELEASE_CHANGED"),
    ],
)
def test_a_rejected_operation_changes_nothing(
    ours: TenantApi, candidate: Release, operation: str, body: dict[str, Any], status: int, code: str
) -> None:
    made = begin(ours)
    before = everything()
    refused(ours.post(path_of(made, operation), body), status, code)
    assert everything() == before


@pytest.mark.parametrize("operation", ["", "/step", "/promotion", "/withdrawal"])
def test_an_unknown_one(ours: TenantApi, operation: str) -> None:
    path = f"{ALL}/00000000-0000-4000-8000-000000000000{operation}"
    response = ours.post(path, WHY) if operation else ours.get(path)
    refused(response, 404, "GRADUAL_ACTIVATION_UNKNOWN")


NEEDS = {"": Scope.ACTIVATE, "/step": Scope.ACTIVATE, "/promotion": Scope.ACTIVATE, "/withdrawal": Scope.ROLL_BACK}


@pytest.mark.parametrize("operation", NEEDS)
@pytest.mark.parametrize("scope", Scope)
def test_each_operation_needs_its_scope(ours: TenantApi, candidate: Release, operation: str, scope: Scope) -> None:
    """On-call staff may withdraw a candidate, as they may roll back."""
    made = None if not operation else start(candidate, gradual.plan(5, 50), actor="user:eva")
    path = f"{ALL}/{made.pk}{operation}" if made else ALL
    token = ours.token(scope)
    response = ours.post(path, WHY if operation else BODY, token=token)
    if scope is NEEDS[operation]:
        assert response.status_code in {200, 201}, response.content
    else:
        refused(response, 403, "SCOPE_MISSING")
        assert GradualActivation.objects.count() == bool(made)


def test_on_call_staff_hold_the_scope_of_a_withdrawal() -> None:
    assert Scope.ROLL_BACK in GRANTS[Role.ON_CALL]
    assert Scope.ACTIVATE not in GRANTS[Role.ON_CALL]
    assert Membership._meta.get_field("role").choices


# --- submissions ---


def test_routing_keys_and_tags_of_a_submission(ours: TenantApi, candidate: Release, document: dict[str, Any]) -> None:
    begin(ours, steps=[{**STEP, "share": 0}], groups={"tags": ["beta"], "tokens": ["client-1"]})
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "routingKey": "customer-7", "tags": ["beta", "eu"]}
    for key in ("cold", "warm"):
        response = ours.post("executions", {**body, "idempotencyKey": key})
        assert response.status_code == 202, response.content
        made = conforms(document, "POST", "executions", response)
        assert (made["pin"]["releaseVersion"], made["tags"]) == ("2.0", ["beta", "eu"])
        again = ours.post("executions", {**body, "idempotencyKey": key, "tags": []}).json()
        assert (again["duplicate"], again["tags"]) == (True, ["beta", "eu"])
        shown = conforms(document, "GET", "executions/{execution_id}", ours.get(f"executions/{made['executionId']}"))
        assert shown["tags"] == ["beta", "eu"]
    plain = {**body, "idempotencyKey": "plain", "tags": [], "routingKey": None}
    assert ours.post("executions", plain).json()["pin"]["releaseVersion"] == "1.0"
    by_group = ours.post("executions", {**plain, "idempotencyKey": "group"}, token=ours.token(Scope.SUBMIT))
    assert (by_group.json()["submittedBy"], by_group.json()["pin"]["releaseVersion"]) == ("token:client-1", "2.0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": ["x"] * 21},
        {"tags": ["x" * 101]},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": "beta"},
        {"tags": None},
        {"routingKey": ""},
        {"routingKey": "x" * 201},
        {"routingKey": 7},
    ],
)
def test_invalid_routing_keys_and_tags(ours: TenantApi, wrong: dict[str, Any]) -> None:
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k", **wrong}
    for _ in range(2):  # the second time, the token is cached
        refused(ours.post("executions", body), 400, "INVALID_REQUEST")
    item = ours.post("executions:batch", {"items": [body]}).json()["items"][0]
    assert item["status"] == 400
