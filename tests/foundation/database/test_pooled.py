"""A connection behind a pooler of transactions uses nothing that needs its own session."""

import time
from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from foundation.database import prepared
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


def statements() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement LIKE 'SELECT 91 +%%'")
        return [statement for (statement,) in cursor.fetchall()]


def ask() -> None:
    with prepared.cursor() as cursor:
        cursor.execute("SELECT 91 + %(number)s::int", {"number": 1})
        assert cursor.fetchone() == (92,)


@pytest.mark.usefixtures("pooled")
@pytest.mark.django_db
def test_each_period_has_a_text_of_its_own_and_releases_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    for period in (20, 20, 21):
        monkeypatch.setattr(prepared, "KEPT_SECONDS", time.time() / (period + 0.5))
        ask()
    assert sorted(statements()) == ["SELECT 91 + $1::int/* 20 */", "SELECT 91 + $1::int/* 21 */"]


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
