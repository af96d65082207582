"""The sweep against registrations, over connections of their own: what is registered never loses its bytes."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from coordinator.tenancy.models import Tenant
from releases import blob_lock, registrar, retention
from releases.artifact_store import LocalArtifactStore, artifact_store
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob, Release
from releases.registrar import Registration, register
from releases.soundness import require_sound
from tests import making
from tests.concurrency.racing import given, race

pytestmark = pytest.mark.usefixtures("committed")
NO_AGE = timedelta(seconds=-60)
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="at stake")
DIGEST = making.digest_of(DATA)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def registering(owner: Tenant) -> Callable[[], Registration]:
    return partial(register, owner, json.dumps(DESCRIPTOR).encode(), [making.staged(DATA)], actor="user:x")


def sweeping() -> list[str]:
    """A sweep that spares no blob for its age, but what is still being staged."""
    found = (orphan for orphan in retention.orphans(NO_AGE) if orphan.path is None)
    return [orphan.name for orphan in retention.remove(found, NO_AGE)]


def stray() -> None:
    """The bytes as an earlier upload left them whose row was never committed: old enough to be removed."""
    making.staged(DATA).staged.keep()


def holds() -> None:
    """Whoever was registered has its bytes."""
    for release in Release.objects.all():
        require_sound(release)
        assert artifact_store().verified(DIGEST) is not None


@pytest.mark.parametrize("_", range(25))
def test_a_registration_and_a_sweep_at_once(_: int) -> None:
    owner = making.tenant()
    stray()
    given(race(registering(owner), sweeping, sweeping, registering(making.tenant())))
    assert Release.objects.count() == 2
    holds()


def test_a_sweep_that_comes_between_the_bytes_and_the_commit_spares_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst moment: the upload has found the old bytes there and left them, and nothing refers to them yet."""
    owner, commit = making.tenant(), registrar._commit
    stray()
    found = list(retention.orphans(NO_AGE))
    assert [orphan.name for orphan in found] == [DIGEST]
    upload = registering(owner)
    swept: list[list[Any]] = []

    def sweep_first(*arguments: Any) -> Registration:
        sweeper = threading.Thread(
            target=lambda: swept.append(given(race(lambda: list(retention.remove(found, NO_AGE)))))
        )
        sweeper.start()
        sweeper.join(30)
        return commit(*arguments)

    monkeypatch.setattr(registrar, "_commit", sweep_first)
    assert upload().created
    assert swept == [[[]]]
    holds()


def test_a_registration_that_meets_a_removal_waits_and_brings_its_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, remove = making.tenant(), LocalArtifactStore.remove
    stray()
    begun, go_on = threading.Event(), threading.Event()

    def slowly(store: LocalArtifactStore, digest: str) -> None:
        begun.set()
        assert go_on.wait(30)
        remove(store, digest)

    monkeypatch.setattr(LocalArtifactStore, "remove", slowly)

    def meet() -> list[str]:
        assert begun.wait(30)
        threading.Timer(0.3, go_on.set).start()
        return [DIGEST] if registering(owner)().created else []

    assert given(race(sweeping, meet)) == [[DIGEST], [DIGEST]]
    assert Blob.objects.get().state == "SOUND"
    holds()


def test_a_registration_does_not_wait_for_ever() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with blob_lock.alone(DIGEST) as alone:
            assert alone
            held.set()
            assert done.wait(30)

    def try_to_share() -> None:
        assert held.wait(30)
        try:
            with pytest.raises(ArtifactStoreUnavailable), blob_lock.shared([DIGEST], patience=0.2):
                pass
        finally:
            done.set()

    given(race(hold, try_to_share))


def test_registrations_share_a_digest_and_a_remover_has_it_alone() -> None:
    barrier = threading.Barrier(3)

    def share() -> bool:
        with blob_lock.shared([DIGEST]):
            barrier.wait(30)
            barrier.wait(30)
            return True

    def remove() -> bool:
        barrier.wait(30)
        with blob_lock.alone(DIGEST) as alone:
            barrier.wait(30)
            return alone

    assert given(race(share, share, remove)) == [True, True, False]
    with blob_lock.alone(DIGEST) as alone:
        assert alone, "no lock outlives its block"
