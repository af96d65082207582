"""Recording what workers answer: once, under the lease it was given, and never for anybody else's execution."""

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.lifecycle import outcome, queries
from executions.models import Execution
from executions.state_machine.moves import Claim, expire_leases
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import check_foreign_keys_now, run
from wire.documents import json_text
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS = 2, 10
    settings.RETRY_MULTIPLIER, settings.RETRY_JITTER = 2, 0


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def execution(owner: Tenant) -> Execution:
    return making.execution(owner)


@pytest.fixture
def claim(owner: Tenant, execution: Execution) -> Claim:
    return making.claimed(owner)[0]


def pin(claim: Claim) -> ReleaseIdentity:
    return ReleaseIdentity(claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)


def record(claim: Claim, *answers: Outcome, identity: ReleaseIdentity | None = None) -> int:
    """Record as the worker of the claim's release, or as that of another `identity`."""
    identity = identity or pin(claim)
    group = OutcomeGroup(worker_id="worker-1", outcomes=list(answers))
    return outcome.record(identity, group)


def state(execution: Execution) -> dict[str, Any]:
    return dict(Execution.objects.filter(pk=execution.pk).values().get())


def test_the_outputs_of_an_outcome_have_a_limited_number_of_values_together(claim: Claim, execution: Execution) -> None:
    half = "[" + "0," * (json_text.MOST_VALUES // 2) + "0]"
    assert record(claim, making.outcome_of(claim, output_payloads=[half, half])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")


@pytest.mark.parametrize("status", ["SUCCEEDED", "WAITING_EXTERNAL"])
def test_large_outcomes_of_a_group_are_recorded_one_by_one(owner: Tenant, status: str) -> None:
    """So only one of them at a time is decoded in memory. The requests of an await may be as large as outputs."""
    made = [making.execution(owner, key) for key in ("a", "b")]
    text = json.dumps("x" * (outcome.LONGEST_TOGETHER // 2))
    claims = making.claimed(owner)
    answers = [
        making.outcome_of(claim, output_payloads=[text]) if status == "SUCCEEDED" else making.suspension(claim, text)
        for claim in claims
    ]
    statements: list[str] = []

    def noted(execute: Callable[..., Any], query: Any, *context: Any) -> Any:
        statements.append(str(query))
        return execute(query, *context)

    with connection.execute_wrapper(noted):
        assert record(claims[0], *answers) == len(made)
    assert sum("FOR NO KEY UPDATE" in statement for statement in statements) == len(made)
    for each in made:
        assert making.history(each)[-1][1] == status


def make_due(execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=timezone.now() - timedelta(days=1))


def test_a_success_ends_the_execution_with_its_result(claim: Claim, execution: Execution) -> None:
    assert record(claim, making.outcome_of(claim, output_payloads=['{"n": 2}'])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.version, execution.result) == ("SUCCEEDED", 2, [{"n": 2}])
    assert execution.finished_at is not None
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    assert execution.last_transition_key == f"{execution.pk}:0:0"
    assert queries.result(execution) == {"n": 2}
    assert making.history(execution)[-1] == ("SUCCEEDED", "SUCCEEDED")
    event = execution.events.get(kind="SUCCEEDED")
    assert (event.actor, event.data) == ("worker:worker-1", {"attempt": 0, "transitionKey": f"{execution.pk}:0:0"})


def test_a_failure_waits_longer_each_time_and_ends_in_the_dead_letter_state(
    owner: Tenant, execution: Execution
) -> None:
    delays = []
    for attempt in range(3):
        [claim] = making.claimed(owner)
        assert claim.attempt == attempt
        record(claim, making.failure(claim, f"Error{attempt}"))
        execution.refresh_from_db()
        assert (execution.error_code, execution.error_message) == (f"Error{attempt}", "why")
        if execution.status == "WAIT_RETRY":
            delays.append(execution.next_due_at - execution.updated_at)
            assert making.claimed(owner) == []
            make_due(execution)
    assert delays == [timedelta(seconds=10), timedelta(seconds=20)]
    assert (execution.status, execution.attempt) == ("DLQ", 2)
    assert execution.finished_at is not None
    kinds = [kind for kind, _ in making.history(execution)]
    assert kinds == ["SUBMITTED", *["CLAIMED", "RETRY_SCHEDULED"] * 2, "CLAIMED", "RETRIES_EXHAUSTED"]
    retries = execution.events.filter(kind="RETRY_SCHEDULED").values_list("data", flat=True)
    assert [(data["delaySeconds"], data["errorCode"]) for data in retries] == [(10.0, "Error0"), (20.0, "Error1")]


def test_a_retry_counts_a_new_attempt_and_so_has_a_new_transition_key(owner: Tenant, execution: Execution) -> None:
    [first] = making.claimed(owner)
    record(first, making.failure(first))
    make_due(execution)
    [second] = making.claimed(owner)
    record(second, making.outcome_of(second))
    execution.refresh_from_db()
    assert execution.last_transition_key == f"{execution.pk}:0:1"
    assert (execution.status, execution.error_code) == ("SUCCEEDED", None)


def test_what_a_retry_cannot_help_fails_at_once(claim: Claim, execution: Execution) -> None:
    record(claim, making.failure(claim, "IDENTITY_MISMATCH", retryable=False, message="m" * 600))
    execution.refresh_from_db()
    assert (execution.status, execution.attempt, execution.error_code) == ("FAILED", 0, "IDENTITY_MISMATCH")
    assert execution.error_message == "m" * 512
    assert making.history(execution)[-1] == ("FAILED", "FAILED")


def test_without_retries_the_first_failure_is_the_last(claim: Claim, execution: Execution, settings: Any) -> None:
    settings.RETRY_LIMIT = 0
    record(claim, making.failure(claim))
    assert making.history(execution)[-1] == ("RETRIES_EXHAUSTED", "DLQ")


@pytest.mark.parametrize(
    ("failure_class", "message", "code", "stored_message"),
    [
        ("E" * 150, "m", "E" * 100, "m"),
        ("a\x00b", "c\x00d", "a�b", "c�d"),
        ("", "", "UNKNOWN", ""),
        ("É", "😀" * 600, "É", "😀" * 512),
    ],
)
def test_an_error_is_kept_as_far_as_it_can_be(
    claim: Claim, execution: Execution, failure_class: str, message: str, code: str, stored_message: str
) -> None:
    record(claim, making.failure(claim, failure_class, retryable=False, message=message))
    execution.refresh_from_db()
    assert (execution.error_code, execution.error_message) == (code, stored_message)


def test_a_failure_that_says_nothing_is_tried_again(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, "FAILED"))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "MALFORMED_OUTCOME")


# --- what is dropped ---


def dropped(execution: Execution) -> dict[str, Any]:
    event = execution.events.get(kind="OUTCOME_DROPPED")
    assert event.actor == "worker:worker-1"
    data: dict[str, Any] = event.data
    assert data["reason"] == "lease lost"
    return data


@pytest.mark.parametrize("wrong", ["version", "token"])
@pytest.mark.parametrize("result", ["COMPLETED", "FAILED"])
def test_an_outcome_under_another_lease_is_dropped_and_an_event_says_so(
    claim: Claim, execution: Execution, wrong: str, result: str
) -> None:
    changes: dict[str, Any] = {"execution_version": 0} if wrong == "version" else {"lease_token": uuid.uuid4()}
    before = state(execution)
    late = (
        making.outcome_of(claim, **changes)
        if result == "COMPLETED"
        else making.failure(claim).model_copy(update=changes)
    )
    assert record(claim, late) == 0
    assert state(execution) == {**before, "event_count": before["event_count"] + 1}
    assert making.history(execution)[-1] == ("OUTCOME_DROPPED", "RUNNING")
    assert dropped(execution)["outcome"] == ("SUCCEEDED" if result == "COMPLETED" else "WAIT_RETRY")
    assert record(claim, making.outcome_of(claim)) == 1


def test_what_is_dropped_of_one_execution_is_told_in_its_order(claim: Claim, execution: Execution) -> None:
    keys = ["a", "b", "c"]
    record(claim, *(making.outcome_of(claim, lease_token=uuid.uuid4(), transition_key=key) for key in keys))
    events = execution.events.filter(kind="OUTCOME_DROPPED").order_by("sequence")
    assert [event.data["transitionKey"] for event in events] == keys


def test_the_late_outcome_of_a_lost_lease_changes_nothing_for_its_successor(
    owner: Tenant, claim: Claim, execution: Execution
) -> None:
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert execution.pk in expire_leases(actor="sweep", limit=10, most_takeovers=10)
    [takeover] = making.claimed(owner)
    assert record(claim, making.outcome_of(claim, output_payloads=['"late"'])) == 0
    assert record(takeover, making.outcome_of(takeover, output_payloads=['"right"'])) == 1
    execution.refresh_from_db()
    assert (execution.result, execution.attempt) == (["right"], 0)
    assert [kind for kind, _ in making.history(execution)] == [
        *["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "OUTCOME_DROPPED", "SUCCEEDED"]
    ]


def test_a_message_that_comes_twice_is_recorded_once(claim: Claim, execution: Execution) -> None:
    assert [record(claim, making.outcome_of(claim)) for _ in range(2)] == [1, 0]
    assert making.history(execution)[-1] == ("OUTCOME_DROPPED", "SUCCEEDED")
    assert state(execution)["version"] == 2


@pytest.mark.parametrize("part", ["pipeline_id", "contract_version", "release_version"])
def test_a_worker_of_another_release_cannot_answer(claim: Claim, execution: Execution, part: str) -> None:
    """It knows version and token, and still: what is pinned to one release is answered by that release."""
    before = state(execution)
    assert record(claim, making.outcome_of(claim), identity=replace(pin(claim), **{part: "other"})) == 0
    assert state(execution) == before


def test_a_worker_of_another_tenant_cannot_answer(claim: Claim, execution: Execution) -> None:
    other, _ = making.ready()
    before = state(execution)
    assert record(claim, making.outcome_of(claim), identity=replace(pin(claim), tenant_id=other.slug)) == 0
    assert state(execution) == before


def test_an_outcome_for_nothing_is_logged_and_dropped(claim: Claim, caplog: pytest.LogCaptureFixture) -> None:
    stranger = making.outcome_of(claim, execution_id=uuid.UUID(int=7))
    with caplog.at_level(logging.WARNING, "executions.lifecycle.outcome"):
        assert record(claim, stranger) == 0
    assert str(uuid.UUID(int=7)) in caplog.text


# --- groups ---


def test_in_a_group_each_outcome_stands_for_itself(owner: Tenant) -> None:
    made = [making.execution(owner, f"k{number}") for number in range(5)]
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    ok, retry, fatal, lost = (claims[each.pk] for each in made[:4])
    recorded = record(
        ok,
        making.outcome_of(ok),
        making.failure(retry),
        making.failure(fatal, retryable=False),
        making.outcome_of(lost, lease_token=uuid.uuid4()),
        making.outcome_of(ok, execution_id=uuid.uuid4()),
    )
    assert recorded == 3
    assert [state(each)["status"] for each in made] == ["SUCCEEDED", "WAIT_RETRY", "FAILED", "RUNNING", "RUNNING"]
    assert [len(making.history(each)) for each in made] == [3, 3, 3, 3, 2]


def test_of_two_answers_for_one_execution_in_a_group_one_counts(claim: Claim, execution: Execution) -> None:
    assert record(claim, making.outcome_of(claim), making.outcome_of(claim)) == 1
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("wrong", [{"lease_token": uuid.uuid4()}, {"execution_version": 0}])
def test_a_stale_answer_beside_the_right_one_does_not_displace_it(
    claim: Claim, execution: Execution, first: bool, wrong: dict[str, Any]
) -> None:
    """Whatever the order: the one under the lease that is held is recorded, the other one dropped."""
    stale = making.outcome_of(claim, output_payloads=['"stale"'], **wrong)
    right = making.outcome_of(claim, output_payloads=['"right"'])
    assert record(claim, *sorted([right, stale], key=lambda each: each is right, reverse=first)) == 1
    assert state(execution)["result"] == ["right"]
    assert "OUTCOME_DROPPED" in [kind for kind, _ in making.history(execution)]


def test_one_outcome_that_cannot_be_kept_does_not_take_the_others_with_it(owner: Tenant) -> None:
    made = [making.execution(owner, f"k{number}") for number in range(2)]
    bad, good = making.claimed(owner)
    assert record(bad, making.outcome_of(bad, output_payloads=['"\\u0000"']), making.outcome_of(good)) == 2
    assert {state(each)["status"] for each in made} == {"SUCCEEDED", "FAILED"}


def refuse_result(result: str, sqlstate: str) -> None:
    """From now on the database refuses to record this result."""
    run(
        "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'not this result' USING ERRCODE = '{sqlstate}'; END $$"
    )
    run(
        "CREATE TRIGGER refuse BEFORE UPDATE ON executions_execution FOR EACH ROW"
        f" WHEN (NEW.result = '{result}') EXECUTE FUNCTION pg_temp.refuse()"
    )


@pytest.mark.parametrize("sqlstate", ["22003", "23514", "54000", "XX000", "P0001"])
@pytest.mark.parametrize("others", [0, 2])
def test_an_outcome_that_the_database_refuses_fails_its_execution_and_no_other(
    owner: Tenant, sqlstate: str, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the lease of what did its work would run out, and it would be done again, and again."""
    made = [making.execution(owner, f"k{number}") for number in range(1 + others)]
    bad, *good = sorted(making.claimed(owner), key=lambda claim: claim.execution_id != made[0].pk)
    check_foreign_keys_now()
    refuse_result('["bad"]', sqlstate)
    answers = [making.outcome_of(bad, output_payloads=['"bad"']), *map(making.outcome_of, good)]
    assert record(bad, *answers) == 1 + others
    assert (state(made[0])["status"], state(made[0])["error_code"]) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert {state(each)["status"] for each in made[1:]} <= {"SUCCEEDED"}
    assert "not this result" in caplog.text


@pytest.mark.parametrize("sqlstate", ["08006", "40P01", "53200", "57014", "57P01"])
def test_no_outcome_is_dropped_while_the_database_is_busy(claim: Claim, execution: Execution, sqlstate: str) -> None:
    check_foreign_keys_now()
    refuse_result('["bad"]', sqlstate)
    with pytest.raises(OperationalError), transaction.atomic():
        record(claim, making.outcome_of(claim, output_payloads=['"bad"']))
    assert state(execution)["status"] == "RUNNING"


def test_a_traceback_is_kept_with_the_failure_that_it_belongs_to(claim: Claim, execution: Execution) -> None:
    failure = Failure(failure_class="E", message="m", retryable=True, traceback="Traceback\0\n" + "x" * 5_000)
    record(claim, making.outcome_of(claim, "FAILED", failure=failure))
    event = execution.events.order_by("sequence").last()
    assert event is not None
    assert (event.kind, event.data["traceback"]) == ("RETRY_SCHEDULED", "Traceback\ufffd\n" + "x" * 3_989)


# --- results ---


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '"\\u0000"',
        '{"a\\u0000": 1}',
        '["\\ud800"]',
        '{"\\udfff": 1}',
        "NaN",
        "[-Infinity]",
        "1e999",
        "[" * 501 + "]" * 501,
        "[" * 100_000,
        "9" * 5_000,
    ],
)
def test_an_output_that_cannot_be_kept_fails_the_execution(claim: Claim, execution: Execution, text: str) -> None:
    assert record(claim, making.outcome_of(claim, output_payloads=["1", text][-1:])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_OUTPUT")
    assert execution.error_message


@pytest.mark.parametrize(
    "value", [None, 0, False, "", [], {}, "\\u0000", "back\\slash", "é 😀 \u2028", 10**400, 1e-7, -0.5, {"": {"": []}}]
)
def test_an_output_comes_out_as_it_went_in(claim: Claim, execution: Execution, value: Any) -> None:
    record(claim, making.outcome_of(claim, output_payloads=[json.dumps(value)]))
    execution.refresh_from_db()
    assert execution.status == "SUCCEEDED"
    assert queries.result(execution) == value


def test_the_deepest_value_that_is_kept_can_be_read_again(claim: Claim, execution: Execution) -> None:
    deepest = "[" * 500 + "]" * 500
    record(claim, making.outcome_of(claim, output_payloads=[deepest]))
    execution.refresh_from_db()
    assert json.dumps(queries.result(execution)) == deepest


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner)
    ),
)


@given(json_values)
def test_every_json_value_without_nul_is_storable(value: Any) -> None:
    assert json_text.storable(json.dumps(value)) == value
    assert json_text.storable(json.dumps(value, ensure_ascii=False)) == value


def test_two_outputs_where_one_was_promised_are_tried_again(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, output_payloads=["1", "2"]))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "RESULT_SHAPE_MISMATCH")
    assert "2 terminal items for SINGLE" in str(execution.error_message)


def test_no_output_at_all_is_a_result_of_nothing(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, output_payloads=[]))
    execution.refresh_from_db()
    assert (execution.status, execution.result, queries.result(execution)) == ("SUCCEEDED", [], None)


@pytest.mark.parametrize("outputs", [[], ["1"], ["1", "null", "[2]"]])
def test_a_result_of_many_is_a_list_of_any_length(outputs: list[str]) -> None:
    owner, _ = making.ready(steps=[{**making.STEP, "cardinality": "ONE_TO_MANY"}])
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    record(claim, making.outcome_of(claim, output_payloads=outputs))
    execution.refresh_from_db()
    assert queries.result(execution) == [json.loads(text) for text in outputs]


# --- the bell ---


def test_a_recording_rings_for_the_retry(
    claim: Claim, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        record(claim, making.failure(claim))
    delays = [callback.args[1] for callback in rung]  # type: ignore[attr-defined]
    assert delays == [timedelta(seconds=10)]


def test_a_wait_of_more_than_a_minute_is_left_to_the_sweep(
    claim: Claim, settings: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    settings.RETRY_DELAY_SECONDS = 61
    with django_capture_on_commit_callbacks() as rung:
        record(claim, making.failure(claim))
    assert rung == []
