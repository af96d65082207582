"""Failures from before the groups existed are grouped by the migration as the trigger would have grouped them."""

from typing import Any

from django.core.management import call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests import database_template
from tests.invariants import rows
from tests.servers import NUMBER

GROUPS = (
    "SELECT id, tenant_id, release_id, step_index, fingerprint, error_code FROM executions_failuregroup ORDER BY id"
)
LETTERS = "SELECT id, failed_step_index, fingerprint, group_id FROM executions_deadletter ORDER BY id"
TIMES = """
SELECT bool_and(g.first_seen_at <= d.created_at AND g.last_seen_at >= d.created_at)
FROM executions_deadletter d JOIN executions_failuregroup g ON g.id = d.group_id
"""


def read(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def test_existing_failures_are_grouped(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with (
        database_template.database(f"test_{NUMBER}_earlier") as name,
        django_db_blocker.unblock(),
        database_template.connected_to(name),
    ):
        rows.make()
        before = read(GROUPS), read(LETTERS)
        call_command("migrate", "executions", "0011_smoke", verbosity=0)
        call_command("migrate", verbosity=0)
        assert (read(GROUPS), read(LETTERS)) == before
        assert read(TIMES) == [(True,)]
        assert len(before[0]) > 1
