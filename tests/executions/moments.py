"""The moments of a test.

A test is one transaction, so `now()` is one moment for all of it, while the clock of the database goes on. Whatever
lies between the two falls due inside of the transaction.
"""

from datetime import datetime

from django.db import connection

from executions.models import Execution, Interaction
from tests.raw_sql import run


def read(sql: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}")
        found: datetime = cursor.fetchone()[0]
    return found


def now() -> datetime:
    """The moment of the whole test."""
    return read("now()")


def clock() -> datetime:
    """The present moment, which is later."""
    return read("clock_timestamp()")


def set_deadline(of: Interaction, at: datetime) -> None:
    run("UPDATE executions_interaction SET deadline = %s WHERE id = %s", at, of.pk)


def statuses(of: Execution) -> list[str]:
    return list(Interaction.objects.filter(execution=of).order_by("item_index").values_list("status", flat=True))
