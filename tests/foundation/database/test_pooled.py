"""A connection behind a pooler of transactions uses nothing that needs its own session."""

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from foundation.database.bounded import in_chunks
from tenancy.models import Tenant
from tests import making
from tests.race_database import connected_to, emptied

COUNT = 30


@pytest.fixture
def committed(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock(), connected_to(race_database), emptied():
        yield


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "POOLER", "transaction")


def cursors_in_the_server() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_cursors")
        return int(cursor.fetchone()[0])


@pytest.mark.usefixtures("committed", "pooled")
def test_rows_are_read_with_a_cursor_in_the_server_only_in_a_transaction() -> None:
    for number in range(COUNT):
        making.tenant(f"tenant-{number}")
    rows = Tenant.objects.order_by("pk")
    read = rows.iterator(chunk_size=2)
    first = next(read)
    assert cursors_in_the_server() == 0
    assert [first, *read] == list(rows)
    with transaction.atomic():
        read = rows.iterator(chunk_size=2)
        next(read)
        assert cursors_in_the_server() == 1
        assert len(list(read)) == COUNT - 1
    read = in_chunks(rows, 2)
    next(read)
    assert cursors_in_the_server() == 1
    assert len(list(read)) == COUNT - 1
    assert not connection.in_atomic_block
