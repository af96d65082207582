"""REST of policies, revocations and rollbacks."""

from typing import Any

import pytest

from executions.models import Worker
from executions.workers.worker_gate import START
from releases.models import Activation, Release
from tenancy.audit import recording
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.raw_sql import rows, run, unchanged, unguarded

PIPELINE = f"pipelines/{making.PIPELINE}"
REVOCATIONS, ROLLBACK = f"{PIPELINE}/revocations", f"{PIPELINE}/rollback"
WHY = {"reason": "it fails"}
FIRST = {"releaseVersion": "1.0", **WHY}


@pytest.fixture(scope="module")
def release(owner: Tenant, ready: tuple[Tenant, Release]) -> Release:
    """A release that 2.0 replaced."""
    making.worker(making.active(owner, "2.0"), "worker-2")
    return ready[1]


@pytest.fixture(scope="module")
def caller(owner: Tenant) -> Caller:
    return Caller(owner, *Scope)


def test_a_revocation_is_permanent_and_the_release_shows_it(caller: Caller, release: Release) -> None:
    made = caller.post(REVOCATIONS, FIRST, 201)
    assert (made["releaseVersion"], made["actor"], made["reason"]) == ("1.0", f"token:{caller.token}", "it fails")
    shown = caller.get(f"{PIPELINE}/releases/1.0")
    assert (shown["status"], shown["revocation"], shown["paused"]) == ("REVOKED", made, None)
    assert caller.post(REVOCATIONS, {**FIRST, "reason": "again"}, 201) == made
    assert caller.post(f"{PIPELINE}/activations", {"releaseVersion": "1.0"}, 409)["code"] == "RELEASE_NOT_REGISTERED"


def test_a_rollback_in_one_step_returns_the_activation(caller: Caller, release: Release) -> None:
    with unchanged(Release, Activation):
        refused = caller.post(ROLLBACK, {**WHY, "expectedReleaseVersion": "1.0"}, 409)
    assert refused["code"] == "ACTIVE_RELEASE_CHANGED"
    made = caller.post(ROLLBACK, WHY, 201)
    assert (made["releaseVersion"], made["previousReleaseVersion"], made["sequence"]) == ("1.0", "2.0", 3)
    assert (made["kind"], made["rollback"], made["reason"]) == ("rollback", True, "it fails")
    assert (made["actor"], made["warnings"]) == (f"token:{caller.token}", [])
    [newest, *_] = caller.get(f"{PIPELINE}/activations")["items"]
    assert {**newest, "warnings": []} == made
    assert caller.get(PIPELINE)["activeReleaseVersion"] == "1.0"


def test_a_token_that_may_only_roll_back_reaches_the_releases_of_the_last_days(owner: Tenant, release: Release) -> None:
    on_call = Caller(owner, Scope.ROLL_BACK)
    with unguarded(Activation):
        run("UPDATE releases_activation SET activated_at = activated_at - interval '31 days'")
    with unchanged(Release, Activation):
        found = on_call.post(ROLLBACK, WHY, 403)
    assert (found["code"], found["rollBackDays"]) == ("ROLLBACK_TOO_FAR", 30)
    Caller(owner, Scope.ROLL_BACK, Scope.ACTIVATE).post(ROLLBACK, WHY, 201)
    on_call.post(ROLLBACK, {**WHY, "releaseVersion": "2.0"}, 201)


# --- policies ---


@pytest.fixture(scope="module")
def admin(owner: Tenant) -> Caller:
    return Caller(owner, Scope.ADMINISTER, Scope.ACTIVATE)


def test_an_activation_that_the_policy_refuses_is_denied(admin: Caller, owner: Tenant, release: Release) -> None:
    making.silence(*Worker.objects.filter(tenant=owner))
    refusals: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"reasonRequired": True, "signaturePolicy": "require"}, "", "REASON_REQUIRED"),
        ({}, "because", "SIGNATURE_REQUIRED"),
        ({"signaturePolicy": "off", "workerGate": "require"}, "because", "WORKER_REQUIRED"),
    )
    for policy, reason, code in refusals:
        admin.patch(PIPELINE, policy)
        recording.repeats.reset()
        before, entries = rows(Activation), AuditEntry.objects.count()
        status = 422 if code == "REASON_REQUIRED" else 409
        problem = admin.post(
            f"{PIPELINE}/activations", {"releaseVersion": "1.0", **({"reason": reason} if reason else {})}, status
        )
        assert (problem["code"], rows(Activation)) == (code, before)
        [entry] = AuditEntry.objects.order_by("id")[entries:]
        assert (entry.act, entry.outcome, entry.object) == ("release.activate", "denied", f"{making.PIPELINE}/1.0")
        assert entry.reason == problem["detail"]
    assert problem["command"] == START
    assert START in problem["detail"]
    making.worker(release, "another")
    assert admin.post(f"{PIPELINE}/activations", {"releaseVersion": "1.0", "reason": "because"}, 201)["sequence"] == 3
