import secrets
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from foundation import places
from governance.activation.activation import activate
from governance.retirement.retirement import revoke
from releases import tasks
from releases.artifacts import blob_lock, blobs, retention, soundness
from releases.artifacts.soundness import require_readable, require_sound
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable
from releases.models import Blob, BlobEvent, Release
from tests import making
from tests.cases import cases
from tests.few_places import limited
from tests.raw_sql import raised
from tests.releases.artifacts.store.bench import LocalBench, S3Bench
from tests.s3 import Fault, FaultyProxy, S3Place, faulty_proxy, short, use_s3, wrong

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3_server"))])
def bench(request: pytest.FixtureRequest, settings: Any) -> LocalBench | S3Bench:
    """The configured store, of each kind."""
    if request.param == "s3":
        place: S3Place = request.getfixturevalue("s3_place")
        use_s3(settings, place)
        return S3Bench(place, settings.ARTIFACT_ROOT)
    return LocalBench(artifact_store())  # type: ignore[arg-type]


@pytest.fixture
def faulty(settings: Any, s3_place: S3Place) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_place) as proxy:
        use_s3(settings, proxy.place)
        yield proxy


def verdicts(scope: blobs.Scope = blobs.Scope.ALL, budget: float = float("inf")) -> list[tuple[str, str | None]]:
    """Return the first results of a scrub that may not end."""
    return [(checked.digest, checked.state) for checked in islice(blobs.scrub(budget, scope), 20)]


def digest_of(release: Release) -> str:
    return release.artifacts.get().digest


def events(digest: str) -> list[str]:
    return list(BlobEvent.objects.filter(digest=digest).order_by("pk").values_list("kind", flat=True))


def test_damaged_bytes_are_quarantined_and_rejected_until_an_upload_replaces_them(bench: LocalBench | S3Bench) -> None:
    owner, release = making.ready()
    digest, data = digest_of(release), bench.read(digest_of(release))
    bench.overwrite(digest, bytes(len(data)))
    assert verdicts() == [(digest, "DAMAGED")]
    event = BlobEvent.objects.get(digest=digest)
    prefix = bench.place.prefix if isinstance(bench, S3Bench) else ""
    assert event.data["quarantined"].removeprefix(prefix).lstrip("/") in bench.everything()
    assert bench.store.stat(digest) is None
    raised(ArtifactAltered, making.submitted, owner, "k")
    raised(ArtifactAltered, activate, release, actor="user:test")
    assert verdicts() == [(digest, "DAMAGED")], "bytes that were set aside stay damaged, and are reported once"
    assert events(digest) == ["DAMAGED"]
    assert making.upload(owner, release.descriptor, data).release == release
    assert events(digest) == ["DAMAGED", "HEALED"]
    assert making.submitted(owner, "k").duplicate is False
    assert activate(release, actor="user:test").release_id == release.pk
    assert verdicts() == [(digest, "SOUND")]


def test_an_unmounted_local_store_gives_no_verdict(settings: Any) -> None:
    """Submissions and running work continue. Nothing is written to the wrong disk, and the store recovers later."""
    owner, release = making.ready()
    digest, root = digest_of(release), settings.ARTIFACT_ROOT
    mounted = root.rename(root.with_name("disk"))
    root.mkdir()
    assert verdicts() == [(digest, None)]
    assert making.submitted(owner, "k").duplicate is False
    assert "Is the disk mounted" in str(raised(ArtifactStoreUnavailable, soundness.require_verified, release))
    assert "Is the disk mounted" in str(raised(ArtifactStoreUnavailable, making.registered, owner, "2.0"))
    assert list(root.iterdir()) == []
    root.rmdir()
    mounted.rename(root)
    assert (verdicts(), events(digest), Blob.objects.get().checking_until) == ([(digest, "SOUND")], [], None)


@cases(
    ("fault", "reads", "state"),
    [(short, 1, None), (wrong, 1, "SOUND"), (short, 2, None), (wrong, 2, "SOUND"), (short, 9, None), (wrong, 9, None)],
)
def test_wrong_reads_are_no_damage(faulty: FaultyProxy, fault: Fault, reads: int, state: str | None) -> None:
    """A short read is an error of the store. Bytes that look wrong at each read are sound in the copy that is moved."""
    owner, release = making.ready(body=secrets.token_hex(8))
    digest, everything = digest_of(release), S3Bench(faulty.place, Path()).everything
    stored = everything()
    faulty.faults = [fault] * reads
    assert verdicts() == [(digest, state)]
    faulty.faults = [fault]
    raised(ArtifactStoreUnavailable, artifact_store().read, digest)
    assert (everything(), events(digest)) == (stored, [])
    assert making.submitted(owner, "k").duplicate is False
    assert verdicts() == [(digest, "SOUND")]


def test_a_blob_that_cannot_be_read_does_not_keep_others_from_their_check(faulty: FaultyProxy) -> None:
    digests = [digest_of(making.registered(making.tenant(), body=secrets.token_hex(8))) for _ in range(2)]
    faulty.faults = [short]
    assert [state for _, state in verdicts()] == [None, "SOUND"]
    assert {digest for digest, _ in verdicts()} == set(digests)


