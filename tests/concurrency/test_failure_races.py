from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from alerts import channels, deliveries, evaluation
from alerts.models import Alert, AlertDelivery
from executions.awaits import awaits
from executions.failures import queries
from executions.lifecycle import sweep
from executions.models import DeadLetter, Execution, FailureGroup, is_new
from executions.state_machine.moves import Claim
from governance.retirement import retirement
from governance.retirement.retirement import Order, revoke
from releases import policy
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.alerts.alerting import ACTOR, acknowledge, channel, let_clear, rule
from tests.concurrency.sessions import Call, another_session, ended_after, parted, race, results_of
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.receiving import receiving
from tests.repetition import rounds


def running(count: int) -> tuple[Release, list[Claim]]:
    owner, release = making.ready()
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    for number in range(count):
        making.execution(owner, f"k{number}")
    return release, making.claimed(owner)


def fail(release: Release, *claims: Claim, codes: tuple[str, ...] = ("Lost",)) -> int:
    """Fail the claims in turn with these codes: the first permanently, and the next with its retries exhausted."""
    outcomes = [
        making.failure(
            claim, codes[number % len(codes)], message=f"order {claim.execution_id} is lost", retryable=number % 2 > 0
        )
        for number, claim in enumerate(claims)
    ]
    return making.record(*outcomes, identity=release.identity)


@pytest.mark.parametrize("_", range(3))
def test_first_failures_of_several_groups_in_opposite_orders_do_not_deadlock(_: int) -> None:
    codes = ("Lost", "Full")
    release, claims = running(10)
    parts = [claims[start : start + 2] for start in range(0, 10, 2)]
    calls = [
        partial(fail, release, *part, codes=codes if number % 2 else codes[::-1]) for number, part in enumerate(parts)
    ]
    assert results_of(race(*calls)) == [2] * 5
    assert FailureGroup.objects.count() == len(codes)


def test_a_failure_that_an_acknowledgement_did_not_see_opens_its_group_again() -> None:
    """It waits for no change of the group, and opens the group in any order of both transactions."""
    release, claims = running(3)
    assert fail(release, claims[0]) == 1
    group = FailureGroup.objects.get()
    acknowledge = partial(queries.change, group.tenant, group.pk, actor="user:eva", acknowledged=True)
    with transaction.atomic():
        acknowledge()
        assert results_of(race(partial(fail, release, claims[1]))) == [1]
    assert FailureGroup.objects.filter(is_new()).exists()
    with transaction.atomic(), connection.cursor() as cursor, another_session() as other:
        cursor.execute("SELECT now()")
        assert not results_of(race(acknowledge))[0].is_new
        other.execute("UPDATE executions_failuregroup SET note = 'held'")
        assert fail(release, claims[2]) == 1
    assert FailureGroup.objects.get().is_new
    assert queries.figures([group.pk])[group.pk].total == 3


def failed_outcome(settings: Any) -> Call:
    release, claims = running(1)
    return partial(fail, release, *claims)


def lost_leases(settings: Any) -> Call:
    settings.TAKEOVER_LIMIT = 0
    running(1)
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    return sweep.expire_leases


def late_answer(settings: Any) -> Call:
    make_late(interaction_of(suspended(making.ready())))
    return awaits.expire


@pytest.mark.parametrize("kind", [failed_outcome, lost_leases, late_answer])
def test_a_first_failure_and_an_order_to_fail_do_not_deadlock(kind: Callable[[Any], Call], settings: Any) -> None:
    """The failure locks its execution, and at its commit the release of its new group."""
    fails = kind(settings)
    event = revoke(Release.objects.get(), actor="user:x", reason="a mistake", open_executions=Order.FAIL)
    order = ended_after(fails, partial(retirement.fail_batch, event.pk))
    assert order.result() is None, "its execution has failed"
    assert DeadLetter.objects.filter(group=FailureGroup.objects.get()).count() == 1


# --- alerts ---

Ready = tuple[Tenant, Release]


def test_six_evaluators_open_and_resolve_one_alert_with_one_message_each(ready: Ready) -> None:
    owner, _ = ready
    made = rule(owner, "newFailureGroup", channel(owner))
    making.dead(owner, "dead")
    assert sorted(results_of(race(*[evaluation.evaluate] * 6))) == [0, 0, 0, 0, 0, 1]
    alert = Alert.objects.get()
    assert list(alert.deliveries.values_list("kind", flat=True)) == ["FIRING"]
    acknowledge(owner)
    results_of(race(*[evaluation.evaluate] * 6))
    let_clear(alert)
    assert sorted(results_of(race(*[evaluation.evaluate] * 6))) == [0, 0, 0, 0, 0, 1]
    assert sorted(alert.deliveries.values_list("kind", flat=True)) == ["FIRING", "RESOLVED"]
    assert list(alert.events.values_list("kind", flat=True)) == ["FIRED", "RESOLVED"]
    assert Alert.objects.filter(rule=made).count() == 1


def test_several_processes_send_each_message_once(ready: Ready) -> None:
    with receiving() as receiver:
        made = channel(ready[0], receiver.url())
        for _ in range(6):
            deliveries.test(made, actor=ACTOR)
        results_of(race(*[deliveries.OUTBOX.send] * 12))
        while deliveries.OUTBOX.send():
            pass
        keys = [request.headers["Idempotency-Key"] for request in receiver.requests]
    assert (len(keys), len(set(keys))) == (6, 6)
    assert {*AlertDelivery.objects.values_list("state", flat=True)} == {"SENT"}


@pytest.mark.parametrize("_", rounds(5))
def test_a_policy_names_no_channel_that_is_removed_at_the_same_time(_: int) -> None:
    release = making.registered(making.tenant())
    ops = channel(release.pipeline.tenant, name="ops")
    name = partial(policy.change, release.pipeline, {"notifyChannel": "ops"}, actor="user:ann")
    results = race(name, partial(channels.remove, ops, actor="user:ann"))
    [lost] = parted(results)[1]
    assert lost in {"PolicyInvalid", "AlertChannelInPolicy"}
    assert (making.reread(release.pipeline).notify_channel == "ops") is channels.kept(release.pipeline.tenant).exists()
