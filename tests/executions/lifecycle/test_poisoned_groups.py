"""If one report of a group cannot be recorded, the others are recorded, and stored checkpoints are kept."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from executions import tasks
from executions.lifecycle import outcome
from executions.models import AwaitUnit, DeadLetter, Execution
from executions.state_machine.moves import Claim
from executions.workers.tenant_keys import current_key
from releases.models import Release
from tests import making
from tests.cases import cases
from tests.celery_worker.working import without_receivers
from tests.raw_sql import check_foreign_keys_now, run
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup
from wire.messages.sealing import seal

pytestmark = pytest.mark.django_db
MOVE = "executions_execution"


@dataclass
class Group:
    """Claims of one release, and methods that record reports of its worker."""

    release: Release
    claims: list[Claim]

    def record(self, *outcomes: Outcome, reached: tuple[Checkpoint, ...] = ()) -> int:
        group = OutcomeGroup(worker_id="w", outcomes=list(outcomes), checkpoints=list(reached))
        return outcome.record(self.release.identity, group)

    def execution(self, place: int) -> Execution:
        return Execution.objects.get(pk=self.claims[place].execution_id)


@pytest.fixture
def group(settings: Any) -> Group:
    """Three claimed executions that use checkpoints."""
    settings.RETRY_LIMIT = 1
    owner, release = making.checkpointing()
    for number in range(3):
        making.execution(owner, f"k{number}")
    claims = making.claimed(owner)
    check_foreign_keys_now()
    return Group(release, claims)


def reached(claim: Claim, value: Any) -> Checkpoint:
    return Checkpoint(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key="k",
        next_step_index=1,
        output_payloads=[json.dumps(value)],
    )


def reject_rows(table: str, when: str) -> None:
    """Make the database reject rows of `table` that satisfy `when`."""
    name = f"refuse_{table}"
    run(
        f"CREATE FUNCTION pg_temp.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'not this row' USING ERRCODE = '23514'; END $$"
    )
    run(
        f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
        f" WHEN ({when}) EXECUTE FUNCTION pg_temp.{name}()"
    )
    run("SET CONSTRAINTS ALL DEFERRED")


def poisoned(claim: Claim) -> Outcome:
    return making.outcome_of(claim, output_payloads=['"poison"'])


def test_checkpoints_in_the_group_of_a_poisoned_outcome_are_stored(group: Group) -> None:
    reject_rows(MOVE, "NEW.result = '[\"poison\"]'")
    running, bad, good = group.claims
    assert group.record(poisoned(bad), making.outcome_of(good), reached=(reached(running, 7),)) == 2
    assert [group.execution(place).status for place in range(3)] == ["RUNNING", "FAILED", "SUCCEEDED"]
    assert (group.execution(0).current_step_index, group.execution(0).progress) == (1, 7)


def test_a_failure_in_the_group_of_a_poisoned_outcome_is_retried_from_its_checkpoint(group: Group) -> None:
    reject_rows(MOVE, "NEW.result = '[\"poison\"]'")
    failing, bad, _ = group.claims
    assert group.record(making.failure(failing), poisoned(bad), reached=(reached(failing, 7),)) == 2
    found = group.execution(0)
    assert (found.status, found.current_step_index, found.progress) == ("WAIT_RETRY", 1, 7)


def test_a_poisoned_outcome_leaves_the_checkpoint_of_its_execution_and_a_dead_letter(group: Group) -> None:
    reject_rows(MOVE, "NEW.result = '[\"poison\"]'")
    bad, _, good = group.claims
    assert group.record(poisoned(bad), making.outcome_of(good), reached=(reached(bad, 7),)) == 2
    found = group.execution(0)
    assert (found.status, found.error_code, found.progress) == ("FAILED", "UNRECORDABLE_OUTCOME", 7)
    assert DeadLetter.objects.get(execution=found).reason == "non_retryable"


def test_a_poisoned_checkpoint_is_skipped_and_fails_no_execution(group: Group) -> None:
    reject_rows(MOVE, "NEW.progress = '\"poison\"'")
    first, second, third = group.claims
    kept = (reached(first, "poison"), reached(second, 7))
    assert group.record(making.outcome_of(first), making.failure(third), reached=kept) == 2
    assert [group.execution(place).status for place in range(3)] == ["SUCCEEDED", "RUNNING", "WAIT_RETRY"]
    assert (group.execution(1).current_step_index, group.execution(1).progress) == (1, 7)


def test_an_outcome_whose_failure_is_rejected_too_is_left_to_its_lease(group: Group) -> None:
    reject_rows(MOVE, "NEW.result = '[\"poison\"]'")
    reject_rows("executions_deadletter", "true")
    first, bad, last = group.claims
    assert group.record(making.outcome_of(first), poisoned(bad), making.outcome_of(last)) == 2
    assert [group.execution(place).status for place in range(3)] == ["SUCCEEDED", "RUNNING", "SUCCEEDED"]
    assert making.history(group.execution(1))[-1] == ("CLAIMED", "RUNNING")


def test_an_await_under_a_lost_lease_is_dropped_and_opens_no_interaction(group: Group) -> None:
    lost, good, _ = group.claims
    late = making.suspension(lost, transport="webhook", transport_metadata={"url": "http://x.example"})
    late = late.model_copy(update={"lease_token": uuid.uuid4()})
    assert group.record(late, making.outcome_of(good)) == 1
    event = group.execution(0).events.get(kind="OUTCOME_DROPPED")
    assert event.data["outcome"] == "WAITING_EXTERNAL"
    assert not AwaitUnit.objects.filter(execution=lost.execution_id).exists()
    assert [group.execution(place).status for place in range(2)] == ["RUNNING", "SUCCEEDED"]


@cases("stopped", [0, 1])
def test_a_worker_that_stopped_before_the_end_has_not_completed_the_execution(group: Group, stopped: int) -> None:
    assert group.record(making.outcome_of(group.claims[0], stopped_before_step_index=stopped)) == 1
    found = group.execution(0)
    assert (found.status, found.error_code, found.result) == ("WAIT_RETRY", "MALFORMED_OUTCOME", None)


@cases("kind", [OperationalError, InterfaceError])
def test_an_entire_group_is_retried_while_the_database_is_unavailable(group: Group, kind: type[Exception]) -> None:
    """The task fails no execution, and records each report once when the database is available again."""
    first, second, third = group.claims
    body = OutcomeGroup(
        worker_id="w", outcomes=[making.outcome_of(first), making.failure(second)], checkpoints=[reached(third, 7)]
    )
    message = seal(group.release.identity, body, current_key(group.release.pipeline.tenant.slug))
    left = [2]

    def unavailable(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if left[0] and "UPDATE executions_execution" in str(sql):
            left[0] -= 1
            raise kind("the server closed the connection")
        return execute(sql, params, many, context)

    with without_receivers(), connection.execute_wrapper(unavailable):
        assert tasks.record.apply(args=(message,)).get() is None
    assert left == [0]
    assert [group.execution(place).status for place in range(3)] == ["SUCCEEDED", "WAIT_RETRY", "RUNNING"]
    kinds = [[kind for kind, _ in making.history(group.execution(place))][2:] for place in range(3)]
    assert kinds == [["SUCCEEDED"], ["RETRY_SCHEDULED"], ["CHECKPOINT"]]
