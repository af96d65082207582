import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.db import connection

from releases.artifacts import blob_lock, blobs, soundness
from releases.artifacts.local_store import LocalArtifactStore
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactAltered, ArtifactStoreUnavailable
from releases.management.commands.move_artifacts import Result, relocate
from releases.models import Artifact, Blob, BlobEvent, Release
from releases.registration import direct_uploads
from releases.registration.progress import Progress
from releases.registration.verification import resolve, verify_release
from releases.states import Status
from tests import making
from tests.building import eventually
from tests.concurrency import scenes
from tests.concurrency.sessions import (
    advisory_locks,
    another_session,
    digest_lock,
    locked,
    race,
    results_of,
    stopped_before_writing,
    thread,
    until_blocked,
)
from tests.maven_repository import MavenRepository, maven_repository
from tests.releases.registration import located
from tests.releases.registration.sending import MEBIBYTE, begun, opened, sent
from tests.s3 import S3Place, client_of, use_s3

pytestmark = pytest.mark.xdist_group("s3_server")

CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="judged")
DIGEST = making.digest_of(DATA)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def registered() -> Release:
    return making.verified(making.upload(making.tenant(), DESCRIPTOR, DATA).release)


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
            with pytest.raises(TimeoutError):
                moved.result(0.2)
            assert target.stat(DIGEST) is None
            removal.close()
    assert moved.result() == [[Result.COPIED]]


def test_a_registration_waits_for_a_removal_and_stores_its_bytes_again() -> None:
    making.staged(DATA).staged.keep()  # without a row, like an upload that was never committed
    with thread() as other:
        with blob_lock.exclusive(DIGEST) as held:
            assert held is not None
            upload = other.submit(making.upload, making.tenant(), DESCRIPTOR, DATA)
            wait_for_the_lock()
            artifact_store().remove(DIGEST)
            assert not upload.done()
        assert upload.result(30).created
    assert state() == "SOUND"
    assert artifact_store().verified(DIGEST) is not None


# --- bytes of repositories ---

FILES = [making.archive(located.CONTRACT, code=code) for code in ("first", "second")]
DIGESTS = [making.digest_of(data) for data in FILES]
FIRST, SECOND = (
    located.artifact(data, name, stepIds=["Validate"] if name == "first" else [])
    for data, name in zip(FILES, ("first", "second"), strict=True)
)


@pytest.fixture
def repository(settings: Any) -> Iterator[MavenRepository]:
    with maven_repository() as made:
        for artifact, data in ((FIRST, FILES[0]), (SECOND, FILES[1])):
            made.publish(artifact["uri"], data)
        made.configure(settings)
        yield made


def uploaded(*artifacts: dict[str, Any]) -> Release:
    return making.upload(making.tenant(), located.descriptor(*artifacts)).release


def verifying(*artifacts: dict[str, Any]) -> Release:
    release = uploaded(*artifacts)
    Release.objects.filter(pk=release.pk).update(status=Status.VERIFYING)
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def held(release: Release) -> list[str | None]:
    return list(release.artifacts.values_list("blob", flat=True))


def test_two_verifications_at_once_reach_one_verdict(repository: MavenRepository) -> None:
    release = uploaded(FIRST, SECOND)
    results_of(race(*[partial(verify_release, release.pk)] * 3))
    assert (making.reread(release).status, release.findings, held(release)) == ("REGISTERED", [], DIGESTS)
    assert list(Blob.objects.order_by("state").values_list("state", flat=True)) == ["SOUND", "SOUND"]
    assert list(artifact_store().staging.iterdir()) == []


def test_release_and_bytes_are_locked_until_the_artifact_is_written(repository: MavenRepository) -> None:
    release = verifying(FIRST)
    with stopped_before_writing(Artifact, lambda: resolve(release, lambda: None, Progress(release.pk))) as stopped:
        assert locked([release], against="NO KEY UPDATE") == [release]
        assert digest_lock(DIGESTS[0]) == "shared"
        assert held(release) == [None]
        stopped.finish()
    assert locked([release], against="UPDATE") == []
    assert digest_lock(DIGESTS[0]) == "free"
    assert held(release) == [DIGESTS[0]]


