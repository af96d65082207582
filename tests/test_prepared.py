"""Statements that are planned once: what the database keeps of them, and what their cursor shares with Django's."""

import pytest
from django.db import DataError, connection, transaction

from coordinator import prepared
from coordinator.tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def plans(statement: str) -> int:
    """How many plans of `statement` this connection has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s", [f"{statement}%"])
        return int(cursor.fetchone()[0])


def ask(statement: str, number: int = 1) -> int:
    with prepared.cursor() as cursor:
        cursor.execute(statement, {"number": number})
        return int(cursor.fetchone()[0])


def test_a_statement_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "KEPT_SECONDS", 10**9)
    assert [ask("SELECT 41 + %(number)s::int", number) for number in (1, 2, 3)] == [42, 43, 44]
    assert plans("SELECT 41 + $1::int") == 1


def test_a_plan_is_made_anew_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "KEPT_SECONDS", 1e-9)
    for _ in range(3):
        ask("SELECT 77 + %(number)s::int")
    assert plans("SELECT 77 + $1::int") == 3


def test_old_plans_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "KEPT_SECONDS", 1e-9)
    for _ in range(150):
        ask("SELECT 99 + %(number)s::int")
    assert plans("SELECT 99 + $1::int") <= 100


def test_other_statements_are_not_prepared() -> None:
    for _ in range(10):
        Tenant.objects.filter(slug="nobody").exists()
    assert plans('SELECT 1 AS "a" FROM "tenancy_tenant"') == 0


def test_it_works_in_the_transaction_that_is_open() -> None:
    tenant = making.tenant()
    with transaction.atomic():
        with prepared.cursor() as cursor:
            cursor.execute("UPDATE tenancy_tenant SET name = 'other' WHERE id = %(id)s", {"id": tenant.pk})
        transaction.set_rollback(True)
    tenant.refresh_from_db()
    assert tenant.name != "other"


def test_its_errors_are_those_of_django() -> None:
    with pytest.raises(DataError), transaction.atomic():
        ask("SELECT 1 / (%(number)s::int - 1)")
