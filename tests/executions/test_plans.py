"""How the database finds the rows of the busiest statements, before it knows anything of the tables.

Statistics come a minute after the rows. A plan that was made for an empty table must not be one that goes through all
that a tenant, a pipeline or a release ever ran, or through all that is live where it is about a few.
"""

import re

import pytest
from django.db import connection

from executions import checkpoints, moves, outcome

pytestmark = pytest.mark.django_db
TABLE = "executions_execution"
BY_ID = {"executions_execution_pkey"}


def indexes_used(statement: str) -> set[str]:
    """Those of TABLE in a plan that is made without its parameters; `TABLE` itself where it is read from end to end."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for place, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${place}")
    with connection.cursor() as cursor:
        # The planner reads a small table from end to end whatever it is asked.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN (GENERIC_PLAN) " + statement.replace("%", "%%"), [])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    found = set(re.findall(rf"using (\w+) on {TABLE} ", plan)) | set(re.findall(r"Bitmap Index Scan on (\w+)", plan))
    return found | set(re.findall(rf"Seq Scan on ({TABLE}) ", plan))


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        (moves._CLAIM, BY_ID | {"execution_due", "execution_running"}),
        (moves._APPLY, BY_ID),
        (moves._RENEW, BY_ID),
        (moves._NOTE, BY_ID),
        (checkpoints._KEEP, BY_ID),
        (outcome._HOLD, BY_ID),
    ],
    ids=["claim", "apply", "renew", "note", "keep", "hold"],
)
def test_rows_are_found_by_their_ids(statement: str, allowed: set[str]) -> None:
    assert indexes_used(statement) == allowed
