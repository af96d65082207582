"""A process caches for a limited time that a remote store has the right bytes. It never caches that they are wrong."""

import secrets
from typing import Any

import pytest

from releases.artifacts import soundness
from releases.artifacts.soundness import require_sound
from releases.errors import ArtifactAltered, ArtifactMissing
from releases.models import Blob, Release
from tests import making
from tests.clock import Clock
from tests.s3 import S3Place, client_of, use_s3

pytestmark = pytest.mark.django_db


class Bucket:
    """The stored bytes of a release, accessed with an S3 client instead of the artifact store."""

    def __init__(self, place: S3Place, release: Release) -> None:
        digest = release.artifacts.get().digest
        self._where = {"Bucket": place.bucket, "Key": f"{place.prefix}/sha256/{digest.removeprefix('sha256:')}"}
        self._client: Any = client_of(place)
        self.good: bytes = self._client.get_object(**self._where)["Body"].read()

    def remove(self) -> None:
        self._client.delete_object(**self._where)

    def put(self, data: bytes) -> None:
        self._client.put_object(**self._where, Body=data)


@pytest.fixture
def release(settings: Any, s3_place: S3Place) -> Release:
    use_s3(settings, s3_place)
    # Unique bytes, about which this process has cached nothing.
    return making.registered(making.tenant(), body=secrets.token_hex(8))


@pytest.fixture
def bucket(s3_place: S3Place, release: Release) -> Bucket:
    return Bucket(s3_place, release)


def test_missing_bytes_are_found_as_soon_as_they_are_restored(release: Release, bucket: Bucket) -> None:
    bucket.remove()
    for _ in range(2):
        with pytest.raises(ArtifactMissing):
            require_sound(release)
    bucket.put(bucket.good)
    require_sound(release)


def test_bytes_of_a_wrong_size_are_rejected_until_they_are_replaced(release: Release, bucket: Bucket) -> None:
    bucket.put(b"damage")
    for _ in range(2):
        with pytest.raises(ArtifactAltered):
            require_sound(release)
    bucket.put(bucket.good)
    require_sound(release)


def test_bytes_that_were_right_are_checked_again_after_a_limited_time(
    release: Release, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_sound(release)
    bucket.remove()
    require_sound(release)
    Clock(monkeypatch).ahead += 30
    with pytest.raises(ArtifactMissing):
        require_sound(release)


def test_a_process_caches_a_limited_number_of_blobs(release: Release, bucket: Bucket) -> None:
    require_sound(release)
    for number in range(9_999):
        soundness.cache.set(f"sha256:{number}", None)
    bucket.remove()
    require_sound(making.registered(making.tenant(), body=secrets.token_hex(8)))
    with pytest.raises(ArtifactMissing):
        require_sound(release)


def test_the_verdict_takes_precedence_over_the_cache(release: Release) -> None:
    require_sound(release)
    Blob.objects.update(state="DAMAGED")
    with pytest.raises(ArtifactAltered):
        require_sound(release)
    Blob.objects.update(state="SOUND")
    require_sound(release)
