"""REST of pipeline policies and smoke tests: effects."""

from typing import Any

import pytest

from executions.lifecycle import outcome
from executions.models import Execution, Worker
from executions.workers.worker_gate import START
from releases.models import Activation, Release
from tenancy.audit import recording
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
PATH = f"pipelines/{making.PIPELINE}"
SMOKE, ACTIVATIONS = f"{PATH}/releases/2.0/smoke", f"{PATH}/activations"
BODY = {"input": {"n": 1}, "idempotencyKey": "k"}


@pytest.fixture(scope="module")
def admin(owner: Tenant) -> Caller:
    return Caller(owner, Scope.ADMINISTER, Scope.READ, Scope.ACTIVATE, Scope.PAYLOADS)


@pytest.fixture
def newer(owner: Tenant) -> Release:
    """A release that a worker hosts and that is not active."""
    release = making.registered(owner, "2.0")
    making.worker(release, "worker-2")
    return release


def test_an_activation_that_the_policy_refuses_is_denied(admin: Caller, owner: Tenant) -> None:
    making.silence(*Worker.objects.filter(tenant=owner))
    refusals: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"reasonRequired": True, "signaturePolicy": "require"}, "", "REASON_REQUIRED"),
        ({}, "because", "SIGNATURE_REQUIRED"),
        ({"signaturePolicy": "off", "workerGate": "require"}, "because", "WORKER_REQUIRED"),
    )
    for policy, reason, code in refusals:
        admin.patch(PATH, policy)
        recording.repeats.reset()
        before, entries = rows(Activation), AuditEntry.objects.count()
        status = 422 if code == "REASON_REQUIRED" else 409
        problem = admin.post(ACTIVATIONS, {"releaseVersion": "1.0", **({"reason": reason} if reason else {})}, status)
        assert (problem["code"], rows(Activation)) == (code, before)
        [entry] = AuditEntry.objects.order_by("id")[entries:]
        assert (entry.act, entry.outcome, entry.object) == ("release.activate", "denied", f"{making.PIPELINE}/1.0")
        assert entry.reason == problem["detail"]
    assert problem["command"] == START
    assert START in problem["detail"]
    making.worker(Release.objects.select_related("pipeline__tenant").get(pipeline__tenant=owner), "another")
    assert admin.post(ACTIVATIONS, {"releaseVersion": "1.0", "reason": "because"}, 201)["sequence"] == 2


# --- smoke tests ---


def finish(owner: Tenant, payload: str = '{"n": 1}') -> None:
    [claim] = making.claimed(owner)
    release = Execution.objects.get(pk=claim.execution_id).release
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim, output_payloads=[payload])])
    assert outcome.record(release.identity, group) == 1


def test_the_policy_demands_a_smoke_test_before_an_activation(owner: Tenant, admin: Caller, newer: Release) -> None:
    assert admin.patch(PATH, {"smokeTestHours": 24})["smokeTestHours"] == 24
    body = {"releaseVersion": "2.0"}
    refused = admin.post(ACTIVATIONS, body, 409)
    assert (refused["code"], refused["smokeTestHours"]) == ("SMOKE_TEST_REQUIRED", 24)
    admin.post(SMOKE, BODY, 202)
    assert admin.post(ACTIVATIONS, body, 409)["code"] == "SMOKE_TEST_REQUIRED"
    finish(owner)
    admin.post(ACTIVATIONS, body, 201)
    assert Activation.objects.latest("sequence").release.release_version == "2.0"
