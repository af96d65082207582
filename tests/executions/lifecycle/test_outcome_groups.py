"""Groups of outcomes: each is recorded independently, and what the database rejects fails only its execution."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from executions.lifecycle import outcome
from executions.models import Execution
from executions.state_machine.moves import Claim
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.lifecycle.recording import record, state
from tests.raw_sql import check_foreign_keys_now, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


@cases("status", ["SUCCEEDED", "WAITING_EXTERNAL"])
def test_large_outcomes_of_a_group_are_recorded_one_at_a_time(owner: Tenant, status: str) -> None:
    """Only one of them at a time is decoded in memory. The requests of an await may be as large as outputs."""
    made = [making.execution(owner, key) for key in ("a", "b")]
    text = json.dumps("x" * (outcome.LONGEST_TOGETHER // 2))
    claims = making.claimed(owner)
    outcomes = [
        making.outcome_of(claim, output_payloads=[text]) if status == "SUCCEEDED" else making.suspension(claim, text)
        for claim in claims
    ]
    statements: list[str] = []

    def noted(execute: Callable[..., Any], query: Any, *context: Any) -> Any:
        statements.append(str(query))
        return execute(query, *context)

    with connection.execute_wrapper(noted):
        assert record(claims[0], *outcomes) == len(made)
    assert sum("FOR NO KEY UPDATE" in statement for statement in statements) == len(made)
    for each in made:
        assert making.history(each)[-1][1] == status


def test_each_outcome_of_a_group_is_recorded_independently(owner: Tenant) -> None:
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


def test_one_of_two_equal_outcomes_in_a_group_is_recorded(claim: Claim, execution: Execution) -> None:
    assert record(claim, making.outcome_of(claim), making.outcome_of(claim)) == 1
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")]


@cases("first", [True, False])
@cases("wrong", [{"lease_token": uuid.uuid4()}, {"execution_version": 0}])
def test_a_stale_outcome_does_not_displace_the_current_one_of_its_group(
    claim: Claim, execution: Execution, first: bool, wrong: dict[str, Any]
) -> None:
    """In either order, the outcome under the current lease is recorded and the other one is dropped."""
    stale = making.outcome_of(claim, output_payloads=['"stale"'], **wrong)
    right = making.outcome_of(claim, output_payloads=['"right"'])
    assert record(claim, *sorted([right, stale], key=lambda each: each is right, reverse=first)) == 1
    assert state(execution)["result"] == ["right"]
    assert "OUTCOME_DROPPED" in [kind for kind, _ in making.history(execution)]


def test_an_outcome_that_cannot_be_stored_does_not_fail_the_others(owner: Tenant) -> None:
    made = [making.execution(owner, f"k{number}") for number in range(2)]
    bad, good = making.claimed(owner)
    assert record(bad, making.outcome_of(bad, output_payloads=['"\\u0000"']), making.outcome_of(good)) == 2
    assert {state(each)["status"] for each in made} == {"SUCCEEDED", "FAILED"}


def reject_result(result: str, sqlstate: str) -> None:
    """Make the database reject this result with `sqlstate`."""
    run(
        "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION 'not this result' USING ERRCODE = '{sqlstate}'; END $$"
    )
    run(
        "CREATE TRIGGER refuse BEFORE UPDATE ON executions_execution FOR EACH ROW"
        f" WHEN (NEW.result = '{result}') EXECUTE FUNCTION pg_temp.refuse()"
    )
    run("SET CONSTRAINTS ALL DEFERRED")


@cases("sqlstate", ["22003", "23514", "54000", "XX000", "P0001"])
@cases("others", [0, 2])
def test_an_outcome_that_the_database_rejects_fails_only_its_execution(
    owner: Tenant, sqlstate: str, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise leases of completed work would expire, and the work would be repeated again and again."""
    made = [making.execution(owner, f"k{number}") for number in range(1 + others)]
    bad, *good = sorted(making.claimed(owner), key=lambda claim: claim.execution_id != made[0].pk)
    check_foreign_keys_now()
    reject_result('["bad"]', sqlstate)
    outcomes = [making.outcome_of(bad, output_payloads=['"bad"']), *map(making.outcome_of, good)]
    assert record(bad, *outcomes) == 1 + others
    assert (state(made[0])["status"], state(made[0])["error_code"]) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert {state(each)["status"] for each in made[1:]} <= {"SUCCEEDED"}
    assert "not this result" in caplog.text


@cases("sqlstate", ["08006", "40P01", "53200", "57014", "57P01"])
def test_no_outcome_is_dropped_while_the_database_is_busy(claim: Claim, execution: Execution, sqlstate: str) -> None:
    check_foreign_keys_now()
    reject_result('["bad"]', sqlstate)
    with pytest.raises(OperationalError), transaction.atomic():
        record(claim, making.outcome_of(claim, output_payloads=['"bad"']))
    assert state(execution)["status"] == "RUNNING"
