"""Activations: each one adds an event, and a rejected one changes nothing."""

from typing import Any

import pytest

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.errors import NoActiveRelease
from releases.models import Activation, Pipeline, Release
from releases.registration.registrar import verify_release
from tests import making
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def v1() -> Release:
    return making.registered(making.tenant(), "1.0")


@pytest.fixture
def v2(v1: Release) -> Release:
    return making.registered(v1.pipeline.tenant, "2.0")


def go(release: Release, **more: Any) -> Activation:
    return activate(release, actor="user:someone", **more)


def refusal(release: Release, **more: Any) -> CoordinatorError:
    """Return the error of an activation that is rejected and changes nothing."""
    before = rows(Activation), rows(Pipeline), rows(Release)
    with pytest.raises(CoordinatorError) as caught:
        go(release, **more)
    assert (rows(Activation), rows(Pipeline), rows(Release)) == before
    return caught.value


def newest(release: Release) -> str | None:
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    return pipeline.activation.release.release_version if pipeline.activation else None


def test_before_the_first_activation_nothing_is_active(v1: Release) -> None:
    with pytest.raises(NoActiveRelease):
        queries.active_release(queries.pipeline(v1.pipeline.tenant, making.PIPELINE))


def test_each_activation_is_an_event_and_the_newest_one_counts(v1: Release, v2: Release) -> None:
    events = [go(v1, reason=" first "), go(v2), go(v1, reason="v2 is wrong"), go(v1)]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert [event.previous_id for event in events] == [None, v1.pk, v2.pk, v1.pk]
    assert [event.is_rollback for event in events] == [False, False, True, False]
    assert [event.reason for event in events] == ["first", "", "v2 is wrong", ""]
    assert {event.actor for event in events} == {"user:someone"}
    assert newest(v1) == "1.0"
    pipeline = Pipeline.objects.get(pk=v1.pipeline_id)
    assert [event.sequence for event in queries.history(pipeline)] == [4, 3, 2, 1]
    assert queries.active_release(pipeline).pk == v1.pk


def test_each_pipeline_has_its_own_sequence_of_activations(v1: Release) -> None:
    other = making.registered(v1.pipeline.tenant, pipeline_id="org.example.other")
    assert [go(v1).sequence, go(other).sequence, go(v1).sequence] == [1, 1, 2]


@pytest.mark.parametrize(
    ("active", "expected", "refused"),
    [
        (False, None, False),
        (False, "", False),
        (False, "1.0", True),
        (True, None, False),
        (True, "1.0", False),
        (True, "", True),
        (True, "2.0", True),
        (True, "1.0 ", True),
    ],
)
def test_an_expected_release_must_be_the_active_one(
    v1: Release, v2: Release, active: bool, expected: str | None, refused: bool
) -> None:
    if active:
        go(v1)
    if not refused:
        assert go(v2, expected_release_version=expected).release_id == v2.pk
        return
    error = refusal(v2, expected_release_version=expected)
    assert error.code == "ACTIVE_RELEASE_CHANGED"
    assert error.data == {"activeReleaseVersion": "1.0" if active else None}


def test_a_repeated_operation_key_returns_the_first_activation(v1: Release, v2: Release) -> None:
    first = go(v1, operation_key="k")
    go(v2)
    making.stored_file(v1.artifacts.get().digest).unlink()
    again = go(v1, operation_key="k", expected_release_version="not the active one")
    assert again.pk == first.pk
    assert newest(v1) == "2.0"
    assert Activation.objects.filter(pipeline=v1.pipeline).count() == 2


def test_an_operation_key_belongs_to_one_release(v1: Release, v2: Release) -> None:
    go(v1, operation_key="k")
    error = refusal(v2, operation_key="k")
    assert (error.code, error.data) == ("OPERATION_KEY_REUSED", {"activeReleaseVersion": "1.0"})


def test_another_pipeline_may_use_the_same_operation_key(v1: Release) -> None:
    other = making.registered(v1.pipeline.tenant, pipeline_id="org.example.other")
    assert go(v1, operation_key="k").pk != go(other, operation_key="k").pk


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_policy_may_require_a_reason(v1: Release, reason: str) -> None:
    Pipeline.objects.filter(pk=v1.pipeline_id).update(reason_required=True)
    release = Release.objects.select_related("pipeline__tenant").get(pk=v1.pk)
    assert refusal(release, reason=reason).code == "REASON_REQUIRED"
    assert go(release, reason="because").reason == "because"


@pytest.mark.parametrize("status", ["UPLOADED", "VERIFYING", "REJECTED", "REVOKED"])
def test_only_a_registered_release_can_be_activated(status: str) -> None:
    owner = making.tenant()
    contract = making.contract()
    data = making.archive(contract)
    files = () if status == "REJECTED" else (data,)
    release = making.upload(owner, making.descriptor(contract, data), *files).release
    row = Release.objects.filter(pk=release.pk)
    if status == "VERIFYING":
        row.update(status=status)
    elif status != "UPLOADED":
        verify_release(release.pk)
        if status == "REVOKED":
            revoke(release, actor="user:test", reason="leaked")
    release.refresh_from_db()
    assert release.status == status
    error = refusal(release)
    assert (error.code, error.data) == ("RELEASE_NOT_REGISTERED", {"releaseStatus": status})


def test_a_release_that_was_revoked_after_it_was_read_is_not_activated(v1: Release) -> None:
    revoke(Release.objects.get(pk=v1.pk), actor="user:test", reason="leaked")
    assert v1.status == "REGISTERED"
    assert refusal(v1).code == "RELEASE_NOT_REGISTERED"


def test_a_revoked_release_is_no_longer_the_active_one(v1: Release) -> None:
    go(v1)
    revoke(v1, actor="user:test", reason="leaked")
    with pytest.raises(NoActiveRelease, match="REVOKED"):
        queries.active_release(queries.pipeline(v1.pipeline.tenant, making.PIPELINE))


@pytest.mark.parametrize(("damage", "code"), [(None, "ARTIFACT_MISSING"), (b"other", "ARTIFACT_ALTERED")])
def test_a_release_with_missing_or_damaged_bytes_is_not_activated(v1: Release, damage: bytes | None, code: str) -> None:
    file = making.stored_file(v1.artifacts.get().digest)
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    assert refusal(v1).code == code
