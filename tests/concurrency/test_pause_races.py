"""Pauses, revocations that pause, and resumes race with claims, submissions and each other, on separate connections."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction

from executions.awaits import awaits
from executions.errors import PipelinePaused
from executions.holds import holds
from executions.models import Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from releases.activation.revocation import Order, revoke
from releases.models import Release, Revocation
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import thread
from tests.concurrency.waiting import until_blocked
from tests.executions.awaits.parking import interaction_of, suspended
from tests.executions.holds.targets import TARGETS, target
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.usefixtures("committed")
HOUR = timedelta(hours=1)


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


def pause(of: holds.Target, *, refuses_submissions: bool = False) -> holds.Pause:
    return holds.pause(of, actor="user:eva", reason="broken", refuses_submissions=refuses_submissions)


def resume(of: holds.Target) -> Hold:
    return holds.resume(of, actor="user:ida")


def revoke_and_pause(release: Release) -> Revocation:
    return revoke(release, actor="user:eva", reason="leaked", open_executions=Order.PAUSE)


def running() -> set[object]:
    return set(Execution.objects.filter(status="RUNNING").values_list("pk", flat=True))


@pytest.mark.parametrize("kind", TARGETS)
def test_a_pause_waits_for_a_claim_that_does_not_see_it(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    made = making.execution(owner)
    of = target(kind, made)
    with thread() as other:
        with transaction.atomic():
            assert len(making.claimed(owner)) == 1
            paused = other.submit(pause, of)
            until_blocked(connection)
        assert paused.result(30).created
    assert running() == {made.pk}
    making.execution(owner, "later")
    assert kind == "execution" or making.claimed(owner) == []


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("kept", [True, False])
def test_a_claim_during_a_pause_takes_nothing(kept: bool, kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    made = making.execution(owner)
    of = target(kind, made)
    with thread() as other:
        with transaction.atomic():
            pause(of)
            assert other.submit(making.claimed, owner).result(30) == []
            transaction.set_rollback(not kept)
        assert len(making.claimed(owner)) == (0 if kept else 1)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_claim_during_a_resume_takes_nothing_before_its_commit(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    of = target(kind, making.execution(owner))
    pause(of)
    with thread() as other:
        with transaction.atomic():
            resume(of)
            assert other.submit(making.claimed, owner).result(30) == []
        assert len(other.submit(making.claimed, owner).result(30)) == 1


@pytest.mark.parametrize("kind", ["release", "pipeline"])
def test_nothing_is_claimed_after_a_pause_has_returned(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    for turn in range(8):
        made = [making.execution(owner, f"{turn}.{number}") for number in range(20)]
        of = target(kind, made[0])

        def paused(of: holds.Target = of) -> set[object]:
            pause(of)
            return running()

        claims: list[Callable[[], object]] = [partial(making.claimed, owner, limit=2) for _ in range(3)]
        found, *_ = results_of(race(paused, *claims))
        assert running() == found
        resume(of)
        run("DELETE FROM executions_worker")
        making.worker(of if isinstance(of, Release) else made[0].release, capacity=1000)


def test_a_revocation_that_pauses_waits_for_a_claim_that_does_not_see_it(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = making.execution(owner)
    making.execution(owner, "later")
    with thread() as other:
        with transaction.atomic():
            assert len(making.claimed(owner, limit=1)) == 1
            revoking = other.submit(revoke_and_pause, release)
            until_blocked(connection)
        assert revoking.result(30).open_executions == "pause"
    assert running() == {made.pk}
    assert making.claimed(owner) == []


def test_a_revocation_that_pauses_covers_a_submission_that_commits_later(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    with thread() as other:
        with transaction.atomic():
            late = making.execution(owner)
            other.submit(revoke_and_pause, release).result(30)
        assert making.claimed(owner) == []
        other.submit(resume, release).result(30)
    assert claimed_ids(making.claimed(owner)) == {late.pk}


@pytest.mark.parametrize("kind", TARGETS)
def test_of_several_pauses_at_once_one_is_made(kind: str, ready: tuple[Tenant, Release]) -> None:
    of = target(kind, making.execution(ready[0]))
    pauses = results_of(race(*[partial(pause, of)] * 8))
    assert sorted(each.created for each in pauses) == [False] * 7 + [True]
    assert len({each.hold.pk for each in pauses}) == 1
    ended, errors = parted(race(*[partial(resume, of)] * 8))
    assert len(ended) == 1
    assert errors == ["NotPaused"] * 7


@pytest.mark.parametrize("kind", ["release", "pipeline"])
def test_no_submission_is_accepted_after_a_refusing_pause(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    of = target(kind, making.execution(owner, "first"))  # its admission is cached now
    with thread() as other:
        other.submit(partial(pause, of, refuses_submissions=True)).result(30)
        with pytest.raises(PipelinePaused):
            making.execution(owner, "second")
        other.submit(resume, of).result(30)
        assert making.execution(owner, "third").status == "QUEUED"


def test_resumes_at_the_same_time_count_the_time_once(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET created_at = now() - interval '9 hours'")
    deadline = interaction_of(made).deadline
    targets = [target(kind, made) for kind in TARGETS]
    for of, hours in zip(targets, (3, 2, 1), strict=True):
        hold = pause(of).hold
        with unguarded(Hold):
            run("UPDATE executions_hold SET started_at = started_at - %s WHERE id = %s", hours * HOUR, hold.pk)
    results_of(race(*(partial(resume, of) for of in targets)))
    moved = interaction_of(made).deadline - deadline
    assert abs(moved - 3 * HOUR) < timedelta(seconds=30)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_deadline_is_never_judged_between_the_end_of_a_pause_and_its_move(
    kind: str, ready: tuple[Tenant, Release]
) -> None:
    made = suspended(ready)
    of = target(kind, made)
    hold = pause(of).hold
    with unguarded(Interaction):
        late = "deadline = now() - interval '1 s'"
        run(f"UPDATE executions_interaction SET created_at = now() - interval '9 hours', {late}")
    with unguarded(Hold):
        run("UPDATE executions_hold SET started_at = started_at - %s WHERE id = %s", HOUR, hold.pk)
    with thread() as other:
        with transaction.atomic():
            resume(of)
            assert other.submit(awaits.expire).result(30) == 0
        assert other.submit(awaits.expire).result(30) == 0
    assert interaction_of(made).status == "DISPATCHED"


def claimed_ids(claims: list[Claim]) -> set[object]:
    return {claim.execution_id for claim in claims}


def test_executions_of_other_pipelines_are_claimed_during_a_pause(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    rival, _ = making.ready(making.tenant("rival"))
    making.execution(owner)
    other_one = making.execution(rival)
    with thread() as other, transaction.atomic():
        pause(release.pipeline)
        assert claimed_ids(other.submit(making.claimed, rival).result(30)) == {other_one.pk}
