"""REST of smoke tests."""

from typing import Any

import pytest

from executions.lifecycle import outcome
from executions.models import Execution, SmokeTest
from releases.models import Activation
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
SMOKE = f"pipelines/{making.PIPELINE}/releases/2.0/smoke"
BODY = {"input": {"n": 1}, "idempotencyKey": "k"}


@pytest.fixture
def owner() -> Tenant:
    """A tenant whose release 1.0 is active. Both releases have workers."""
    made, _ = making.ready()
    making.worker(making.registered(made, "2.0"), "worker-2")
    return made


@pytest.fixture
def activator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.PAYLOADS, Scope.ACTIVATE, Scope.ADMINISTER)


def finish(owner: Tenant, payload: str = '{"n": 1}') -> None:
    [claim] = making.claimed(owner)
    release = Execution.objects.get(pk=claim.execution_id).release
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim, output_payloads=[payload])])
    assert outcome.record(release.identity, group) == 1


def test_a_smoke_test_runs_and_has_a_verdict(owner: Tenant, activator: Caller) -> None:
    made = activator.post(SMOKE, {**BODY, "expectedResult": {"n": 1}}, 202)
    assert (made["verdict"], made["status"], made["finishedAt"]) == ("PENDING", "QUEUED", None)
    assert (made["expectsResult"], made["expectedResult"]) == (True, {"n": 1})
    assert activator.get(f"{SMOKE}/{made['executionId']}") == made
    execution = activator.get(f"executions/{made['executionId']}")
    assert (execution["smoke"], execution["pin"]["releaseVersion"]) == (True, "2.0")
    assert made["execution"] == execution["links"]["self"]
    finish(owner)
    [shown] = activator.get(SMOKE)["items"]
    assert (shown["verdict"], shown["status"]) == ("PASSED", "SUCCEEDED")
    assert shown["finishedAt"]
    assert activator.get(f"pipelines/{making.PIPELINE}/releases/1.0/smoke")["items"] == []


def test_a_repeated_key_is_a_200(activator: Caller) -> None:
    first = activator.post(SMOKE, BODY, 202)
    assert activator.post(SMOKE, BODY, 200) == first
    refused = activator.post(SMOKE, {**BODY, "expectedResult": None}, 409)
    assert (refused["code"], refused["executionId"]) == ("IDEMPOTENCY_KEY_REUSED", first["executionId"])
    assert (first["expectsResult"], first["expectedResult"]) == (False, None)


def test_null_is_a_result_that_can_be_expected(owner: Tenant, activator: Caller) -> None:
    made = activator.post(SMOKE, {**BODY, "expectedResult": None}, 202)
    assert (made["expectsResult"], made["expectedResult"]) == (True, None)
    finish(owner)
    assert activator.get(f"{SMOKE}/{made['executionId']}")["verdict"] == "OTHER_RESULT"


@cases("missing", ["input", "idempotencyKey"])
def test_a_body_without_a_member_is_rejected(activator: Caller, missing: str) -> None:
    body = {name: value for name, value in BODY.items() if name != missing}
    [error] = activator.post(SMOKE, body, 400)["errors"]
    assert error["field"] == missing
    assert SmokeTest.objects.count() == 0


def test_lists_of_executions_tell_smoke_tests_apart(owner: Tenant, activator: Caller) -> None:
    tested = activator.post(SMOKE, BODY, 202)["executionId"]
    ordinary = str(making.execution(owner, "ordinary").pk)

    def listed(query: str) -> list[Any]:
        return [(each["executionId"], each["smoke"]) for each in activator.get(f"executions{query}")["items"]]

    assert listed("?smoke=true") == [(tested, True)]
    assert listed("?smoke=false") == [(ordinary, False)]
    assert len(listed("")) == 2


def test_the_policy_demands_one_before_an_activation(owner: Tenant, activator: Caller) -> None:
    policy = activator.call("PATCH", f"pipelines/{making.PIPELINE}", {"smokeTestHours": 24})
    assert policy["smokeTestHours"] == 24
    body = {"releaseVersion": "2.0"}
    refused = activator.post(f"pipelines/{making.PIPELINE}/activations", body, 409)
    assert (refused["code"], refused["smokeTestHours"]) == ("SMOKE_TEST_REQUIRED", 24)
    activator.post(SMOKE, BODY, 202)
    assert activator.post(f"pipelines/{making.PIPELINE}/activations", body, 409)["code"] == "SMOKE_TEST_REQUIRED"
    finish(owner)
    activator.post(f"pipelines/{making.PIPELINE}/activations", body, 201)
    assert Activation.objects.latest("sequence").release.release_version == "2.0"


@cases(
    ("member", "wrong", "right"),
    [("smokeTestHours", [0, 8761, 1.5, "1"], [1, 8760, None]), ("skewGraceMinutes", [-1, 43201, None], [0, 43200])],
)
def test_the_limits_of_the_policy(activator: Caller, member: str, wrong: list[Any], right: list[Any]) -> None:
    path = f"pipelines/{making.PIPELINE}"
    for value in wrong:
        status = 422 if value in (0, -1, 8761, 43201) else 400
        activator.call("PATCH", path, {member: value}, status)
    for value in right:
        assert activator.call("PATCH", path, {member: value})[member] == value
