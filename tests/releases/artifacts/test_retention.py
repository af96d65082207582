"""Orphaned bytes are listed and removed. Bytes that are needed, young or in use are kept."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from releases import tasks
from releases.activation.revocation import revoke
from releases.artifacts import blob_lock, retention
from releases.artifacts.soundness import require_sound, require_sound_verdict
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactMissing
from releases.models import Blob, BlobEvent
from tenancy.models import Tenant
from tests import making

pytestmark = pytest.mark.django_db
NO_AGE = timedelta(seconds=-60)
"""All bytes are older than this, even if the clocks of the servers differ."""


def named(age: timedelta = NO_AGE) -> dict[str, str]:
    return {orphan.name: orphan.why.name for orphan in retention.orphans(age)}


def removed(age: timedelta = NO_AGE) -> list[str]:
    return [orphan.name for orphan in retention.remove(retention.orphans(age), age)]


def stray(data: bytes = b"stray") -> str:
    """Store bytes like an upload whose row was never committed."""
    making.staged(data).staged.keep()
    return making.digest_of(data)


def stored() -> set[str]:
    return {blob.digest for blob in artifact_store().list()}


def rejected(owner: Tenant) -> str:
    """Upload a release that is rejected, because its archive has another contract. Return the digest of the archive."""
    data = making.archive(making.contract("org.example.other"))
    making.rejected(owner, making.descriptor(making.contract(), data), data)
    return making.digest_of(data)


def test_stray_bytes_are_listed_then_removed_with_an_event_and_can_be_uploaded_again() -> None:
    digest = stray()
    assert (named(timedelta(hours=1)), removed(timedelta(hours=1))) == ({}, []), "young bytes are kept"
    assert (named(), stored()) == ({digest: "STRAY"}, {digest}), "naming removes nothing"
    assert (removed(), stored(), named()) == ([digest], set(), {})
    tasks.check_blob(digest)  # requested before they were removed
    assert Blob.objects.get(pk=digest).state == "REMOVED"
    [event] = BlobEvent.objects.filter(digest=digest)
    assert (event.kind, event.data) == ("REMOVED", {"size": 5, "why": "no release refers to it"})
    release = making.upload(making.tenant(), making.descriptor(making.contract(), b"stray"), b"stray").release
    assert Blob.objects.get(pk=digest).state == "SOUND"
    require_sound(release)
    assert named() == {}


def test_the_command_and_the_scheduled_task_remove_only_old_bytes_and_only_on_request(settings: Any) -> None:
    digest = stray()
    call_command("sweep_artifacts", "--older-than-hours=0")
    call_command("sweep_artifacts", "--remove")
    with pytest.raises(CommandError, match="cannot be negative"):
        call_command("sweep_artifacts", "--remove", "--older-than-hours=-1")
    for sweep, hours, expected in ((True, 24, {digest}), (False, -1 / 60, {digest}), (True, -1 / 60, set())):
        settings.ORPHAN_SWEEP, settings.ORPHAN_HOURS = sweep, hours
        tasks.remove_orphans()
        assert stored() == expected


def test_orphans_are_listed_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    assert sorted(map(stray, (b"1", b"2", b"3"))) == sorted(named())


def test_bytes_that_a_release_needs_are_never_orphans_whatever_its_status() -> None:
    owner = making.tenant()
    making.uploaded(owner, "0.1")
    making.active(owner, "1.0")
    revoke(making.registered(owner, "2.0"), actor="user:test", reason="leaked")
    assert (named(), removed(), len(stored())) == ({}, [], 3)


def test_bytes_of_rejected_releases_only_are_removed_and_must_be_sent_again() -> None:
    """An earlier upload gives a tenant no right to removed bytes."""
    owner = making.tenant()
    digest = rejected(owner)
    assert (named(), removed(), stored()) == ({digest: "REJECTED"}, [digest], set())
    contract = making.contract("org.example.other")
    data = making.archive(contract)
    release = making.upload(owner, making.descriptor(contract, data)).release
    assert release.artifacts.get().blob is None
    require_sound(release)
    with pytest.raises(ArtifactMissing):
        require_sound_verdict(Blob.objects.get(pk=digest))


def test_bytes_that_came_into_use_after_they_were_listed_are_kept() -> None:
    digest = stray()
    found = list(retention.orphans(NO_AGE))
    making.upload(making.tenant(), making.descriptor(making.contract(), b"stray"), b"stray")
    assert (list(retention.remove(found, NO_AGE)), stored()) == ([], {digest})


def test_nothing_is_removed_while_a_backup_copies_blobs() -> None:
    digest = stray()
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
