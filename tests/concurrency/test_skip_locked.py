"""Sweeps and claims skip rows that another session has locked. Without SKIP LOCKED the lock timeout fails the test."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import Model
from django.utils import timezone

from executions.awaits import awaits, webhooks
from executions.models import Campaign, Execution, Interaction
from executions.state_machine import moves
from executions.workers import registry
from governance.campaigns import campaigns, drafting, drafts
from governance.requests.requests import carry_out_due, expire
from releases.artifacts import blobs
from releases.models import Blob
from tenancy.login import Attempt
from tenancy.models import LoginCounter
from tests import making, requesting
from tests.cases import returning
from tests.concurrency import scenes
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import another_session, lock
from tests.executions.awaits.parking import make_late, suspended
from tests.raw_sql import unguarded

LONG_AGO = timezone.now() - timedelta(days=40)
Sweep = tuple[Callable[[], Any], Sequence[Model]]
"""A call that finds two rows, and these rows. The call returns the number of rows that it processed."""


def claims() -> Sweep:
    owner, _ = making.ready()
    rows = [making.execution(owner, key) for key in ("a", "b")]
    return lambda: len(making.claimed(owner)), rows


def expired_leases() -> Sweep:
    owner, _ = making.ready()
    scenes.running(owner, 2)
    Execution.objects.update(lease_expires_at=LONG_AGO)
    expire = partial(moves.expire_leases, actor="sweep", limit=10, most_takeovers=10, lease_seconds=30)
    return lambda: len(expire()), scenes.executions()


def running_campaigns() -> Sweep:
    rows = [scenes.start_campaign(scenes.dead(1)[0]) for _ in range(2)]
    Campaign.objects.update(rate_since=timezone.now() - timedelta(seconds=60))
    return campaigns.advance, rows


def drafting_campaigns() -> Sweep:
    rows = [scenes.frozen(scenes.dead(1)[0]) for _ in range(2)]
    return drafting.draft, rows


def old_drafts() -> Sweep:
    owner, _ = scenes.dead(1)
    rows = [scenes.draft(owner) for _ in range(2)]
    with unguarded(Campaign):
        Campaign.objects.update(created_at=LONG_AGO)
    return drafts.remove_old, rows


def late_interactions() -> Sweep:
    ready = making.ready()
    rows = [suspended(ready, key) for key in ("a", "b")]
    make_late(*Interaction.objects.all())
    return awaits.expire, rows


def due_webhooks() -> Sweep:
    ready = making.ready()
    for key in ("a", "b"):
        suspended(ready, key, transport="webhook", transport_metadata={"url": scenes.NOWHERE})
    return lambda: sum([webhooks.OUTBOX.send(), webhooks.OUTBOX.send()]), list(Interaction.objects.all())


def old_executions() -> Sweep:
    return scenes.removal(2)


def silent_workers() -> Sweep:
    release = making.active(making.tenant())
    rows = [making.worker(release, name, last_heartbeat_at=LONG_AGO) for name in ("a", "b")]
    return partial(registry.note_silent, actor="sweep", limit=10), rows


def blobs_to_check() -> Sweep:
    for _ in range(2):
        scenes.uploaded()
    Blob.objects.update(checked_at=LONG_AGO)
    return lambda: len(list(blobs.scrub(60))), list(Blob.objects.all())


def due_requests() -> Sweep:
    rows = [requesting.open_request(requesting.candidate(0), activate_at=requesting.soon()) for _ in range(2)]
    for row in rows:
        requesting.let_pass(row, 2)
    return carry_out_due, rows


def late_requests() -> Sweep:
    rows = [requesting.open_request(requesting.candidate()) for _ in range(2)]
    for row in rows:
        requesting.let_pass(row, 73)
    return expire, rows


def old_login_counters() -> Sweep:
    for key in ("a", "b"):
        LoginCounter.objects.create(key=key, attempts=1, ends_at=LONG_AGO)
    rows = list(LoginCounter.objects.all())
    left = LoginCounter.objects.filter(key__in=["a", "b"])

    def attempt() -> int:
        before = left.count()
        Attempt("ada", "192.0.2.1").count()
        return before - left.count()

    return attempt, rows


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("sweep", returning(Sweep, globals()))
def test_a_row_that_another_session_holds_is_skipped(
    sweep: Callable[[], Sweep], held: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Some sweeps log an error and continue, so the log must not contain a lock timeout either."""
    call, rows = sweep()
    with another_session() as session:
        lock(session, rows[held])
        assert results_of(race(call)) == [1]
    assert results_of(race(call)) == [1]
    assert "lock timeout" not in caplog.text
