"""Inserts finished executions with their histories, more than could be run."""

import time
from collections.abc import Callable, Collection
from typing import Any

import psycopg

from benchmarks.product_under_test import ProductUnderTest
from benchmarks.running_product import THREE_STEPS, SubmissionMode

CHUNK = 250_000
# The columns that differ between rows. All others are copied from a real execution. `at` is the creation time.
_CHANGED = {
    "id": "{new_id}",
    "execution_key": "'past-' || n",
    "created_at": "at",
    "updated_at": "at + interval '1 s'",
    "next_due_at": "at",
    "finished_at": "at + interval '1 s'",
}
_LOAD = """
WITH loaded AS (
    INSERT INTO executions_execution ({columns})
    SELECT {values} FROM executions_execution t, LATERAL (
        SELECT n, now() - interval '1 hour' - n * interval '50 ms' AS at FROM generate_series({first}, {last}) n
    ) past WHERE t.id = '{template}' ORDER BY n DESC
    RETURNING id, created_at
)
INSERT INTO executions_executionevent (execution_id, {event_columns}, at)
SELECT l.id, {event_values}, l.created_at FROM loaded l, executions_executionevent v
WHERE v.execution_id = '{template}'
"""


def load(product: ProductUnderTest, rows: int, say: Callable[[str], None]) -> None:
    """Insert `rows` finished executions with the events of a real one. The newest is an hour old.

    Uses a superuser connection, because the triggers would reject these rows.
    """
    if product.backing.postgres is None:
        raise RuntimeError("Executions can only be inserted into a server of this run.")
    [template] = _one(product.ledger.connection, "SELECT id FROM executions_execution WHERE status = 'SUCCEEDED'")
    with psycopg.connect(product.backing.postgres.superuser_url(), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        began = time.monotonic()
        for last in range(rows, 0, -CHUNK):
            first = max(last - CHUNK + 1, 1)
            connection.execute(_statement(connection, template, first, last).encode())
            say(f"{rows - first + 1:,} of {rows:,} loaded in {time.monotonic() - began:.0f} s")
        connection.execute("VACUUM (ANALYZE) executions_execution, executions_executionevent")
        connection.execute("CHECKPOINT")
        [size] = _one(connection, "SELECT pg_size_pretty(pg_database_size(current_database()))")
        say(f"The database takes {size}")


def finished_template(product: ProductUnderTest) -> None:
    """Run the execution from which the others are copied."""
    product.round(THREE_STEPS, 1, SubmissionMode(1))


def _statement(connection: psycopg.Connection, template: Any, first: int, last: int) -> str:
    # Ids of version 7 contain the time of their creation.
    new_id = "uuidv7(at - now())" if template.version == 7 else "gen_random_uuid()"
    columns = columns_of(connection, "executions_execution")
    events = columns_of(connection, "executions_executionevent", leave_out={"id", "execution_id", "at"})
    return _LOAD.format(
        columns=", ".join(columns),
        values=", ".join(_CHANGED.get(name, f"t.{name}").format(new_id=new_id) for name in columns),
        event_columns=", ".join(events),
        event_values=", ".join(f"v.{name}" for name in events),
        template=template,
        first=first,
        last=last,
    )


def columns_of(connection: psycopg.Connection, table: str, *, leave_out: Collection[str] = ()) -> list[str]:
    """Return the columns of a table that an INSERT may name, in their order."""
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'"
        " ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in found if name not in leave_out]


def _one(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise RuntimeError(f"No row found by {query}")
    return row
