"""Failures of one group at the same time: they form one group, and none waits for a person's change of it."""

from functools import partial
from typing import Any

import pytest

from executions.failures import acts, queries
from executions.lifecycle import outcome
from executions.models import DeadLetter, FailureGroup
from executions.state_machine.moves import Claim
from releases.models import Pipeline, Release
from tests import making
from tests.concurrency.racing import bounded_waits, race, results_of
from tests.concurrency.sessions import another_session
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.usefixtures("committed")
AT_ONCE = 6


def running(count: int) -> tuple[Release, list[Claim]]:
    owner, release = making.ready()
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    for number in range(count):
        making.execution(owner, f"k{number}")
    return release, making.claimed(owner)


def fail(release: Release, *claims: Claim, codes: tuple[str, ...] = ("Lost",)) -> int:
    outcomes = [
        making.failure(claim, codes[number % len(codes)], message=f"order {claim.execution_id} is lost")
        for number, claim in enumerate(claims)
    ]
    return outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=outcomes))


def test_the_first_failures_of_a_group_at_the_same_time_form_one_group() -> None:
    release, claims = running(AT_ONCE)
    assert results_of(race(*(partial(fail, release, claim) for claim in claims))) == [1] * AT_ONCE
    group = FailureGroup.objects.get()
    assert DeadLetter.objects.filter(group=group).count() == AT_ONCE


def test_first_failures_of_several_groups_in_opposite_orders_do_not_deadlock() -> None:
    codes = ("Lost", "Full")
    release, claims = running(10)
    parts = [claims[start : start + 2] for start in range(0, 10, 2)]
    calls = [
        partial(fail, release, *part, codes=codes if number % 2 else codes[::-1]) for number, part in enumerate(parts)
    ]
    assert results_of(race(*calls)) == [2] * 5
    assert FailureGroup.objects.count() == len(codes)


def test_failures_do_not_wait_for_a_change_of_their_group_nor_for_each_other() -> None:
    release, claims = running(3)
    assert fail(release, claims[0]) == 1
    group = FailureGroup.objects.get()
    acts.change(group.tenant, group.pk, actor="user:eva", acknowledged=True)
    with bounded_waits(), another_session() as other, other.transaction():
        other.execute("UPDATE executions_failuregroup SET note = 'held'")
        [done] = results_of(race(partial(fail, release, claims[1])))
        assert done == 1
    assert fail(release, claims[2]) == 1
    figures: Any = queries.figures([group.pk])[group.pk]
    assert (figures.total, FailureGroup.objects.get().is_new) == (3, True)
