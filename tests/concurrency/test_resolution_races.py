from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import sql

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import artifact_store
from releases.models import Artifact, Blob, Release
from releases.registration.progress import Progress
from releases.registration.verification import resolve, verify_release
from releases.states import Status
from tests import making
from tests.building import eventually
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import another_session, digest_lock, locked, stopped_before_writing, thread
from tests.concurrency.waiting import until_blocked
from tests.maven_repository import MavenRepository, maven_repository
from tests.releases.registration import located

FILES = [making.archive(located.CONTRACT, code=code) for code in ("first", "second")]
DIGESTS = [making.digest_of(data) for data in FILES]
FIRST, SECOND = (
    located.artifact(data, name, stepIds=["Validate"] if name == "first" else [])
    for data, name in zip(FILES, ("first", "second"), strict=True)
)


@pytest.fixture(autouse=True)
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


def renew() -> None:
    pass


def test_two_verifications_at_once_reach_one_verdict() -> None:
    release = uploaded(FIRST, SECOND)
    results_of(race(*[partial(verify_release, release.pk)] * 3))
    assert (making.reread(release).status, release.findings, held(release)) == ("REGISTERED", [], DIGESTS)
    assert list(Blob.objects.order_by("state").values_list("state", flat=True)) == ["SOUND", "SOUND"]
    assert list(artifact_store().staging.iterdir()) == []


def test_release_and_bytes_are_locked_until_the_artifact_is_written() -> None:
    release = verifying(FIRST)
    with stopped_before_writing(Artifact, partial(resolve, release, renew, Progress(release.pk))) as stopped:
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


def add_bytes(session: psycopg.Connection[Any], release: Release) -> None:
    """Add the bytes of the artifact as raw SQL, without the lock of the product on the release."""
    session.execute(sql.SQL("UPDATE releases_blob SET checked_at = statement_timestamp()"))
    session.execute(
        "UPDATE releases_artifact SET blob_id = digest, resolved = true WHERE release_id = %s", [release.pk]
    )


def test_bytes_are_not_added_after_a_verdict_that_was_not_committed() -> None:
    release = verifying(FIRST)
    blobs.record_sound(DIGESTS[0], size=1, fingerprint="")

    def late() -> str | None:
        with another_session() as other, pytest.raises(psycopg.errors.RestrictViolation) as refused:
            add_bytes(other, release)
        return refused.value.diag.constraint_name

    with another_session() as session:
        session.execute("UPDATE releases_release SET status = 'REGISTERED' WHERE id = %s", [release.pk])

        def commit() -> None:
            until_blocked(session)
            session.commit()

        errors = race(late, commit)
    assert errors == ["artifact_of_verified_release", None]
    assert held(release) == [None]
