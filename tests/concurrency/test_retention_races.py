"""Sweeps of the artifact store, concurrent with registrations: a registered release never loses its bytes."""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from releases.artifacts import blob_lock, retention
from releases.artifacts.soundness import require_sound
from releases.artifacts.store import artifact_store
from releases.models import Blob, Release
from releases.registration.registrar import Registration, register
from tenancy.models import Tenant
from tests import making
from tests.building import eventually
from tests.concurrency.racing import race, results_of

pytestmark = pytest.mark.usefixtures("committed")
NO_AGE = timedelta(seconds=-60)
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="at stake")
DIGEST = making.digest_of(DATA)
DESCRIPTOR = making.descriptor(CONTRACT, DATA)


def registering(owner: Tenant) -> Callable[[], Registration]:
    return partial(register, owner, json.dumps(DESCRIPTOR).encode(), [making.staged(DATA)], actor="user:x")


def stray() -> None:
    """Store bytes without a row, as an upload that was never committed does. They are old enough to be removed."""
    making.staged(DATA).staged.keep()


def holds() -> None:
    """Assert that the bytes of every registered release exist."""
    for release in Release.objects.all():
        require_sound(release)
        assert artifact_store().verified(DIGEST) is not None


def in_the_background(call: Callable[[], Any]) -> "Future[list[Any]]":
    """Start `call` in a separate thread with a separate connection."""
    pool = ThreadPoolExecutor(1)
    begun = pool.submit(lambda: race(call))
    pool.shutdown(wait=False)
    return begun


def until_a_session(condition: str) -> None:
    """Wait until pg_stat_activity shows another session of this database for which `condition` is true.

    Each look uses a new connection, because a transaction keeps the first snapshot of the view that it reads.
    """
    query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"

    def found() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"{query} AND pid <> pg_backend_pid()")
            return bool(cursor.fetchone()[0])

    eventually(lambda: results_of(race(found)) == [True], what=condition)


def test_a_sweep_keeps_the_bytes_of_an_uncommitted_registration() -> None:
    """The worst case: the upload has found the old bytes and reuses them, and no committed row refers to them yet."""
    owner = making.tenant()
    stray()
    found = list(retention.orphans(NO_AGE))
    assert [orphan.name for orphan in found] == [DIGEST]
    with transaction.atomic(), connection.cursor() as cursor:
        # The lock allows reads, so the sweep continues, but the registration cannot insert its row.
        cursor.execute("LOCK TABLE releases_release IN EXCLUSIVE MODE")
        upload = in_the_background(registering(owner))
        until_a_session("wait_event_type = 'Lock'")
        assert results_of(race(lambda: list(retention.remove(found, NO_AGE)))) == [[]]
    [registration] = results_of(upload.result(30))
    assert registration.created
    holds()


def test_a_registration_waits_for_a_removal_and_stores_its_bytes_again() -> None:
    owner = making.tenant()
    stray()
    with blob_lock.exclusive(DIGEST) as held:
        assert held is not None
        upload = in_the_background(registering(owner))
        until_a_session("query LIKE '%releases_bloblease%'")
        artifact_store().remove(DIGEST)
        assert not upload.done()
    [registration] = results_of(upload.result(30))
    assert registration.created
    assert Blob.objects.get().state == "SOUND"
    holds()
