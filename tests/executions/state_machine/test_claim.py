"""Claiming due executions: only if a healthy worker of their release has a free place."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle.outcome import record
from executions.models import Execution, Worker
from executions.state_machine import moves
from releases.activation.revocation import revoke
from releases.models import Release
from releases.registration.registrar import verify_release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=1)


def submitted(owner: Tenant, count: int = 1) -> list[Execution]:
    """Return due executions. Each became due a second after the one before."""
    made = [making.execution(owner, f"k{number}") for number in range(count)]
    for number, execution in enumerate(made):
        Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO + timedelta(seconds=number))
    return made


def test_a_claim_takes_the_lease_and_has_the_data_of_the_command() -> None:
    owner, release = making.ready()
    [execution] = submitted(owner)
    [claim] = making.claimed(owner, lease_seconds=30)
    execution.refresh_from_db()
    assert (execution.status, execution.version, execution.attempt) == ("RUNNING", 1, 0)
    assert (execution.lease_owner, execution.lease_token) == ("dispatcher", claim.lease_token)
    assert execution.lease_expires_at is not None
    assert timedelta(seconds=25) < execution.lease_expires_at - timezone.now() < timedelta(seconds=31)
    assert (claim.execution_id, claim.version, claim.step_index, claim.attempt) == (execution.pk, 1, 0, 0)
    pin = (claim.tenant, claim.pipeline_id, claim.contract_version, claim.release_version)
    assert pin == (owner.slug, making.PIPELINE, release.contract_version, "1.0")
    assert (claim.input, claim.input_shape, claim.result_shape) == ('{"n": 1}', "UNI", "SINGLE")
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CLAIMED", "RUNNING")]
    assert execution.events.get(kind="CLAIMED").data == {"attempt": 0, "stepIndex": 0}
    assert making.claimed(owner) == []


@cases(
    "changes",
    [
        {"alive_until": timezone.now() - timedelta(seconds=1)},
        {"draining_since": timezone.now()},
        {"stopped_at": timezone.now()},
        {"artifact_digest": "sha256:" + "0" * 64},
        {"release_version": "0.9"},
        {"contract_version": "other"},
        {"pipeline_id": "other"},
    ],
)
def test_an_ineligible_worker_adds_no_places(changes: dict[str, Any]) -> None:
    owner, _ = making.ready()
    [execution] = submitted(owner)
    with as_owner():
        Worker.objects.filter(tenant=owner).update(**changes)
    assert making.claimed(owner) == []
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]


def test_a_worker_of_another_tenant_adds_no_places() -> None:
    owner, _ = making.ready()
    submitted(owner)
    with as_owner():
        Worker.objects.filter(tenant=owner).update(tenant=making.tenant())
    assert making.claimed(owner) == []


def test_a_worker_that_reports_the_right_digest_adds_places() -> None:
    owner, release = making.ready()
    submitted(owner)
    Worker.objects.filter(tenant=owner).update(artifact_digest=release.artifacts.get().digest)
    assert len(making.claimed(owner)) == 1


def test_no_more_is_claimed_than_there_are_free_places() -> None:
    owner, release = making.ready()
    Worker.objects.filter(tenant=owner).update(capacity=2)
    making.worker(release, "second", capacity=1)
    making.worker(release, "gone", capacity=100, stopped_at=timezone.now())
    submitted(owner, 5)
    assert len(making.claimed(owner)) == 3
    assert making.claimed(owner) == []
    making.worker(release, "third", capacity=1)
    assert len(making.claimed(owner)) == 1


@cases("drain", ["draining_since", "drained_by_operator_at"])
def test_work_of_a_draining_worker_takes_no_place_of_other_workers(drain: str) -> None:
    owner, release = ready_with_two()
    submitted(owner, 6)
    held = making.claimed(owner, limit=2)
    hold("worker-1", owner, *held)
    Worker.objects.filter(tenant=owner, worker_id="worker-1").update(**{drain: timezone.now()})
    assert len(making.claimed(owner)) == 2
    assert making.claimed(owner) == []
    # When its work is done, the other workers still have only their own places.
    outcomes = OutcomeGroup(worker_id="worker-1", outcomes=[making.outcome_of(claim) for claim in held])
    assert record(release.identity, outcomes) == 2
    assert making.claimed(owner) == []


def test_a_held_execution_takes_a_place_until_its_worker_drains() -> None:
    owner, _ = ready_with_two()
    submitted(owner, 6)
    hold("worker-1", owner, *making.claimed(owner, limit=2))
    assert len(making.claimed(owner)) == 2
    assert making.claimed(owner) == []


def test_a_lease_that_no_worker_has_named_takes_a_place_of_accepting_workers() -> None:
    owner, _ = ready_with_two()
    submitted(owner, 6)
    making.claimed(owner, limit=1)
    Worker.objects.filter(tenant=owner, worker_id="worker-1").update(drained_by_operator_at=timezone.now())
    assert len(making.claimed(owner)) == 1


def test_a_draining_worker_of_the_same_name_in_another_pipeline_frees_no_place() -> None:
    """The names of workers are unique only within a pipeline."""
    owner, _ = ready_with_two()
    other = making.active(owner, pipeline_id="org.example.other")
    making.worker(other, "worker-1", drained_by_operator_at=timezone.now())
    making.worker(other, "worker-9", capacity=1)
    submitted(owner, 6)
    hold("worker-1", owner, *making.claimed(owner, limit=2))
    assert len(making.claimed(owner)) == 2


def ready_with_two() -> tuple[Tenant, Release]:
    """A tenant whose release has two workers, worker-1 and worker-2, with two places each."""
    owner, release = making.ready()
    Worker.objects.filter(tenant=owner).update(capacity=2)
    making.worker(release, "worker-2", capacity=2)
    return owner, release


def hold(worker: str, owner: Tenant, *claims: moves.Claim) -> None:
    leases = [(claim.execution_id, claim.lease_token) for claim in claims]
    assert moves.renew_leases(owner.pk, leases, worker_id=worker, lease_seconds=30) == {token for _, token in leases}


def test_fewer_places_than_running_executions_claim_nothing_without_an_error() -> None:
    owner, _ = making.ready()
    submitted(owner, 3)
    assert len(making.claimed(owner, limit=2)) == 2
    Worker.objects.filter(tenant=owner).update(capacity=1)
    assert making.claimed(owner) == []


def test_a_thread_that_runs_a_cancelled_execution_is_no_place() -> None:
    owner, _ = making.ready()
    submitted(owner, 5)
    Worker.objects.filter(tenant=owner).update(capacity=3, holding=2, abandoned=2)
    assert len(making.claimed(owner)) == 1
    Worker.objects.filter(tenant=owner).update(holding=1, abandoned=1)
    assert len(making.claimed(owner)) == 1
    Worker.objects.filter(tenant=owner).update(holding=9, abandoned=9)
    assert making.claimed(owner) == []


def test_the_limit_bounds_one_claim() -> None:
    owner, _ = making.ready()
    submitted(owner, 5)
    assert [len(making.claimed(owner, limit=limit)) for limit in (2, 2, 2)] == [2, 2, 1]


def test_the_execution_that_was_due_first_is_claimed_first() -> None:
    owner, _ = making.ready()
    made = submitted(owner, 4)
    Execution.objects.filter(pk=made[3].pk).update(next_due_at=LONG_AGO - timedelta(days=1))
    order = [making.claimed(owner, limit=1)[0].execution_id for _ in made]
    assert order == [made[3].pk, made[0].pk, made[1].pk, made[2].pk]


def test_an_execution_that_is_not_due_is_not_claimed() -> None:
    owner, _ = making.ready()
    [execution] = submitted(owner)
    Execution.objects.filter(pk=execution.pk).update(next_due_at=timezone.now() + timedelta(hours=1))
    assert making.claimed(owner) == []


def test_each_execution_is_claimed_for_its_pinned_release_even_if_another_is_active() -> None:
    owner, _ = making.ready()
    on_v1 = making.execution(owner, "first")
    v2 = making.active(owner, "2.0")
    making.worker(v2, "worker-2")
    on_v2 = making.execution(owner, "second")
    pins = {claim.execution_id: claim.release_version for claim in making.claimed(owner)}
    assert pins == {on_v1.pk: "1.0", on_v2.pk: "2.0"}


def test_without_a_worker_of_its_release_an_execution_is_not_claimed_even_if_another_release_has_places() -> None:
    owner, _ = making.ready()
    stranded = making.execution(owner, "first")
    Worker.objects.filter(tenant=owner).update(stopped_at=timezone.now())
    making.worker(making.active(owner, "2.0"), "worker-2")
    assert making.claimed(owner) == []
    assert making.history(stranded) == [("SUBMITTED", "QUEUED")]


def test_a_revoked_release_still_runs_its_pinned_executions() -> None:
    owner, release = making.ready()
    submitted(owner)
    revoke(release, actor="user:test", reason="leaked")
    assert len(making.claimed(owner)) == 1


def test_a_rejected_upload_of_the_same_version_adds_no_places() -> None:
    owner = making.tenant()
    contract = making.contract()
    data = making.archive(contract, code="1.0")
    rejected = making.upload(owner, making.descriptor(contract, data)).release
    verify_release(rejected.pk)
    making.ready(owner)
    Worker.objects.filter(tenant=owner).update(capacity=1)
    submitted(owner, 3)
    assert len(making.claimed(owner)) == 1


def test_a_claim_is_limited_in_bytes_and_reports_that_more_is_due() -> None:
    owner, _ = making.ready()
    [first] = submitted(owner)
    making.copies(first, 5, input={"text": secrets.token_hex(2 * 1024**2)})
    Worker.objects.filter(tenant=owner).update(capacity=100)
    sizes, more = [], True
    while more:
        claims, more = moves.claim(owner="dispatcher", limit=100, lease_seconds=30)
        sizes.append(sum(len(claim.input) for claim in claims))
    assert sum(sizes) > 20 * 1024**2
    assert max(sizes) < 2 * moves.MOST_BYTES + 1024
    assert not Execution.objects.filter(status="QUEUED").exists()
