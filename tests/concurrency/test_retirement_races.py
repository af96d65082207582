from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from executions.models import Execution
from executions.models.states import TERMINAL
from executions.submission.submission import ExecutionRequest, submit_many
from governance.activation.activation import activate
from governance.retirement.retirement import Order, fail_open, retire, revoke
from releases.errors import RetirementBlocked
from releases.models import Release, Retirement, Revocation
from tests import gradual, making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import ended_after, thread
from tests.concurrency.waiting import until_blocked
from tests.repetition import rounds

ROUNDS = rounds(20)
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "replaced"}
OPEN = sorted({"QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL"} - {state.value for state in TERMINAL})


def submitting(owner: Any, *keys: str) -> Callable[[], Any]:
    requests = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in keys]
    return partial(submit_many, owner, requests, actor="token:test")


def require_sound(release: Release) -> None:
    release.refresh_from_db()
    is_open = Execution.objects.filter(release=release, status__in=OPEN).exists()
    assert not (release.status == "RETIRED" and is_open)
    assert (release.status == "RETIRED") is Retirement.objects.filter(release=release).exists()


def test_a_retirement_waits_for_a_submission_that_has_not_committed_and_counts_it() -> None:
    owner, release = making.ready()
    newer = gradual.candidate(owner)

    def submit_late() -> None:
        submitting(owner, "late")()
        results_of(race(partial(activate, newer, actor="user:test")))

    with pytest.raises(RetirementBlocked, match="QUEUED 1"):
        ended_after(submit_late, partial(retire, release, **WHY)).result()
    require_sound(release)


def test_a_submission_that_waits_for_a_retirement_is_pinned_to_the_active_release() -> None:
    owner, release = making.ready()
    newer = gradual.candidate(owner)
    with thread() as one, thread() as other:
        with transaction.atomic():
            # Another submission of the key is rolled back, so that this one passes its checks before the retirement.
            submitting(owner, "key")()
            batch = one.submit(submitting(owner, "key"))
            until_blocked(connection)
            other.submit(activate, newer, actor="user:test").result(30)
            transaction.set_rollback(True)
        [verdict] = batch.result(30)
    retired = race(partial(retire, release, **WHY))
    assert verdict.release_version in {"1.0", "2.0"}
    assert isinstance(retired[0], Retirement) is (verdict.release_version == "2.0")
    require_sound(release)


@pytest.mark.parametrize("_", ROUNDS)
def test_an_order_to_fail_misses_no_submission(_: int) -> None:
    owner, release = making.ready()

    def order() -> None:
        revoke(release, **WHY, open_executions=Order.FAIL)
        fail_open()

    calls = [submitting(owner, *(f"{name}{number}" for number in range(10))) for name in "abcd"]
    race(*calls, order)
    made = Execution.objects.filter(release=release)
    assert not made.filter(status__in=OPEN).exists()
    event = Revocation.objects.get()
    assert event.completed_at is not None
    assert event.failed_executions == made.count()
