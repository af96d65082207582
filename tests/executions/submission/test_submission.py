"""Submissions: errors and their order, pins, idempotency keys, and shapes of inputs."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.models import Execution, ExecutionEvent, Worker
from executions.submission.submission import Submission, submit
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner, rows

pytestmark = pytest.mark.django_db

TYPED: dict[str, Any] = {
    "steps": [{**making.STEP, "inputTypeId": "Order"}],
    "schemaVersion": 2,
    "canonicalTypes": {
        "Order": {
            "definition": {
                "id": "Order",
                "kind": "record",
                "fields": [{"name": "n", "type": {"kind": "scalar", "id": "integer"}, "optional": False}],
            }
        }
    },
}


def send(owner: Tenant, **members: Any) -> Submission:
    defaults: dict[str, Any] = {
        "pipeline_id": making.PIPELINE,
        "input": {"n": 1},
        "idempotency_key": "k",
        "actor": "token:test",
    }
    return submit(owner, **{**defaults, **members})


def refusal(owner: Tenant, **members: Any) -> CoordinatorError:
    """Return the error of a submission, which must not have written anything."""
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(CoordinatorError) as caught:
        send(owner, **members)
    assert (rows(Execution), rows(ExecutionEvent)) == before
    return caught.value


def test_an_execution_is_pinned_and_has_a_first_event(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    owner, release = making.ready()
    with django_capture_on_commit_callbacks() as callbacks:
        made = send(owner, input={"n": 1, "text": "é 😀", "list": [1.5, None, True]})
    assert made.duplicate is False
    execution = made.execution
    assert (execution.status, execution.version, execution.attempt, execution.current_step_index) == ("QUEUED", 0, 0, 0)
    assert execution.pin == release.identity
    assert execution.release_id == release.pk
    assert execution.input == {"n": 1, "text": "é 😀", "list": [1.5, None, True]}
    assert (execution.input_shape, execution.result_shape) == ("UNI", "SINGLE")
    assert execution.next_due_at <= timezone.now()
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    event = execution.events.get()
    assert event.actor == execution.submitted_by == "token:test"
    assert event.data == {"contractVersion": release.contract_version, "releaseVersion": "1.0"}
    assert len(callbacks) == 1


def test_a_pipeline_of_another_tenant_is_unknown_to_submissions() -> None:
    making.ready()
    assert refusal(making.tenant()).code == "PIPELINE_UNKNOWN"


def test_a_pipeline_without_an_active_release_accepts_no_executions() -> None:
    owner = making.tenant()
    making.worker(making.registered(owner))
    assert refusal(owner).code == "NO_ACTIVE_RELEASE"


def test_a_revoked_release_accepts_no_executions() -> None:
    owner, release = making.ready()
    event = revoke(release, actor="user:test", reason="leaked")
    error = refusal(owner)
    assert error.code == "ACTIVE_RELEASE_REVOKED"
    assert "'1.0'" in error.detail
    assert error.data == {
        "releaseVersion": "1.0",
        "revocationReason": "leaked",
        "revokedAt": event.revoked_at.isoformat(),
    }


def test_an_unexpected_active_release_is_reported() -> None:
    owner, _ = making.ready()
    error = refusal(owner, expected_release_version="0.9")
    assert (error.code, error.data) == ("ACTIVE_RELEASE_CHANGED", {"activeReleaseVersion": "1.0"})
    assert send(owner, expected_release_version="1.0").execution.release_version == "1.0"


@cases(("damage", "code"), [(None, "ARTIFACT_MISSING"), (b"other", "ARTIFACT_ALTERED")])
def test_missing_or_altered_bytes_prevent_executions(damage: bytes | None, code: str) -> None:
    owner, release = making.ready()
    file = making.stored_file(release.artifacts.get().digest)
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    assert refusal(owner).code == code


STALE: dict[str, Any] = {"last_heartbeat_at": timezone.now() - timedelta(days=1)}
DRAINING: dict[str, Any] = {"draining_since": timezone.now()}
STOPPED: dict[str, Any] = {"stopped_at": timezone.now()}
OTHER_BYTES: dict[str, Any] = {"artifact_digest": "sha256:" + "0" * 64}


@cases(
    ("workers", "message"),
    [
        ([], "No worker lifecycle record for active release"),
        ([{"release_version": "0.9"}], "No worker lifecycle record for active release"),
        ([{"contract_version": "other"}], "No worker lifecycle record for active release"),
        ([{"pipeline_id": "other"}], "No worker lifecycle record for active release"),
        ([OTHER_BYTES], "Registered worker artifact identity does not match active release"),
        (
            [STALE, DRAINING, STOPPED, OTHER_BYTES],
            "No healthy celery worker lifecycle record for active release; "
            "current states: w0=STALE, w1=DRAINING, w2=UNAVAILABLE",
        ),
    ],
)
def test_a_release_without_a_healthy_worker_accepts_no_executions(workers: list[dict[str, Any]], message: str) -> None:
    owner = making.tenant()
    release = making.active(owner)
    for number, changes in enumerate(workers):
        making.worker(release, f"w{number}", **changes)
    error = refusal(owner)
    assert (error.code, error.detail) == ("WORKER_UNAVAILABLE", message)


def test_a_worker_of_another_tenant_does_not_count() -> None:
    owner = making.tenant()
    release = making.active(owner)
    making.worker(release, tenant=making.tenant())
    assert refusal(owner).code == "WORKER_UNAVAILABLE"


def test_one_healthy_worker_without_a_digest_is_enough() -> None:
    owner = making.tenant()
    release = making.active(owner)
    making.worker(release, "stale", **STALE)
    making.worker(release, "healthy")
    assert send(owner).duplicate is False
    Worker.objects.filter(worker_id="healthy", tenant=owner).update(artifact_digest=release.artifacts.get().digest)
    assert send(owner, idempotency_key="k2").duplicate is False


def test_errors_have_the_documented_order() -> None:
    """At first everything is wrong. After each correction, the next error is reported."""
    owner = making.tenant()
    wrong: dict[str, Any] = {"input": {"n": "one"}, "expected_release_version": "0.9"}
    assert refusal(owner, **wrong).code == "PIPELINE_UNKNOWN"
    release = making.registered(owner, **TYPED)
    file = making.stored_file(release.artifacts.get().digest)
    good = file.read_bytes()
    assert refusal(owner, **wrong).code == "NO_ACTIVE_RELEASE"
    activate(release, actor="")
    file.unlink()
    assert refusal(owner, **wrong).code == "ACTIVE_RELEASE_CHANGED"
    del wrong["expected_release_version"]
    assert refusal(owner, **wrong).code == "INPUT_INVALID"
    del wrong["input"]
    assert refusal(owner, **wrong).code == "ARTIFACT_MISSING"
    file.write_bytes(b"other")
    assert refusal(owner, **wrong).code == "ARTIFACT_ALTERED"
    file.write_bytes(good)
    assert refusal(owner, **wrong).code == "WORKER_UNAVAILABLE"
    making.worker(release)
    assert send(owner).duplicate is False
    with as_owner():
        Worker.objects.filter(tenant=owner).delete()
    assert refusal(owner, input={"n": 2}, expected_release_version="0.9").code == "IDEMPOTENCY_KEY_REUSED"


def test_a_repeat_returns_the_first_execution_even_if_a_new_one_would_be_rejected() -> None:
    owner, first_release = making.ready()
    first = send(owner, input={"a": 1, "b": [1, {"c": 2, "d": 3}]}).execution
    making.active(owner, "2.0")
    with as_owner():
        Worker.objects.filter(tenant=owner).delete()
    making.stored_file(first_release.artifacts.get().digest).unlink()
    again = send(owner, input={"b": [1, {"d": 3, "c": 2}], "a": 1}, expected_release_version="3.0")
    assert (again.execution.pk, again.duplicate) == (first.pk, True)
    assert again.execution.release_version == "1.0"
    assert making.history(first) == [("SUBMITTED", "QUEUED")]


@cases("other", [{"n": 2}, {"n": 1.5}, {"n": "1"}, {"n": True}, {}, [], [{"n": 1}], {"n": 1, "m": None}])
def test_a_key_with_another_input_is_a_conflict_that_names_the_first(other: Any) -> None:
    owner, _ = making.ready()
    first = send(owner).execution
    error = refusal(owner, input=other)
    assert (error.code, error.data) == ("IDEMPOTENCY_KEY_REUSED", {"executionId": str(first.pk)})


def test_a_key_is_unique_within_a_pipeline_of_a_tenant() -> None:
    owner, _ = making.ready()
    making.ready(owner, pipeline_id="org.example.other")
    other, _ = making.ready()
    made = [send(owner), send(owner, pipeline_id="org.example.other"), send(other)]
    assert [each.duplicate for each in made] == [False] * 3
    assert len({each.execution.pk for each in made}) == 3


def test_keys_are_compared_exactly() -> None:
    owner, _ = making.ready()
    made = [send(owner, idempotency_key=key) for key in ("k", "K", " k", "k ", "ḱ")]
    assert len({each.execution.pk for each in made}) == 5


MANY = [{**making.STEP, "cardinality": "MANY_TO_ONE"}]
MANY_TYPED: dict[str, Any] = {**TYPED, "steps": [{**making.STEP, "cardinality": "MANY_TO_MANY"}]}


@cases(
    ("contract", "value", "shape"),
    [
        ({}, {"n": 1}, "UNI"),
        ({}, [{"n": 1}], "UNI"),
        ({}, "text", "UNI"),
        ({}, 0, "UNI"),
        (TYPED, {"n": 1}, "UNI"),
        ({"steps": MANY}, [], "MULTI"),
        ({"steps": MANY}, [1, "two", None], "MULTI"),
        (MANY_TYPED, [{"n": 1}, {"n": 2}], "MULTI"),
        ({"steps": [{**making.STEP, "cardinality": "ONE_TO_MANY"}]}, [1], "UNI"),
    ],
)
def test_the_first_step_determines_the_shape_of_the_input(contract: dict[str, Any], value: Any, shape: str) -> None:
    owner, _ = making.ready(**contract)
    execution = send(owner, input=value).execution
    assert (execution.input_shape, execution.input) == (shape, value)


@cases(
    ("contract", "value", "fields"),
    [
        (TYPED, {"n": "one"}, ["input.n"]),
        (TYPED, {}, ["input.n"]),
        (TYPED, {"n": 1, "m": 2}, ["input.m"]),
        (TYPED, [{"n": 1}], ["input"]),
        (TYPED, None, ["input"]),
        ({"steps": MANY}, {"n": 1}, ["input"]),
        ({"steps": MANY}, None, ["input"]),
        (MANY_TYPED, [{"n": 1}, {"n": "x"}, {}], ["input[1].n", "input[2].n"]),
    ],
)
def test_an_input_of_a_wrong_type_is_rejected_with_each_path(
    contract: dict[str, Any], value: Any, fields: list[str]
) -> None:
    owner, _ = making.ready(**contract)
    error = refusal(owner, input=value)
    assert error.code == "INPUT_INVALID"
    assert [found["field"] for found in error.errors] == fields
    assert {found["code"] for found in error.errors} == {"INPUT_TYPE"}


def test_the_number_of_reported_input_errors_is_bounded() -> None:
    owner, _ = making.ready(**MANY_TYPED)
    error = refusal(owner, input=[{}] * 1_000)
    assert len(error.errors) == 100
    assert len(error.detail) < 1_000


@cases(
    ("cardinality", "shape"),
    [("ONE_TO_ONE", "SINGLE"), ("MANY_TO_ONE", "SINGLE"), ("ONE_TO_MANY", "MATERIALIZED_MULTI")],
)
def test_the_last_step_determines_the_shape_of_the_result(cardinality: str, shape: str) -> None:
    owner, _ = making.ready(steps=[{**making.STEP, "cardinality": cardinality}])
    assert send(owner, input=[1]).execution.result_shape == shape


def test_a_release_without_a_contract_accepts_any_input() -> None:
    owner = making.tenant()
    contract = making.contract()
    release = making.upload(owner, making.descriptor(contract, b"", kind="container-image")).release
    making.verified(release)
    activate(release, actor="")
    making.worker(release, artifact_digest=release.artifacts.get().digest)
    execution = send(owner, input=[1, "two"]).execution
    assert (execution.input_shape, execution.result_shape) == ("UNI", "SINGLE")


@cases("other", [{"n": 1.0, "m": 1e16}, {"m": 1e16, "n": 1}])
def test_inputs_are_equal_in_any_notation_of_their_numbers(other: Any) -> None:
    owner, _ = making.ready()
    first = send(owner, input={"n": 1, "m": 10**16}).execution
    again = send(owner, input=other)
    assert (again.execution_id, again.duplicate) == (first.pk, True)


def test_an_input_is_stored_as_sent_and_not_as_an_equal_value() -> None:
    owner, _ = making.ready()
    execution = send(owner, input=[1.0, 1, -0.0, 2.50]).execution
    assert repr(execution.input) == "[1.0, 1, 0.0, 2.5]"
