"""Concurrent submissions, claims, outcomes and sweeps."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, connections, transaction
from redis import Redis

from embedded.valkey import Valkey
from executions.lifecycle import dispatch, outcome, sweep
from executions.models import Execution, Worker
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.submission.submission import submit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import using_broker
from tests.building import eventually
from tests.concurrency import scenes
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import thread
from tests.concurrency.waiting import until_blocked
from tests.repetition import rounds
from wire.broker.acl import COORDINATOR
from wire.messages.celery_messages import Outcome, OutcomeGroup

pytestmark = pytest.mark.usefixtures("committed")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = rounds(5)


def ready(capacity: int = 1_000) -> tuple[Tenant, Release]:
    owner, release = making.ready()
    Worker.objects.filter(tenant=owner).update(capacity=capacity)
    return owner, release


def submitting(owner: Tenant, key: str, value: Any) -> Any:
    return partial(submit, owner, pipeline_id=making.PIPELINE, input=value, idempotency_key=key, actor="token:x")


# --- submission ---


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_submissions_of_a_key_make_one_execution(_: int) -> None:
    owner, _release = ready()
    made = results_of(race(*[submitting(owner, "k", {"n": 1}) for _ in range(6)]))
    assert len({each.execution.pk for each in made}) == 1
    assert sorted(each.duplicate for each in made) == [False, *[True] * 5]
    assert making.history(Execution.objects.get()) == [("SUBMITTED", "QUEUED")]


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_submissions_of_a_key_with_two_inputs_make_one_execution_and_a_conflict(_: int) -> None:
    owner, _release = ready()
    won, lost = parted(race(submitting(owner, "k", {"n": 1}), submitting(owner, "k", {"n": 2})))
    assert (len(won), lost) == (1, ["IdempotencyKeyReused"])
    assert Execution.objects.get().input == won[0].execution.input


# --- claims ---


def claiming(owner: Tenant, limit: int) -> Any:
    return partial(making.claimed, owner, limit=limit)


def test_concurrent_claims_never_claim_the_same_execution() -> None:
    owner, _ = ready()
    for number in range(60):
        making.execution(owner, f"k{number}")
    claims: list[Claim] = []
    while got := list(itertools.chain(*results_of(race(*[claiming(owner, 7)] * 4)))):
        claims += got
    assert len(claims) == 60
    assert len({claim.execution_id for claim in claims}) == len({claim.lease_token for claim in claims}) == 60
    for execution in Execution.objects.all():
        assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING")]


@contextmanager
def claim_in_progress(owner: Tenant, limit: int) -> Iterator[list[Claim]]:
    """Yield the claims of a transaction that has not committed. It is rolled back at the end of the block."""
    claimed, release = Event(), Event()
    found: list[Claim] = []

    def claim_and_wait() -> None:
        try:
            with transaction.atomic():
                found.extend(making.claimed(owner, limit=limit))
                claimed.set()
                release.wait(30)
                transaction.set_rollback(True)
        finally:
            connections.close_all()

    thread = Thread(target=claim_and_wait)
    thread.start()
    assert claimed.wait(30)
    try:
        yield found
    finally:
        release.set()
        thread.join(30)


def test_a_claim_skips_a_release_that_another_claim_has_locked() -> None:
    owner, first = ready()
    for number in range(5):
        making.execution(owner, f"k{number}")
    with claim_in_progress(owner, 3) as taken:
        assert len(taken) == 3
        assert making.claimed(owner) == []
        making.worker(making.active(owner, "2.0"), "worker-2")
        other = making.execution(owner, "of another release")
        assert [claim.execution_id for claim in making.claimed(owner)] == [other.pk]
    left = {claim.execution_id for claim in making.claimed(owner)}
    assert left == set(Execution.objects.filter(release=first).values_list("pk", flat=True))


def call_and_close(call: Any) -> Any:
    try:
        return call()
    finally:
        connections.close_all()


# --- outcomes ---


def recording(release: Release, *outcomes: Outcome) -> Any:
    group = OutcomeGroup(worker_id="w", outcomes=list(outcomes))
    return partial(outcome.record, release.identity, group)


@pytest.mark.parametrize("_", rounds(10))
def test_of_a_late_outcome_and_the_sweep_of_its_lease_one_wins(_: int) -> None:
    owner, release = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Execution.objects.update(lease_expires_at=LONG_AGO)
    recorded, expired = results_of(
        race(
            recording(release, making.outcome_of(claim)),
            lambda: len(moves.expire_leases(actor="sweep", limit=10, most_takeovers=10)),
        )
    )
    kinds = [kind for kind, _ in making.history(execution)][2:]
    if recorded:
        assert (expired, execution.status, kinds) == (0, "SUCCEEDED", ["SUCCEEDED"])
    else:
        assert (expired, execution.status, kinds) == (1, "QUEUED", ["LEASE_EXPIRED", "OUTCOME_DROPPED"])


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_deliveries_of_an_outcome_are_recorded_once(_: int) -> None:
    owner, release = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    recorded = results_of(race(*[recording(release, making.outcome_of(claim)) for _ in range(3)]))
    assert sorted(recorded) == [0, 0, 1]
    assert [kind for kind, _ in making.history(execution)][2:] == ["SUCCEEDED", "OUTCOME_DROPPED", "OUTCOME_DROPPED"]


# --- leases ---


@pytest.mark.parametrize("_", rounds(10))
def test_a_lease_is_either_renewed_or_expired(_: int) -> None:
    owner, _release = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Execution.objects.update(lease_expires_at=LONG_AGO)
    held = [(claim.execution_id, claim.lease_token)]
    answers = results_of(
        race(
            lambda: len(moves.renew_leases(owner.pk, held, worker_id="w", lease_seconds=60)),
            lambda: len(moves.expire_leases(actor="sweep", limit=10, most_takeovers=10)),
        )
    )
    renewed, expired = answers
    assert renewed + expired == 1
    execution.refresh_from_db()
    assert execution.status == ("RUNNING" if renewed else "QUEUED")


# --- dispatch ---


def test_a_command_that_the_broker_rejects_late_does_not_release_a_newer_claim(tmp_path: Path) -> None:
    """The broker stalls until the lease has expired, and then rejects the command."""
    owner, _ = ready()
    execution = making.execution(owner)
    with Valkey(tmp_path, durable=False) as server, using_broker(server.url), ThreadPoolExecutor(1) as pool:
        with Redis.from_url(server.owner_url) as broker:
            broker.execute_command("ACL", "SETUSER", COORDINATOR, "-lpush")
            broker.client_pause(20_000, all=False)
            sending = pool.submit(call_and_close, dispatch.dispatch)
            eventually(lambda: Execution.objects.get(pk=execution.pk).status == "RUNNING", what="the claim")
            Execution.objects.filter(pk=execution.pk).update(lease_expires_at=LONG_AGO)
            assert sweep.expire_leases() == 1
            [claim] = making.claimed(owner)
            broker.client_unpause()
        assert sending.result(30) == 0
    execution.refresh_from_db()
    assert (execution.status, execution.lease_token) == ("RUNNING", claim.lease_token)


def test_events_are_in_the_order_of_their_times_even_if_an_outcome_waited() -> None:
    """The outcome of the second execution begins before its checkpoint, and waits for the first execution."""
    owner, release = making.ready()
    claims = sorted(scenes.running(owner, 2), key=lambda claim: claim.execution_id)
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim) for claim in claims])
    first, second = scenes.executions()
    with thread() as other:
        with transaction.atomic():
            Execution.objects.select_for_update().get(pk=first.pk)
            recorded = other.submit(outcome.record, release.identity, group)
            until_blocked(connection, ended=recorded.done)
            with thread() as worker:
                reached = OutcomeGroup(worker_id="w", checkpoints=[scenes.checkpoint(claims[1])])
                worker.submit(outcome.record, release.identity, reached).result(30)
        assert recorded.result(30) == 2
    events = list(second.events.order_by("at", "sequence"))
    assert [each.kind for each in events[-2:]] == ["CHECKPOINT", "SUCCEEDED"]
