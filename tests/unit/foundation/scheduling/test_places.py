"""Places leave threads for short tasks, and one tenant never holds all of a kind."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from foundation.scheduling import places
from foundation.scheduling.places import Places
from tests.few_places import limited

ALL = ("control", "outcomes", "heartbeats", "rest", "webhooks", "artifacts")
KINDS = (places.ARTIFACTS, places.CALLS, places.WEBHOOKS)


@pytest.fixture(autouse=True)
def unlimited() -> Iterator[None]:
    with ExitStack() as stack:
        for each in (places.CHECKS, places.REPEATED_CHECKS, places.SLOW, places.RELEASES, places.UPLOADS, *KINDS):
            stack.enter_context(limited(each, each.most))
        yield


def held(stack: ExitStack, kind: Places, tenant: int | None) -> int:
    """Take places for the tenant until it gets no more, and return their number."""
    count = 0
    while stack.enter_context(kind.hold(tenant)):
        count += 1
    return count


def test_short_tasks_keep_a_quarter_of_the_threads_and_at_least_two() -> None:
    for threads in (6, 7, 8, 16, 33, 64):
        places.allot(threads, ALL)
        with ExitStack() as stack:
            slow = sum(held(stack, kind, tenant) for kind in (places.CHECKS, *KINDS) for tenant in (1, 2, 3))
        assert threads - slow >= max(threads / 4, 2), threads
        assert places.REPEATED_CHECKS.most < places.CHECKS.most, "a place is left for the checks of other workers"


def test_a_tenant_whose_work_hangs_in_every_kind_leaves_a_place_of_every_kind() -> None:
    for threads in (6, 7, 8, 16, 32):
        places.allot(threads, ALL)
        for first in KINDS:
            with ExitStack() as stack:
                for kind in (first, *KINDS, places.CHECKS):
                    held(stack, kind, 1)
                for kind in (*KINDS, places.CHECKS):
                    with kind.hold(2) as free:
                        assert free, threads
