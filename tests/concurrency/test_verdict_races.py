"""Verdicts on bytes that another connection uploads or removes at the same time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from django.db import connection

from releases.artifacts import blob_lock, blobs, scrub, soundness
from releases.artifacts.relocation import Result, relocate
from releases.artifacts.store import artifact_store
from releases.artifacts.store.local import LocalArtifactStore
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob, BlobEvent, Release
from tests import making
from tests.building import eventually
from tests.concurrency.racing import race

pytestmark = pytest.mark.usefixtures("committed")
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="judged")
DIGEST = making.digest_of(DATA)


def registered() -> Release:
    return making.verified(making.upload(making.tenant(), making.descriptor(CONTRACT, DATA), DATA).release)


def damage() -> None:
    path = making.stored_file(DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"damage")


def state() -> str:
    return Blob.objects.get(pk=DIGEST).state


def events() -> list[str]:
    return list(BlobEvent.objects.order_by("pk").values_list("kind", flat=True))


@contextmanager
def meanwhile(call: Callable[[], object]) -> Iterator[list[object]]:
    """Run `call` over a separate connection during the block. The list holds its result or exception afterwards."""
    results: list[object] = []
    thread = Thread(target=lambda: results.extend(race(call)))
    thread.start()
    yield results
    thread.join(60)
    assert results


def wait_for_the_lock() -> None:
    """Wait until another connection tries to take a digest's lease, as a check does after it has read sound bytes."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

    def tried() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(query + " AND query LIKE '%%releases_bloblease%%'")
            return bool(cursor.fetchone()[0])

    eventually(tried)


JUDGES: dict[str, Callable[[Release], object]] = {
    "activation": soundness.require_verified,
    "scrub": lambda release: scrub.check(DIGEST),
}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_bytes_that_an_upload_is_healing_are_not_judged_damaged(judge: Callable[[Release], object]) -> None:
    """The upload holds the digest's lock. A check that has already read the damaged bytes gives no verdict."""
    release = registered()
    damage()
    with blob_lock.shared([DIGEST]), meanwhile(partial(judge, release)) as judged:
        pass
    assert isinstance(judged[0], ArtifactStoreUnavailable) or judged[0].state is None  # type: ignore[attr-defined]
    assert (state(), events()) == ("SOUND", [])
    assert making.stored_file(DIGEST).read_bytes() == b"damage"


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_bytes_that_are_being_removed_are_not_judged_sound(judge: Callable[[Release], object]) -> None:
    """The remover holds the digest's exclusive lock. A check that has already read sound bytes reads again."""
    release = registered()
    Blob.objects.update(fingerprint="of another time")
    with ExitStack() as removal:
        assert removal.enter_context(blob_lock.exclusive(DIGEST)) is not None
        with meanwhile(partial(judge, release)):
            wait_for_the_lock()
            artifact_store().remove(DIGEST)
            blobs.record_removed(DIGEST, size=len(DATA))
            removal.close()
    assert (state(), events()) == ("REMOVED", ["REMOVED"])


def test_bytes_that_are_being_removed_are_not_moved_to_another_store(tmp_path: Path) -> None:
    source, target = (LocalArtifactStore(tmp_path / name) for name in ("here", "there"))
    source.set_up()
    staged = source.stage(len(DATA))
    staged.write(DATA)
    staged.keep()

    def move() -> list[Result]:
        return [moved.result for moved in relocate(source, target)]

    with ExitStack() as removal:
        assert removal.enter_context(blob_lock.exclusive(DIGEST)) is not None
        with meanwhile(move) as moved:
            wait_for_the_lock()
            assert target.stat(DIGEST) is None
            removal.close()
    assert moved == [[Result.COPIED]]
