"""All blobs are copied from one store to another. An interrupted copy can be resumed."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from releases.artifacts.relocation import Result, relocate
from releases.artifacts.soundness import require_sound, require_verified
from releases.models import Blob
from tests import making
from tests.releases.artifacts.store.bench import Bench, LocalBench, S3Bench
from tests.releases.artifacts.store.conftest import local, s3
from tests.s3 import S3Place, use_s3

__all__ = ["local", "s3"]
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("s3_server")]
BODIES = [bytes([number]) * (1000 * number) for number in range(1, 9)]


def results(source: Bench, target: Bench, *, remove: bool = False) -> dict[str, Result]:
    return {moved.digest: moved.result for moved in relocate(source.store, target.store, remove=remove)}


def test_every_blob_is_copied_once(local: LocalBench, s3: S3Bench) -> None:
    for data in BODIES:
        local.keep(data)
    assert set(results(local, s3).values()) == {Result.COPIED}
    for data in BODIES:
        assert s3.read(making.digest_of(data)) == data
    assert set(results(local, s3).values()) == {Result.PRESENT}
    assert len(local.everything()) == len(s3.everything()) == len(BODIES)
    assert list(s3.store.staging.iterdir()) == []


def test_damaged_bytes_are_not_copied(local: LocalBench, s3: S3Bench) -> None:
    good, bad = BODIES[:2]
    for data in (good, bad):
        local.keep(data)
    local.overwrite(making.digest_of(bad), b"damage")
    assert results(local, s3, remove=True) == {
        making.digest_of(good): Result.COPIED,
        making.digest_of(bad): Result.DAMAGED,
    }
    assert [stored.digest for stored in s3.store.list()] == [making.digest_of(good)]
    assert [stored.digest for stored in local.store.list()] == [making.digest_of(bad)]


def test_wrong_copies_are_replaced_and_a_blob_is_removed_only_after_it_was_read_back(
    local: LocalBench, s3: S3Bench
) -> None:
    data = BODIES[3]
    digest = making.digest_of(data)
    local.keep(data)
    s3.overwrite(digest, data[:-1])
    assert results(local, s3) == {digest: Result.COPIED}
    s3.overwrite(digest, bytes(len(data)))
    assert results(local, s3) == {digest: Result.PRESENT}, "by its size alone"
    assert results(local, s3, remove=True) == {digest: Result.COPIED}
    assert (s3.read(digest), list(local.store.list())) == (data, [])


def test_bytes_that_are_damaged_in_both_stores_are_not_removed(local: LocalBench, s3: S3Bench) -> None:
    """The source has no sound bytes that could replace those of the target."""
    data = BODIES[3]
    digest = making.digest_of(data)
    local.keep(data)
    for bench in (local, s3):
        bench.overwrite(digest, bytes(len(data)))
    assert results(local, s3, remove=True) == {digest: Result.DAMAGED}
    assert [stored.digest for stored in local.store.list()] == [digest]


def test_a_coordinator_changes_its_store_and_continues(
    settings: Any, s3_place: S3Place, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, release = making.ready()
    use_s3(settings, s3_place)
    settings.ARTIFACT_STORE = "local"
    with pytest.raises(CommandError, match="The coordinator uses the source"):
        call_command("move_artifacts", "--source=local", "--target=s3", "--remove")
    call_command("move_artifacts", "--source=local", "--target=s3")
    assert "1 copied" in capsys.readouterr().out
    settings.ARTIFACT_STORE = "s3"
    call_command("move_artifacts", "--source=local", "--target=s3", "--remove")
    assert "1 already in the target; 0 bytes copied" in capsys.readouterr().out
    assert not any(path.is_file() for path in (settings.ARTIFACT_ROOT / "sha256").rglob("*"))
    require_sound(release)
    require_verified(release)
    assert making.execution(owner).release_version == release.release_version
    assert Blob.objects.get().state == "SOUND"
