"""What somebody with a prompt would type, and what the database says to it."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction


def run(sql: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def refused(sql: str, *parameters: Any) -> str:
    """The name of the constraint that refuses `sql`."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        run(sql, *parameters)
    name = caught.value.__cause__.diag.constraint_name  # type: ignore[union-attr]
    return str(name)


def rows(table: type[Any]) -> list[Any]:
    return list(table.objects.order_by("pk").values())


def check_foreign_keys_now() -> None:
    """Foreign keys are checked at commit, and no table is altered while a check is pending."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
