"""Each wake-up of the releases package advances work immediately. If it is lost, a scheduled task finds the work."""

from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone

from foundation.scheduling import places
from releases import tasks
from releases.artifacts.soundness import CHECK_TASK, require_sound
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactMissing, ArtifactUnverified
from releases.models import Blob, Release
from releases.registration.registrar import VERIFY_TASK
from tests import making
from tests.cases import cases
from tests.few_places import limited
from tests.raw_sql import refuse
from tests.wakeups import LATER, Broker, names

pytestmark = pytest.mark.django_db


@cases("lost", [False, True])
def test_uploads_are_verified_one_after_the_other_or_found_by_the_sweep(broker: Broker, lost: bool) -> None:
    owner = making.tenant()
    making.uploaded(owner, "1.0")
    with limited(places.RELEASES, 1), places.RELEASES.hold():
        assert names(broker.after(tasks.verify)) == [VERIFY_TASK + LATER], "there was no place"
    messages = broker.after(lambda: making.uploaded(owner, "2.0"))
    assert names(messages) == [VERIFY_TASK]
    if lost:
        Release.objects.update(status_changed_at=timezone.now() - timedelta(minutes=3))
        messages = broker.after(tasks.sweep)
        assert names(messages) == [VERIFY_TASK] * 2
    broker.deliver(messages)
    assert list(Release.objects.values_list("status", flat=True)) == ["REGISTERED"] * 2


@cases("missing", [True, False])
def test_a_submission_that_finds_changed_bytes_announces_a_check(broker: Broker, missing: bool) -> None:
    release = making.registered(making.tenant())
    digest = release.artifacts.get().digest
    path = making.stored_file(digest)
    path.chmod(0o644)
    path.unlink() if missing else path.write_bytes(path.read_bytes())

    def submit() -> None:
        with pytest.raises(ArtifactMissing if missing else ArtifactUnverified):
            require_sound(release)

    assert names(broker.after(submit)) == [CHECK_TASK]
    with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
        messages = broker.after(lambda: tasks.check_blob(digest))
    assert names(messages) == [CHECK_TASK + LATER], "there was no place"
    broker.deliver(messages)
    blob, found = Blob.objects.get(), artifact_store().stat(digest)
    assert blob.state == ("MISSING" if missing else "SOUND")
    assert found is None or found.fingerprint == blob.fingerprint


def test_a_verification_that_fails_announces_the_next_one(broker: Broker) -> None:
    owner = making.tenant()
    failing, other = making.uploaded(owner, "1.0"), making.uploaded(owner, "2.0")
    refuse("releases_release", "UPDATE", f"NEW.id = {failing.pk} AND NEW.status = 'REGISTERED'")

    def fail() -> None:
        with pytest.raises(DatabaseError):
            tasks.verify()

    broker.deliver(broker.after(fail))
    assert Release.objects.get(pk=failing.pk).status == "VERIFYING"
    assert Release.objects.get(pk=other.pk).status == "REGISTERED"
