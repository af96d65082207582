"""Statements that are planned once: what the database keeps of them, and what their cursor shares with Django's."""

import itertools
import time
import uuid
from collections.abc import Callable

import pytest
from django.db import DataError, connection, transaction

from executions.state_machine import moves
from foundation.database import prepared
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db


def plans(statement: str = "") -> list[str]:
    """Return the names of this connection's prepared statements that begin with `statement`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE starts_with(statement, %s)", [statement])
        return [name for (name,) in cursor.fetchall()]


def ask(statement: str, number: int = 1) -> int:
    with prepared.cursor() as cursor:
        cursor.execute(statement, {"number": number})
        return int(cursor.fetchone()[0])


@pytest.fixture
def renew(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Each call begins another period of plans, which lasts for the rest of the test."""
    periods = itertools.count(1)

    def begin() -> None:
        monkeypatch.setattr(prepared, "KEPT_SECONDS", time.monotonic() / (next(periods) + 0.5))

    begin()
    return begin


@pytest.mark.usefixtures("renew")
def test_a_statement_is_prepared_once() -> None:
    assert [ask("SELECT 41 + %(number)s::int", number) for number in range(1, 11)] == list(range(42, 52))
    assert len(plans("SELECT 41 + $1::int")) == 1


def test_a_new_plan_takes_the_place_of_the_old_one(renew: Callable[[], None]) -> None:
    made = []
    for _ in range(3):
        renew()
        ask("SELECT 77 + %(number)s::int")
        made += plans("SELECT 77 + $1::int")
    assert len(set(made)) == len(made) == 3


def test_a_connection_has_one_plan_of_each_statement_however_often_they_are_renewed(renew: Callable[[], None]) -> None:
    owner, _ = making.ready()
    unknown = uuid.uuid4()
    for _ in range(110):
        renew()
        moves.claim(owner="nobody", limit=10, lease_seconds=1)
        moves.renew_leases(owner.pk, [(unknown, unknown)], worker_id="nobody", lease_seconds=1)
        assert len(plans()) == 2


def test_parameters_of_other_types_take_a_plan_until_the_next_renewal(renew: Callable[[], None]) -> None:
    for number in (1, 10**5, 10**10):
        ask("SELECT 55 + %(number)s", number)
    assert len(plans("SELECT 55")) == 3
    renew()
    ask("SELECT 55 + %(number)s")
    assert len(plans("SELECT 55")) == 1


@pytest.mark.usefixtures("renew")
def test_texts_that_never_come_again_do_not_pile_up() -> None:
    for number in range(150):
        ask(f"SELECT {number} + %(number)s::int")
    assert len(plans()) <= prepared.MOST_PLANS


def test_plans_are_made_anew_after_a_rollback(renew: Callable[[], None]) -> None:
    for renewed in (False, True, False, True):
        with transaction.atomic():
            ask("SELECT 33 + %(number)s::int")
            transaction.set_rollback(True)
        if renewed:
            renew()
        assert ask("SELECT 33 + %(number)s::int") == 34


def test_other_statements_are_not_prepared() -> None:
    for _ in range(10):
        Tenant.objects.filter(slug="nobody").exists()
    assert plans('SELECT 1 AS "a" FROM "tenancy_tenant"') == []


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
