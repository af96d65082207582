"""Two tenants use the same names for pipelines, keys, workers and correlation ids. Each reaches only its own rows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as configured

from executions import tasks
from executions.models import Execution, Worker
from executions.state_machine.moves import Claim
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.workers.registry import take_heartbeat
from foundation.errors import CoordinatorError
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.making import PIPELINE
from tests.raw_sql import unchanged
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup
from wire.messages.sealing import seal
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db
Verdict = Submission | CoordinatorError


@dataclass(frozen=True)
class Twin:
    """A tenant whose pipeline, release and worker have the same names as those of the other tenant."""

    owner: Tenant
    release: Release

    def claim(self) -> Claim:
        making.execution(self.owner)
        [claim] = making.claimed(self.owner)
        return claim

    @property
    def worker(self) -> Worker:
        return Worker.objects.get(tenant=self.owner)


Twins = tuple[Twin, Twin]


@pytest.fixture(scope="module")
def twins(module_world: None) -> Twins:
    return Twin(*making.ready()), Twin(*making.ready())


def single(owner: Tenant, key: str, value: Any) -> Verdict:
    try:
        return making.submitted(owner, key, value, pipeline_id=PIPELINE)
    except CoordinatorError as refusal:
        return refusal


def batch(owner: Tenant, key: str, value: Any) -> Verdict:
    requests = [ExecutionRequest("no.such.pipeline", {}, key), ExecutionRequest(PIPELINE, value, key)]
    return submit_many(owner, requests, actor="token:test")[1]


@cases("send", [single, batch])
def test_a_key_names_the_execution_of_the_same_tenant(twins: Twins, send: Any) -> None:
    first = [making.execution(twin.owner, "k") for twin in twins]
    again = [send(twin.owner, "k", {"n": 1}) for twin in twins]
    assert [(each.execution_id, each.duplicate) for each in again] == [(each.pk, True) for each in first]
    refused = [send(twin.owner, "k", {"n": 2}) for twin in twins]
    assert {each.code for each in refused} == {"IDEMPOTENCY_KEY_REUSED"}
    assert [each.data["executionId"] for each in refused] == [str(each.pk) for each in first]
    # A tenant that has not used the key learns nothing about the other's execution, whether the input is equal or not.
    for one, other in (twins, twins[::-1]):
        making.execution(other.owner, f"of-{other.owner.slug}")
        making.silence(one.worker)
        for value in ({"n": 1}, {"n": 2}):
            admission.cache.clear()
            assert send(one.owner, f"of-{other.owner.slug}", value).code == "WORKER_UNAVAILABLE"
        making.silence(one.worker, since=datetime.now(UTC))


def test_a_cached_admission_applies_to_one_tenant_only(twins: Twins, settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    for one, other in (twins, twins[::-1]):
        admission.cache.clear()
        making.execution(other.owner, "warm")
        made = making.execution(one.owner, "new")
        assert (made.tenant, made.release) == (one.owner, one.release)
    assert Execution.objects.filter(execution_key="new").count() == 2
    here, there = twins
    admission.cache.clear()
    making.execution(there.owner, "warm again")
    making.silence(here.worker)
    with unchanged():
        assert isinstance(single(here.owner, "another", {"n": 1}), CoordinatorError)


def test_a_worker_of_another_tenant_reaches_no_lease(twins: Twins) -> None:
    """The other tenant's worker of the same name knows the fencing token, as if it had a copy of the command.

    Its outcome has a valid signature, and names the right lease.
    """
    here, there = twins
    claim = here.claim()
    held = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=5)
    Worker.objects.update(last_sent_at=making.LONG_AGO)
    key = worker_key(configured.WORKER_SECRET, there.owner.slug)
    group = OutcomeGroup(worker_id="worker-1", outcomes=[making.outcome_of(claim)])
    with unchanged(Execution):
        body = Heartbeat(worker_id="worker-1", state="HEALTHY", capacity=1, running=[held])
        take_heartbeat(there.owner, there.release.identity, body, datetime.now(UTC))
        tasks.record(seal(there.release.identity, group, key))


def test_the_retry_policy_of_the_same_tenant_applies(twins: Twins) -> None:
    for limit, twin in zip((0, 5), twins, strict=True):
        Pipeline.objects.filter(tenant=twin.owner).update(retry_limit=limit)
    for twin in twins:
        making.record(making.failure(twin.claim()))
    assert [Execution.objects.get(tenant=twin.owner).status for twin in twins] == ["DLQ", "WAIT_RETRY"]
