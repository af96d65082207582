"""Reads the database's times and sets deadlines.

A test runs in one transaction, so `now()` never changes in it, while `clock_timestamp()` advances. A deadline between
the two passes during the transaction.
"""

from datetime import datetime
from typing import Any

from django.db import connection

from executions.models import Execution, Interaction
from tests.raw_sql import run


def read(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}")
        return cursor.fetchone()[0]


def now() -> datetime:
    """Return the start time of the transaction, which is the same for the whole test."""
    at: datetime = read("now()")
    return at


def clock() -> datetime:
    """Return the current time of the database, which is later than `now()`."""
    at: datetime = read("clock_timestamp()")
    return at


def seconds_left(execution: Execution) -> float:
    """Return the time until the end of the lease."""
    expires_at = Execution.objects.get(pk=execution.pk).lease_expires_at
    assert expires_at is not None
    return (expires_at - now()).total_seconds()


def set_deadline(question: Interaction, at: datetime) -> None:
    run("UPDATE executions_interaction SET deadline = %s WHERE id = %s", at, question.pk)


def statuses(execution: Execution) -> list[str]:
    return list(Interaction.objects.filter(execution=execution).order_by("item_index").values_list("status", flat=True))
