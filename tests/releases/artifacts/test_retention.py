"""Orphaned bytes are listed and removed. Bytes that are needed, young or in use are kept."""

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from releases import tasks
from releases.activation.revocation import revoke
from releases.artifacts import blob_lock, retention
from releases.artifacts.soundness import require_sound, require_sound_verdict
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactMissing
from releases.models import Blob, BlobEvent, Release
from releases.registration.registrar import verify_release
from tests import making
from tests.raw_sql import unguarded
from tests.s3 import use_s3

pytestmark = pytest.mark.django_db
NO_AGE = timedelta(seconds=-60)
"""All bytes are older than this, even if the clocks of the servers differ."""


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))], autouse=True)
def kind(request: pytest.FixtureRequest, settings: Any) -> str:
    if request.param == "s3":
        use_s3(settings, request.getfixturevalue("s3_place"))
    return str(request.param)


def named(age: timedelta = NO_AGE) -> dict[str, str]:
    return {orphan.name: orphan.why.name for orphan in retention.orphans(age)}


def removed(age: timedelta = NO_AGE) -> list[str]:
    return [orphan.name for orphan in retention.remove(retention.orphans(age), age)]


def stray(data: bytes) -> str:
    """Store bytes like an upload whose row was never committed."""
    making.staged(data).staged.keep()
    return making.digest_of(data)


def stored() -> set[str]:
    return {blob.digest for blob in artifact_store().list()}


def rejected(owner: Any, version: str = "1.0") -> str:
    data = making.archive(making.contract("org.example.other"), version=version)
    release = making.upload(owner, making.descriptor(making.contract(), data, version), data).release
    verify_release(release.pk)
    release.refresh_from_db()
    assert release.status == "REJECTED"
    return making.digest_of(data)


def test_bytes_that_a_release_needs_are_never_orphans_whatever_its_status() -> None:
    owner = making.tenant()
    pending_data = making.archive(making.contract(), code="pending")
    making.upload(owner, making.descriptor(making.contract(), pending_data, "0.1"), pending_data)
    making.active(owner, "1.0")
    revoke(making.registered(owner, "2.0"), actor="user:test", reason="leaked")
    assert named() == {}
    assert removed() == []
    assert len(stored()) == 3


def test_stray_bytes_are_listed_then_removed_with_an_event_and_can_be_uploaded_again() -> None:
    digest = stray(b"stray")
    assert named() == {digest: "STRAY"}
    assert stored() == {digest}, "naming removes nothing"
    assert removed() == [digest]
    assert stored() == set()
    assert Blob.objects.get(pk=digest).state == "REMOVED"
    [event] = BlobEvent.objects.filter(digest=digest)
    assert (event.kind, event.data) == ("REMOVED", {"size": 5, "why": "no release refers to it"})
    assert named() == {}

    data = b"stray"
    release = making.upload(making.tenant(), making.descriptor(making.contract(), data), data).release
    assert Blob.objects.get(pk=digest).state == "SOUND"
    require_sound(release)
    assert named() == {}


def test_bytes_of_rejected_releases_only_are_removed_and_the_releases_remain() -> None:
    owner = making.tenant()
    digest = rejected(owner)
    assert named() == {digest: "REJECTED"}
    assert removed() == [digest]
    assert stored() == set()


def test_bytes_that_a_rejected_and_another_release_share_are_kept() -> None:
    owner, other = making.tenant(), making.tenant()
    digest = rejected(owner)
    contract = making.contract("org.example.other")
    data = making.archive(contract, version="1.0")
    assert making.digest_of(data) == digest
    making.verified(making.upload(other, making.descriptor(contract, data), data).release)
    assert removed() == []


def test_removed_bytes_must_be_sent_again_by_their_tenant() -> None:
    """An earlier upload gives a tenant no right to removed bytes."""
    owner = making.tenant()
    digest = rejected(owner)
    removed()
    contract = making.contract("org.example.other")
    data = making.archive(contract, version="1.0")
    release = making.upload(owner, making.descriptor(contract, data)).release
    assert release.artifacts.get().blob is None
    assert making.digest_of(data) == digest
    require_sound(release)
    with pytest.raises(ArtifactMissing):
        require_sound_verdict(Blob.objects.get(pk=digest))


def test_young_bytes_are_kept() -> None:
    owner = making.tenant()
    stray(b"stray")
    rejected(owner)
    staged = making.staged(b"growing").staged
    assert named(timedelta(hours=1)) == {}
    assert removed(timedelta(hours=1)) == []
    assert len(stored()) == 2
    staged.discard()


