from functools import partial

import psycopg
import pytest
from django.db import connection, transaction

from executions.models import Campaign, CampaignItem, Execution, ExecutionEvent
from executions.state_machine.moves import Claim
from governance.campaigns import campaigns, drafts
from tests import making
from tests.concurrency import scenes
from tests.concurrency.sessions import another_session, ended_after, race, stopped_before_writing, thread, until_blocked


def left() -> tuple[int, int]:
    return Execution.objects.count(), ExecutionEvent.objects.count()


def test_a_late_outcome_of_a_removed_execution_is_dropped() -> None:
    removing, [execution] = scenes.removal(1)
    claim = Claim(
        0.0, execution.pk, execution.tenant.slug, execution.pipeline_id,
        execution.contract_version, execution.release_version, 1,
        execution.pk, 0, 0, "1", "UNI", "SINGLE", False, 0, "celery", 1, None, False, None, 0.0,
    )  # fmt: skip
    assert ended_after(removing, partial(making.record, making.outcome_of(claim))).result() == 0
    assert left() == (0, 0)


def test_a_transaction_that_still_sees_a_removed_execution_adds_no_event_to_it() -> None:
    """Events have no foreign key."""
    removing, _ = scenes.removal(1)
    with another_session() as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        newest = "SELECT id, event_count, '', status, '', '{}' FROM executions_execution"
        assert session.execute(newest).rowcount == 1
        assert removing() == 1
        with pytest.raises(psycopg.errors.SerializationFailure):
            session.execute(
                f"INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data) {newest}"
            )
    assert left() == (0, 0)


def test_a_removal_that_is_killed_removes_nothing() -> None:
    removing, made = scenes.removal(20)
    before = left()
    with thread() as other, transaction.atomic():
        # A locked event blocks the removal after it has deleted executions and while it deletes their histories.
        event = made[3].events.order_by("sequence")[1]
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM executions_executionevent WHERE id = %s FOR UPDATE", [event.pk])
        killed = other.submit(race, removing)
        until_blocked(connection, ended=killed.done)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock' AND query LIKE '%%DELETE FROM executions_execution e%%'"
            )
            assert cursor.rowcount == 1
    killed.result(30)
    assert left() == before
    assert removing() == 20
    assert left() == (0, 0)


def test_retention_keeps_executions_that_a_concurrent_campaign_contains() -> None:
    """The campaign commits after retention has started to select executions, so the selection does not see its item."""
    removing, [taken, *_] = scenes.removal()
    with stopped_before_writing(Execution, removing) as stopped:
        with transaction.atomic():
            made = Campaign.objects.create(tenant=taken.tenant, filters={}, rate_per_minute=1, created_by="user:ann")
            CampaignItem.objects.create(campaign=made, execution=taken, expected_version=taken.version)
        assert stopped.finish() == 2
    assert list(Execution.objects.all()) == [taken]
    assert set(ExecutionEvent.objects.values_list("execution", flat=True)) == {taken.pk}


def test_nothing_is_removed_while_a_campaign_of_the_tenant_selects_executions() -> None:
    removing, failed = scenes.removal()
    with thread() as other, transaction.atomic():
        made = scenes.start_campaign(failed[0].tenant)
        assert other.submit(removing).result(30) == 0
    assert (made.items.count(), removing()) == (3, 0)
    campaigns.cancel(made.tenant, made.pk, actor="user:x")
    assert removing() == 3


def test_nothing_is_removed_before_a_campaign_of_the_tenant_has_its_items() -> None:
    removing, failed = scenes.removal()
    made = scenes.frozen(failed[0].tenant)
    assert (made.items.count(), removing()) == (0, 0)
    drafts.discard(made.tenant, made.pk, actor="user:x")
    assert removing() == 3
