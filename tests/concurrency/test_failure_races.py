from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from executions.awaits import awaits
from executions.failures import queries
from executions.lifecycle import sweep
from executions.models import DeadLetter, Execution, FailureGroup, is_new
from executions.state_machine.moves import Claim
from governance.retirement import retirement
from governance.retirement.retirement import Order, revoke
from releases.models import Pipeline, Release
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import Call, another_session, ended_after
from tests.executions.awaits.parking import interaction_of, make_late, suspended


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
def test_a_first_failure_and_the_order_of_a_revocation_to_fail_do_not_deadlock(
    kind: Callable[[Any], Call], settings: Any
) -> None:
    """The failure locks its execution, and at its commit the release of its new group."""
    fails = kind(settings)
    event = revoke(Release.objects.get(), actor="user:x", reason="a mistake", open_executions=Order.FAIL)
    order = ended_after(fails, partial(retirement.fail_batch, event.pk))
    assert order.result() is None, "its execution has failed"
    assert DeadLetter.objects.filter(group=FailureGroup.objects.get()).count() == 1
