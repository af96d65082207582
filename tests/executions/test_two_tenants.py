"""Two tenants use the same names for pipelines, keys, workers and correlation ids. Each reaches only its own rows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions import tasks
from executions.awaits import interactions
from executions.errors import ExecutionUnknown
from executions.lifecycle import outcome, queries
from executions.lifecycle.cancellation import cancel
from executions.models import Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit, submit_many
from executions.workers.registry import INSTRUCT_TASK, take_heartbeat
from foundation.errors import CoordinatorError
from releases.models import Pipeline, Release
from tenancy.access import issue_token
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.cases import cases
from tests.raw_sql import as_owner, unguarded
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup
from wire.messages.sealing import seal
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db
SENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Twin:
    """A tenant whose pipeline, release and worker have the same names as those of the other tenant."""

    owner: Tenant
    release: Release

    def claim(self, key: str = "key") -> Claim:
        making.execution(self.owner, key)
        [claim] = making.claimed(self.owner)
        return claim

    def record(self, answer: Any) -> None:
        identity = self.release.identity
        assert outcome.record(identity, OutcomeGroup(worker_id="worker-1", outcomes=[answer])) == 1

    @property
    def worker(self) -> Worker:
        return Worker.objects.get(tenant=self.owner)


@pytest.fixture
def twins() -> tuple[Twin, Twin]:
    made = tuple(Twin(*making.ready()) for _ in range(2))
    assert made[0].release.identity.release_version == made[1].release.identity.release_version
    return made[0], made[1]


def single(owner: Tenant, key: str, value: Any) -> Submission | CoordinatorError:
    try:
        return submit(owner, pipeline_id=making.PIPELINE, input=value, idempotency_key=key, actor="token:test")
    except CoordinatorError as refusal:
        return refusal


def batch(owner: Tenant, key: str, value: Any) -> Submission | CoordinatorError:
    [_, made] = submit_many(
        owner,
        [ExecutionRequest("no.such.pipeline", {}, key), ExecutionRequest(making.PIPELINE, value, key)],
        actor="token:test",
    )
    return made


BOTH = pytest.mark.parametrize("send", [single, batch])


@BOTH
def test_a_repeated_key_returns_the_execution_of_the_same_tenant(twins: tuple[Twin, Twin], send: Any) -> None:
    first = [making.execution(twin.owner, "k") for twin in twins]
    again = [send(twin.owner, "k", {"n": 1}) for twin in twins]
    assert [(each.execution_id, each.duplicate, each.execution.tenant) for each in again] == [
        (each.pk, True, each.tenant) for each in first
    ]


@BOTH
def test_a_reused_key_names_the_tenants_own_execution(twins: tuple[Twin, Twin], send: Any) -> None:
    first = [making.execution(twin.owner, "k") for twin in twins]
    refused = [send(twin.owner, "k", {"n": 2}) for twin in twins]
    assert [(each.code, each.data) for each in refused] == [
        ("IDEMPOTENCY_KEY_REUSED", {"executionId": str(each.pk)}) for each in first
    ]


@BOTH
@cases("value", [{"n": 1}, {"n": 2}])
def test_an_error_reveals_nothing_about_another_tenants_execution(
    twins: tuple[Twin, Twin], send: Any, value: dict[str, int]
) -> None:
    """This tenant has not used the key. The other tenant has, with an equal or a different input."""
    here, there = twins
    for one, other in ((here, there), (there, here)):
        making.execution(other.owner, f"of-{other.owner.slug}")
        making.silence(one.worker)
        admission.cache.clear()
        refused = send(one.owner, f"of-{other.owner.slug}", value)
        assert isinstance(refused, CoordinatorError)
        assert refused.code == "WORKER_UNAVAILABLE"
        making.silence(one.worker, since=datetime.now(UTC))


def test_a_cached_admission_applies_to_one_tenant_only(twins: tuple[Twin, Twin], settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    for one, other in (twins, twins[::-1]):
        admission.cache.clear()
        making.execution(other.owner, "warm")
        made = making.execution(one.owner, "new")
        assert (made.tenant, made.release) == (one.owner, one.release)
    assert Execution.objects.filter(execution_key="new").count() == 2


def test_a_tenant_without_workers_cannot_use_the_cached_admission_of_another(
    twins: tuple[Twin, Twin], settings: Any
) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    here, there = twins
    making.execution(there.owner, "warm")
    making.silence(here.worker)
    refused = single(here.owner, "new", {"n": 1})
    assert isinstance(refused, CoordinatorError)
    assert not Execution.objects.filter(execution_key="new").exists()


def test_a_correlation_id_identifies_a_question_of_the_same_tenant(twins: tuple[Twin, Twin]) -> None:
    for twin in twins:
        claim = twin.claim()
        twin.record(making.suspension(claim))
    with unguarded(Interaction):
        Interaction.objects.update(correlation_id="order-1")
    for twin in twins:
        done = interactions.complete(twin.owner, correlation_id="order-1", response=1, actor="user:eva")
        assert (done.interaction.tenant, done.duplicate) == (twin.owner, False)


def test_a_heartbeat_refreshes_the_worker_of_its_own_tenant(twins: tuple[Twin, Twin]) -> None:
    here, there = twins
    Worker.objects.update(last_sent_at=SENT)
    for capacity, (one, other) in enumerate([(here, there), (here, there), (there, here), (there, here)], start=20):
        before = Worker.objects.filter(pk=other.worker.pk).values().get()
        heartbeat = Heartbeat(worker_id="worker-1", state="HEALTHY", capacity=capacity)
        take_heartbeat(one.owner, one.release.identity, heartbeat, datetime.now(UTC))
        assert one.worker.capacity == capacity
        assert Worker.objects.filter(pk=other.worker.pk).values().get() == before
    assert Worker.objects.count() == 2


def test_a_heartbeat_renews_no_lease_of_another_tenant(twins: tuple[Twin, Twin]) -> None:
    """The other tenant's worker of the same name knows the fencing token, as if it had a copy of the command."""
    here, there = twins
    claim = here.claim()
    held = [HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=5)]
    heartbeat = Heartbeat(worker_id="worker-1", state="HEALTHY", capacity=1, running=held)
    Worker.objects.update(last_sent_at=SENT)
    before = Execution.objects.values("lease_expires_at", "lease_owner", "running_since").get(pk=claim.execution_id)
    take_heartbeat(there.owner, there.release.identity, heartbeat, datetime.now(UTC))
    after = Execution.objects.values("lease_expires_at", "lease_owner", "running_since").get(pk=claim.execution_id)
    assert after == before


