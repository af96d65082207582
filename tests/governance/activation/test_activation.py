"""Activations and rollbacks: each is an event, judged by the rows under the lock. A refused one changes nothing."""

from datetime import timedelta
from typing import Any

import pytest

from foundation.errors import CoordinatorError
from governance.activation.activation import activate, roll_back, target, warnings
from governance.retirement.retirement import revoke
from releases import policy, queries
from releases.errors import NoActiveRelease
from releases.models import Activation, Kind, Pipeline, Release
from tenancy.models import Tenant
from tests import making, requesting
from tests.cases import cases
from tests.raw_sql import raised, rows, run, unguarded
from tests.releases.refusals import refusal

pytestmark = pytest.mark.django_db

WHY: dict[str, Any] = {"actor": "user:ann", "reason": "it fails"}


@pytest.fixture
def v1(owner: Tenant) -> Release:
    return making.registered(owner, "1.0")


@pytest.fixture
def v2(owner: Tenant) -> Release:
    return making.registered(owner, "2.0")


def go(release: Release, **more: Any) -> Activation:
    return activate(release, actor="user:someone", **more)


def test_each_activation_is_an_event_and_the_newest_one_counts(owner: Tenant, v1: Release, v2: Release) -> None:
    raised(NoActiveRelease, queries.active_release, requesting.read(owner))
    events = [go(v1, reason=" first "), go(v2), go(v1, reason="v2 is wrong"), go(v1)]
    assert [(event.sequence, event.previous_id, event.is_rollback, event.reason) for event in events] == [
        (1, None, False, "first"),
        (2, v1.pk, False, ""),
        (3, v2.pk, True, "v2 is wrong"),
        (4, v1.pk, False, ""),
    ]
    assert {event.actor for event in events} == {"user:someone"}
    assert list(queries.history(requesting.read(owner))) == events[::-1]
    assert queries.active_release(requesting.read(owner)) == v1


@cases(
    ("active", "expected", "refused"),
    [(False, "", False), (False, "1.0", True), (True, "1.0", False), (True, "", True), (True, "2.0", True)],
)
def test_an_expectation_is_checked(v1: Release, v2: Release, active: bool, expected: str | None, refused: bool) -> None:
    if active:
        go(v1)
    if refused:
        error = refusal(go, v2, expected_release_version=expected)
        shown = {"activeReleaseVersion": "1.0" if active else None}
        assert (error.code, error.data) == ("ACTIVE_RELEASE_CHANGED", shown)
    else:
        assert go(v2, expected_release_version=expected).release_id == v2.pk


def test_an_operation_key_belongs_to_one_activation_of_its_pipeline(owner: Tenant, v1: Release, v2: Release) -> None:
    other = making.registered(owner, pipeline_id="org.example.other")
    first = go(v1, operation_key="k")
    assert go(other, operation_key="k").sequence == 1
    error = refusal(go, v2, operation_key="k")
    assert (error.code, error.data) == ("OPERATION_KEY_REUSED", {"activeReleaseVersion": "1.0"})
    go(v2)
    making.stored_file(v1.artifacts.get().digest).unlink()
    assert go(v1, operation_key="k", expected_release_version="not the active one") == first
    assert queries.active_release(requesting.read(owner)) == v2
    assert Activation.objects.filter(pipeline=v1.pipeline).count() == 2


@cases(
    ("name", "value"),
    [("retry_limit", 1), ("validateAnswers", None), ("retryLimit", True), ("retryDelaySeconds", float("inf"))],
)
def test_an_invalid_policy_changes_nothing(v1: Release, name: str, value: Any) -> None:
    error = refusal(policy.change, v1.pipeline, {"retryMultiplier": 2, name: value}, actor="user:test")
    assert (error.code, [problem["field"] for problem in error.errors]) == ("POLICY_INVALID", [name])


def test_a_change_of_a_policy_is_that_of_one_member_in_one_tenant(owner: Tenant, v1: Release) -> None:
    assert making.registered(making.tenant()).pipeline.pipeline_id == v1.pipeline.pipeline_id
    before, early = rows(Pipeline), requesting.read(owner)
    policy.change(v1.pipeline, {"retryLimit": 9}, actor="user:other")
    changed = policy.change(early, {"reasonRequired": True}, actor="user:test")
    assert (changed.reason_required, changed.retry_limit) == (True, 9)
    assert [row["id"] for row in rows(Pipeline) if row not in before] == [v1.pipeline_id]


