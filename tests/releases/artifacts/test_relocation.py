from typing import Any

import pytest
from django.core.management import CommandError, call_command

from releases.artifacts.soundness import require_verified
from releases.management.commands.move_artifacts import Result, relocate
from tests import making
from tests.releases.artifacts.store.bench import Bench, LocalBench, S3Bench
from tests.releases.artifacts.store.conftest import local, s3
from tests.s3 import S3Place, use_s3

__all__ = ["local", "s3"]
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("s3_server")]
GOOD, BAD = b"good" * 1000, b"bad" * 1000


def results(source: Bench, target: Bench, *, remove: bool = False) -> dict[str, Result]:
    return {moved.digest: moved.result for moved in relocate(source.store, target.store, remove=remove)}


def digests(bench: Bench) -> list[str]:
    return [stored.digest for stored in bench.store.list()]


def test_every_sound_blob_is_copied_once_and_damaged_ones_are_kept(local: LocalBench, s3: S3Bench) -> None:
    good, bad = making.digest_of(GOOD), making.digest_of(BAD)
    for data in (GOOD, BAD):
        local.keep(data)
    local.overwrite(bad, b"damage")
    assert results(local, s3) == {good: Result.COPIED, bad: Result.DAMAGED}
    assert (s3.read(good), digests(s3)) == (GOOD, [good])
    assert results(local, s3) == {good: Result.PRESENT, bad: Result.DAMAGED}
    s3.overwrite(bad, bytes(len(b"damage")))  # there are no sound bytes that could replace those of the target
    assert results(local, s3, remove=True) == {good: Result.PRESENT, bad: Result.DAMAGED}
    assert (digests(local), list(s3.store.staging.iterdir())) == ([bad], [])


def test_wrong_copies_are_replaced_and_blobs_are_removed_after_they_were_read(local: LocalBench, s3: S3Bench) -> None:
    digest = making.digest_of(GOOD)
    local.keep(GOOD)
    s3.overwrite(digest, GOOD[:-1])
    assert results(local, s3) == {digest: Result.COPIED}
    s3.overwrite(digest, bytes(len(GOOD)))
    assert results(local, s3) == {digest: Result.PRESENT}, "by its size alone"
    assert results(local, s3, remove=True) == {digest: Result.COPIED}
    assert (s3.read(digest), digests(local)) == (GOOD, [])


def test_a_coordinator_changes_its_store_and_continues(settings: Any, s3_place: S3Place) -> None:
    release = making.registered(making.tenant())
    use_s3(settings, s3_place)
    settings.ARTIFACT_STORE = "local"
    with pytest.raises(CommandError, match="The coordinator uses the source"):
        call_command("move_artifacts", "--source=local", "--target=s3", "--remove")
    call_command("move_artifacts", "--source=local", "--target=s3")
    settings.ARTIFACT_STORE = "s3"
    call_command("move_artifacts", "--source=local", "--target=s3", "--remove")
    assert not any(path.is_file() for path in (settings.ARTIFACT_ROOT / "sha256").rglob("*"))
    require_verified(release)
