"""The plans of the busiest statements, while the database has no statistics of a table but its size.

Statistics are collected up to a minute after rows are inserted. A plan that is made without them must not scan all
executions of a tenant, a pipeline or a release, nor all live executions if the statement is about a few.
"""

import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from executions.awaits import opening
from executions.lifecycle import checkpoints, outcome
from executions.models.states import State
from executions.state_machine import moves
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import check_foreign_keys_now, run
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Outcome, OutcomeGroup, Suspension

pytestmark = pytest.mark.django_db
TABLE = "executions_execution"
ELIGIBILITY = import_module("executions.migrations.0004_worker_eligibility")
BY_ID = r"[( ]id = "
BY_RELEASE_OR_ID = r"[( ](release_)?id = "


OTHERS = ("executions_worker", "releases_release", "releases_pipeline", "releases_artifact", "tenancy_tenant")
_MANY = """
INSERT INTO pg_temp.executions_execution
SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'execution_key', number::text))).*
FROM public.executions_execution e CROSS JOIN generate_series(1, 3000) AS number WHERE e.id = %s
"""


@pytest.fixture
def application_role() -> None:
    """Override the role of the other tests: only the owner may create temporary tables."""


@pytest.fixture(autouse=True)
def unknown() -> None:
    """Replace the tables with new ones without statistics, and insert thousands of rows into TABLE."""
    owner, _ = making.ready()
    made = making.execution(owner)
    check_foreign_keys_now()
    for table in (TABLE, *OTHERS):
        run(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL) ON COMMIT DROP")
    run(ELIGIBILITY.VIEW.replace("CREATE VIEW", "CREATE TEMP VIEW"))
    run(_MANY, made.pk)
    run("SET CONSTRAINTS ALL DEFERRED")


def conditions(statement: str) -> list[str]:
    """Return the condition of each scan of TABLE in a generic plan, or an empty string for a scan without one."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for place, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${place}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s AND schemaname ~ 'pg_temp'", [TABLE])
        indexes = "|".join(name for (name,) in cursor.fetchall())
        # With so few rows, a sequential scan would still be chosen for a hundred of them.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN (GENERIC_PLAN) " + statement.replace("%", "%%"), [])
        plan = [line for (line,) in cursor.fetchall()]
    scan = re.compile(rf"(using|Bitmap Index Scan on) ({indexes}) |Seq Scan on {TABLE} ")
    found = [place for place, line in enumerate(plan) if scan.search(line)]
    assert found, plan
    return [plan[place + 1] if "Index Cond" in plan[place + 1] else "" for place in found]


def executed(call: Callable[[], object]) -> str:
    """Return the first statement about TABLE that `call` executes, with its placeholders."""
    statements: list[str] = []

    def record_statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(sql)
        return execute(sql, params, many, context)

    with transaction.atomic(), connection.execute_wrapper(record_statement):
        with suppress(IntegrityError):
            call()
        transaction.set_rollback(True)  # its execution does not exist
    return next(statement for statement in statements if TABLE in statement)


ONE, OTHER = uuid.uuid4(), uuid.uuid4()
MOVE = moves.Move(ONE, State.SUCCEEDED, "SUCCEEDED", "worker:w", {}, result=[1])
CHECKPOINT = Checkpoint(
    execution_id=ONE,
    execution_version=1,
    lease_token=OTHER,
    transition_key="k",
    next_step_index=1,
    many=False,
    output_payloads=["1"],
)
OUTCOME = Outcome(
    execution_id=ONE,
    execution_version=1,
    lease_token=OTHER,
    transition_key="k",
    outcome="COMPLETED",
    output_payloads=["1"],
)
SUSPENSION = Suspension(
    step_index=0,
    step_id="ask",
    itemized=False,
    gives_many=False,
    requests=["1"],
    request_shape="UNI",
    output_type="Answer",
    transport="interaction-api",
    timeout_seconds=60,
)
IDENTITY = ReleaseIdentity("tenant", "pipeline", "contract", "release")


@cases(
    ("call", "by"),
    [
        (lambda: moves.claim(owner="o", limit=9, lease_seconds=9), BY_RELEASE_OR_ID),
        (lambda: moves.apply([MOVE]), BY_ID),
        (lambda: moves.renew_leases(1, [(ONE, OTHER)], worker_id="w", lease_seconds=9), BY_ID),
        (lambda: moves.note("NOTED", [moves.Note(ONE, "worker:w", {})]), BY_ID),
        (
            lambda: checkpoints.keep([CHECKPOINT], OutcomeGroup(worker_id="w", checkpoints=[CHECKPOINT]), {ONE: 0}),
            BY_ID,
        ),
        (lambda: outcome.record(IDENTITY, OutcomeGroup(worker_id="w", outcomes=[OUTCOME])), BY_ID),
        (lambda: opening.park(Tenant(pk=1), [opening.Parking(ONE, OTHER, SUSPENSION)]), BY_ID),
    ],
)
def test_rows_are_found_by_their_ids(call: Callable[[], object], by: str) -> None:
    found = conditions(executed(call))
    assert [condition for condition in found if not re.search(by, condition)] == []


def test_a_claim_counts_what_runs_by_its_release() -> None:
    """It counts executions of the release, and those of other releases that its REST workers still run."""
    _, _, body = ELIGIBILITY.COUNT.partition("RETURN (")
    statement = body.partition(");\nEND")[0]
    statement = re.sub(r"(?<== )release\b", "%(release)s::bigint", statement)
    statement = re.sub(r"\brest_owners\b", "%(rest_owners)s::text[]", statement)
    found = conditions(statement)
    assert len(found) == 2
    assert [condition for condition in found if not re.search(r"[( ]release_id = ", condition)] == []
