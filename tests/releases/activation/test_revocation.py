"""A revocation is permanent. Existing executions keep their release."""

import pytest

from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.errors import NoActiveRelease, ReasonRequired, ReleaseNotRegistered
from releases.models import Revocation
from tests import making

pytestmark = pytest.mark.django_db


def test_a_revoked_release_cannot_be_activated_and_the_event_has_actor_and_reason() -> None:
    release = making.registered(making.tenant())
    event = revoke(release, actor="user:ann", reason=" leaked key ")
    assert (event.release_id, event.actor, event.reason) == (release.pk, "user:ann", "leaked key")
    assert release.status == "REVOKED"
    with pytest.raises(ReleaseNotRegistered):
        activate(release, actor="user:ann")


def test_if_the_active_release_is_revoked_submissions_fail_until_another_release_is_active() -> None:
    owner, release = making.ready()
    accepted = making.execution(owner, "first")
    revoke(release, actor="user:ann", reason="leaked")
    with pytest.raises(NoActiveRelease, match="REVOKED"):
        making.execution(owner, "second")
    assert [claim.execution_id for claim in making.claimed(owner)] == [accepted.pk]
    making.worker(making.active(owner, "2.0"), "worker-2")
    assert making.execution(owner, "second").release_version == "2.0"


def test_a_repeated_revocation_returns_the_first_event() -> None:
    release = making.registered(making.tenant())
    first = revoke(release, actor="user:ann", reason="leaked")
    assert revoke(release, actor="user:bob", reason="other") == first
    assert Revocation.objects.get(release=release).actor == "user:ann"


@pytest.mark.parametrize("status", ["UPLOADED", "VERIFYING", "REJECTED"])
def test_only_a_registered_release_can_be_revoked(status: str) -> None:
    contract = making.contract()
    data = making.archive(contract, code=status)
    release = making.upload(making.tenant(), making.descriptor(contract, data), data).release
    for step in {"UPLOADED": [], "VERIFYING": ["VERIFYING"], "REJECTED": ["VERIFYING", "REJECTED"]}[status]:
        type(release).objects.filter(pk=release.pk).update(status=step)
    with pytest.raises(ReleaseNotRegistered, match=status):
        revoke(release, actor="", reason="why")
    assert not Revocation.objects.exists()


def test_a_revocation_requires_a_reason() -> None:
    release = making.registered(making.tenant())
    with pytest.raises(ReasonRequired):
        revoke(release, actor="", reason=" ")
    release.refresh_from_db()
    assert release.status == "REGISTERED"
