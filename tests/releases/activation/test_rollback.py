"""Rollbacks: which releases they reach, what they require, and how they are marked."""

from datetime import timedelta
from typing import Any

import pytest

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.activation.rollback import roll_back, target, warnings
from releases.artifacts import retention
from releases.models import Activation, Kind, Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import refused, rows, run, unguarded

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "it fails"}


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


def released(owner: Tenant, *versions: str) -> list[Release]:
    return [making.registered(owner, version) for version in versions]


def read(owner: Tenant) -> Pipeline:
    return queries.pipeline(owner, making.PIPELINE)


def step(owner: Tenant, **more: Any) -> Activation:
    """Roll back in one step, as a person who may activate any release."""
    return roll_back(read(owner), **{**WHY, "recent_only": False, **more})


def refusal(owner: Tenant, **more: Any) -> CoordinatorError:
    """Return the error of a rollback that is rejected and changes nothing."""
    before = rows(Activation), rows(Pipeline)
    with pytest.raises(CoordinatorError) as caught:
        step(owner, **more)
    assert (rows(Activation), rows(Pipeline)) == before
    return caught.value


def age(release: Release, days: float) -> None:
    """Make every activation of the release's pipeline older."""
    with unguarded(Activation):
        run(
            "UPDATE releases_activation SET activated_at = activated_at - %s WHERE pipeline_id = %s",
            timedelta(days=days),
            release.pipeline_id,
        )


