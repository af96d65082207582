import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from foundation import places
from foundation.errors import TooManyRequests
from foundation.fair_slots import FairSlots, Group
from foundation.places import Places
from tests.cases import cases
from tests.few_places import limited
from tests.raising import error_of

BUSY, QUIET, ADMIN = Group("busy"), Group("quiet"), Group("admin", reserved=True)
SECONDS = 10
ALL = ("control", "outcomes", "heartbeats", "rest", "webhooks", "artifacts")
KINDS = (places.ARTIFACTS, places.CALLS, places.WEBHOOKS)


class Takers:
    """Threads that take slots. `served` has the group of each slot that was taken, in order."""

    def __init__(self, slots: FairSlots) -> None:
        self.served: list[Group] = []
        self._slots = slots
        self._seen = 0

    def start(self, *groups: Group) -> None:
        for group in groups:
            threading.Thread(target=self._take, args=[group], daemon=True).start()
            time.sleep(0.03)  # so that requests wait in the order of the groups

    def _take(self, group: Group) -> None:
        self._slots.take(group)
        self.served.append(group)

    def wait_for(self, *served: Group) -> None:
        """Wait until the groups, and no others, have been served since the last call."""
        before, self._seen = self._seen, self._seen + len(served)
        deadline = time.monotonic() + SECONDS
        while len(self.served) < self._seen:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(0.02)
        assert self.served[before:] == list(served)


def test_a_group_with_one_request_gets_the_next_turn() -> None:
    slots = FairSlots(1)
    takers = Takers(slots)
    takers.start(BUSY, BUSY, BUSY, QUIET)
    takers.wait_for(BUSY)
    for leaving, following in ((BUSY, QUIET), (QUIET, BUSY), (BUSY, BUSY)):
        slots.leave(leaving)
        takers.wait_for(following)


@cases(
    ("reserve", "turns"),
    [
        # A group never holds all slots.
        (0, [([BUSY] * 9, [BUSY] * 7), ([QUIET], [QUIET])]),
        # It gets more of them once the others are no longer active.
        (0, [([QUIET, *[BUSY] * 3], [QUIET, BUSY, BUSY]), ([], [BUSY])]),
        # A reserved group holds its share and the reserve.
        (2, [([QUIET, *[ADMIN] * 6], [QUIET, *[ADMIN] * 4]), ([BUSY], [BUSY])]),
    ],
)
def test_a_group_holds_its_share_and_leaves_the_rest_to_others(reserve: int, turns: list[Any]) -> None:
    takers = Takers(FairSlots(8, reserve=reserve))
    for requested, served in turns:
        takers.start(*requested)
        takers.wait_for(*served)


def test_only_reserved_groups_use_the_reserve_and_they_may_use_all_slots_in_their_turn() -> None:
    slots = FairSlots(2, reserve=1)
    takers = Takers(slots)
    takers.start(BUSY, QUIET, Group("third"), ADMIN, ADMIN)
    takers.wait_for(BUSY, QUIET, ADMIN)
    slots.leave(ADMIN)
    takers.wait_for(ADMIN)

    slots = FairSlots(1, reserve=1)
    takers = Takers(slots)
    takers.start(ADMIN, ADMIN, ADMIN, BUSY)
    takers.wait_for(ADMIN, ADMIN)
    slots.leave(ADMIN)
    takers.wait_for(BUSY)


def test_a_full_line_refuses_its_group_but_no_other() -> None:
    slots = FairSlots(1, most_waiting=4)
    takers = Takers(slots)
    takers.start(BUSY, BUSY, BUSY)
    assert error_of(TooManyRequests, slots.require_room, BUSY).data == {"retryAfter": 1}
    error_of(TooManyRequests, slots.take, BUSY, bounded=True)
    slots.require_room(QUIET)
    takers.start(QUIET)
    slots.leave(BUSY)
    takers.wait_for(BUSY, QUIET)


@pytest.fixture(autouse=True)
def unlimited() -> Iterator[None]:
    with ExitStack() as stack:
        for place in (places.CHECKS, places.REPEATED_CHECKS, places.SLOW, places.RELEASES, places.UPLOADS, *KINDS):
            stack.enter_context(limited(place, place.most))
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