def test_the_loss_of_a_lease_is_reported_to_the_worker_that_held_it(
    twins: tuple[Twin, Twin], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    for twin in twins:
        claim = twin.claim()
        Execution.objects.filter(pk=claim.execution_id).update(lease_worker="worker-1")
        with django_capture_on_commit_callbacks() as rung:
            cancel(twin.owner, claim.execution_id, actor="user:eva", reason="")
        wakeups: list[Any] = list(rung)
        notified = [each.args for each in wakeups if each.args[0] == INSTRUCT_TASK]
        assert notified == [(INSTRUCT_TASK, (twin.worker.pk, [str(claim.lease_token)]), None)]


def test_the_retry_policy_of_the_same_tenant_applies(twins: tuple[Twin, Twin]) -> None:
    for limit, twin in zip((0, 5), twins, strict=True):
        Pipeline.objects.filter(tenant=twin.owner).update(retry_limit=limit)
    for twin in twins:
        claim = twin.claim()
        twin.record(making.failure(claim))
    statuses = [Execution.objects.get(tenant=twin.owner).status for twin in twins]
    assert statuses == ["DLQ", "WAIT_RETRY"]


def test_an_outcome_of_another_tenants_worker_is_dropped(twins: tuple[Twin, Twin]) -> None:
    """The outcome has a valid signature of a worker of the equally named release, and names the right lease."""
    here, there = twins
    claim = here.claim()
    key = worker_key(configured.WORKER_SECRET, there.owner.slug)
    group = OutcomeGroup(worker_id="worker-1", outcomes=[making.outcome_of(claim)])
    tasks.record(seal(there.release.identity, group, key))
    made = Execution.objects.get(pk=claim.execution_id)
    assert (made.status, made.version) == ("RUNNING", claim.version)


def test_a_cached_token_cannot_submit_with_a_role_in_another_tenant(twins: tuple[Twin, Twin], settings: Any) -> None:
    """The admission is cached, so only the INSERT statement checks the token."""
    settings.SUBMISSION_CACHE_SECONDS = 3600
    here, there = twins
    person = User.objects.create_user("eva")
    membership = Membership.objects.create(user=person, tenant=here.owner, role=Role.OPERATOR)
    token, _ = issue_token(here.owner, person, "client", [Scope.SUBMIT], lifetime=None)
    order = ExecutionRequest(making.PIPELINE, {"n": 1}, "first")
    [made] = submit_many(here.owner, [order], actor="token:client", token=token.digest)
    assert isinstance(made, Submission)
    with as_owner():
        membership.delete()
        Membership.objects.create(user=person, tenant=there.owner, role=Role.TENANT_ADMIN)
    order = ExecutionRequest(making.PIPELINE, {"n": 1}, "second")
    [refused] = submit_many(here.owner, [order], actor="token:client", token=token.digest)
    assert isinstance(refused, CoordinatorError)
    assert (refused.code, Execution.objects.filter(execution_key="second").exists()) == ("NOT_AUTHENTICATED", False)


def test_an_execution_is_found_in_its_own_tenant_only(twins: tuple[Twin, Twin]) -> None:
    for one, other in (twins, twins[::-1]):
        made = making.execution(one.owner, "k")
        assert queries.execution(one.owner, made.pk) == made
        with pytest.raises(ExecutionUnknown):
            queries.execution(other.owner, made.pk)