def activated(owner: Tenant, *versions: str) -> list[Release]:
    made = [making.registered(owner, version) for version in versions]
    for release in made:
        activate(release, actor="user:ann", operation_key=release.release_version)
    return made


def step(owner: Tenant, **more: Any) -> Activation:
    return roll_back(requesting.read(owner), **{**WHY, "recent_only": False, **more})


def rollback_refusal(owner: Tenant, **more: Any) -> CoordinatorError:
    return refusal(step, owner, **more)


def age(release: Release, days: float) -> None:
    """Make every activation of the release's pipeline older."""
    change = "UPDATE releases_activation SET activated_at = activated_at - %s WHERE pipeline_id = %s"
    with unguarded(Activation):
        run(change, timedelta(days=days), release.pipeline_id)


def test_steps_return_to_what_was_replaced_and_never_forward(owner: Tenant) -> None:
    making.registered(owner, "0.1")
    assert (target(requesting.read(owner)), rollback_refusal(owner).code) == (None, "NOTHING_TO_ROLL_BACK_TO")
    first, second, third = activated(owner, "1.0", "2.0", "3.0")
    activate(third, actor="user:ann")
    made = step(owner, reason="  it fails ")
    assert (made.release, made.previous, made.kind, made.is_rollback) == (second, third, Kind.ROLLBACK, True)
    assert (made.sequence, made.reason, made.actor) == (5, "it fails", "user:ann")
    assert queries.active_release(requesting.read(owner)) == second
    [warning] = warnings(made.release)
    assert warning.startswith("No healthy worker hosts it")
    making.worker(second)
    assert warnings(made.release) == []
    assert step(owner).release == first
    assert (target(requesting.read(owner)), rollback_refusal(owner).code) == (None, "NOTHING_TO_ROLL_BACK_TO")
    activated(owner, "4.0")
    assert step(owner).release == first


def test_what_a_rollback_requires(owner: Tenant) -> None:
    first, second = activated(owner, "1.0", "2.0")
    assert rollback_refusal(owner, reason=" \n").code == "REASON_REQUIRED"
    assert refusal(activate, first, actor="user:ann", reason=" ").code == "REASON_REQUIRED"
    never = making.registered(owner, "3.0")
    for release in (never, second):
        for recent_only in (False, True):
            assert rollback_refusal(owner, release=release, recent_only=recent_only).code == "NO_ROLLBACK"
    Pipeline.objects.filter(tenant=owner).update(signature_policy="require")
    assert rollback_refusal(owner).code == "SIGNATURE_REQUIRED"
    revoke(first, **WHY)
    assert rollback_refusal(owner).code == "RELEASE_NOT_REGISTERED"


def test_with_recent_only_the_release_must_have_been_active_lately(owner: Tenant) -> None:
    first, second = activated(owner, "1.0", "2.0")
    age(first, 29.9)
    activated(owner, "3.0")
    Pipeline.objects.filter(tenant=owner).update(rollback_days=29)
    error = rollback_refusal(owner, release=first, recent_only=True)
    assert (error.code, error.status, error.data) == ("ROLLBACK_TOO_FAR", 403, {"rollBackDays": 29})
    Pipeline.objects.filter(tenant=owner).update(rollback_days=30)
    assert step(owner, release=first, recent_only=True).release == first
    age(first, 31)
    assert rollback_refusal(owner, release=second, recent_only=True).code == "ROLLBACK_TOO_FAR"
    assert step(owner, release=second).release == second
    age(first, 400)
    activated(owner, "4.0")
    assert step(owner, recent_only=True).release == second, "it was active until it was replaced"


def test_a_repeated_operation_key_is_the_same_rollback(owner: Tenant) -> None:
    first, second, _third = activated(owner, "1.0", "2.0", "3.0")
    made = step(owner, operation_key="k")
    assert [step(owner, operation_key="k"), step(owner, operation_key="k", release=second)] == [made, made]
    assert requesting.read(owner).activations.count() == 4
    assert rollback_refusal(owner, expected_release_version="1.0").code == "ACTIVE_RELEASE_CHANGED"
    for wrong in ({"release": first}, {"operation_key": "1.0"}, {"operation_key": "1.0", "release": first}):
        assert rollback_refusal(owner, **{"operation_key": "k", **wrong}).code == "OPERATION_KEY_REUSED"
