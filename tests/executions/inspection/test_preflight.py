"""The pre-flight: one answer to what happens if a release becomes active now. It predicts what the activation does."""

from typing import Any

import pytest

from executions.inspection.preflight import Concern, preflight
from foundation.errors import CoordinatorError
from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.blockers import blockers
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases

pytestmark = pytest.mark.django_db


@pytest.fixture
def newer(owner: Tenant, release: Release) -> Release:
    return making.registered(owner, "2.0")


def with_policy(release: Release, **members: Any) -> None:
    policy.change(release.pipeline, members, actor="user:admin")


def test_it_names_what_is_replaced_and_by_what_kind_of_activation(release: Release, newer: Release) -> None:
    found = preflight(newer)
    assert (found.active, found.kind, found.reason_required, found.is_allowed) == (release, "activation", False, True)
    with_policy(newer, reasonRequired=True)
    assert preflight(newer).reason_required
    with_policy(newer, reasonRequired=False)
    activate(newer, actor="user:eva")
    back = preflight(release)
    assert (back.active, back.kind, back.reason_required) == (newer, "rollback", True)
    first = preflight(making.registered(making.tenant()))
    assert (first.active, first.remaining, first.differences, first.is_allowed) == (None, [], (), True)


def outcome_of(release: Release, **options: Any) -> str | None:
    """Activate the release. Return the code of the refusal, or None."""
    try:
        activate(release, actor="user:eva", reason="because", **options)
    except CoordinatorError as refusal:
        return refusal.code
    return None


@cases(
    ("members", "has_worker", "code", "verdicts"),
    [
        ({}, True, None, []),
        ({"workerGate": "require"}, True, None, [("worker", "met")]),
        ({"workerGate": "require"}, False, "WORKER_REQUIRED", [("worker", "unmet")]),
        ({"workerGate": "warn"}, False, None, [("worker", "warning")]),
        ({"signaturePolicy": "require"}, True, "SIGNATURE_REQUIRED", [("signatures", "unmet")]),
        (
            {"signaturePolicy": "require", "workerGate": "require"},
            False,
            "SIGNATURE_REQUIRED",
            [("signatures", "unmet"), ("worker", "unmet")],
        ),
    ],
)
def test_the_verdict_is_that_of_the_activation(
    newer: Release, members: dict[str, Any], has_worker: bool, code: str | None, verdicts: list[tuple[str, str]]
) -> None:
    with_policy(newer, **members)
    if has_worker:
        making.worker(newer, "w2")
    found = preflight(newer)
    assert [(gate.name, gate.verdict.value) for gate in found.gates] == verdicts
    assert [refusal.code for refusal in found.refusals][:1] == ([code] if code else [])
    assert found.is_allowed == (code is None)
    assert (Concern.GATE in [each.concern for each in found.warnings]) == ("warning" in dict(verdicts).values())
    assert outcome_of(newer) == code


def test_a_release_that_cannot_be_activated_is_refused_as_by_the_activation(owner: Tenant, newer: Release) -> None:
    file = making.stored_file(newer.artifacts.get().digest)
    data = file.read_bytes()
    file.unlink()
    assert [refusal.code for refusal in preflight(newer).refusals] == ["ARTIFACT_MISSING"]
    assert outcome_of(newer) == "ARTIFACT_MISSING"
    file.write_bytes(data)
    revoke(newer, actor="user:eva", reason="leaks")
    assert [refusal.code for refusal in preflight(newer).refusals] == ["RELEASE_NOT_REGISTERED"]
    assert outcome_of(newer) == "RELEASE_NOT_REGISTERED"


def test_what_stays_on_the_old_release_is_what_would_block_its_retirement(
    owner: Tenant, release: Release, newer: Release
) -> None:
    making.dead(owner, "dead-1", "dead-2")
    making.execution(owner, "waits")
    making.execution(owner, "cools off")
    waits, cools_off = making.claimed(owner)
    assert making.record(making.suspension(waits), making.suspension(cools_off, transport="timer")) == 2
    making.execution(owner, "runs")
    making.claimed(owner)
    making.execution(owner, "queued")
    found = preflight(newer)
    counts = {each.kind.value: each.count for each in found.remaining}
    assert counts == {"QUEUED": 1, "RUNNING": 1, "WAITING": 2, "DEAD_LETTERED": 2}
    assert found.questions == 1, "a timer is none"
    activate(newer, actor="user:eva")
    assert blockers(release) == found.remaining
