"""A submission that names a release gets it while it is active or within its grace, and never another one."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.holds import holds
from executions.models import Execution, Worker
from executions.submission.submission import ExecutionRequest, Submission, submit_when_open
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.retirement.retirement import Kind, blockers, retire, revoke
from releases import policy
from releases.errors import RetirementBlocked
from releases.models import Activation, Release
from tenancy.models import Tenant
from tests import gradual, making
from tests.making import release_of
from tests.raw_sql import raised, unguarded

ACTOR = "user:test"


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    """A tenant whose release 2.0 replaced 1.0 a moment ago, with a grace of 10 minutes. 3.0 was never active."""
    owner, first = making.ready()
    for version in ("2.0", "3.0"):
        gradual.candidate(owner, version)
    policy.change(first.pipeline, {"skewGraceMinutes": 10}, actor=ACTOR)
    activate(release_of(owner, "2.0"), actor=ACTOR)
    return owner, first


@pytest.fixture(autouse=True)
def long_memory(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600


def send(owner: Tenant, version: str | None, key: str = "k", **members: Any) -> Submission:
    return making.submitted(owner, key, release_version=version, **members)


def version_of(owner: Tenant, version: str | None, key: str = "k") -> str:
    return send(owner, version, key).release_version


def refusal(owner: Tenant, version: str | None, **members: Any) -> CoordinatorError:
    return raised(CoordinatorError, send, owner, version, **members)


def replaced(minutes: float) -> None:
    with unguarded(Activation):
        newest = Activation.objects.order_by("-sequence")[:1].values("pk")
        Activation.objects.filter(pk__in=newest).update(activated_at=timezone.now() - timedelta(minutes=minutes))


def test_a_replaced_release_within_its_grace(owner: Tenant) -> None:
    made = send(owner, "1.0")
    assert (made.release_version, made.duplicate) == ("1.0", False)
    assert Execution.objects.get().release == release_of(owner, "1.0")
    assert made.execution.events.get().data["requestedReleaseVersion"] == "1.0"
    assert send(owner, "1.0").duplicate
    replaced(11)
    assert send(owner, "1.0").execution_id == made.execution_id, "a repeated submission gets its execution"


def test_the_grace_ends_on_time(owner: Tenant) -> None:
    replaced(9.98)
    assert version_of(owner, "1.0") == "1.0"
    assert version_of(owner, None, "warm") == "2.0"
    replaced(10.0)
    error = refusal(owner, "1.0", key="late")
    assert (error.code, error.status) == ("RELEASE_NOT_OPEN", 409)
    assert error.data == {"activeReleaseVersion": "2.0", "mayOpen": False}
    assert "was open until" in error.detail


def test_the_grace_counts_from_the_activation_that_replaced_it(owner: Tenant) -> None:
    replaced(20)
    activate(release_of(owner, "2.0"), actor=ACTOR)  # again, which replaces nothing
    activate(release_of(owner, "3.0"), actor=ACTOR)
    assert version_of(owner, "2.0") == "2.0"
    assert refusal(owner, "1.0", key="other").code == "RELEASE_NOT_OPEN"
    activate(release_of(owner, "1.0"), actor=ACTOR, reason="worse")
    activate(release_of(owner, "3.0"), actor=ACTOR, reason="better")
    assert version_of(owner, "1.0", "third") == "1.0"


def test_a_release_that_was_never_active(owner: Tenant) -> None:
    error = refusal(owner, "3.0")
    assert (error.code, error.data) == ("RELEASE_NOT_OPEN", {"activeReleaseVersion": "2.0", "mayOpen": True})
    assert "was never active. The active release is '2.0'." in error.detail
    other = making.tenant()
    gradual.candidate(other, "1.0")
    assert refusal(other, "1.0").data == {"activeReleaseVersion": None, "mayOpen": True}


def test_only_a_release_that_was_never_active_is_waited_for(owner: Tenant) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        activate(release_of(owner, "3.0"), actor=ACTOR)

    def waited(version: str) -> Any:
        request = ExecutionRequest(making.PIPELINE, {"n": 1}, version, release_version=version)
        return submit_when_open(owner, request, actor="token:x", wait_seconds=30, pause=pause)

    replaced(11)
    assert [waited("1.0").code, waited("5.0").code, pauses] == ["RELEASE_NOT_OPEN", "RELEASE_UNKNOWN", []]
    assert (waited("3.0").release_version, len(pauses)) == ("3.0", 1)


def test_never_a_revoked_a_retired_or_an_unverified_release(owner: Tenant) -> None:
    revoke(release_of(owner, "1.0"), actor=ACTOR, reason="leaked")
    retire(release_of(owner, "3.0"), actor=ACTOR, reason="unused")
    making.uploaded(owner, "4.0")
    for version, status in (("1.0", "REVOKED"), ("3.0", "RETIRED"), ("4.0", "UPLOADED")):
        error = refusal(owner, version)
        assert (error.code, error.data["releaseStatus"]) == ("RELEASE_NOT_ADMITTED", status)
    assert refusal(owner, "5.0").code == "RELEASE_UNKNOWN"
    assert refusal(owner, "1.0", pipeline_id="org.example.other").code == "PIPELINE_UNKNOWN"


def test_a_named_release_needs_a_worker_and_no_pause(owner: Tenant, release: Release) -> None:
    holds.pause(release, actor=ACTOR, reason="broken", refuses_submissions=True)
    assert refusal(owner, "1.0").code == "PIPELINE_PAUSED"
    assert version_of(owner, "2.0") == "2.0"
    holds.resume(release, actor=ACTOR)
    assert version_of(owner, "1.0", "resumed") == "1.0"
    making.silence(*Worker.objects.filter(worker_id="worker-1"))
    assert refusal(owner, "1.0", key="silent").code == "WORKER_UNAVAILABLE"
    assert version_of(owner, "2.0", "other") == "2.0"


def test_a_key_of_an_execution_on_another_release_is_refused(owner: Tenant) -> None:
    first = send(owner, "2.0")
    error = refusal(owner, "1.0")
    assert (error.code, error.data["executionId"]) == ("IDEMPOTENCY_KEY_REUSED", str(first.execution_id))
    assert "another release" in error.detail
    assert send(owner, None).execution_id == first.execution_id
    assert refusal(owner, None, input={"n": 2}).code == "IDEMPOTENCY_KEY_REUSED"


def test_a_grace_blocks_a_retirement(owner: Tenant) -> None:
    kinds = {version: [row.kind for row in blockers(release_of(owner, version))] for version in ("1.0", "2.0", "3.0")}
    assert kinds == {"1.0": [Kind.SKEW_GRACE], "2.0": [Kind.ACTIVE], "3.0": []}
    with pytest.raises(RetirementBlocked, match="SKEW_GRACE 1"):
        retire(release_of(owner, "1.0"), actor=ACTOR, reason="replaced")
    replaced(11)
    assert blockers(release_of(owner, "1.0")) == []
    retire(release_of(owner, "1.0"), actor=ACTOR, reason="replaced")
