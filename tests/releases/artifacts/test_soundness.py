import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from releases.artifacts.soundness import STAT_SECONDS, require_sound, require_verified
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable, ArtifactUnverified
from releases.models import Blob, BlobEvent, Release
from releases.tasks import check_blob
from tests import making
from tests.cases import cases
from tests.clock import Clock
from tests.s3 import S3Place, client_of, faulty_proxy, use_s3

pytestmark = pytest.mark.django_db
BOTH = (require_sound, require_verified)


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


def blob(release: Release) -> Blob:
    return Blob.objects.get(digest=release.artifacts.get().digest)


def file(release: Release) -> Path:
    path = making.stored_file(blob(release).digest)
    path.chmod(0o644)
    return path


def events(release: Release) -> list[str]:
    return list(BlobEvent.objects.filter(digest=blob(release).digest).order_by("pk").values_list("kind", flat=True))


def refused(require: Callable[[Release], None], release: Release, error: type[Exception]) -> dict[str, Any]:
    with pytest.raises(error) as caught:
        require(release)
    return getattr(caught.value, "data", {})


@cases(("state", "error"), [("DAMAGED", ArtifactAltered), ("MISSING", ArtifactMissing), ("REMOVED", ArtifactMissing)])
def test_the_last_verdict_applies(state: str, error: type[Exception]) -> None:
    """Bytes that were restored by hand are not trusted until they were read."""
    release = making.registered(making.tenant(), body=state)
    Blob.objects.filter(pk=blob(release).pk).update(state=state)
    refused(require_sound, release, error)
    kept = file(release).rename(file(release).with_suffix(".kept"))
    refused(require_verified, release, error)
    kept.rename(kept.with_suffix(""))
    if state != "REMOVED":
        require_verified(release)
        require_sound(release)


@cases(("damage", "error"), [(None, ArtifactMissing), (b"damage", ArtifactAltered)])
def test_missing_or_other_bytes_are_named_and_repaired_ones_sound(damage: bytes | None, error: type[Exception]) -> None:
    release = making.registered(making.tenant(), body=error.__name__)
    path, digest = file(release), blob(release).digest
    good = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage)
    for require in (require_sound, require_verified, require_verified):
        assert refused(require, release, error) == {"digest": digest}
    path.write_bytes(good)
    require_verified(release)
    assert blob(release).state == "SOUND"
    assert events(release) == ["DAMAGED" if damage else "MISSING", "HEALED"]


def test_only_activations_hash_the_bytes(release: Release, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """A submission reads the last verdict, and sends a message to check the bytes. If they were written, it waits."""
    for require in BOTH:
        with django_assert_num_queries(1):
            require(release)
    path = file(release)
    times = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    with django_assert_num_queries(1):
        refused(require_sound, release, ArtifactUnverified)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with django_assert_num_queries(1):
        require_sound(release)
    assert blob(release).state == "SOUND"
    refused(require_verified, release, ArtifactAltered)
    assert (blob(release).state, events(release)) == ("DAMAGED", ["DAMAGED"])


def test_bytes_that_were_written_again_are_accepted_when_they_were_hashed_and_others_are_not(release: Release) -> None:
    path = file(release)
    path.chmod(0o400)
    require_sound(release)
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)
    refused(require_sound, release, ArtifactUnverified)
    check_blob(blob(release).digest)
    require_sound(release)
    path.write_bytes(bytes(reversed(path.read_bytes())))
    check_blob(blob(release).digest)
    refused(require_sound, release, ArtifactAltered)


def test_every_artifact_with_stored_bytes_is_checked() -> None:
    contract = making.contract()
    first, second = making.archive(contract), making.archive(None, code="second")
    document = making.descriptor(contract, first)
    document["artifacts"].append({**document["artifacts"][0], "artifactId": "b", "digest": making.digest_of(second)})
    release = making.upload(making.tenant(), document, first, second).release
    making.stored_file(making.digest_of(second)).unlink()
    for require in BOTH:
        refused(require, release, ArtifactMissing)


def test_submissions_wait_briefly_for_a_silent_store_and_then_not_at_all(settings: Any, s3_place: S3Place) -> None:
    with faulty_proxy(s3_place) as proxy:
        use_s3(settings, proxy.place)
        release = making.registered(making.tenant(), body=secrets.token_hex(8))
        proxy.silent = True
        seconds = []
        for _ in range(3):
            began = time.monotonic()
            require_sound(release)
            seconds.append(time.monotonic() - began)
        assert seconds[0] < STAT_SECONDS + 1
        assert max(seconds[1:]) < 0.5, "the failure is remembered"
        refused(require_verified, release, ArtifactStoreUnavailable)


def test_submissions_survive_a_lost_store(settings: Any, s3_place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is checked occasionally, and the verdict every time. The cache has only the right bytes."""
    use_s3(settings, s3_place)
    release = making.registered(making.tenant(), body=secrets.token_hex(8))
    use_s3(settings, replace(s3_place, endpoint_url="http://127.0.0.1:1"))
    require_sound(release)
    refused(require_verified, release, ArtifactStoreUnavailable)
    assert blob(release).state == "SOUND"
    use_s3(settings, s3_place)
    require_sound(release)
    digits = blob(release).digest.removeprefix("sha256:")
    place = {"Bucket": s3_place.bucket, "Key": f"{s3_place.prefix}/sha256/{digits}"}
    client = client_of(s3_place)
    good = client.get_object(**place)["Body"].read()
    client.delete_object(**place)
    require_sound(release)
    Blob.objects.update(state="DAMAGED")
    refused(require_sound, release, ArtifactAltered)
    Blob.objects.update(state="SOUND")
    require_sound(release)
    Clock(monkeypatch).ahead += 30
    refused(require_sound, release, ArtifactMissing)
    for data, error in ((b"damage", ArtifactAltered), (good, None), (good[::-1], ArtifactUnverified), (good, None)):
        client.put_object(**place, Body=data)
        Clock(monkeypatch).ahead += 30
        refused(require_sound, release, error) if error else require_sound(release)
