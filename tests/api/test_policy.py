"""REST of pipeline policies: permissions, valid values and effects."""

from datetime import timedelta
from typing import Any

import pytest

from executions.lifecycle.outcome import retry_policy
from executions.workers.worker_gate import START
from releases.models import Activation, Pipeline, Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
PATH = f"pipelines/{making.PIPELINE}"
POLICY = {
    "reasonRequired": True,
    "validateAnswers": False,
    "workerGate": "warn",
    "unverifiedWorkers": "allow",
    "missingArtifacts": "identity-only",
    "rollBackDays": 7,
    "retryLimit": 7,
    "retryDelaySeconds": 0.5,
    "retryMultiplier": 3.0,
}


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


@pytest.fixture
def owner(release: Release) -> Tenant:
    return release.pipeline.tenant


@pytest.fixture
def admin(owner: Tenant) -> Caller:
    return Caller(owner, Scope.ADMINISTER, Scope.READ)


def test_only_the_named_parts_of_a_policy_change(admin: Caller) -> None:
    first = admin.get(PATH)
    defaults = {
        "reasonRequired": False,
        "validateAnswers": True,
        "unverifiedWorkers": "refuse",
        "missingArtifacts": "reject",
        "rollBackDays": 30,
        "application": "",
        "retryLimit": None,
        "retryMultiplier": None,
        "retryDelaySeconds": None,
    }
    assert {**first, **defaults} == first
    assert admin.call("PATCH", PATH, POLICY) == {**first, **POLICY}
    changed = {**first, **POLICY, "retryLimit": None}
    assert admin.call("PATCH", PATH, {"retryLimit": None}) == changed
    assert admin.call("PATCH", PATH, {}) == changed
    assert admin.get(PATH) == changed


def test_a_policy_overrides_the_defaults_of_the_coordinator(admin: Caller, owner: Tenant, settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS, settings.RETRY_MULTIPLIER = 3, 10, 2
    admin.call("PATCH", PATH, {"retryLimit": 0, "retryMultiplier": 1})
    policy = retry_policy(Pipeline.objects.get(tenant=owner))
    assert (policy.limit, policy.delay, policy.multiplier) == (0, timedelta(seconds=10), 1.0)


@cases(
    "change",
    [
        {"retryLimit": 0, "retryDelaySeconds": 0, "retryMultiplier": 1},
        {"retryLimit": 1000, "retryDelaySeconds": 1800, "retryMultiplier": 100},
    ],
)
def test_the_bounds_are_inclusive(admin: Caller, change: dict[str, Any]) -> None:
    assert admin.call("PATCH", PATH, change).items() >= change.items()


@cases(
    ("change", "fields"),
    [
        ({"rollBackDays": 0}, {"rollBackDays"}),
        ({"rollBackDays": 3651}, {"rollBackDays"}),
        ({"retryLimit": -1}, {"retryLimit"}),
        ({"retryLimit": 1001}, {"retryLimit"}),
        ({"retryDelaySeconds": -0.1}, {"retryDelaySeconds"}),
        ({"retryDelaySeconds": 1800.5}, {"retryDelaySeconds"}),
        ({"retryMultiplier": 0.99}, {"retryMultiplier"}),
        ({"retryMultiplier": 101, "retryLimit": -1, "reasonRequired": True}, {"retryMultiplier", "retryLimit"}),
    ],
)
def test_an_invalid_policy_is_rejected_with_every_finding(
    admin: Caller, change: dict[str, Any], fields: set[str]
) -> None:
    before = rows(Pipeline)
    problem = admin.call("PATCH", PATH, change, 422)
    assert problem["code"] == "POLICY_INVALID"
    assert {(error["field"], error["code"]) for error in problem["errors"]} == {(field, "POLICY") for field in fields}
    assert rows(Pipeline) == before


@cases(
    "body",
    [
        {"rollBackDays": True},
        {"retryLimit": 3.5},
        {"retryLimit": True},
        {"retryDelaySeconds": 10**400},
        {"workerGate": True},
        {"missingArtifacts": "IDENTITY-ONLY"},
        {"application": "shop"},
        {"retryJitter": 0},
    ],
)
def test_a_malformed_change_changes_nothing(admin: Caller, body: Any) -> None:
    before = rows(Pipeline)
    assert admin.call("PATCH", PATH, body, 400)["code"] == "INVALID_REQUEST"
    assert rows(Pipeline) == before


def test_an_activation_needs_a_worker_if_the_policy_requires_one(
    admin: Caller, owner: Tenant, release: Release
) -> None:
    assert admin.call("PATCH", PATH, {"workerGate": "require"})["workerGate"] == "require"
    manager = Caller(owner, Scope.ACTIVATE, Scope.READ)
    before = rows(Activation)
    problem = manager.call("POST", f"{PATH}/activations", {"releaseVersion": "1.0"}, 409)
    assert (problem["code"], problem["command"]) == ("WORKER_REQUIRED", START)
    assert START in problem["detail"]
    assert rows(Activation) == before
    making.worker(release)
    assert manager.call("POST", f"{PATH}/activations", {"releaseVersion": "1.0"}, 201)["sequence"] == 2
