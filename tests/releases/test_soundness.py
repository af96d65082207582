"""Whether the bytes that a release pins are still what was verified: told cheaply, but never wrongly."""

import os
from pathlib import Path

import pytest
from pytest_django import DjangoAssertNumQueries

from releases.artifact_store import artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing
from releases.models import Blob, Release
from releases.soundness import require_sound
from tests import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


def blob(release: Release) -> Blob:
    found = release.artifacts.get().blob
    assert found is not None
    return found


def file(release: Release) -> Path:
    path = artifact_store().path(blob(release).digest)
    path.chmod(0o644)
    return path


def test_what_was_not_touched_is_sound_by_one_query_and_no_hashing(
    release: Release, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Whatever was hashed is noted, which would be another query."""
    with django_assert_num_queries(1):
        require_sound(release)


def test_missing_bytes_are_named(release: Release) -> None:
    file(release).unlink()
    with pytest.raises(ArtifactMissing) as caught:
        require_sound(release)
    assert caught.value.data == {"digest": blob(release).digest}


def test_bytes_of_the_same_size_and_times_are_found_to_be_others(release: Release) -> None:
    path = file(release)
    times = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    with pytest.raises(ArtifactAltered) as caught:
        require_sound(release)
    assert caught.value.data == {"digest": blob(release).digest}
    assert blob(release).state == "DAMAGED"


def test_damage_stays_damage_although_it_was_noted(release: Release) -> None:
    file(release).write_bytes(b"damage")
    for _ in range(2):
        with pytest.raises(ArtifactAltered):
            require_sound(release)


def test_equal_bytes_that_were_touched_are_hashed_once_and_then_known(
    release: Release, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path, before = file(release), blob(release)
    path.write_bytes(path.read_bytes())
    assert artifact_store().fingerprint(before.digest) != before.fingerprint
    require_sound(release)
    after = blob(release)
    assert (after.state, after.fingerprint) == ("SOUND", artifact_store().fingerprint(before.digest))
    assert after.checked_at > before.checked_at
    with django_assert_num_queries(1):
        require_sound(release)


def test_bytes_that_were_put_right_are_sound_again(release: Release) -> None:
    path = file(release)
    good = path.read_bytes()
    path.write_bytes(b"damage")
    with pytest.raises(ArtifactAltered):
        require_sound(release)
    path.write_bytes(good)
    require_sound(release)
    assert blob(release).state == "SOUND"


def test_every_artifact_counts_and_not_only_the_primary_one() -> None:
    contract = making.contract()
    first, second = making.archive(contract), making.archive(None, code="second")
    document = making.descriptor(contract, first)
    document["artifacts"].append({**document["artifacts"][0], "artifactId": "b", "digest": making.digest_of(second)})
    release = making.upload(making.tenant(), document, first, second).release
    require_sound(release)
    artifact_store().path(making.digest_of(second)).unlink()
    with pytest.raises(ArtifactMissing):
        require_sound(release)


def test_a_release_without_stored_bytes_is_always_sound() -> None:
    contract = making.contract()
    release = making.upload(making.tenant(), making.descriptor(contract, b"", kind="lambda-image")).release
    require_sound(release)
