"""Groups of reports: if one of them cannot be recorded, the others are recorded, and stored checkpoints are kept."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from executions import tasks
from executions.models import AwaitUnit, DeadLetter, Execution
from executions.state_machine.moves import Claim
from executions.workers.tenant_keys import current_key
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.parts.celery_worker.working import without_receivers
from tests.raw_sql import run
from wire.messages.celery_messages import Outcome, OutcomeGroup
from wire.messages.sealing import seal

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """A release with checkpoints and two steps."""
    return making.checkpointing()


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
    return [each.status for each in executions()]


def poisoned(claim: Claim) -> Outcome:
    """An outcome that the database rejects after `poison`."""
    return making.outcome_of(claim, output_payloads=['"poison"'])


RESULT = "NEW.result = '[\"poison\"]'"


def poison(table: str = "executions_execution", when: str = RESULT, sqlstate: str = "23514") -> None:
    """Make the database reject rows of `table` that satisfy `when`."""
    name = f"refuse_{table}"
    run(
        f"CREATE FUNCTION pg_temp.{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'not this row' USING ERRCODE = '{sqlstate}'; END $$"
    )
    run(
        f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
        f" WHEN ({when}) EXECUTE FUNCTION pg_temp.{name}()"
    )
    run("SET CONSTRAINTS ALL DEFERRED")


def test_each_outcome_of_a_group_is_recorded_independently(
    group: list[Claim], owner: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    making.execution(owner, "3")
    making.execution(owner, "4")
    ok, retry, fatal, lost, _ = [*group, *making.claimed(owner)]
    unknown = making.outcome_of(ok, execution_id=uuid.uuid4())
    reported = [making.outcome_of(ok), making.failure(retry), making.failure(fatal, retryable=False)]
    assert making.record(*reported, making.outcome_of(lost, lease_token=uuid.uuid4()), unknown) == 3
    assert statuses() == ["SUCCEEDED", "WAIT_RETRY", "FAILED", "RUNNING", "RUNNING"]
    assert sorted(len(making.history(each)) for each in executions()) == [2, 3, 3, 3, 3]
    assert str(unknown.execution_id) in caplog.text


def test_one_of_two_equal_outcomes_in_a_group_is_recorded(claim: Claim, execution: Execution) -> None:
    assert making.record(making.outcome_of(claim), making.outcome_of(claim)) == 1
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


@cases("first", [True, False])
def test_a_stale_outcome_does_not_displace_the_current_one_of_its_group(
    claim: Claim, execution: Execution, first: bool
) -> None:
    stale = making.outcome_of(claim, output_payloads=['"stale"'], lease_token=uuid.uuid4())
    both = [stale, making.outcome_of(claim, output_payloads=['"right"'])]
    assert making.record(*(both if first else both[::-1])) == 1
    assert making.kinds(execution)[-2:] == ["SUCCEEDED", "OUTCOME_DROPPED"]
    assert execution.result == ["right"]


# --- poisoned reports ---


@cases(("sqlstate", "others"), [("22003", 0), ("23514", 2), ("P0001", 2)])
def test_an_outcome_that_the_database_rejects_fails_only_its_execution(
    group: list[Claim], sqlstate: str, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    poison(sqlstate=sqlstate)
    bad, *good = group[: 1 + others]
    assert making.record(poisoned(bad), *map(making.outcome_of, good)) == 1 + others
    first, *rest = executions()
    assert (first.status, first.error_code) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert [each.status for each in rest[:others]] == ["SUCCEEDED"] * others
    assert "not this row" in caplog.text


@cases("sqlstate", ["08006", "40P01", "57014"])
def test_no_outcome_is_dropped_while_the_database_is_busy(group: list[Claim], sqlstate: str) -> None:
    poison(sqlstate=sqlstate)
    with pytest.raises(OperationalError), transaction.atomic():
        making.record(poisoned(group[0]))
    assert statuses() == ["RUNNING"] * 3


def test_checkpoints_in_the_group_of_a_poisoned_outcome_are_stored(group: list[Claim]) -> None:
    poison()
    _, bad, failing = group
    kept = [making.reached(each, 1, "7") for each in group]
    assert making.record(poisoned(bad), making.failure(failing), checkpoints=kept) == 2
    assert statuses() == ["RUNNING", "FAILED", "WAIT_RETRY"]
    assert [(each.current_step_index, each.progress) for each in executions()] == [(1, 7)] * 3
    failed = executions()[1]
    assert failed.error_code == "UNRECORDABLE_OUTCOME"
    assert DeadLetter.objects.get(execution=failed).reason == "non_retryable"


def test_an_outcome_whose_failure_is_rejected_too_is_left_to_its_lease(group: list[Claim]) -> None:
    poison()
    poison("executions_deadletter", "true")
    first, bad, last = group
    assert making.record(making.outcome_of(first), poisoned(bad), making.outcome_of(last)) == 2
    assert statuses() == ["SUCCEEDED", "RUNNING", "SUCCEEDED"]
    assert making.history(executions()[1])[-1] == ("CLAIMED", "RUNNING")


def test_an_await_under_a_lost_lease_is_dropped_and_opens_no_interaction(group: list[Claim]) -> None:
    lost, good, _ = group
    late = making.suspension(lost, transport="webhook", transport_metadata={"url": "http://x.example"})
    assert making.record(late.model_copy(update={"lease_token": uuid.uuid4()}), making.outcome_of(good)) == 1
    assert executions()[0].events.get(kind="OUTCOME_DROPPED").data["outcome"] == "WAITING_EXTERNAL"
    assert not AwaitUnit.objects.exists()
    assert statuses() == ["RUNNING", "SUCCEEDED", "RUNNING"]


@cases("stopped", [0, 2])
def test_a_worker_that_stopped_before_the_end_has_not_completed_the_execution(group: list[Claim], stopped: int) -> None:
    assert making.record(making.outcome_of(group[0], stopped_before_step_index=stopped)) == 1
    found = executions()[0]
    assert (found.status, found.error_code, found.result) == ("WAIT_RETRY", "MALFORMED_OUTCOME", None)
    assert (found.current_step_index, found.progress) == (0, None)


def test_an_entire_group_is_retried_while_the_database_is_unavailable(group: list[Claim], release: Release) -> None:
    first, second, third = group
    body = OutcomeGroup(
        worker_id="w",
        outcomes=[making.outcome_of(first), making.failure(second)],
        checkpoints=[making.reached(third, 1, "7")],
    )
    message = seal(release.identity, body, current_key(release.identity.tenant_id))
    left = [OperationalError, InterfaceError]

    def unavailable(execute: Callable[..., Any], sql: Any, *more: Any) -> Any:
        if left and "UPDATE executions_execution" in str(sql):
            raise left.pop()("the server closed the connection")
        return execute(sql, *more)

    with without_receivers(), connection.execute_wrapper(unavailable):
        assert tasks.record.apply(args=(message,)).get() is None
    assert left == []
    assert [making.kinds(each)[2:] for each in executions()] == [["SUCCEEDED"], ["RETRY_SCHEDULED"], ["CHECKPOINT"]]
