"""No worker, no switch: by policy, an activation needs a worker that may run the release."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Worker
from executions.workers.worker_gate import START
from foundation.errors import CoordinatorError
from releases.activation import activation, gates, policy
from releases.activation.activation import activate
from releases.activation.rollback import roll_back
from releases.models import Activation, Pipeline, Release
from tenancy.models import AuditEntry
from tests import making
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
AGO = timezone.now() - timedelta(hours=1)
REST = {"protocol": "rest"}
STATES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "no worker": (None, "No worker lifecycle record for this release."),
    "it hosts another artifact": (
        {"artifact_digest": "sha256:" + "0" * 64},
        "Registered worker artifact identity does not match this release.",
    ),
    "it is healthy": ({}, ""),
    "it is called and was not checked": (
        {**REST, "capability_checked_at": None},
        "the worker has not been checked recently; a check has been requested.",
    ),
    "it is called and hosts the release": (REST, ""),
    "it is called and hosts another release": ({**REST, "capability_error": "It hosts 9"}, "It hosts 9."),
    "it is drained": (
        {"drained_by_operator_at": AGO},
        "No healthy celery worker lifecycle record for this release; current states: worker-1=DRAINING.",
    ),
    "it is silent": (
        {"alive_until": AGO},
        "No healthy celery worker lifecycle record for this release; current states: worker-1=STALE.",
    ),
    "it hosts a folder": (
        {"code": "source"},
        "No healthy celery worker lifecycle record for this release; current states: worker-1=UNVERIFIED_CODE.",
    ),
}


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


def with_policy(release: Release, value: str) -> Release:
    policy.change(release.pipeline, {"workerGate": value}, actor="user:admin")
    return release


def refusal(release: Release, **more: Any) -> CoordinatorError:
    before = rows(Activation), rows(Pipeline)
    with pytest.raises(CoordinatorError) as caught:
        activate(release, actor="user:test", **more)
    assert (rows(Activation), rows(Pipeline)) == before
    return caught.value


def detail_of(reason: str) -> str:
    advice = "Try again in a few seconds." if "requested" in reason else f"Start one, for example with `{START}`."
    return f"{reason} {advice}"


@cases("state", STATES)
@cases("value", ["require", "warn", "off"])
def test_the_policy_decides_whether_an_activation_needs_a_worker(
    release: Release, value: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    members, reason = STATES[state]
    with_policy(release, value)
    if members is not None:
        making.worker(release, **{"capability_checked_at": timezone.now(), **members})

    found = [gate for gate in gates.judge(activation.planned(release)) if gate.name == "worker"]
    verdict = "met" if not reason else "unmet" if value == "require" else "warning"
    assert [gate.verdict for gate in found] == ([] if value == "off" else [verdict])
    assert all(gate.detail.endswith(detail_of(reason)) for gate in found if reason)
    if reason and value == "require":
        error = refusal(release)
        assert (error.code, error.status, error.data) == ("WORKER_REQUIRED", 409, {"command": START})
        assert error.detail == found[0].detail
        assert error.detail.startswith("No worker may run release '1.0': ")
        return
    assert activate(release, actor="user:test").release == release
    warned = [record.message for record in caplog.records if "No worker may run release" in record.message]
    assert len(warned) == (value == "warn" and reason != "")


def test_one_worker_is_enough(release: Release) -> None:
    with_policy(release, "require")
    for name, members in (("gone", {"stopped_at": AGO}), ("other", {"release_version": "2.0"})):
        making.worker(release, name, **members)
    assert refusal(release).code == "WORKER_REQUIRED"
    making.worker(release)
    assert activate(release, actor="user:test").sequence == 1


def test_a_worker_of_another_tenant_or_pipeline_does_not_count(release: Release) -> None:
    with_policy(release, "require")
    making.worker(making.registered(making.tenant()))
    making.worker(making.registered(release.pipeline.tenant, pipeline_id="org.example.other"), "worker-2")
    assert refusal(release).code == "WORKER_REQUIRED"


def test_a_rollback_needs_a_worker_too(release: Release) -> None:
    owner = release.pipeline.tenant
    with_policy(release, "require")
    for each in (release, making.registered(owner, "2.0")):
        making.worker(each, f"worker-{each.release_version}")
        activate(each, actor="user:test")
    former = Worker.objects.filter(tenant=owner, worker_id="worker-1.0")
    former.update(stopped_at=timezone.now())

    def back() -> Activation:
        pipeline = Pipeline.objects.select_related("tenant", "activation__release").get(pk=release.pipeline_id)
        return roll_back(pipeline, actor="user:test", reason="it fails", recent_only=False)

    before = rows(Activation)
    with pytest.raises(CoordinatorError, match=r"No worker may run release '1\.0'") as caught:
        back()
    assert (caught.value.code, rows(Activation)) == ("WORKER_REQUIRED", before)
    former.update(stopped_at=None)
    assert back().release == release


def test_a_refusal_is_in_the_audit_log(release: Release) -> None:
    error = refusal(with_policy(release, "require"))
    entry = AuditEntry.objects.filter(tenant=release.pipeline.tenant).latest("sequence")
    assert (entry.act, entry.outcome, entry.reason) == ("release.activate", "denied", error.detail)


def test_a_repeated_operation_returns_its_activation_although_the_worker_is_gone(release: Release) -> None:
    with_policy(release, "require")
    worker = making.worker(release)
    made = activate(release, actor="user:test", operation_key="k")
    making.silence(worker)
    assert activate(release, actor="user:test", operation_key="k") == made
    assert refusal(release, operation_key="other").code == "WORKER_REQUIRED"


def test_the_policy_of_the_moment_applies(release: Release) -> None:
    """The caller read the release before the policy changed."""
    early = Release.objects.select_related("pipeline__tenant").get(pk=release.pk)
    with_policy(release, "require")
    assert refusal(early).code == "WORKER_REQUIRED"
    late = Release.objects.select_related("pipeline__tenant").get(pk=release.pk)
    with_policy(release, "off")
    assert activate(late, actor="user:test").sequence == 1