def test_bytes_are_stored_after_the_removal_of_the_same_bytes(repository: MavenRepository) -> None:
    release = uploaded(FIRST)
    with thread() as other:
        with blob_lock.exclusive(DIGESTS[0]) as alone:
            assert alone is not None
            running = other.submit(verify_release, release.pk)
            eventually(lambda: bool(repository.requests))
            with pytest.raises(TimeoutError):
                running.result(0.5)
            assert artifact_store().stat(DIGESTS[0]) is None
        running.result(30)
    assert held(release) == [DIGESTS[0]]


def test_bytes_are_not_added_after_a_verdict_that_was_not_committed() -> None:
    """The bytes are added as raw SQL, without the lock of the product on the release."""
    release = verifying(FIRST)
    blobs.record_sound(DIGESTS[0], size=1, fingerprint="")

    def late() -> str | None:
        with another_session() as other:
            other.execute("UPDATE releases_blob SET checked_at = statement_timestamp()")
            with pytest.raises(psycopg.errors.RestrictViolation) as refused:
                other.execute("UPDATE releases_artifact SET blob_id = digest, resolved = true")
        return refused.value.diag.constraint_name

    with another_session() as session:
        session.execute("UPDATE releases_release SET status = 'REGISTERED' WHERE id = %s", [release.pk])

        def commit() -> None:
            until_blocked(session)
            session.commit()

        errors = race(late, commit)
    assert errors == ["artifact_of_verified_release", None]
    assert held(release) == [None]


# --- direct uploads ---

LARGE = os.urandom(6 * MEBIBYTE)


@pytest.fixture
def place(settings: Any, s3_place: S3Place) -> S3Place:
    use_s3(settings, s3_place)
    settings.UPLOAD_PART_BYTES = 5 * MEBIBYTE
    return s3_place


def test_the_first_of_two_starts_decides_the_multipart_upload(place: S3Place) -> None:
    """The loser is rejected after the parts of the winner have arrived, and aborts only what it started itself."""
    owner, direct = making.tenant(), artifact_store().direct
    assert direct is not None
    upload = opened(owner, making.digest_of(LARGE), size=len(LARGE))
    name = str(upload.pk)
    won = direct.begin(name)
    with thread() as other, another_session() as session:
        session.execute("UPDATE releases_artifactupload SET storage_id = %s, status = 'VERIFYING'", [won])
        late = other.submit(race, partial(begun, owner, LARGE))
        until_blocked(session, ended=late.done)
        address = direct.url(name, won, 1, len(LARGE))
        assert requests.put(address, data=LARGE, timeout=20).status_code == 200
        session.commit()
        late.result(30)
    begun_there = client_of(place).list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix)
    assert [upload["UploadId"] for upload in begun_there["Uploads"]] == [won]
    assert direct.join(name, won)
    direct_uploads.finish(name)
    assert (making.reread(upload).status, upload.finding) == ("STORED", None)


def test_concurrent_verifications_of_equal_bytes_of_two_tenants_are_one_blob(place: S3Place) -> None:
    uploads = [sent(making.tenant(), LARGE), sent(making.tenant(), LARGE)]
    results_of(race(*(partial(direct_uploads.finish, str(upload.pk)) for upload in uploads * 2)))
    assert [(making.reread(upload).status, upload.cleared) for upload in uploads] == [("STORED", True)] * 2
    assert artifact_store().verified(making.digest_of(LARGE)) is not None
    assert Blob.objects.get().state == "SOUND"


def test_a_direct_upload_locks_its_digest_until_it_is_stored(place: S3Place) -> None:
    upload = sent(making.tenant(), LARGE)
    with stopped_before_writing(Blob, partial(direct_uploads.finish, str(upload.pk))) as stopped:
        assert digest_lock(upload.digest) == "shared"
        stopped.finish()
        assert advisory_locks() == 0
    assert making.reread(upload).status == "STORED"