def test_many_blobs_that_look_wrong_are_a_fault_of_the_store_until_an_operator_accepts_them() -> None:
    owner = making.tenant()
    releases = [making.registered(owner, f"{number}.0", body=f"{number}") for number in range(blobs.FEW + 1)]
    digests = sorted(digest_of(release) for release in releases)
    good = {digest: making.stored_file(digest).read_bytes() for digest in digests}
    bench = LocalBench(artifact_store())  # type: ignore[arg-type]
    for digest in digests:
        bench.overwrite(digest, b"damaged")
    assert sorted(verdicts()) == [(digest, None) for digest in digests]
    raised(CommandError, call_command, "scrub_artifacts", "--all", stdout=StringIO())
    assert Blob.objects.filter(state="SOUND", checking_until=None).count() == len(digests)
    assert [bench.read(digest) for digest in digests] == [b"damaged"] * len(digests)
    for release in releases[:-1]:
        raised(ArtifactAltered, soundness.require_verified, release)
    with pytest.raises(ArtifactStoreUnavailable, match="4 stored artifacts look damaged"):
        soundness.require_verified(releases[-1])
    with pytest.raises(CommandError, match="Not all blobs are sound"):
        call_command("scrub_artifacts", "--all", "--accept-damage", stdout=StringIO())
    assert Blob.objects.filter(state="DAMAGED").count() == len(digests)
    bench.overwrite(digests[0], good[digests[0]])
    assert sorted(verdicts(blobs.Scope.UNSOUND)) == [
        (digest, "DAMAGED" if number else "SOUND") for number, digest in enumerate(digests)
    ]


@pytest.mark.parametrize("option", ["--all", "--heal"])
def test_a_blob_that_was_marked_wrongly_comes_back_from_quarantine(bench: LocalBench | S3Bench, option: str) -> None:
    owner, release = making.ready(body=secrets.token_hex(8))
    digest, stored = digest_of(release), bench.everything()
    bench.set_aside(digest)
    blobs.record_unsound(digest, Blob.State.DAMAGED)
    raised(ArtifactAltered, making.submitted, owner, "k")
    call_command("scrub_artifacts", option, stdout=StringIO())
    assert (bench.everything(), events(digest)) == (stored, ["DAMAGED", "HEALED"])
    assert making.submitted(owner, "k").duplicate is False


def test_one_wrong_read_rejects_no_release_and_wrong_bytes_do(faulty: FaultyProxy) -> None:
    owner, document = making.tenant(), making.contract()
    for version, status in (("1.0", "REGISTERED"), ("2.0", "REJECTED")):
        data = making.archive(document, code=secrets.token_hex(8))
        release = making.upload(owner, making.descriptor(document, data, version), data).release
        faulty.faults = [wrong]
        assert making.verdict(release) == ("VERIFYING", [])
        if status == "REJECTED":
            S3Bench(faulty.place, Path()).overwrite(making.digest_of(data), wrong(data))
        assert making.verdict(release)[0] == status
    assert Blob.objects.get(digest=making.digest_of(data)).state == "DAMAGED"


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
    due = blobs.Scope.DUE
    assert verdicts(due, 0.0) == []
    assert verdicts(due) == [(digests["3.0"], "SOUND"), (digests["2.0"], "SOUND")]
    assert verdicts(due) == []
    making.stored_file(digests["1.0"]).unlink()
    assert blobs.check(digests["1.0"]).state == "MISSING"
    assert verdicts(due) == []
    Blob.objects.filter(pk=digests["1.0"]).update(checked_at=timezone.now() - blobs.MISSING_DUE_AFTER)
    assert verdicts(due) == [(digests["1.0"], "MISSING")], "missing bytes are checked again after a minute"
    assert Blob.objects.filter(checking_until=None).count() == 4


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


def test_orphans_are_listed_in_several_batches() -> None:
    strays = sorted(map(stray, (b"1", b"2", b"3")))
    assert sorted(orphan.name for orphan in retention.orphans(NO_AGE, batch=2)) == strays


def test_bytes_that_a_release_needs_are_never_orphans_whatever_its_status() -> None:
    owner = making.tenant()
    making.uploaded(owner, "0.1")
    making.active(owner, "1.0")
    revoke(making.registered(owner, "2.0"), actor="user:test", reason="leaked")
    assert (named(), removed(), len(stored())) == ({}, [], 3)


def test_bytes_of_rejected_releases_only_are_removed_and_must_be_sent_again() -> None:
    """An earlier upload gives a tenant no right to removed bytes."""
    owner, contract = making.tenant(), making.contract("org.example.other")
    data = making.archive(contract)
    digest = making.digest_of(data)
    rejected = making.upload(owner, making.descriptor(making.contract(), data), data).release
    assert making.verdict(rejected)[0] == "REJECTED"
    assert (named(), removed(), stored()) == ({digest: "REJECTED"}, [digest], set())
    release = making.upload(owner, making.descriptor(contract, data)).release
    assert release.artifacts.get().blob is None
    require_sound(release)
    raised(ArtifactMissing, require_readable, Blob.objects.get(pk=digest))


def test_bytes_that_came_into_use_after_they_were_listed_are_kept() -> None:
    digest = stray()
    orphans = list(retention.orphans(NO_AGE))
    making.upload(making.tenant(), making.descriptor(making.contract(), b"stray"), b"stray")
    assert (list(retention.remove(orphans, NO_AGE)), stored()) == ([], {digest})


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
