"""The database's functions use our tables, even if a session creates temporary tables of the same names."""

import pytest
from django.db import connection

from executions.models import ExecutionEvent
from tests import making
from tests.raw_sql import check_foreign_keys_now, refused, run

pytestmark = pytest.mark.django_db


def test_every_function_has_a_fixed_search_path() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
        )
        functions = dict(cursor.fetchall())
    assert {"guard_history", "guard_activation", "worker_clock", "count_running_for_claim"} <= functions.keys()
    fixed = ["search_path=pg_catalog, public, pg_temp"]
    assert {name: config for name, config in functions.items() if config != fixed} == {}


def test_a_temporary_table_does_not_allow_history_to_be_deleted() -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    check_foreign_keys_now()
    run("CREATE TEMPORARY TABLE executions_execution (id uuid) ON COMMIT DROP")
    sql = "DELETE FROM executions_executionevent WHERE execution_id = %s"
    assert refused(sql, execution.pk) == "event_append_only"
    assert ExecutionEvent.objects.filter(execution_id=execution.pk).count() == 1
