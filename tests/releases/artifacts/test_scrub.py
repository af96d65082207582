"""Stored bytes are checked within the set time. Damaged bytes are quarantined, reported, rejected and replaced."""

from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from django.utils import timezone

from executions.submission.submission import submit
from foundation.scheduling import places
from releases import tasks
from releases.activation.activation import activate
from releases.artifacts import scrub, soundness
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactAltered, ArtifactStoreUnavailable
from releases.models import Blob, BlobEvent, Release
from tests import making
from tests.few_places import limited
from tests.releases.artifacts.store.bench import LocalBench, S3Bench
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
ORDER: dict[str, Any] = {"pipeline_id": making.PIPELINE, "input": {"n": 1}, "actor": "token:test"}


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))])
def bench(request: pytest.FixtureRequest, settings: Any) -> LocalBench | S3Bench:
    """The configured store, of each kind."""
    if request.param == "s3":
        place: S3Place = request.getfixturevalue("s3_place")
        use_s3(settings, place)
        return S3Bench(place, settings.ARTIFACT_ROOT)
    return LocalBench(artifact_store())  # type: ignore[arg-type]


def verdicts(budget: float = float("inf"), *, everything: bool = True) -> list[tuple[str, str | None]]:
    """Return the first results of a scrub that may not end."""
    return [(checked.digest, checked.state) for checked in islice(scrub.scrub(budget, everything=everything), 20)]


def digest_of(release: Release) -> str:
    return release.artifacts.get().digest


def events(digest: str) -> list[str]:
    return list(BlobEvent.objects.filter(digest=digest).order_by("pk").values_list("kind", flat=True))


def test_damaged_bytes_are_quarantined_reported_and_rejected_until_an_upload_replaces_them(
    bench: LocalBench | S3Bench,
) -> None:
    owner, release = making.ready()
    digest, data = digest_of(release), bench.read(digest_of(release))
    bench.overwrite(digest, bytes(len(data)))
    assert verdicts() == [(digest, "DAMAGED")]
    event = BlobEvent.objects.get(digest=digest)
    prefix = bench.place.prefix if isinstance(bench, S3Bench) else ""
    assert event.data["quarantined"].removeprefix(prefix).lstrip("/") in bench.everything()
    assert bench.store.stat(digest) is None
    with pytest.raises(ArtifactAltered):
        submit(owner, idempotency_key="k", **ORDER)
    with pytest.raises(ArtifactAltered):
        activate(release, actor="user:test")
    assert verdicts() == [(digest, "DAMAGED")], "bytes that were set aside stay damaged, and are reported once"
    assert events(digest) == ["DAMAGED"]
    assert making.upload(owner, release.descriptor, data).release == release
    assert events(digest) == ["DAMAGED", "HEALED"]
    assert submit(owner, idempotency_key="k", **ORDER).duplicate is False
    assert activate(release, actor="user:test").release_id == release.pk
    assert verdicts() == [(digest, "SOUND")]


def test_an_unmounted_local_store_gives_no_verdict(settings: Any) -> None:
    """Submissions and running work continue. Nothing is written to the wrong disk, and the store recovers later."""
    owner, release = making.ready()
    digest, root = digest_of(release), settings.ARTIFACT_ROOT
    mounted = root.rename(root.with_name("disk"))
    root.mkdir()
    assert verdicts() == [(digest, None)]
    assert submit(owner, idempotency_key="k", **ORDER).duplicate is False
    with pytest.raises(ArtifactStoreUnavailable, match="Is the disk mounted"):
        soundness.require_verified(release)
    with pytest.raises(ArtifactStoreUnavailable, match="Is the disk mounted"):
        making.registered(owner, "2.0")
    assert list(root.iterdir()) == []
    root.rmdir()
    mounted.rename(root)
    assert (verdicts(), events(digest), Blob.objects.get().checking_until) == ([(digest, "SOUND")], [], None)


def test_scrubbing_waits_for_a_place_to_read_and_skips_what_another_process_reads() -> None:
    digest = digest_of(making.registered(making.tenant()))
    making.stored_file(digest).unlink()
    Blob.objects.update(checked_at=timezone.now() - timedelta(days=365))
    with limited(places.ARTIFACTS, 1), places.ARTIFACTS.hold():
        tasks.scrub_blobs()
    Blob.objects.update(checking_until=timezone.now() + timedelta(minutes=5))
    tasks.scrub_blobs()
    assert Blob.objects.get().state == "SOUND"
    Blob.objects.update(checking_until=timezone.now() - timedelta(minutes=5))
    tasks.scrub_blobs()
    assert Blob.objects.get().state == "MISSING"


def test_each_blob_is_due_within_the_set_time_and_the_oldest_check_comes_first(settings: Any) -> None:
    settings.SCRUB_DAYS = 8
    owner = making.tenant()
    digests = {}
    for version, days in {"1.0": 5, "2.0": 7, "3.0": 100, "4.0": 0}.items():
        digests[version] = digest_of(making.registered(owner, version))
        Blob.objects.filter(pk=digests[version]).update(checked_at=timezone.now() - timedelta(days=days))
    assert verdicts(0.0, everything=False) == []
    assert verdicts(everything=False) == [(digests["3.0"], "SOUND"), (digests["2.0"], "SOUND")]
    assert verdicts(everything=False) == []
    making.stored_file(digests["1.0"]).unlink()
    assert scrub.check(digests["1.0"]).state == "MISSING"
    assert verdicts(everything=False) == []
    Blob.objects.filter(pk=digests["1.0"]).update(checked_at=timezone.now() - scrub.MISSING_DUE_AFTER)
    assert verdicts(everything=False) == [(digests["1.0"], "MISSING")], "missing bytes are checked again after a minute"
    assert Blob.objects.filter(checking_until=None).count() == 4
