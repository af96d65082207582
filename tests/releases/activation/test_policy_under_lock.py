"""An activation is checked against the rows that it reads under its lock, not those that its caller has read before."""

from typing import Any

import pytest

from foundation.errors import CoordinatorError
from releases import queries
from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Activation, Pipeline, Release
from releases.registration import attachments
from releases.trust import trusted_keys
from tests import making, signing
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db


def read(release: Release) -> Release:
    """Return the release with its pipeline and active release, as they are now."""
    rows = Release.objects.select_related("pipeline__tenant", "pipeline__activation__release")
    return rows.get(pk=release.pk)


def refusal(release: Release, **more: Any) -> str:
    before = rows(Activation), rows(Pipeline)
    with pytest.raises(CoordinatorError) as caught:
        activate(release, actor="user:test", **more)
    assert (rows(Activation), rows(Pipeline)) == before
    return caught.value.code


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


@pytest.mark.parametrize(
    ("change", "code"),
    [({"signaturePolicy": "require"}, "SIGNATURE_REQUIRED"), ({"reasonRequired": True}, "REASON_REQUIRED")],
)
def test_a_policy_that_was_changed_after_the_release_was_read_applies(
    release: Release, change: dict[str, Any], code: str
) -> None:
    early = read(release)
    policy.change(early.pipeline, change, actor="user:admin")
    assert refusal(early) == code


def test_a_signature_policy_that_was_lifted_after_the_release_was_read_does_not_apply(release: Release) -> None:
    policy.change(release.pipeline, {"signaturePolicy": "require"}, actor="user:admin")
    early = read(release)
    assert refusal(early) == "SIGNATURE_REQUIRED"
    policy.change(early.pipeline, {"signaturePolicy": "off"}, actor="user:admin")
    assert activate(early, actor="user:test").sequence == 1


def test_a_key_that_was_revoked_after_the_release_was_read_is_not_trusted(release: Release) -> None:
    key = signing.trusted(release.pipeline.tenant)
    attachments.attach(release, [signing.envelope(release.descriptor)], actor="user:test")
    policy.change(release.pipeline, {"signaturePolicy": "require"}, actor="user:admin")
    early = read(release)
    assert activate(early, actor="user:test").sequence == 1
    trusted_keys.revoke(key, actor="user:admin", reason="leaked")
    assert refusal(early) == "SIGNATURE_REQUIRED"


def test_the_expected_release_is_compared_with_the_release_that_is_active_under_the_lock(release: Release) -> None:
    activate(release, actor="user:test")
    second = making.registered(release.pipeline.tenant, "2.0")
    early = read(second)
    activate(read(second), actor="user:test")
    assert refusal(early, expected_release_version="1.0") == "ACTIVE_RELEASE_CHANGED"
    event = activate(early, actor="user:test", expected_release_version="2.0")
    assert (event.sequence, event.previous_id) == (3, second.pk)
    active = queries.pipeline(release.pipeline.tenant, making.PIPELINE).activation
    assert active == event
