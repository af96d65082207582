"""The database rejects forbidden changes. The tests use raw SQL, as a user of psql could."""

from collections.abc import Iterator
from itertools import permutations, product
from typing import LiteralString

import psycopg
import pytest
from django.db import connection

from executions.models import AwaitUnit, Execution, ExecutionEvent, WireForm
from executions.models.states import MOVES, TERMINAL, State
from executions.state_machine import moves
from releases.activation.revocation import revoke
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner, check_foreign_keys_now, refused, rows, run, unguarded
from tests.servers import ordinary_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def execution() -> Execution:
    owner, _ = making.ready()
    made = making.execution(owner)
    check_foreign_keys_now()
    return made


@cases("column", ["pipeline_id", "contract_version", "release_version"])
def test_no_part_of_the_pin_changes(execution: Execution, column: str) -> None:
    before = rows(Execution)
    sql = f"UPDATE executions_execution SET {column} = 'other' WHERE id = %s"
    assert refused(sql, execution.pk) == "execution_pin_immutable"
    assert rows(Execution) == before


def test_the_pinned_release_and_tenant_do_not_change(execution: Execution) -> None:
    other = making.active(execution.tenant, "2.0")
    stranger = making.tenant()
    sql = "UPDATE executions_execution SET release_id = %s WHERE id = %s"
    assert refused(sql, other.pk, execution.pk) == "execution_pin_immutable"
    sql = "UPDATE executions_execution SET tenant_id = %s WHERE id = %s"
    assert refused(sql, stranger.pk, execution.pk) == "execution_pin_immutable"


@cases("change", ["execution_key = 'k'", "input = '{}'", "input_digest = ''", "submitted_by = 'x'"])
def test_the_submission_of_an_execution_does_not_change(execution: Execution, change: str) -> None:
    sql = f"UPDATE executions_execution SET {change} WHERE id = %s"
    assert refused(sql, execution.pk) == "execution_submission_immutable"


def test_a_pin_must_name_a_registered_release_of_the_tenant(execution: Execution) -> None:
    sql = """INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid(), 'execution_key', 'other', {change}))).* FROM executions_execution e WHERE id = %s"""
    assert refused(sql.format(change="'release_version', 'invented'"), execution.pk) == "execution_pin_exists"
    assert refused(sql.format(change="'status', 'DLQ'"), execution.pk) == "execution_starts_queued"


@cases(("source", "target"), list(permutations(State, 2)))
def test_the_database_allows_the_same_moves_as_the_code(execution: Execution, source: State, target: State) -> None:
    """For each pair of states, the trigger allows exactly what `MOVES` allows."""
    open_unit(execution)
    check_foreign_keys_now()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE executions_execution DISABLE TRIGGER execution_guard")
        cursor.execute(set_state(source), [execution.pk])
        cursor.execute("ALTER TABLE executions_execution ENABLE TRIGGER execution_guard")
    bump = ", version = version + 1, event_count = event_count + 1"
    sql = counted(set_state(target).replace(" WHERE id =", f"{bump} WHERE id ="))
    if target in MOVES[source]:
        run(sql, execution.pk)
        assert Execution.objects.get(pk=execution.pk).status == target
    else:
        assert refused(sql, execution.pk) == "execution_legal_move"
        assert Execution.objects.get(pk=execution.pk).status == source


def counted(update: str) -> str:
    """Return the UPDATE of an execution with the INSERT of the event that its `event_count` counts."""
    return f"""WITH moved AS ({update} RETURNING id, event_count, status)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
        SELECT id, event_count, 'TRIED', status, 'test', '{{}}', now() FROM moved"""


def open_unit(execution: Execution) -> AwaitUnit:
    with unguarded(AwaitUnit):
        return AwaitUnit.objects.create(
            tenant_id=execution.tenant_id,
            execution=execution,
            step_id="ProcessAskService",
            step_index=0,
            itemized=False,
            gives_many=False,
            expected_items=1,
        )


def set_state(state: State) -> str:
    running = state is State.RUNNING
    lease = "'w', 'celery', gen_random_uuid(), now()" if running else "NULL, NULL, NULL, NULL"
    finished = "now()" if state in TERMINAL else "NULL"
    result = "'[1]'" if state is State.SUCCEEDED else "NULL"
    unit = "(SELECT u.id FROM executions_awaitunit u WHERE u.execution_id = executions_execution.id)"
    return (
        f"UPDATE executions_execution SET status = '{state}', finished_at = {finished}, result = {result}, "
        f"await_unit_id = {unit if state is State.WAITING_EXTERNAL else 'NULL'}, "
        f"(lease_owner, lease_protocol, lease_token, lease_expires_at) = ROW({lease}) WHERE id = %s"
    )


@cases(
    ("change", "constraint"),
    [
        ("status = 'RUNNING', version = 1, event_count = 2", "execution_running_has_lease"),
        ("lease_owner = 'w'", "execution_running_has_lease"),
        ("lease_protocol = 'celery'", "execution_running_has_lease"),
        ("lease_worker = 'w'", "execution_running_has_lease"),
        ("status = 'CANCELLED', version = 1, event_count = 2", "execution_terminal_has_finish"),
        ("await_unit_id = id", "execution_waiting_has_unit"),
        ("progress = '1'", "execution_progress_has_shape"),
        ("progress_shape = 'UNI'", "execution_progress_has_shape"),
        ("progress = '1', progress_shape = 'RAW'", "execution_progress_has_shape"),
        ("finished_at = now()", "execution_finish_is_now"),
        ("result = '[1]'", "execution_success_has_result"),
        ("version = 1, event_count = 2", "execution_counts_up"),
        ("event_count = 0", "execution_counts_up"),
        ("attempt = -1", "execution_counts_up"),
        ("current_step_index = -1", "execution_counts"),
    ],
)
def test_an_inconsistent_row_is_rejected(execution: Execution, change: str, constraint: str) -> None:
    before = rows(Execution)
    assert refused(f"UPDATE executions_execution SET {change} WHERE id = %s", execution.pk) == constraint
    assert rows(Execution) == before


