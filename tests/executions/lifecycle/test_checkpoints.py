import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, connection, transaction

from executions import tasks
from executions.lifecycle import outcome
from executions.models import AwaitUnit, DeadLetter, Execution
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from executions.workers.tenant_keys import current_key
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import Log, cases
from tests.celery_worker.working import without_receivers
from tests.making import reached, record
from tests.raw_sql import refuse, run, unchanged
from wire.messages.celery_messages import Outcome, OutcomeGroup
from wire.messages.sealing import seal

pytestmark = pytest.mark.usefixtures("retries")


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.checkpointing(5)


def progress(execution: Execution) -> tuple[int, Any]:
    return making.reread(execution).current_step_index, execution.progress


def test_a_checkpoint_is_stored_while_the_transition_runs(owner: Tenant, claim: Claim, execution: Execution) -> None:
    command = command_of(claim)
    assert (command.checkpoints, command.stop_before_step_index) == (True, -1)
    record(checkpoints=[reached(claim, 1, "5")])
    assert progress(execution) == (1, 5)
    assert (execution.status, execution.version, execution.lease_token) == ("RUNNING", 1, claim.lease_token)
    event = execution.events.get(kind="CHECKPOINT")
    assert (event.actor, event.status) == ("worker:w", "RUNNING")
    assert (event.data["nextStepIndex"], event.data["worker"]) == (1, "w")
    record(checkpoints=[reached(claim, 2, "5", "50", many=True)])
    record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [again] = making.claimed(owner)
    assert (again.step_index, again.input, again.input_shape, again.attempt) == (2, "[5, 50]", "MULTI", 1)


def test_the_newest_checkpoint_of_a_group_is_stored_and_no_late_older_one(claim: Claim, execution: Execution) -> None:
    bad = reached(claim, 4, '"\\u0000"')
    record(checkpoints=[reached(claim, 2, "20"), reached(claim, 3, "30"), reached(claim, 1, "10"), bad])
    assert progress(execution) == (3, 30), "one that cannot be stored hides no older one"
    record(checkpoints=[reached(claim, 1, "10")])
    assert progress(execution) == (3, 30)
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED", "CHECKPOINT"]


@cases(("kept", "lost_step", "current_step", "expected"), [(0, 1, 2, 2), (0, 2, 1, 1), (2, 3, 1, 2)])
@cases("lost_first", [True, False])
def test_the_checkpoint_of_the_current_lease_is_stored_if_a_group_has_two_leases(
    owner: Tenant, execution: Execution, lost_first: bool, kept: int, lost_step: int, current_step: int, expected: int
) -> None:
    [lost] = making.claimed(owner)
    if kept:
        record(checkpoints=[reached(lost, kept, "20")])
    making.lose_lease(lost)
    [current] = making.claimed(owner)
    both = [reached(lost, lost_step, f"{lost_step}000"), reached(current, current_step, f"{current_step}0")]
    record(checkpoints=both if lost_first else both[::-1])
    assert progress(execution) == (expected, expected * 10)
    assert execution.takeovers == (0 if expected > kept else 1)


def test_a_late_failure_is_retried_after_its_checkpoint(owner: Tenant, claim: Claim, execution: Execution) -> None:
    making.lose_lease(claim)
    assert record(making.failure(claim), checkpoints=[reached(claim, 2, "20")]) == 1
    assert (progress(execution), execution.status) == ((2, 20), "WAIT_RETRY")


@cases("again", [False, True])
def test_a_late_outcome_has_only_later_steps(owner: Tenant, claim: Claim, execution: Execution, again: bool) -> None:
    record(checkpoints=[reached(claim, 2, "20", steps=[(0, 0, 1), (1, 1, 2)])])
    making.lose_lease(claim)
    if again:
        making.claimed(owner)
    making.record(making.outcome_of(claim, steps=[(step, step, step + 1) for step in range(4)]))
    event = execution.events.get(kind="SUCCEEDED")
    assert [step for step, *_ in event.data["steps"]] == [2, 3]


