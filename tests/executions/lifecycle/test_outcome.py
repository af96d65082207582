"""Recording outcomes: once, under the current lease, only for executions of the worker's release, and unchanged."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executions.lifecycle import queries
from executions.models import Execution
from executions.state_machine.moves import Claim
from executions.workers.registry import DISPATCH_TASK
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import rows, unchanged
from tests.wakeups import announced
from wire.documents import json_text
from wire.messages.celery_messages import Failure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


def test_a_success_ends_the_execution_with_its_result(claim: Claim, execution: Execution) -> None:
    done = making.outcome_of(claim, output_payloads=['{"n": 2}'])
    assert making.record(done, worker_id="worker-1") == 1
    assert making.history(execution)[-1] == ("SUCCEEDED", "SUCCEEDED")
    assert (execution.version, execution.result, queries.result(execution)) == (2, [{"n": 2}], {"n": 2})
    assert execution.finished_at is not None
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    key = f"{execution.pk}:0:0"
    event = execution.events.get(kind="SUCCEEDED")
    assert (execution.last_transition_key, event.actor) == (key, "worker:worker-1")
    unreported = {"artifactDigest": "", "code": "", "environment": "", "steps": []}
    assert event.data == {"attempt": 0, "transitionKey": key, "worker": "worker-1", **unreported}


def test_a_failure_waits_longer_each_time_until_retries_are_spent(owner: Tenant, execution: Execution) -> None:
    delays = []
    for attempt in range(3):
        [claim] = making.claimed(owner)
        assert claim.attempt == attempt
        making.record(making.failure(claim, f"Error{attempt}"))
        execution.refresh_from_db()
        assert (execution.error_code, execution.error_message) == (f"Error{attempt}", "why")
        assert execution.last_transition_key == f"{execution.pk}:0:{attempt}"
        if execution.status == "WAIT_RETRY":
            delays.append((execution.next_due_at - execution.updated_at).total_seconds())
            assert making.claimed(owner) == []
            Execution.objects.update(next_due_at=making.LONG_AGO)
    assert delays == [10, 20]
    assert (execution.status, execution.attempt, execution.finished_at is None) == ("DLQ", 2, False)
    assert making.kinds(execution) == [
        *["SUBMITTED", "CLAIMED", "RETRY_SCHEDULED", "CLAIMED", "RETRY_SCHEDULED", "CLAIMED", "RETRIES_EXHAUSTED"]
    ]
    found = execution.events.filter(kind="RETRY_SCHEDULED").values_list("data__delaySeconds", "data__errorCode")
    assert list(found) == [(10, "Error0"), (20, "Error1")]


def test_a_retry_that_succeeds_has_no_error(owner: Tenant, claim: Claim, execution: Execution) -> None:
    making.record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    making.record(making.outcome_of(making.claimed(owner)[0]))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code, execution.attempt) == ("SUCCEEDED", None, 1)


@cases(("delay", "expected"), [(10, [(DISPATCH_TASK, timedelta(seconds=10))]), (61, [])])
def test_a_retry_within_a_minute_is_announced(claim: Claim, settings: Any, delay: float, expected: Any) -> None:
    settings.RETRY_DELAY_SECONDS = delay
    with announced() as wakeups:
        making.record(making.failure(claim))
    assert wakeups == expected


@cases(
    ("code", "message", "stored"),
    [
        ("IDENTITY_MISMATCH", "m" * 600, ("IDENTITY_MISMATCH", "m" * 512)),
        ("E" * 150, "m", ("E" * 100, "m")),
        ("a\x00b", "c\x00d", ("a\ufffdb", "c\ufffdd")),
        ("", "", ("UNKNOWN", "")),
        ("É", "😀" * 600, ("É", "😀" * 512)),
    ],
)
def test_a_non_retryable_failure_fails_at_once_with_its_error_truncated_and_cleaned(
    claim: Claim, execution: Execution, code: str, message: str, stored: tuple[str, str]
) -> None:
    failure = Failure(failure_class=code, message=message, retryable=False, traceback="Trace\0\n" + "x" * 5_000)
    making.record(making.outcome_of(claim, "FAILED", failure=failure))
    assert making.history(execution)[-1] == ("FAILED", "FAILED")
    assert (execution.attempt, execution.error_code, execution.error_message) == (0, *stored)
    assert execution.events.get(kind="FAILED").data["traceback"] == "Trace\ufffd\n" + "x" * 3_993


# --- dropped outcomes ---


@cases(
    ("wrong", "result"),
    [
        ({"execution_version": 0}, "COMPLETED"),
        ({"lease_token": uuid.uuid4()}, "COMPLETED"),
        ({"lease_token": uuid.uuid4()}, "FAILED"),
    ],
)
def test_outcomes_under_another_lease_are_dropped_and_recorded_as_events_in_their_order(
    claim: Claim, execution: Execution, wrong: dict[str, Any], result: str
) -> None:
    [before] = rows(Execution)
    right = making.outcome_of(claim) if result == "COMPLETED" else making.failure(claim)
    late = [right.model_copy(update={"transition_key": key, **wrong}) for key in ("first", "second")]
    assert [making.record(each) for each in late] == [0, 0]
    assert making.record(*(each.model_copy(update={"lease_token": uuid.uuid4()}) for each in late)) == 0
    assert rows(Execution) == [{**before, "event_count": before["event_count"] + 4}]
    events = execution.events.filter(kind="OUTCOME_DROPPED").order_by("sequence")
    assert [each.data["transitionKey"] for each in events] == ["first", "second", "first", "second"]
    expected = {"COMPLETED": "SUCCEEDED", "FAILED": "WAIT_RETRY"}[result]
    assert {(each.actor, each.data["reason"], each.data["outcome"]) for each in events} == {
        ("worker:w", "lease lost", expected)
    }
    assert making.record(right) == 1


def test_the_late_outcome_of_a_lost_lease_changes_nothing_for_its_successor(
    owner: Tenant, claim: Claim, execution: Execution
) -> None:
    making.lose_lease(claim)
    [takeover] = making.claimed(owner)
    assert making.record(making.outcome_of(claim, output_payloads=['"late"'])) == 0
    assert making.record(making.outcome_of(takeover, output_payloads=['"right"'])) == 1
    assert making.kinds(execution) == [
        *["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "OUTCOME_DROPPED", "SUCCEEDED"]
    ]
    assert (execution.result, execution.attempt) == (["right"], 0)


@cases("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_worker_of_another_release_cannot_record_an_outcome(claim: Claim, execution: Execution, part: str) -> None:
    """The version and the token are correct, but only the pinned release may record the outcome."""
    other = replace(execution.pin, **{part: making.tenant().slug})
    with unchanged():
        assert making.record(making.outcome_of(claim), identity=other) == 0


# --- outputs ---

HALF = "[" + "0," * (json_text.MOST_VALUES // 2) + "0]"
UNDECODABLE = ["", "{", "nonsense", '"\\u0000"', '{"a\\u0000": 1}', '["\\ud800"]', '{"\\udfff": 1}', "NaN"]
LARGE = ["[-Infinity]", "1e999", "[" * 501 + "]" * 501, "[" * 100_000, "9" * 5_000]


@cases("outputs", [*([text] for text in UNDECODABLE + LARGE), ["1", "{"], [HALF, HALF]])
def test_outputs_that_cannot_be_stored_fail_the_execution(
    claim: Claim, execution: Execution, outputs: list[str]
) -> None:
    assert making.record(making.outcome_of(claim, output_payloads=outputs)) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")
    assert execution.error_message


DEEPEST = json.loads("[" * 500 + "]" * 500)
VALUES: list[Any] = [
    None,
    0,
    False,
    "",
    [],
    {},
    "\\u0000",
    "back\\slash",
    "é 😀 \u2028",
    10**400,
    1e-7,
    -0.5,
    {"": {"": []}},
]


@cases("value", [*VALUES, DEEPEST])
def test_an_output_is_returned_unchanged(claim: Claim, execution: Execution, value: Any) -> None:
    making.record(making.outcome_of(claim, output_payloads=[json.dumps(value)]))
    execution.refresh_from_db()
    assert execution.status == "SUCCEEDED"
    assert json.dumps(queries.result(execution)) == json.dumps(value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@settings(max_examples=50)
@given(JSON)
def test_every_json_value_without_nul_is_storable(value: Any) -> None:
    assert json_text.storable(json.dumps(value)) == value
    assert json_text.storable(json.dumps(value, ensure_ascii=False)) == value


def test_a_single_result_has_at_most_one_value(claim: Claim, execution: Execution) -> None:
    making.record(making.outcome_of(claim, output_payloads=["1", "2"]))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "RESULT_SHAPE_MISMATCH")
    assert "2 terminal items for SINGLE" in str(execution.error_message)


@cases(
    ("cardinality", "outputs", "result"),
    [
        ("ONE_TO_ONE", [], None),
        ("ONE_TO_MANY", [], []),
        ("ONE_TO_MANY", ["1"], [1]),
        ("ONE_TO_MANY", ["1", "null", "[2]"], [1, None, [2]]),
    ],
)
def test_a_result_of_a_stream_is_a_list_of_any_length(cardinality: str, outputs: list[str], result: Any) -> None:
    owner, _ = making.ready(steps=[{**making.STEP, "cardinality": cardinality}])
    execution = making.execution(owner)
    making.record(making.outcome_of(making.claimed(owner)[0], output_payloads=outputs))
    execution.refresh_from_db()
    assert (execution.status, queries.result(execution)) == ("SUCCEEDED", result)
