"""Leases: they expire unless their holder, and no other worker, renews them."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.models import Execution
from executions.state_machine import moves
from tests import making
from tests.cases import cases
from tests.raw_sql import refused
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=1)


@pytest.fixture
def claim() -> moves.Claim:
    owner, _ = making.ready()
    making.execution(owner)
    return making.claimed(owner)[0]


def row(claim: moves.Claim) -> Execution:
    return Execution.objects.select_related("tenant").get(pk=claim.execution_id)


def let_expire(claim: moves.Claim) -> None:
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=LONG_AGO)


def expire(limit: int = 1_000) -> int:
    return len(moves.expire_leases(actor="sweep", limit=limit, most_takeovers=10))


def test_an_expired_lease_queues_the_execution_again_under_the_same_key(claim: moves.Claim) -> None:
    let_expire(claim)
    assert expire() >= 1
    execution = row(claim)
    assert (execution.status, execution.version, execution.attempt) == ("QUEUED", 2, 0)
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    assert making.history(execution)[-1] == ("LEASE_EXPIRED", "QUEUED")
    event = execution.events.get(kind="LEASE_EXPIRED")
    assert (event.actor, event.data) == ("sweep", {"leaseOwner": "dispatcher", "takeovers": 1})
    [again] = making.claimed(execution.tenant)
    assert (again.attempt, again.step_index, again.version) == (claim.attempt, claim.step_index, claim.version + 2)
    assert again.lease_token != claim.lease_token


def test_an_expired_lease_does_not_change_the_last_error(claim: moves.Claim) -> None:
    group = OutcomeGroup(worker_id="w", outcomes=[making.failure(claim)])
    assert outcome.record(row(claim).pin, group) == 1
    Execution.objects.filter(pk=claim.execution_id).update(next_due_at=timezone.now() - timedelta(seconds=1))
    [again] = making.claimed(row(claim).tenant)
    let_expire(again)
    assert expire() == 1
    assert (row(claim).status, row(claim).error_code, row(claim).error_message) == ("QUEUED", "SomeError", "why")


def test_the_event_of_an_expired_lease_names_the_worker_that_lost_it(claim: moves.Claim) -> None:
    renew(claim, claim.lease_token)
    let_expire(claim)
    expire()
    assert row(claim).events.get(kind="LEASE_EXPIRED").data["leaseOwner"] == "worker:w"


def test_a_valid_lease_is_not_expired(claim: moves.Claim) -> None:
    before = row(claim).lease_expires_at
    expire()
    assert (row(claim).status, row(claim).lease_expires_at) == ("RUNNING", before)


def test_a_sweep_is_bounded_and_takes_the_oldest_first() -> None:
    owner, _ = making.ready()
    made = [making.execution(owner, f"k{number}") for number in range(3)]
    making.claimed(owner)
    for number, execution in enumerate(made):
        # No other lease in the database can have expired earlier than this.
        expired = LONG_AGO - timedelta(days=1000 + number)
        Execution.objects.filter(pk=execution.pk).update(lease_expires_at=expired)
    states = []
    for _ in range(2):
        assert expire(limit=1) == 1
        states.append([Execution.objects.get(pk=execution.pk).status for execution in made])
    assert states == [["RUNNING", "RUNNING", "QUEUED"], ["RUNNING", "QUEUED", "QUEUED"]]


def test_an_expired_lease_is_swept_once(claim: moves.Claim) -> None:
    let_expire(claim)
    expire()
    expire()
    assert [kind for kind, _ in making.history(row(claim))] == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED"]


def renew(claim: moves.Claim, token: uuid.UUID, *, tenant_pk: int | None = None, running: float | None = None) -> bool:
    pk = tenant_pk or row(claim).tenant_id
    renewed = moves.renew_leases(
        pk,
        [(claim.execution_id, token)],
        worker_id="w",
        lease_seconds=3600,
        running={} if running is None else {token: running},
    )
    assert renewed <= {token}
    return bool(renewed)


def test_the_holder_renews_a_lease_for_its_full_time(claim: moves.Claim) -> None:
    before = row(claim)
    assert renew(claim, claim.lease_token)
    after = row(claim)
    assert after.lease_expires_at is not None
    assert after.lease_expires_at > timezone.now() + timedelta(minutes=59)
    assert (before.lease_owner, after.lease_owner) == ("dispatcher", "worker:w")
    assert (after.version, after.event_count) == (before.version, before.event_count)


def test_the_first_worker_that_names_a_lease_keeps_it(claim: moves.Claim) -> None:
    """A second worker that got the lease from a copied command learns that it is lost."""
    pair, tenant = (claim.execution_id, claim.lease_token), row(claim).tenant_id
    for worker, renewed in (("w", {claim.lease_token}), ("v", set()), ("w", {claim.lease_token})):
        assert moves.renew_leases(tenant, [pair], worker_id=worker, lease_seconds=60) == renewed
        assert row(claim).lease_owner == "worker:w"


def test_an_expired_lease_belongs_to_its_holder_until_it_is_swept(claim: moves.Claim) -> None:
    let_expire(claim)
    assert renew(claim, claim.lease_token)
    expire()
    assert row(claim).status == "RUNNING"


def test_only_the_holder_renews_a_lease(claim: moves.Claim) -> None:
    before = row(claim).lease_expires_at
    assert not renew(claim, uuid.uuid4())
    assert not renew(claim, claim.lease_token, tenant_pk=making.tenant().pk)
    assert row(claim).lease_expires_at == before


def test_a_lost_lease_is_not_renewed(claim: moves.Claim) -> None:
    let_expire(claim)
    expire()
    assert not renew(claim, claim.lease_token)
    [takeover] = making.claimed(row(claim).tenant)
    assert not renew(claim, claim.lease_token)
    assert renew(takeover, takeover.lease_token)


def test_only_the_current_lease_of_an_execution_is_renewed(claim: moves.Claim) -> None:
    held = [(claim.execution_id, claim.lease_token), (claim.execution_id, uuid.uuid4())]
    for pairs in (held, held[::-1]):
        renewed = moves.renew_leases(row(claim).tenant_id, pairs, worker_id="w", lease_seconds=60)
        assert renewed == {claim.lease_token}


def test_an_execution_that_no_thread_has_started_is_not_running_steps(claim: moves.Claim) -> None:
    """A lease decides who may record the outcome. The worker reports separately whether steps are running."""
    assert (row(claim).status, row(claim).running_since) == ("RUNNING", None)
    renew(claim, claim.lease_token)
    assert row(claim).running_since is None
    renew(claim, claim.lease_token, running=100)
    since = row(claim).running_since
    assert since is not None
    assert abs(timezone.now() - timedelta(seconds=100) - since) < timedelta(seconds=30)
    renew(claim, claim.lease_token, running=5000)
    renew(claim, claim.lease_token)
    assert row(claim).running_since == since


@cases("end", ["lost", "outcome", "cancelled"])
def test_nothing_runs_without_a_lease(claim: moves.Claim, end: str) -> None:
    renew(claim, claim.lease_token, running=1)
    if end == "lost":
        let_expire(claim)
        expire()
    elif end == "outcome":
        outcome.record(row(claim).pin, OutcomeGroup(worker_id="w", outcomes=[making.failure(claim)]))
    else:
        cancel(row(claim).tenant, claim.execution_id, actor="user:eva", reason="")
    assert row(claim).status != "RUNNING"
    assert row(claim).running_since is None


def test_the_database_rejects_running_without_a_lease(claim: moves.Claim) -> None:
    let_expire(claim)
    expire()
    sql = "UPDATE executions_execution SET running_since = now() WHERE id = %s"
    assert refused(sql, claim.execution_id) == "execution_only_running_runs"


def test_renewing_no_leases_does_nothing(claim: moves.Claim) -> None:
    assert moves.renew_leases(row(claim).tenant_id, [], worker_id="w", lease_seconds=60) == set()
    assert moves.apply([]) == []
