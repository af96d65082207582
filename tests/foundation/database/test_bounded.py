from collections.abc import Iterator

import pytest
from django.db import DataError, Error, InternalError, OperationalError, ProgrammingError, connection, transaction
from pytest_django import DjangoDbBlocker

from foundation.database.bounded import count_up_to, in_chunks, time_limit
from foundation.database.writes import record_when_accepted
from foundation.errors import QueryTooSlow
from tenancy.models import Tenant
from tests import making
from tests.race_database import connected_to, emptied

COUNT = 30
CURSORS = "SELECT count(*) FROM pg_cursors"


def ask(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        [(value,)] = cursor.fetchall()
        return str(value)


@pytest.mark.django_db
def test_a_query_that_takes_too_long_is_cancelled_and_the_connection_stays_usable() -> None:
    with pytest.raises(QueryTooSlow, match=r"stopped after 0\.05 s"), time_limit(0.05):
        ask("SELECT pg_sleep(5)")
    assert ask("SHOW statement_timeout") == "0"


@pytest.mark.django_db
def test_rows_are_counted_up_to_a_number() -> None:
    for number in range(3):
        making.tenant(f"counted-{number}")
    rows = Tenant.objects.filter(slug__startswith="counted-")
    assert [count_up_to(most, rows) for most in (2, 3, 4)] == [None, 3, 3]


@pytest.fixture
def committed(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), connected_to(race_database), emptied():
        yield


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "POOLER", "transaction")


@pytest.mark.usefixtures("committed", "pooled")
def test_rows_are_read_with_a_cursor_in_the_server_only_in_a_transaction() -> None:
    for number in range(COUNT):
        making.tenant(f"tenant-{number}")
    rows = Tenant.objects.order_by("pk")
    read = rows.iterator(chunk_size=2)
    first = next(read)
    assert ask(CURSORS) == "0"
    assert [first, *read] == list(rows)
    with transaction.atomic():
        read = rows.iterator(chunk_size=2)
        next(read)
        assert ask(CURSORS) == "1"
        assert len(list(read)) == COUNT - 1
    read = in_chunks(rows, 2)
    next(read)
    assert ask(CURSORS) == "1"
    assert len(list(read)) == COUNT - 1
    assert not connection.in_atomic_block


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError, InternalError, ProgrammingError, DataError])
def test_only_values_that_the_database_rejects_are_not_recorded_again(error: type[Error]) -> None:
    """A column may be missing during an upgrade, and an index may be damaged."""
    left = [error("once")]

    def record() -> str:
        if left:
            raise left.pop()
        return "recorded"

    if error is DataError:
        with pytest.raises(DataError):
            record_when_accepted(record)
    else:
        assert record_when_accepted(record) == "recorded"
