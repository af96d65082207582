"""Queries are cancelled after a time, and rows are counted up to a number."""

import pytest
from django.db import connection

from foundation.database.bounded import count_up_to, time_limit
from foundation.errors import QueryTooSlow
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def ask(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        [(value,)] = cursor.fetchall()
        return str(value)


def test_a_query_that_takes_too_long_is_cancelled_and_the_connection_stays_usable() -> None:
    with pytest.raises(QueryTooSlow, match=r"stopped after 0\.05 s"), time_limit(0.05):
        ask("SELECT pg_sleep(5)")
    assert ask("SHOW statement_timeout") == "0"


def test_rows_are_counted_up_to_a_number() -> None:
    for number in range(3):
        making.tenant(f"counted-{number}")
    rows = Tenant.objects.filter(slug__startswith="counted-")
    assert [count_up_to(most, rows) for most in (2, 3, 4)] == [None, 3, 3]
