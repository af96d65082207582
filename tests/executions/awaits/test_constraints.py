"""The constraints and triggers of await units and interactions."""

import uuid

import pytest

from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.raw_sql import check_foreign_keys_now, refused, run

pytestmark = pytest.mark.django_db


@cases(
    ("change", "constraint"),
    [
        ("request = '{}'", "interaction_request_immutable"),
        ("correlation_id = 'x'", "interaction_request_immutable"),
        ("step_index = 5", "interaction_request_immutable"),
        ("output_type = 'x'", "interaction_request_immutable"),
        ("item_index = 5", "interaction_request_immutable"),
        ("status = 'COMPLETED'", "interaction_completed_by_somebody"),
        ("response = '{}'", "interaction_completed_by_somebody"),
        ("actor = 'me'", "interaction_completed_by_somebody"),
    ],
)
def test_the_database_rejects_changes_of_a_request_and_partial_completions(
    ready: tuple[Tenant, Release], change: str, constraint: str
) -> None:
    one = interaction_of(suspended(ready))
    check_foreign_keys_now()
    assert refused(f"UPDATE executions_interaction SET {change} WHERE id = %s", one.pk) == constraint


OVER = ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"]


@cases("status", OVER)
def test_the_database_rejects_changes_of_a_closed_await(ready: tuple[Tenant, Release], status: str) -> None:
    one = interaction_of(suspended(ready))
    check_foreign_keys_now()
    answered = ", actor = 'a', completed_at = now(), response = '1'" if status == "COMPLETED" else ""
    run(f"UPDATE executions_interaction SET status = %s{answered} WHERE id = %s", status, one.pk)
    answers = 1 if status == "COMPLETED" else 0
    run("UPDATE executions_awaitunit SET status = %s, answered_items = %s WHERE id = %s", status, answers, one.unit_id)
    for change in ("status = 'DISPATCHED'", "actor = 'b'", "version = 7"):
        sql = f"UPDATE executions_interaction SET {change} WHERE id = %s"
        assert refused(sql, one.pk) == "interaction_over_is_over"
    sql = "UPDATE executions_awaitunit SET status = 'WAITING_EXTERNAL' WHERE id = %s"
    assert refused(sql, one.unit_id) == "await_unit_over_is_over"


def test_the_database_rejects_completing_a_unit_before_its_last_answer(ready: tuple[Tenant, Release]) -> None:
    one = suspended(ready, requests=['{"n": 1}', '{"n": 2}'], itemized=True, gives_many=True).interactions.first()
    assert one is not None
    answer(one)
    check_foreign_keys_now()
    complete = "UPDATE executions_awaitunit SET status = 'COMPLETED' WHERE id = %s"
    assert refused(complete, one.unit_id) == "await_unit_counts_answers"
    overcount = "UPDATE executions_awaitunit SET answered_items = 3 WHERE id = %s"
    assert refused(overcount, one.unit_id) == "await_unit_counts"


@cases("column", ["execution_id", "tenant_id", "unit_id"])
def test_the_database_rejects_an_interaction_that_does_not_match_its_unit(
    ready: tuple[Tenant, Release], column: str
) -> None:
    """An interaction belongs to the execution and the tenant of its unit."""
    one, other = interaction_of(suspended(ready, "one")), interaction_of(suspended(ready, "other"))
    others = {"execution_id": other.execution_id, "tenant_id": making.tenant().pk, "unit_id": uuid.uuid4()}
    copied = "jsonb_build_object('id', gen_random_uuid(), 'item_index', 7, %s::text, %s::text)"
    assert (
        refused(
            "SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO executions_interaction "
            f"SELECT (jsonb_populate_record(i, {copied})).* FROM executions_interaction i WHERE i.id = %s",
            column,
            str(others[column]),
            one.pk,
        )
        == "interaction_of_its_unit"
    )


def test_the_database_rejects_deleting_an_await(ready: tuple[Tenant, Release]) -> None:
    suspended(ready)
    check_foreign_keys_now()
    assert refused("DELETE FROM executions_interaction") == "interaction_over_is_over"
    assert refused("DELETE FROM executions_awaitunit") == "await_unit_over_is_over"


def test_an_execution_has_one_open_await(ready: tuple[Tenant, Release]) -> None:
    suspended(ready)
    check_foreign_keys_now()
    sql = """INSERT INTO executions_awaitunit SELECT (jsonb_populate_record(u, jsonb_build_object(
        'id', gen_random_uuid()))).* FROM executions_awaitunit u"""
    assert refused(sql) == "await_unit_one_open"