def test_old_bytes_of_a_release_that_was_just_rejected_are_kept() -> None:
    digest, long_ago, day = rejected(making.tenant()), timezone.now() - timedelta(days=3), timedelta(days=1)
    old = [retention.Orphan(digest, 1, long_ago, retention.Why.REJECTED)]
    with unguarded(Blob):
        Blob.objects.update(created_at=long_ago)
    assert list(retention.remove(old, day)) == []
    with unguarded(Release):
        Release.objects.update(status_changed_at=long_ago)
    assert list(retention.remove(old, day)) == old


def test_staged_files_of_a_killed_process_are_removed() -> None:
    staged = making.staged(b"left").staged
    os.utime(staged.path, (0, 0))
    growing = making.staged(b"growing").staged
    assert named(timedelta(hours=1)) == {str(staged.path): "STAGED"}
    assert removed(timedelta(hours=1)) == [str(staged.path)]
    assert list(artifact_store().staging.iterdir()) == [growing.path]
    growing.discard()
    staged.discard()


def test_staged_files_that_vanish_during_the_search_are_skipped() -> None:
    both = [making.staged(data).staged for data in (b"one", b"two")]
    for staged in both:
        os.utime(staged.path, (0, 0))
    search = retention.orphans(timedelta(hours=1))
    assert next(search).why is retention.Why.STAGED
    for staged in both:
        staged.discard()
    assert list(search) == []


def test_bytes_that_came_into_use_after_they_were_listed_are_kept() -> None:
    data = b"stray"
    stray(data)
    found = list(retention.orphans(NO_AGE))
    making.upload(making.tenant(), making.descriptor(making.contract(), data), data)
    assert list(retention.remove(found, NO_AGE)) == []
    assert stored() == {making.digest_of(data)}


def test_all_orphans_are_listed_if_there_are_several_batches(kind: str) -> None:
    """The rows of the blobs are read in batches."""
    if kind == "local":
        folder = artifact_store().staging.parent / "sha256" / "ab"
        folder.mkdir(parents=True)
        digests = [f"ab{number:062x}" for number in range(1001)]
        for digest in digests:
            (folder / digest).touch()
        assert list(named()) == [f"sha256:{digest}" for digest in digests]


def test_the_command_is_a_dry_run_unless_it_has_the_remove_option(capsys: pytest.CaptureFixture[str]) -> None:
    digest = stray(b"stray")
    for arguments in ([], ["--dry-run"]):
        call_command("sweep_artifacts", "--older-than-hours=0", *arguments)
        out = capsys.readouterr().out
        assert "would be removed" in out
    assert stored() == {digest}
    call_command("sweep_artifacts", "--remove")
    assert "0 files of 0 bytes were removed" in capsys.readouterr().out, "it is younger than ORPHAN_HOURS"


def test_the_command_rejects_a_negative_age() -> None:
    """With a negative age it would remove the bytes of running uploads."""
    stray(b"stray")
    with pytest.raises(CommandError, match="cannot be negative"):
        call_command("sweep_artifacts", "--remove", "--older-than-hours=-1")
    assert len(stored()) == 1


def test_the_scheduled_task_removes_orphans_only_if_that_is_set(settings: Any) -> None:
    assert "remove-orphans" not in settings.CELERY_BEAT_SCHEDULE
    digest = stray(b"stray")
    settings.ORPHAN_SWEEP = True
    tasks.remove_orphans()
    assert stored() == {digest}
    settings.ORPHAN_HOURS = -1 / 60
    settings.ORPHAN_SWEEP = False
    tasks.remove_orphans()
    assert stored() == {digest}
    settings.ORPHAN_SWEEP = True
    tasks.remove_orphans()
    assert stored() == set()


def test_files_that_are_not_blobs_are_never_removed(kind: str) -> None:
    if kind == "local":
        folder = artifact_store().staging.parent / "sha256" / "ab"
        folder.mkdir(parents=True)
        (folder / "README").write_text("not ours")
        assert named() == {}
        assert Path(folder / "README").exists()
    assert removed() == []


def test_nothing_is_removed_while_a_backup_copies_blobs() -> None:
    digest = stray(b"stray")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with blob_lock.no_removals():
            held.set()
            done.wait(60)
        connection.close()

    backup = threading.Thread(target=hold)
    backup.start()
    held.wait(30)
    assert removed() == []
    done.set()
    backup.join()
    assert removed() == [digest]
