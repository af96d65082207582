"""Scrubbing never waits for other sessions, and only one process scrubs at a time."""

from functools import partial

import pytest
from django.db import connection, transaction

from releases.artifacts import blob_lock, scrub
from releases.models import Blob
from tests import making
from tests.concurrency.racing import race, results_of

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def digests(committed: None) -> list[str]:
    """Return the digests of three blobs, least recently checked first."""
    owner = making.tenant()
    for version in ("1.0", "2.0", "3.0"):
        making.registered(owner, version)
    return list(Blob.objects.order_by("checked_at").values_list("digest", flat=True))


def scrubbed(budget: float = 60.0) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '2s'")
    return [checked.digest for checked in scrub.scrub(budget, everything=True)]


def test_a_blob_that_is_being_written_is_skipped(digests: list[str]) -> None:
    with transaction.atomic():
        Blob.objects.select_for_update().get(pk=digests[0])
        assert results_of(race(scrubbed)) == [digests[1:]]
    assert sorted(scrubbed()) == sorted(digests)


def test_one_process_scrubs_at_a_time(digests: list[str]) -> None:
    with blob_lock.scrubber() as alone:
        assert alone
        assert results_of(race(scrubbed)) == [[]]
    assert sorted(results_of(race(scrubbed))[0]) == sorted(digests)


def test_another_process_continues_an_interrupted_scrub(digests: list[str]) -> None:
    broken_off = scrub.scrub(60.0, everything=True)
    assert next(broken_off).digest == digests[0]
    assert results_of(race(scrubbed)) == [[]]
    del broken_off
    assert results_of(race(partial(scrubbed, 0.0))) == [[]], "no budget"
    assert set(results_of(race(scrubbed))[0]) == set(digests)
