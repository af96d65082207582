from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from executions.awaits import awaits, statements
from executions.holds import holds
from executions.holds.holds import holds_of
from executions.models import Execution, Hold
from governance.retirement.retirement import Order, revoke
from releases.models import Release, Revocation
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.concurrency.sessions import ended_after, parted, race, results_of, stopped_before_writing
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.executions.holds.test_holds import TARGETS, target


def pause(target: holds.Target) -> holds.Pause:
    return holds.pause(target, actor="user:eva", reason="broken")


def resume(target: holds.Target) -> Hold:
    return holds.resume(target, actor="user:ida")


def revoke_and_pause(release: Release) -> Revocation:
    return revoke(release, actor="user:eva", reason="leaked", open_executions=Order.PAUSE)


def due_execution(ready: tuple[Tenant, Release]) -> tuple[Execution, Callable[[], int]]:
    return making.execution(ready[0]), lambda: len(making.claimed(ready[0]))


def late_timer(ready: tuple[Tenant, Release]) -> tuple[Execution, Callable[[], int]]:
    made = suspended(ready, transport="timer")
    make_late(interaction_of(made))
    return made, awaits.expire


def due_webhook(ready: tuple[Tenant, Release]) -> tuple[Execution, Callable[[], int]]:
    def claim() -> int:
        with connection.cursor() as cursor:
            cursor.execute(statements.CLAIM_WEBHOOK, {"webhook": "webhook", "lease": 60, "full": []})
            return int(cursor.rowcount)

    return suspended(ready, transport="webhook", transport_metadata={"url": "http://127.0.0.1:1"}), claim


@pytest.mark.parametrize("kind", [*TARGETS, "revocation"])
@pytest.mark.parametrize("work", [due_execution, late_timer, due_webhook])
def test_a_pause_waits_for_a_claim_that_does_not_see_it(work: Any, kind: str, ready: tuple[Tenant, Release]) -> None:
    made, claim = work(ready)
    call = partial(revoke_and_pause, ready[1]) if kind == "revocation" else partial(pause, target(kind, made))

    def claim_one() -> None:
        assert claim() == 1

    ended_after(claim_one, call).result()
    assert len(holds_of(making.reread(made))) == 1


@pytest.mark.parametrize("kind", ["release", "pipeline"])
def test_nothing_that_is_submitted_while_a_pause_is_made_is_claimed(kind: str, ready: tuple[Tenant, Release]) -> None:
    """The release was idle when the pause looked for claims."""
    owner, release = ready
    with stopped_before_writing(
        AuditEntry, partial(pause, release if kind == "release" else release.pipeline)
    ) as stopped:
        making.execution(owner)
        assert making.claimed(owner) == []
        stopped.finish()
    assert making.claimed(owner) == []


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("kept", [True, False])
def test_a_claim_during_a_pause_takes_nothing(kept: bool, kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    held = target(kind, making.execution(owner))
    with transaction.atomic():
        pause(held)
        assert results_of(race(partial(making.claimed, owner))) == [[]]
        transaction.set_rollback(not kept)
    assert len(making.claimed(owner)) == (0 if kept else 1)


def test_a_revocation_that_pauses_covers_a_submission_that_commits_later(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    with transaction.atomic():
        late = making.execution(owner)
        results_of(race(partial(revoke_and_pause, release)))
    assert making.claimed(owner) == []
    results_of(race(partial(resume, release)))
    assert [claim.execution_id for claim in making.claimed(owner)] == [late.pk]


@pytest.mark.parametrize("kind", TARGETS)
def test_of_several_pauses_at_once_one_is_made(kind: str, ready: tuple[Tenant, Release]) -> None:
    held = target(kind, making.execution(ready[0]))
    pauses = results_of(race(*[partial(pause, held)] * 8))
    assert sorted(pause.created for pause in pauses) == [False] * 7 + [True]
    assert len({pause.hold.pk for pause in pauses}) == 1
    ended, errors = parted(race(*[partial(resume, held)] * 8))
    assert len(ended) == 1
    assert errors == ["NotPaused"] * 7
