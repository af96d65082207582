"""No page of the overview scans the executions: every statement uses an index on them."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from executions.models import DeadLetter, Execution
from executions.statistics import failures, finished, live, statements
from tests import making
from tests.raw_sql import as_owner, run, unguarded

pytestmark = pytest.mark.django_db
MANY = 20_000
EXECUTIONS = """
INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(),
    'execution_key', 'k' || n, 'finished_at', now() - 20 * random() * interval '1 hour'))).*
FROM executions_execution e, generate_series(1, %s) n WHERE e.id = %s
"""
LETTERS = """
INSERT INTO executions_deadletter (tenant_id, execution_id, execution_version, transition_key, terminal_status, reason,
    error_code, error_message, retryable, retries_observed, step_index, failed_step_index)
SELECT e.tenant_id, e.id, 1, 'x', 'DLQ', 'retry_exhausted', 'E', 'm', true, 1, 0, 0 FROM executions_execution e
WHERE e.id <> %s LIMIT 2000
"""


@pytest.fixture
def parameters() -> dict[str, Any]:
    """Make MANY executions that finished in the last 20 hours, and return parameters of all statements."""
    owner, _ = making.ready()
    [made] = making.dead(owner, "k")
    with unguarded(Execution):
        run(EXECUTIONS, MANY, made.pk)
    with unguarded(DeadLetter):
        run(LETTERS, made.pk)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("ANALYZE executions_execution, executions_deadletter, executions_finishedcount")
    assert DeadLetter.objects.count() == 2001
    common = {"tenants": [owner.pk], "pipeline": None, "since": timezone.now() - timedelta(hours=24), "seconds": 3600.0}
    limits = {"overlap": 3, "hours": 1, "recent": finished.RECENT_MINUTES}
    return {**common, **limits}


STATEMENTS = (
    (statements.COUNT, 0),
    (statements.SERIES, finished.MOST_RECENT),
    (statements.FAILURES, failures.MOST_READ),
    (statements.LIVE, live.MOST_COUNTED),
)


def test_no_statement_scans_the_executions(parameters: dict[str, Any], subtests: pytest.Subtests) -> None:
    for statement, most in STATEMENTS:
        with subtests.test(statement), connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {statement}", {**parameters, "most": most})
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "on executions_execution" in plan
            assert "Seq Scan on executions_execution" not in plan, plan