@cases(
    ("sql", "constraint"),
    [
        ("UPDATE executions_executionevent SET kind = 'FORGED'", "event_append_only"),
        ("DELETE FROM executions_executionevent", "event_append_only"),
        ("TRUNCATE executions_executionevent", "event_not_truncated"),
        ("DELETE FROM executions_execution", "execution_not_deleted"),
        ("TRUNCATE executions_deadletter", "deadletter_not_truncated"),
        ("TRUNCATE executions_workerevent", "workerevent_not_truncated"),
        ("TRUNCATE executions_campaignevent", "campaignevent_not_truncated"),
        ("TRUNCATE executions_execution CASCADE", "execution_not_truncated"),
    ],
)
def test_history_cannot_be_changed_or_deleted(execution: Execution, sql: str, constraint: str) -> None:
    before = rows(ExecutionEvent), rows(Execution)
    assert refused(sql) == constraint
    assert (rows(ExecutionEvent), rows(Execution)) == before


def test_a_finished_execution_never_changes() -> None:
    owner, _ = making.ready()
    making.dead(owner, "key")
    before = rows(Execution)
    for change in ("error_code = 'Other'", "last_transition_key = 'other'", "updated_at = now() + interval '1 day'"):
        assert refused(f"UPDATE executions_execution SET {change}") == "execution_terminal_immutable"
    assert rows(Execution) == before


def test_the_outputs_of_a_finished_execution_cannot_be_written(execution: Execution) -> None:
    WireForm.objects.create(execution=execution, input=[1])
    check_foreign_keys_now()
    for sql in (
        "UPDATE executions_wireform SET result = '[1]' WHERE execution_id = %s",
        "INSERT INTO executions_wireform (execution_id, result) VALUES (%s, '[1]')",
    ):
        assert refused(sql, execution.pk) == "wire_form_result_with_success"


def test_a_second_execution_with_the_same_key_is_rejected(execution: Execution) -> None:
    sql = """INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid()))).* FROM executions_execution e WHERE id = %s"""
    assert refused(sql, execution.pk) == "execution_key_once"


def test_a_sequence_number_is_used_once(execution: Execution) -> None:
    sql = """INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
        VALUES (%s, %s, 'FORGED', 'QUEUED', '', '{}', now())"""
    assert refused(sql, execution.pk, 1) == "event_sequence_once"
    assert refused(sql, execution.pk, 0) == "event_sequence_from_one"
    assert refused(sql, execution.pk, 2) == "event_in_sequence"


def test_events_have_no_gap(execution: Execution) -> None:
    count = "UPDATE executions_execution SET event_count = event_count + {} WHERE id = %s"
    assert refused(count.format(1), execution.pk) == "execution_counts_its_events"
    assert refused(counted(count.format(2)), execution.pk) == "event_in_sequence"
    run(counted(count.format(1)), execution.pk)
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("TRIED", "QUEUED")]


def test_an_execution_starts_with_its_first_event(execution: Execution) -> None:
    sql = """INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid(), 'execution_key', 'other', 'event_count', {count}))).*
        FROM executions_execution e WHERE id = %s"""
    assert refused(sql.format(count=1), execution.pk) == "execution_counts_its_events"
    assert refused(sql.format(count=2), execution.pk) == "execution_starts_queued"


@cases(
    ("source", "target"), [(source, target) for source, target in product(State, State) if target not in MOVES[source]]
)
def test_the_code_rejects_an_illegal_move(execution: Execution, source: State, target: State) -> None:
    move = moves.Move(
        execution_id=execution.pk,
        source=source,
        target=target,
        kind="",
        actor="",
        data={},
    )
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(ValueError, match=f"no move from {source} to {target}"):
        moves.apply([move])
    assert (rows(Execution), rows(ExecutionEvent)) == before


def test_a_revoked_or_foreign_release_cannot_be_pinned(execution: Execution) -> None:
    revoke(execution.release, actor="user:test", reason="leaked")
    sql = """INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid(), 'execution_key', 'other'))).* FROM executions_execution e WHERE id = %s"""
    assert refused(sql, execution.pk) == "execution_pin_exists"


@pytest.fixture
def ordinary() -> Iterator[psycopg.Connection]:
    """A connection with the role of the application."""
    name = str(connection.settings_dict["NAME"])
    with psycopg.connect(ordinary_url(name), autocommit=True) as made:
        yield made


@cases(
    "sql",
    [
        "TRUNCATE releases_blob",
        "ALTER TABLE executions_execution DISABLE TRIGGER ALL",
        "ALTER TABLE executions_execution DROP CONSTRAINT execution_key_once",
        "DROP TABLE executions_executionevent",
        "DROP FUNCTION guard_execution CASCADE",
        "CREATE TABLE another (id int)",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_role_cannot_change_the_schema(ordinary: psycopg.Connection, sql: LiteralString) -> None:
    """The role of the application may only read and write rows."""
    assert ordinary.execute("SELECT count(*) FROM executions_execution").fetchone() is not None
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ordinary.execute(sql)
