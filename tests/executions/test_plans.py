"""How the database finds the rows of the busiest statements, before it knows anything of a table but its size.

Statistics come a minute after the rows. A plan that was made without them must not be one that goes through all that a
tenant, a pipeline or a release ever ran, or through all that is live where it is about a few.
"""

import re
from importlib import import_module

import pytest
from django.db import connection

from executions import awaits, checkpoints, moves, outcome
from tests import making
from tests.raw_sql import check_foreign_keys_now, run

pytestmark = pytest.mark.django_db
TABLE = "executions_execution"
VIEW = import_module("executions.migrations.0003_worker_eligibility").VIEW
BY_ID = r"[( ]id = "
BY_RELEASE_OR_ID = r"[( ](release_)?id = "


OTHERS = ("executions_worker", "releases_release", "releases_pipeline", "releases_artifact", "tenancy_tenant")
_MANY = """
INSERT INTO pg_temp.executions_execution
SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'execution_key', number::text))).*
FROM public.executions_execution e CROSS JOIN generate_series(1, 3000) AS number WHERE e.id = %s
"""


@pytest.fixture(autouse=True)
def unknown() -> None:
    """New tables in the place of the old ones: more than a few rows in TABLE, and nothing is known of any of them."""
    owner, _ = making.ready()
    made = making.execution(owner)
    check_foreign_keys_now()
    for table in (TABLE, *OTHERS):
        run(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL) ON COMMIT DROP")
    run(VIEW.replace("CREATE VIEW", "CREATE TEMP VIEW"))
    run(_MANY, made.pk)


def conditions(statement: str) -> list[str]:
    """By what each scan of TABLE finds its rows, in a plan that is made without parameters; empty where by nothing."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for place, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${place}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s AND schemaname ~ 'pg_temp'", [TABLE])
        indexes = "|".join(name for (name,) in cursor.fetchall())
        # So few are still read from end to end where a hundred of them are asked for.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN (GENERIC_PLAN) " + statement.replace("%", "%%"), [])
        plan = [line for (line,) in cursor.fetchall()]
    scan = re.compile(rf"(using|Bitmap Index Scan on) ({indexes}) |Seq Scan on {TABLE} ")
    found = [place for place, line in enumerate(plan) if scan.search(line)]
    assert found, plan
    return [plan[place + 1] if "Index Cond" in plan[place + 1] else "" for place in found]


@pytest.mark.parametrize(
    ("statement", "by"),
    [
        (moves._CLAIM, BY_RELEASE_OR_ID),
        (moves._APPLY, BY_ID),
        (moves._RENEW, BY_ID),
        (moves._NOTE, BY_ID),
        (checkpoints._KEEP, BY_ID),
        (outcome._HOLD, BY_ID),
        (awaits._OPEN, BY_ID),
    ],
    ids=["claim", "apply", "renew", "note", "keep", "hold", "open"],
)
def test_rows_are_found_by_their_ids(statement: str, by: str) -> None:
    found = conditions(statement)
    assert [condition for condition in found if not re.search(by, condition)] == []
