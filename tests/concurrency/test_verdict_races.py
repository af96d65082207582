import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.db import connection

from releases.artifacts import blob_lock, blobs, soundness
from releases.artifacts.local_store import LocalArtifactStore
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactAltered, ArtifactStoreUnavailable
from releases.management.commands.move_artifacts import Result, relocate
from releases.models import Blob, BlobEvent, Release
from releases.registration.registrar import Registration, register
from tests import making
from tests.building import eventually
from tests.concurrency import scenes
from tests.concurrency.racing import race
from tests.concurrency.sessions import thread

NO_AGE = timedelta(seconds=-60)
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="judged")
DIGEST = making.digest_of(DATA)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def registered() -> Release:
    return making.verified(making.upload(making.tenant(), DESCRIPTOR, DATA).release)


def registering() -> Callable[[], Registration]:
    document = json.dumps(DESCRIPTOR).encode()
    return partial(register, making.tenant(), document, [making.staged(DATA)], actor="user:x")


def state() -> str:
    return Blob.objects.get(pk=DIGEST).state


def events() -> list[str]:
    return list(BlobEvent.objects.order_by("pk").values_list("kind", flat=True))


@contextmanager
def meanwhile(call: Callable[[], object]) -> Iterator["Future[list[object]]"]:
    """Run `call` over a separate connection during the block. It ends after the block."""
    with thread() as other:
        running = other.submit(race, call)
        yield running
        running.result(60)


def wait_for_the_lock() -> None:
    """Wait until another connection tries to take a digest's lease, as a check does after it has read sound bytes."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    def tried() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(query + " AND query LIKE '%%releases_bloblease%%'")
            return bool(cursor.fetchone()[0])

    eventually(tried)


JUDGES: dict[str, Callable[[Release], object]] = {
    "activation": soundness.require_verified,
    "scrub": lambda release: blobs.check(DIGEST),
}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_bytes_that_an_upload_is_healing_are_not_judged_damaged(judge: Callable[[Release], object]) -> None:
    """The upload holds the digest's lock. A check that has already read the damaged bytes gives no verdict."""
    release = registered()
    scenes.damage(Blob.objects.get())
    with blob_lock.shared([DIGEST]), meanwhile(partial(judge, release)) as judged:
        pass
    [verdict] = judged.result()
    assert isinstance(verdict, ArtifactStoreUnavailable) or verdict.state is None  # type: ignore[attr-defined]
    assert (state(), events()) == ("SOUND", [])
    assert making.stored_file(DIGEST).read_bytes() == b"damage"


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_bytes_that_are_being_removed_are_not_judged_sound(judge: Callable[[Release], object]) -> None:
    """The remover holds the digest's exclusive lock. A check that has already read sound bytes reads again."""
    release = registered()
    Blob.objects.update(fingerprint="of another time")
    with ExitStack() as removal:
        assert removal.enter_context(blob_lock.exclusive(DIGEST)) is not None
        with meanwhile(partial(judge, release)):
            wait_for_the_lock()
            artifact_store().remove(DIGEST)
            blobs.record_removed(DIGEST, size=len(DATA))
            removal.close()
    assert (state(), events()) == ("REMOVED", ["REMOVED"])


def test_processes_that_judge_the_same_damaged_bytes_at_the_same_time_agree() -> None:
    release = registered()
    scenes.damage(Blob.objects.get())
    raced = race(*3 * [partial(soundness.require_verified, release)])
    assert [type(refusal) for refusal in raced] == 3 * [ArtifactAltered]


def test_bytes_that_are_being_removed_are_not_moved_to_another_store(tmp_path: Path) -> None:
    source, target = (LocalArtifactStore(tmp_path / name) for name in ("here", "there"))
    source.set_up()
    staged = source.stage(len(DATA))
    staged.write(DATA)
    staged.keep()

    def move() -> list[Result]:
        return [moved.result for moved in relocate(source, target)]

    with ExitStack() as removal:
        assert removal.enter_context(blob_lock.exclusive(DIGEST)) is not None
        with meanwhile(move) as moved:
            wait_for_the_lock()
            assert target.stat(DIGEST) is None
            removal.close()
    assert moved.result() == [[Result.COPIED]]


def stray() -> None:
    """Store bytes without a row, as an upload that was never committed does. They are old enough to be removed."""
    making.staged(DATA).staged.keep()


def test_a_registration_waits_for_a_removal_and_stores_its_bytes_again() -> None:
    stray()
    with thread() as other:
        with blob_lock.exclusive(DIGEST) as held:
            assert held is not None
            upload = other.submit(registering())
            wait_for_the_lock()
            artifact_store().remove(DIGEST)
            assert not upload.done()
        assert upload.result(30).created
    assert state() == "SOUND"
    assert artifact_store().verified(DIGEST) is not None
