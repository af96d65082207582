"""Leases: they expire unless their holder, and no other worker, renews them. The code rejects illegal moves."""

import uuid
from datetime import timedelta

import pytest

from executions.models import Execution
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.moments import now

pytestmark = pytest.mark.django_db


def row() -> Execution:
    return Execution.objects.select_related("tenant").get()


def let_expire() -> None:
    Execution.objects.update(lease_expires_at=making.LONG_AGO)


def expire(limit: int = 1_000) -> int:
    return len(moves.expire_leases(actor="sweep", limit=limit, most_takeovers=10))


def renew(claim: Claim, *, tenant: int | None = None, running: float | None = None, worker: str = "w") -> bool:
    seconds = {} if running is None else {claim.lease_token: running}
    held = [(claim.execution_id, claim.lease_token)]
    tenant = tenant or row().tenant_id
    renewed = moves.renew_leases(tenant, held, worker_id=worker, lease_seconds=3600, running=seconds)
    assert renewed <= {claim.lease_token}
    return bool(renewed)


def test_an_expired_lease_queues_the_execution_again_under_the_same_key_once(owner: Tenant, claim: Claim) -> None:
    let_expire()
    assert [expire(), expire()] == [1, 0]
    execution = row()
    assert (execution.version, execution.attempt) == (2, 0)
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    assert making.history(execution)[-1] == ("LEASE_EXPIRED", "QUEUED")
    event = execution.events.get(kind="LEASE_EXPIRED")
    assert (event.actor, event.data) == ("sweep", {"leaseOwner": "dispatcher", "takeovers": 1})
    [again] = making.claimed(owner)
    assert (again.attempt, again.step_index, again.version) == (claim.attempt, claim.step_index, claim.version + 2)
    assert again.lease_token != claim.lease_token
    assert [renew(claim), renew(again), renew(claim)] == [False, True, False], "a lost lease is not renewed"


def test_an_expired_lease_does_not_change_the_last_error(owner: Tenant, claim: Claim) -> None:
    making.record(making.failure(claim))
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [again] = making.claimed(owner)
    renew(again)
    let_expire()
    assert expire() == 1
    assert (row().status, row().error_code, row().error_message) == ("QUEUED", "SomeError", "why")
    lost = row().events.get(kind="LEASE_EXPIRED").data
    assert lost["leaseOwner"] == "worker:w", "the event names the worker that lost it"


def test_a_sweep_is_bounded_and_takes_the_oldest_first(owner: Tenant) -> None:
    made = [making.execution(owner, f"k{number}") for number in range(3)]
    making.claimed(owner)
    for number, execution in enumerate(made):
        expired = making.LONG_AGO - timedelta(days=number)
        Execution.objects.filter(pk=execution.pk).update(lease_expires_at=expired)
    states = []
    for _ in range(2):
        assert expire(limit=1) == 1
        states.append([Execution.objects.get(pk=execution.pk).status for execution in made])
    assert states == [["RUNNING", "RUNNING", "QUEUED"], ["RUNNING", "QUEUED", "QUEUED"]]


def test_only_the_first_worker_that_names_a_lease_renews_it(claim: Claim) -> None:
    before = row().lease_expires_at
    other = (claim.execution_id, uuid.uuid4())
    assert moves.renew_leases(row().tenant_id, [other], worker_id="w", lease_seconds=60) == set()
    assert not renew(claim, tenant=making.tenant().pk)
    assert row().lease_expires_at == before
    assert [renew(claim, worker=worker) for worker in ("w", "v", "w")] == [True, False, True]
    assert row().lease_owner == "worker:w"
    held = [(claim.execution_id, claim.lease_token), other]
    for pairs in (held, held[::-1]):
        assert moves.renew_leases(row().tenant_id, pairs, worker_id="w", lease_seconds=60) == {claim.lease_token}
    assert moves.renew_leases(row().tenant_id, [], worker_id="w", lease_seconds=60) == set()
    assert moves.apply([]) == []


@cases("end", ["lost", "outcome"])
def test_only_what_a_thread_has_started_runs_and_nothing_runs_without_a_lease(claim: Claim, end: str) -> None:
    assert (row().status, row().running_since) == ("RUNNING", None)
    renew(claim)
    assert row().running_since is None
    renew(claim, running=100)
    since = row().running_since
    assert since == now() - timedelta(seconds=100)
    renew(claim, running=5000)
    renew(claim)
    assert row().running_since == since
    if end == "lost":
        let_expire()
        expire()
    else:
        making.record(making.failure(claim))
    assert row().status != "RUNNING"
    assert row().running_since is None
