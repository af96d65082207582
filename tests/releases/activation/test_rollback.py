"""Rollbacks: which releases they reach, what they require, and how they are marked."""

from datetime import timedelta
from typing import Any

import pytest

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.activation.rollback import roll_back, target, warnings
from releases.models import Activation, Kind, Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import run, unguarded
from tests.releases import refusals

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "it fails"}


def activated(owner: Tenant, *versions: str) -> list[Release]:
    """Register and activate the releases, one after the other."""
    made = [making.registered(owner, version) for version in versions]
    for release in made:
        activate(release, actor="user:ann", operation_key=release.release_version)
    return made


def read(owner: Tenant) -> Pipeline:
    return queries.pipeline(owner, making.PIPELINE)


def step(owner: Tenant, **more: Any) -> Activation:
    """Roll back in one step, as a person who may activate any release."""
    return roll_back(read(owner), **{**WHY, "recent_only": False, **more})


def refusal(owner: Tenant, **more: Any) -> CoordinatorError:
    return refusals.refusal(step, owner, **more)


def age(release: Release, days: float) -> None:
    """Make every activation of the release's pipeline older."""
    with unguarded(Activation):
        run(
            "UPDATE releases_activation SET activated_at = activated_at - %s WHERE pipeline_id = %s",
            timedelta(days=days),
            release.pipeline_id,
        )


def test_steps_return_to_what_was_replaced_and_never_forward(owner: Tenant) -> None:
    making.registered(owner, "0.1")
    assert (target(read(owner)), refusal(owner).code) == (None, "NOTHING_TO_ROLL_BACK_TO")
    first, second, third = activated(owner, "1.0", "2.0", "3.0")
    activate(third, actor="user:ann")
    made = step(owner, reason="  it fails ")
    assert (made.release, made.previous, made.kind, made.is_rollback) == (second, third, Kind.ROLLBACK, True)
    assert (made.sequence, made.reason, made.actor) == (5, "it fails", "user:ann")
    assert queries.active_release(read(owner)) == second
    [warning] = warnings(made.release)
    assert warning.startswith("No healthy worker hosts it")
    making.worker(second)
    assert warnings(made.release) == []
    assert step(owner).release == first
    assert (target(read(owner)), refusal(owner).code) == (None, "NOTHING_TO_ROLL_BACK_TO")
    activated(owner, "4.0")
    assert step(owner).release == first


def test_what_a_rollback_requires(owner: Tenant) -> None:
    first, second = activated(owner, "1.0", "2.0")
    assert refusal(owner, reason=" \n").code == "REASON_REQUIRED"
    assert refusals.refusal(activate, first, actor="user:ann", reason=" ").code == "REASON_REQUIRED"
    never = making.registered(owner, "3.0")
    for release in (never, second):
        for recent_only in (False, True):
            assert refusal(owner, release=release, recent_only=recent_only).code == "NO_ROLLBACK"
    Pipeline.objects.filter(tenant=owner).update(signature_policy="require")
    assert refusal(owner).code == "SIGNATURE_REQUIRED"
    revoke(first, **WHY)
    assert refusal(owner).code == "RELEASE_NOT_REGISTERED"


def test_with_recent_only_the_release_must_have_been_active_lately(owner: Tenant) -> None:
    first, second = activated(owner, "1.0", "2.0")
    age(first, 29.9)
    activated(owner, "3.0")
    Pipeline.objects.filter(tenant=owner).update(rollback_days=29)
    error = refusal(owner, release=first, recent_only=True)
    assert (error.code, error.status, error.data) == ("ROLLBACK_TOO_FAR", 403, {"rollBackDays": 29})
    Pipeline.objects.filter(tenant=owner).update(rollback_days=30)
    assert step(owner, release=first, recent_only=True).release == first
    age(first, 31)
    assert refusal(owner, release=second, recent_only=True).code == "ROLLBACK_TOO_FAR"
    assert step(owner, release=second).release == second


def test_a_release_that_was_active_for_long_counts_until_it_was_replaced(owner: Tenant) -> None:
    [first] = activated(owner, "1.0")
    activate(first, actor="user:ann")
    age(first, 400)
    activated(owner, "2.0")
    assert step(owner, recent_only=True).release == first


def test_a_repeated_operation_key_is_the_same_rollback(owner: Tenant) -> None:
    first, second, _third = activated(owner, "1.0", "2.0", "3.0")
    made = step(owner, operation_key="k")
    assert [step(owner, operation_key="k"), step(owner, operation_key="k", release=second)] == [made, made]
    assert read(owner).activations.count() == 4
    assert refusal(owner, expected_release_version="1.0").code == "ACTIVE_RELEASE_CHANGED"
    for wrong in ({"release": first}, {"operation_key": "1.0"}, {"operation_key": "1.0", "release": first}):
        assert refusal(owner, **{"operation_key": "k", **wrong}).code == "OPERATION_KEY_REUSED"
