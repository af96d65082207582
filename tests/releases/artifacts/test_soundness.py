"""The checks of pinned bytes at submissions and activations."""

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from releases.artifacts.soundness import require_sound, require_verified
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable
from releases.models import Blob, BlobEvent, Release
from tests import making
from tests.clock import Clock
from tests.s3 import S3Place, client_of, use_s3

pytestmark = pytest.mark.django_db
BOTH = pytest.mark.parametrize("require", [require_sound, require_verified], ids=["submission", "activation"])
Require = Callable[[Release], None]


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


def blob(release: Release) -> Blob:
    found = release.artifacts.get().blob
    assert found is not None
    return found


def file(release: Release) -> Path:
    path = making.stored_file(blob(release).digest)
    path.chmod(0o644)
    return path


def events(release: Release) -> list[str]:
    return list(BlobEvent.objects.filter(digest=blob(release).digest).order_by("pk").values_list("kind", flat=True))


def same_size_and_times(path: Path) -> None:
    times = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size


@BOTH
def test_unchanged_bytes_are_sound_after_one_query_and_no_hashing(
    release: Release, require: Require, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """A hash would be recorded, with another query."""
    with django_assert_num_queries(1):
        require(release)


@BOTH
def test_missing_bytes_are_named(release: Release, require: Require) -> None:
    file(release).unlink()
    with pytest.raises(ArtifactMissing) as caught:
        require(release)
    assert caught.value.data == {"digest": blob(release).digest}


@BOTH
def test_bytes_of_a_different_size_are_altered(release: Release, require: Require) -> None:
    file(release).write_bytes(b"damage")
    for _ in range(2):
        with pytest.raises(ArtifactAltered) as caught:
            require(release)
        assert caught.value.data == {"digest": blob(release).digest}


@BOTH
@pytest.mark.parametrize(
    ("state", "error"), [("DAMAGED", ArtifactAltered), ("MISSING", ArtifactMissing), ("REMOVED", ArtifactMissing)]
)
def test_the_last_verdict_applies_although_the_bytes_look_right(
    release: Release, require: Require, state: str, error: type[Exception]
) -> None:
    file(release).unlink()
    Blob.objects.update(state=state)
    with pytest.raises(error):
        require(release)


def test_a_submission_never_hashes(release: Release, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """It reads the last verdict, and sends a message to check the bytes."""
    same_size_and_times(file(release))
    with django_assert_num_queries(1):
        require_sound(release)
    assert blob(release).state == "SOUND"


def test_a_submission_relies_on_the_last_verdict(release: Release) -> None:
    """Bytes that were restored by hand are not trusted until they were read."""
    Blob.objects.update(state="DAMAGED")
    with pytest.raises(ArtifactAltered):
        require_sound(release)
    require_verified(release)
    require_sound(release)


def test_an_activation_finds_different_bytes_of_the_same_size_and_times(release: Release) -> None:
    same_size_and_times(file(release))
    with pytest.raises(ArtifactAltered):
        require_verified(release)
    assert blob(release).state == "DAMAGED"
    assert events(release) == ["DAMAGED"]


def test_equal_bytes_with_new_times_are_hashed_once(
    release: Release, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    path, before = file(release), blob(release)
    path.write_bytes(path.read_bytes())
    require_verified(release)
    after, seen = blob(release), artifact_store().stat(before.digest)
    assert seen is not None
    assert seen.fingerprint != before.fingerprint
    assert (after.state, after.fingerprint) == ("SOUND", seen.fingerprint)
    assert after.checked_at >= before.checked_at
    assert events(release) == []
    with django_assert_num_queries(1):
        require_verified(release)


def test_repaired_bytes_are_sound_again(release: Release) -> None:
    path = file(release)
    good = path.read_bytes()
    path.write_bytes(b"damage")
    with pytest.raises(ArtifactAltered):
        require_verified(release)
    path.write_bytes(good)
    require_verified(release)
    assert blob(release).state == "SOUND"
    assert events(release) == ["DAMAGED", "HEALED"]


@BOTH
def test_every_artifact_is_checked_and_not_only_the_primary_one(require: Require) -> None:
    contract = making.contract()
    first, second = making.archive(contract), making.archive(None, code="second")
    document = making.descriptor(contract, first)
    document["artifacts"].append({**document["artifacts"][0], "artifactId": "b", "digest": making.digest_of(second)})
    release = making.upload(making.tenant(), document, first, second).release
    require(release)
    making.stored_file(making.digest_of(second)).unlink()
    with pytest.raises(ArtifactMissing):
        require(release)


@BOTH
def test_a_release_without_stored_bytes_is_always_sound(require: Require) -> None:
    contract = making.contract()
    release = making.upload(making.tenant(), making.descriptor(contract, b"", kind="lambda-image")).release
    require(release)


class TestRemote:
    """A remote store, which may not respond."""

    @pytest.fixture
    def release(self, settings: Any, s3_place: S3Place) -> Release:
        use_s3(settings, s3_place)
        # Unique bytes, which this process has not read before.
        return making.registered(making.tenant(), body=secrets.token_hex(8))

    def test_submissions_continue_while_the_store_is_unavailable_and_activations_do_not(
        self, release: Release, settings: Any, s3_place: S3Place
    ) -> None:
        use_s3(settings, replace(s3_place, endpoint_url="http://127.0.0.1:1"))
        require_sound(release)
        with pytest.raises(ArtifactStoreUnavailable):
            require_verified(release)
        assert blob(release).state == "SOUND"

    def test_the_store_is_checked_occasionally_and_the_verdict_every_time(
        self, release: Release, s3_place: S3Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        require_sound(release)
        digest = blob(release).digest
        key = f"{s3_place.prefix}/sha256/{digest.removeprefix('sha256:')}"
        client_of(s3_place).delete_object(Bucket=s3_place.bucket, Key=key)
        require_sound(release)
        Clock(monkeypatch).ahead += 30
        with pytest.raises(ArtifactMissing):
            require_sound(release)
        Blob.objects.update(state="DAMAGED")
        with pytest.raises(ArtifactAltered):
            require_sound(release)

    def test_a_missing_object_is_found_as_soon_as_it_is_restored(self, release: Release, s3_place: S3Place) -> None:
        client, digest = client_of(s3_place), blob(release).digest
        place = {"Bucket": s3_place.bucket, "Key": f"{s3_place.prefix}/sha256/{digest.removeprefix('sha256:')}"}
        data = client.get_object(**place)["Body"].read()
        client.delete_object(**place)
        with pytest.raises(ArtifactMissing):
            require_sound(release)
        client.put_object(**place, Body=data)
        require_sound(release)

    def test_an_activation_finds_an_overwritten_object(self, release: Release, s3_place: S3Place) -> None:
        digest, size = blob(release).digest, blob(release).size
        key = f"{s3_place.prefix}/sha256/{digest.removeprefix('sha256:')}"
        client_of(s3_place).put_object(Bucket=s3_place.bucket, Key=key, Body=bytes(size))
        with pytest.raises(ArtifactAltered):
            require_verified(release)
        assert events(release) == ["DAMAGED"]