def test_a_rollback_returns_to_the_release_that_the_active_one_replaced(owner: Tenant) -> None:
    first, second = released(owner, "1.0", "2.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    made = step(owner, reason="  it fails ")
    assert (made.release, made.previous, made.kind, made.is_rollback) == (first, second, Kind.ROLLBACK, True)
    assert (made.sequence, made.reason, made.actor) == (3, "it fails", "user:ann")
    assert queries.active_release(read(owner)) == first


def test_repeated_steps_go_further_back_and_never_forward(owner: Tenant) -> None:
    for release in released(owner, "1.0", "2.0", "3.0"):
        activate(release, actor="user:ann")
    activate(read(owner).releases.get(release_version="3.0"), actor="user:ann")
    assert [step(owner).release.release_version for _ in range(2)] == ["2.0", "1.0"]
    assert target(read(owner)) is None
    assert refusal(owner).code == "NOTHING_TO_ROLL_BACK_TO"
    fourth = making.registered(owner, "4.0")
    activate(fourth, actor="user:ann")
    assert step(owner).release.release_version == "1.0"


def test_without_an_activation_there_is_nothing_to_roll_back_to(owner: Tenant) -> None:
    released(owner, "1.0")
    assert target(read(owner)) is None
    assert refusal(owner).code == "NOTHING_TO_ROLL_BACK_TO"


def test_the_history_decides_what_an_activation_is(owner: Tenant) -> None:
    second, first = released(owner, "2.0", "1.0")
    kinds = [activate(each, **WHY).kind for each in (first, second, second, first, first, second)]
    assert kinds == ["activation", "activation", "activation", "rollback", "activation", "rollback"]


@pytest.mark.parametrize("reason", ["", " \n"])
def test_a_rollback_requires_a_reason_however_it_is_made(owner: Tenant, reason: str) -> None:
    first, second = released(owner, "1.0", "2.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    assert refusal(owner, reason=reason).code == "REASON_REQUIRED"
    before = rows(Activation)
    with pytest.raises(CoordinatorError, match="A rollback requires a reason"):
        activate(first, actor="user:ann", reason=reason)
    assert rows(Activation) == before


def test_only_a_release_that_was_active_before_and_is_not_active_now_is_a_rollback(owner: Tenant) -> None:
    first, second, never = released(owner, "1.0", "2.0", "3.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    for release in (never, second):
        assert refusal(owner, release=release).code == "NO_ROLLBACK"
        assert refusal(owner, release=release, recent_only=True).code == "NO_ROLLBACK"
    revoke(first, **WHY)
    assert refusal(owner).code == "RELEASE_NOT_REGISTERED"


def test_with_recent_only_the_release_must_have_been_active_lately(owner: Tenant) -> None:
    first, second, third = released(owner, "1.0", "2.0", "3.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    age(first, 29.9)
    activate(third, actor="user:ann")
    Pipeline.objects.filter(tenant=owner).update(rollback_days=29)
    error = refusal(owner, release=first, recent_only=True)
    assert (error.code, error.status, error.data) == ("ROLLBACK_TOO_FAR", 403, {"rollBackDays": 29})
    Pipeline.objects.filter(tenant=owner).update(rollback_days=30)
    assert step(owner, release=first, recent_only=True).release == first
    age(first, 31)
    assert refusal(owner, release=second, recent_only=True).code == "ROLLBACK_TOO_FAR"
    assert step(owner, release=second).release == second


def test_a_release_that_was_active_for_long_counts_until_it_was_replaced(owner: Tenant) -> None:
    first, second = released(owner, "1.0", "2.0")
    activate(first, actor="user:ann")
    activate(first, actor="user:ann")
    age(first, 400)
    activate(second, actor="user:ann")
    assert step(owner, recent_only=True).release == first


def test_a_repeated_operation_key_is_the_same_rollback(owner: Tenant) -> None:
    first, second, third = released(owner, "1.0", "2.0", "3.0")
    for release in (first, second, third):
        activate(release, actor="user:ann", operation_key=release.release_version)
    made = step(owner, operation_key="k")
    assert step(owner, operation_key="k") == made
    assert step(owner, operation_key="k", release=second) == made
    assert read(owner).activations.count() == 4
    for wrong in ({"release": first}, {"operation_key": "1.0"}, {"operation_key": "1.0", "release": first}):
        assert refusal(owner, **{"operation_key": "k", **wrong}).code == "OPERATION_KEY_REUSED"


def test_a_rollback_is_rejected_if_another_release_is_active_than_expected(owner: Tenant) -> None:
    first, second, third = released(owner, "1.0", "2.0", "3.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    stale = read(owner)
    assert refusal(owner, expected_release_version="1.0").code == "ACTIVE_RELEASE_CHANGED"
    activate(third, actor="user:ann")
    with pytest.raises(CoordinatorError, match=r"the active release is '3\.0'"):
        roll_back(stale, **WHY, recent_only=False)
    assert queries.active_release(read(owner)) == third


def test_the_signature_policy_applies_to_rollbacks(owner: Tenant) -> None:
    for release in released(owner, "1.0", "2.0"):
        activate(release, actor="user:ann")
    Pipeline.objects.filter(tenant=owner).update(signature_policy="require")
    assert refusal(owner).code == "SIGNATURE_REQUIRED"


def test_formerly_active_releases_keep_their_bytes(owner: Tenant) -> None:
    """At any age, because the bytes of registered releases are needed. So a rollback finds them."""
    found = released(owner, *(f"{number}.0" for number in range(6)))
    for release in found:
        activate(release, actor="user:ann")
    removed = list(retention.remove(retention.orphans(timedelta()), timedelta()))
    assert not {orphan.name for orphan in removed} & {each.artifacts.get().digest for each in found}
    assert all(making.stored_file(each.artifacts.get().digest).exists() for each in found)
    for release in reversed(found[:-1]):
        assert step(owner).release == release


def test_the_warnings_say_that_no_worker_hosts_the_release(owner: Tenant) -> None:
    first, second = released(owner, "1.0", "2.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    made = step(owner)
    [warning] = warnings(made.release)
    assert warning.startswith("No healthy worker hosts it")
    making.worker(first)
    assert warnings(made.release) == []


def test_the_database_rejects_activations_that_deny_what_they_are(owner: Tenant) -> None:
    first, second, never = released(owner, "1.0", "2.0", "3.0")
    for release in (first, second):
        activate(release, actor="user:ann")
    insert = """INSERT INTO releases_activation
        (pipeline_id, sequence, release_id, previous_id, kind, actor, reason) VALUES (%s, 3, %s, %s, %s, '', %s)"""
    for release, kind, reason in (
        (first, "activation", "why"),
        (second, "rollback", "why"),
        (never, "rollback", "why"),
    ):
        name = refused(insert, first.pipeline_id, release.pk, second.pk, kind, reason)
        assert name == "activation_kind_of_history"
    said = refused(insert, first.pipeline_id, first.pk, second.pk, "rollback", " ")
    assert said == "activation_rollback_says_why"
