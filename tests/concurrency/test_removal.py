"""Retention, concurrent with late outcomes, and killed in the middle."""

import threading
from functools import partial

import pytest
from django.db import connection, connections, transaction

from executions.lifecycle import outcome, retention
from executions.models import Execution, ExecutionEvent
from executions.state_machine.moves import Claim
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race
from tests.concurrency.test_operators import dead, wait_for_a_blocked_session
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.usefixtures("committed")
remove = partial(retention.remove, seconds=60)


def old(count: int) -> tuple[Tenant, list[Execution]]:
    """Make executions that are past their retention term."""
    owner, _ = making.ready()
    Tenant.objects.filter(pk=owner.pk).update(failed_retention_days=30)
    made = dead(owner, count)
    making.aged(*made, days=31)
    return owner, made


def left() -> tuple[int, int]:
    return Execution.objects.count(), ExecutionEvent.objects.count()


def test_a_late_outcome_of_a_removed_execution_is_dropped() -> None:
    """The outcome waits for the removal, and leaves no event."""
    owner, [execution] = old(1)
    claim = Claim(
        execution.pk, owner.slug, execution.pipeline_id, execution.contract_version, execution.release_version,
        1, execution.pk, 0, 0, "1", "UNI", "SINGLE", False, 0, "celery", 1, None, False, None, 0.0, 0.0,
    )  # fmt: skip
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    late: list[int] = []

    def answer() -> None:
        late.append(outcome.record(execution.release.identity, group))
        connections.close_all()

    answering = threading.Thread(target=answer)
    with transaction.atomic():
        assert remove() == 1
        answering.start()
        wait_for_a_blocked_session()
    answering.join(30)
    assert late == [0]
    assert left() == (0, 0)


def test_a_removal_that_is_killed_removes_nothing() -> None:
    _, made = old(20)
    before = left()
    sweeping = threading.Thread(target=race, args=(remove,))
    with transaction.atomic():
        # A locked event blocks the removal after it has deleted executions and before it has deleted their histories.
        event = made[3].events.order_by("sequence")[1]
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM executions_executionevent WHERE id = %s FOR UPDATE", [event.pk])
        sweeping.start()
        wait_for_a_blocked_session()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM executions_executionevent%%'"
            )
            assert cursor.rowcount == 1
    sweeping.join(30)
    assert left() == before
    assert remove() == 20
    assert left() == (0, 0)
