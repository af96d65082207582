"""No worker, no switch: by policy, an activation needs a worker that may run the release."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.workers.eligibility import CHECK_TASK
from governance.activation import activation, gates
from governance.activation.activation import activate
from releases import policy
from releases.models import Release
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.releases.refusals import refusal
from tests.wakeups import Broker, broker, names

__all__ = ["broker"]
pytestmark = pytest.mark.django_db

AGO = timezone.now() - timedelta(hours=1)
REST = {"protocol": "rest"}
START = f"pipelines worker {making.PIPELINE}@1.0"
STATES: list[tuple[dict[str, Any] | None, str]] = [
    (None, f"no worker is registered. Start one, for example with `{START}`."),
    ({"artifact_digest": "sha256:" + "0" * 64}, "worker-1's artifact is not one that the release pins"),
    ({}, ""),
    ({**REST, "capability_checked_at": None}, "a check has been requested. Try again in a few seconds."),
    (REST, ""),
    ({**REST, "capability_error": "It hosts 9"}, f"It hosts 9. Start one, for example with `{START}`."),
    ({"alive_until": AGO}, "worker-1 sends no heartbeats"),
]


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    release = making.registered(making.tenant())
    return release.pipeline.tenant, release


def with_policy(release: Release, value: str) -> Release:
    policy.change(release.pipeline, {"workerGate": value}, actor="user:admin")
    return release


@cases(
    ("value", "members", "reason"),
    [("warn", *STATES[0]), ("off", *STATES[0]), *(("require", *state) for state in STATES)],
)
def test_a_policy_requires_a_worker(release: Release, value: str, members: dict[str, Any] | None, reason: str) -> None:
    with_policy(release, value)
    if members is not None:
        making.worker(release, **{"capability_checked_at": timezone.now(), **members})
    judged = [gate for gate in gates.judge(activation.planned(release)) if gate.name == "worker"]
    verdict = "met" if not reason else "unmet" if value == "require" else "warning"
    assert [gate.verdict for gate in judged] == ([] if value == "off" else [verdict])
    assert all(reason in gate.detail for gate in judged)
    if verdict != "unmet":
        assert activate(release, actor="user:test").release == release
        return
    error = refusal(activate, release, actor="user:test")
    assert (error.code, error.status, error.data) == ("WORKER_REQUIRED", 409, {"command": START})
    assert error.detail == judged[0].detail
    entry = AuditEntry.objects.filter(tenant=release.pipeline.tenant).latest("sequence")
    assert (entry.act, entry.outcome, entry.reason) == ("release.activate", "denied", error.detail)


def test_a_refused_activation_requests_a_check_of_a_worker_without_a_verdict(release: Release, broker: Broker) -> None:
    making.worker(with_policy(release, "require"), protocol="rest", capability_checked_at=None)
    assert CHECK_TASK in names(broker.after(lambda: refusal(activate, release, actor="user:test")))