def test_a_checkpoint_resets_the_count_of_lost_leases(owner: Tenant, execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 1
    for step in (1, 2, 3):
        [claim] = making.claimed(owner)
        assert (claim.step_index, claim.attempt) == (step - 1, 0)
        record(checkpoints=[reached(claim, step, str(step))])
        making.lose_lease(claim)
        assert progress(execution) == (step, step)
        assert (execution.status, execution.takeovers) == ("QUEUED", 1)


def test_a_failure_that_reports_its_progress_resumes_there(claim: Claim, execution: Execution) -> None:
    record(making.failure(claim), checkpoints=[reached(claim, 1, "2")])
    record(checkpoints=[reached(claim, 1, "9")])
    assert (progress(execution), execution.status) == ((1, 2), "WAIT_RETRY")


@cases(
    "forged",
    {"lease_token": uuid.uuid4()},
    {"execution_version": 0},
    {"output_payloads": ['"\\u0000"']},
    {"output_payloads": []},
)
def test_no_foreign_or_bad_checkpoint_is_stored(owner: Tenant, claim: Claim, execution: Execution, forged: Any) -> None:
    other = making.execution(owner, "other")
    [sound] = making.claimed(owner)
    record(checkpoints=[reached(claim, 1, "2", **forged), reached(sound, 1, "3")])
    assert [progress(row) for row in (execution, other)] == [(0, None), (1, 3)]


@cases("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_worker_of_another_release_records_nothing(claim: Claim, execution: Execution, part: str) -> None:
    other = replace(execution.pin, **{part: making.tenant().slug})
    with unchanged():
        assert record(making.outcome_of(claim), checkpoints=[reached(claim, 1, "2")], identity=other) == 0


def test_an_execution_without_checkpoints_stores_none() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    assert command_of(claim).checkpoints is False
    record(checkpoints=[reached(claim, 1, "2")])
    assert progress(execution) == (0, None)


@pytest.fixture
def group(owner: Tenant, settings: Any) -> list[Claim]:
    """Three claimed executions, whose keys are 0, 1 and 2."""
    settings.RETRY_LIMIT = 1
    made = {making.execution(owner, str(number)).pk: number for number in range(3)}
    claims = sorted(making.claimed(owner), key=lambda claim: made[claim.execution_id])
    connection.check_constraints()
    return claims


def executions() -> list[Execution]:
    return list(Execution.objects.order_by("execution_key"))


def statuses() -> list[str]:
    return [execution.status for execution in executions()]


def poisoned(claim: Claim) -> Outcome:
    """An outcome that the database rejects after `poison`."""
    return making.outcome_of(claim, output_payloads=['"poison"'])


def poison(sqlstate: str = "23514") -> None:
    """Make the database reject executions with the result of `poisoned`."""
    run(
        "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'not this row' USING ERRCODE = '{sqlstate}'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON executions_execution FOR EACH ROW"
        " WHEN (NEW.result = '[\"poison\"]') EXECUTE FUNCTION pg_temp.refuse(); SET CONSTRAINTS ALL DEFERRED"
    )


def test_each_outcome_counts_alone(group: list[Claim], owner: Tenant, caplog: Log) -> None:
    making.execution(owner, "3")
    making.execution(owner, "4")
    ok, retry, fatal, lost, _ = [*group, *making.claimed(owner)]
    unknown = making.outcome_of(ok, execution_id=uuid.uuid4())
    reported = [making.outcome_of(ok), making.failure(retry), making.failure(fatal, retryable=False)]
    assert making.record(*reported, making.outcome_of(lost, lease_token=uuid.uuid4()), unknown) == 3
    assert statuses() == ["SUCCEEDED", "WAIT_RETRY", "FAILED", "RUNNING", "RUNNING"]
    assert sorted(len(making.history(execution)) for execution in executions()) == [2, 3, 3, 3, 3]
    assert str(unknown.execution_id) in caplog.text


@cases("first", [True, False])
@cases(("lease", "dropped"), [({}, []), ({"lease_token": uuid.uuid4()}, ["OUTCOME_DROPPED"])])
def test_one_outcome_of_an_execution_is_recorded_in_a_group_and_a_stale_one_does_not_displace_it(
    claim: Claim, execution: Execution, first: bool, lease: dict[str, Any], dropped: list[str]
) -> None:
    right = making.outcome_of(claim, output_payloads=['"right"'])
    both = [right.model_copy(update={"output_payloads": ['"stale"'], **lease}) if lease else right, right]
    assert making.record(*(both if first else both[::-1])) == 1
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED", "SUCCEEDED", *dropped]
    assert execution.result == ["right"]


@cases(("sqlstate", "others"), [("22003", 0), ("23514", 2), ("P0001", 2)])
def test_a_rejected_outcome_fails_its_execution(group: list[Claim], sqlstate: str, others: int, caplog: Log) -> None:
    poison(sqlstate=sqlstate)
    bad, *good = group[: 1 + others]
    assert making.record(poisoned(bad), *map(making.outcome_of, good)) == 1 + others
    first, *rest = executions()
    assert (first.status, first.error_code) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert [execution.status for execution in rest[:others]] == ["SUCCEEDED"] * others
    assert "not this row" in caplog.text


@cases("sqlstate", ["08006", "40P01", "57014", "25006", "25P03", "42501", "53100", "57P01", "0A000", "42703"])
def test_no_outcome_is_dropped_for_an_error_that_may_pass(group: list[Claim], sqlstate: str) -> None:
    poison(sqlstate=sqlstate)
    with pytest.raises(DatabaseError), transaction.atomic():
        making.record(poisoned(group[0]))
    assert statuses() == ["RUNNING"] * 3


def test_checkpoints_in_the_group_of_a_poisoned_outcome_are_stored(group: list[Claim]) -> None:
    poison()
    _, bad, failing = group
    kept = [making.reached(claim, 1, "7") for claim in group]
    assert making.record(poisoned(bad), making.failure(failing), checkpoints=kept) == 2
    assert statuses() == ["RUNNING", "FAILED", "WAIT_RETRY"]
    assert [(execution.current_step_index, execution.progress) for execution in executions()] == [(1, 7)] * 3
    failed = executions()[1]
    assert failed.error_code == "UNRECORDABLE_OUTCOME"
    assert DeadLetter.objects.get(execution=failed).reason == "non_retryable"


def test_an_outcome_whose_failure_is_rejected_too_is_left_to_its_lease(group: list[Claim]) -> None:
    poison()
    refuse("executions_deadletter", "INSERT", "true")
    first, bad, last = group
    assert making.record(making.outcome_of(first), poisoned(bad), making.outcome_of(last)) == 2
    assert statuses() == ["SUCCEEDED", "RUNNING", "SUCCEEDED"]
    assert making.history(executions()[1])[-1] == ("CLAIMED", "RUNNING")


def test_large_awaits_of_a_group_are_decoded_one_at_a_time(group: list[Claim]) -> None:
    text = json.dumps("x" * (outcome.LONGEST_TOGETHER // 2))
    locks: list[str] = []

    def noted(execute: Callable[..., Any], sql: Any, *more: Any) -> Any:
        locks.extend(["lock"] * ("e.budget_start, e.result_shape" in str(sql)))
        return execute(sql, *more)

    with connection.execute_wrapper(noted):
        assert making.record(*(making.suspension(claim, text) for claim in group)) == 3
    assert len(locks) == 3


@cases(
    "members",
    *({"stopped_before_step_index": step} for step in (0, 2, 2**40)),
    {"outcome": "FAILED", "output_payloads": []},
    {"outcome": "WAITING_EXTERNAL"},
)
def test_a_worker_that_stopped_early_has_not_completed_the_execution(group: list[Claim], members: Any) -> None:
    assert making.record(making.outcome_of(group[0]).model_copy(update=members)) == 1
    execution = executions()[0]
    assert (execution.status, execution.error_code, execution.result) == ("WAIT_RETRY", "MALFORMED_OUTCOME", None)
    assert (execution.current_step_index, execution.progress) == (0, None)
    assert not AwaitUnit.objects.exists()


def test_an_entire_group_is_retried_while_the_database_is_unavailable(group: list[Claim], release: Release) -> None:
    first, second, third = group
    outcomes, checkpoints = [making.outcome_of(first), making.failure(second)], [making.reached(third, 1, "7")]
    body = OutcomeGroup(worker_id="w", outcomes=outcomes, checkpoints=checkpoints)
    message = seal(release.identity, body, current_key(release.identity.tenant_id))
    left: list[type[Exception]] = [InterfaceError, InternalError, MemoryError, OperationalError]

    def unavailable(execute: Callable[..., Any], sql: Any, *more: Any) -> Any:
        if left and "UPDATE executions_execution" in str(sql):
            raise left.pop()("the server closed the connection")
        return execute(sql, *more)

    with without_receivers(), connection.execute_wrapper(unavailable):
        assert tasks.record.apply(args=(message,)).get() is None
    assert (left, tasks.record.max_retries) == ([], None)
    assert [making.kinds(row)[2:] for row in executions()] == [["SUCCEEDED"], ["RETRY_SCHEDULED"], ["CHECKPOINT"]]
