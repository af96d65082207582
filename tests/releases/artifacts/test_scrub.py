"""Stored bytes are checked within the set time. Damaged bytes are quarantined, reported, rejected and replaced."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.utils import timezone

from executions.submission.submission import submit
from releases import tasks
from releases.activation.activation import activate
from releases.artifacts import blob_lock, scrub, soundness
from releases.artifacts.store import artifact_store
from releases.artifacts.store.local import LocalArtifactStore
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable
from releases.models import Blob, BlobEvent, Release
from tests import making
from tests.releases.artifacts.store.bench import Bench, LocalBench, S3Bench
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
ALL = float("inf")
ORDER: dict[str, Any] = {"pipeline_id": making.PIPELINE, "input": {"n": 1}, "actor": "token:test"}


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))])
def bench(request: pytest.FixtureRequest, settings: Any) -> Iterator[Bench]:
    """The configured store, of each kind."""
    if request.param == "s3":
        place: S3Place = request.getfixturevalue("s3_place")
        use_s3(settings, place)
        yield S3Bench(place, settings.ARTIFACT_ROOT)
    else:
        store = artifact_store()
        assert isinstance(store, LocalArtifactStore)
        yield LocalBench(store)


def verdicts(budget: float = ALL, *, everything: bool = True) -> list[tuple[str, str | None]]:
    """Return the first results of a scrub that may not end."""
    return [(checked.digest, checked.state) for checked in islice(scrub.scrub(budget, everything=everything), 20)]


def blob_of(release: Release) -> Blob:
    found = release.artifacts.get().blob
    assert found is not None
    return found


def events(digest: str) -> list[tuple[str, Any]]:
    rows = BlobEvent.objects.filter(digest=digest).order_by("pk")
    return [(event.kind, event.data) for event in rows]


def test_damaged_bytes_are_quarantined_reported_and_rejected_until_an_upload_replaces_them(bench: Bench) -> None:
    owner, release = making.ready()
    digest, data = blob_of(release).digest, bench.read(blob_of(release).digest)
    bench.overwrite(digest, bytes(len(data)))

    assert verdicts() == [(digest, "DAMAGED")]
    [(kind, details)] = events(digest)
    assert kind == "DAMAGED"
    prefix = bench.place.prefix if isinstance(bench, S3Bench) else ""
    assert details["quarantined"].removeprefix(prefix).lstrip("/") in bench.everything()
    assert bench.store.stat(digest) is None
    with pytest.raises(ArtifactAltered):
        submit(owner, idempotency_key="k", **ORDER)
    with pytest.raises(ArtifactAltered):
        activate(release, actor="user:test")

    assert verdicts() == [(digest, "DAMAGED")], "bytes that were set aside stay damaged, and are reported once"
    assert [kind for kind, _ in events(digest)] == ["DAMAGED"]

    again = making.upload(owner, release.descriptor, data)
    assert (again.created, again.release.pk) == (False, release.pk)
    assert [kind for kind, _ in events(digest)] == ["DAMAGED", "HEALED"]
    assert submit(owner, idempotency_key="k", **ORDER).duplicate is False
    assert activate(release, actor="user:test").release_id == release.pk
    assert verdicts() == [(digest, "SOUND")]


def test_missing_bytes_are_checked_again_after_a_minute_and_rejected_until_they_are_restored(bench: Bench) -> None:
    owner, release = making.ready()
    digest, data = blob_of(release).digest, bench.read(blob_of(release).digest)
    bench.store.remove(digest)
    assert verdicts() == [(digest, "MISSING")]
    assert events(digest) == [("MISSING", {})]
    with pytest.raises(ArtifactMissing):
        submit(owner, idempotency_key="k", **ORDER)
    before = Blob.objects.get()
    assert verdicts() == [(digest, "MISSING")]
    after = Blob.objects.get()
    assert (after.checked_at > before.checked_at, after.checking_until) == (True, None)
    bench.overwrite(digest, data)
    assert verdicts(everything=False) == []
    Blob.objects.update(checked_at=F("checked_at") - scrub.MISSING_DUE_AFTER)
    tasks.scrub_blobs()
    assert submit(owner, idempotency_key="k", **ORDER).duplicate is False
    assert events(digest) == [("MISSING", {}), ("HEALED", {"was": "MISSING"})]


def test_an_unmounted_local_store_gives_no_verdict(settings: Any) -> None:
    """Submissions and running work continue. Nothing is written to the wrong disk, and the store recovers later."""
    owner, release = making.ready()
    digest, root = blob_of(release).digest, settings.ARTIFACT_ROOT
    mounted = root.rename(root.with_name("disk"))
    root.mkdir()
    assert verdicts() == [(digest, None)]
    assert scrub.check(digest).state is None
    assert submit(owner, idempotency_key="k", **ORDER).duplicate is False
    with pytest.raises(ArtifactStoreUnavailable, match="Is the disk mounted"):
        soundness.require_verified(release)
    with pytest.raises(ArtifactStoreUnavailable, match="Is the disk mounted"):
        making.registered(owner, "2.0")
    assert list(root.iterdir()) == []
    root.rmdir()
    mounted.rename(root)
    assert verdicts() == [(digest, "SOUND")]
    assert activate(release, actor="user:test").release_id == release.pk
    assert events(digest) == []


def test_an_unreadable_store_gives_no_verdict(bench: Bench, settings: Any, request: pytest.FixtureRequest) -> None:
    digest = blob_of(making.registered(making.tenant())).digest
    if settings.ARTIFACT_STORE == "s3":
        place: S3Place = request.getfixturevalue("s3_place")
        use_s3(settings, replace(place, endpoint_url="http://127.0.0.1:1"))
    else:
        bench.break_down()
    assert verdicts() == [(digest, None)]
    blob = Blob.objects.get(pk=digest)
    assert (blob.state, blob.checking_until) == ("SOUND", None)
    assert events(digest) == []


def test_bytes_that_an_upload_has_locked_are_not_quarantined(bench: Bench, committed_session: str) -> None:
    """An upload holds the lock in its own session."""
    digest = committed_session
    bench.overwrite(digest, b"damage")
    Blob.objects.create(digest=digest, size=1, fingerprint="")
    assert scrub.check(digest).state is None
    assert bench.store.stat(digest) is not None
    assert events(digest) == []


@pytest.fixture
def committed_session(settings: Any) -> Iterator[str]:
    """A digest whose shared lock another session holds."""
    digest = making.digest_of(b"about to be uploaded")
    locked, done = threading.Event(), threading.Event()

    def share() -> None:
        with blob_lock.shared([digest]):
            locked.set()
            done.wait(60)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(share)
        assert locked.wait(30)
        yield digest
        done.set()


def test_each_blob_is_due_within_the_set_time_and_the_oldest_check_comes_first(settings: Any) -> None:
    settings.SCRUB_DAYS = 8
    owner = making.tenant()
    ages = {"1.0": 5, "2.0": 7, "3.0": 100, "4.0": 0}
    digests = {}
    for version, days in ages.items():
        digests[version] = blob_of(making.registered(owner, version)).digest
        Blob.objects.filter(pk=digests[version]).update(checked_at=timezone.now() - timedelta(days=days))
    assert verdicts(0.0, everything=False) == []
    assert verdicts(everything=False) == [(digests["3.0"], "SOUND"), (digests["2.0"], "SOUND")]
    assert verdicts(everything=False) == []


def test_removed_blobs_and_blobs_that_another_process_reads_are_skipped() -> None:
    """A message may request a check of bytes that were removed later."""
    owner = making.tenant()
    mine, others, removed, dead = (blob_of(making.registered(owner, f"{n}.0")).digest for n in range(4))
    Blob.objects.filter(pk=others).update(checking_until=timezone.now() + timedelta(minutes=5))
    Blob.objects.filter(pk=dead).update(checking_until=timezone.now() - timedelta(minutes=5))
    Blob.objects.filter(pk=removed).update(state="REMOVED")
    making.stored_file(removed).unlink()
    tasks.check_blob(removed)
    assert (Blob.objects.get(pk=removed).state, events(removed)) == ("REMOVED", [])
    assert {digest for digest, _ in verdicts()} == {mine, dead}


def test_the_command_prints_wrong_blobs_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    owner = making.tenant()
    good, bad = (blob_of(making.registered(owner, version)).digest for version in ("1.0", "2.0"))
    making.stored_file(bad).unlink()
    with pytest.raises(CommandError, match="Not all blobs are sound"):
        call_command("scrub_artifacts", "--all")
    out = capsys.readouterr().out
    assert (f"{bad} MISSING" in out, good in out) == (True, False)
