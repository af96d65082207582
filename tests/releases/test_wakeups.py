"""Each wake-up of the releases package advances work immediately. If it is lost, a scheduled task finds the work."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError
from django.utils import timezone

from foundation.scheduling import places
from releases import tasks
from releases.artifacts.soundness import CHECK_TASK, require_sound
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactMissing
from releases.models import Blob, Release
from releases.registration.registrar import VERIFY_TASK
from releases.states import PENDING
from tenancy.models import Tenant
from tests import making
from tests.few_places import limited
from tests.raw_sql import refuse
from tests.wakeups import LATER, Broker, Work, assert_found_by_the_sweep, assert_moves_at_once, broker

__all__ = ["broker"]
pytestmark = pytest.mark.django_db
CONTRACT = making.contract()


def upload(owner: Tenant, version: str = "1.0") -> Release:
    data = making.archive(CONTRACT, code=version)
    return making.upload(owner, making.descriptor(CONTRACT, data, version), data).release


def verification(cause: Callable[[], object], wakeup: str, *, count: int = 1, delays: tuple[float, ...] = ()) -> Work:
    def age() -> None:
        Release.objects.filter(status__in=PENDING).update(status_changed_at=timezone.now() - timedelta(minutes=3))

    def all_registered() -> bool:
        return list(Release.objects.values_list("status", flat=True)) == ["REGISTERED"] * count

    return Work(cause, [wakeup], all_registered, tasks.sweep, age, delays)


def an_upload() -> Work:
    return verification(lambda: upload(making.tenant()), VERIFY_TASK)


def the_next_upload() -> Work:
    owner = making.tenant()
    for version in ("1.0", "2.0"):
        upload(owner, version)
    return verification(tasks.verify, VERIFY_TASK, count=2)


def an_upload_that_found_no_place() -> Work:
    upload(making.tenant())

    def crowded() -> None:
        with limited(places.RELEASES, 1), places.RELEASES.hold():
            tasks.verify()

    return verification(crowded, VERIFY_TASK + LATER, delays=(10,))


def checking(change: Callable[[Path], object], is_done: Callable[[Blob], bool], *errors: type[Exception]) -> Work:
    """A submission detects that the stored bytes have changed."""
    release = making.registered(making.tenant())
    path = making.stored_file(Blob.objects.get().digest)
    path.chmod(0o644)
    change(path)

    def submit() -> None:
        with pytest.raises(errors) if errors else nullcontext():
            require_sound(release)

    return Work(submit, [CHECK_TASK], lambda: is_done(Blob.objects.get()), tasks.scrub_blobs, age_blobs)


def age_blobs() -> None:
    Blob.objects.update(checked_at=timezone.now() - timedelta(days=365))


def missing_bytes() -> Work:
    return checking(Path.unlink, lambda blob: blob.state == "MISSING", ArtifactMissing)


def bytes_that_were_touched() -> Work:
    def is_known(blob: Blob) -> bool:
        found = artifact_store().stat(blob.digest)
        return found is not None and found.fingerprint == blob.fingerprint

    return checking(lambda path: path.write_bytes(path.read_bytes()), is_known)


def a_check_that_found_no_place() -> Work:
    work = missing_bytes()
    [digest] = Blob.objects.values_list("digest", flat=True)

    def crowded() -> None:
        with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
            tasks.check_blob(digest)

    return Work(crowded, [CHECK_TASK + LATER], work.is_done, work.sweep, age_blobs, delays=[10])


ALL = [
    an_upload,
    the_next_upload,
    an_upload_that_found_no_place,
    missing_bytes,
    bytes_that_were_touched,
    a_check_that_found_no_place,
]


@pytest.mark.parametrize("of", ALL)
def test_a_wake_up_starts_the_work_immediately(broker: Broker, of: Callable[[], Work]) -> None:
    assert_moves_at_once(of(), broker)


@pytest.mark.parametrize("of", ALL)
def test_the_sweep_finds_work_whose_wake_up_is_lost(broker: Broker, of: Callable[[], Work]) -> None:
    assert_found_by_the_sweep(of(), broker)


def test_a_verification_that_fails_announces_the_next_one(broker: Broker) -> None:
    owner = making.tenant()
    failing, other = upload(owner, "1.0"), upload(owner, "2.0")
    refuse("releases_release", "UPDATE", f"NEW.id = {failing.pk} AND NEW.status = 'REGISTERED'")

    def fail() -> None:
        with pytest.raises(DatabaseError):
            tasks.verify()

    broker.deliver(broker.after(fail))
    assert Release.objects.get(pk=failing.pk).status == "VERIFYING"
    assert Release.objects.get(pk=other.pk).status == "REGISTERED"
