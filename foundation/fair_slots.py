"""Slots for which groups of requests take turns, so that one busy group does not delay the others. Pure.

The next free slot goes to the waiting group that holds the fewest slots. Among equals it goes to the group whose last
turn is longest ago. So a group with a thousand waiting requests gets one turn for each turn of a group with one.
"""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from foundation.errors import TooManyRequests

PACE_SECONDS = 2.0
"""Turns that are longer ago count little towards the pace of a line."""
ASSUMED_TURNS = 4.0
"""How many instant turns a new line starts with, so that one slow turn does not look like a slow pace."""
RECENT_SECONDS = 1.0
"""How long a group counts as active after its last request."""


class Group(NamedTuple):
    """Requests that take turns with those of other groups. Only reserved groups may use the reserve."""

    name: str
    reserved: bool = False


NO_GROUP = Group("")


@dataclass(slots=True)
class _Line:
    """The waiting requests of a group, in order of arrival, each as a lock that its turn releases.

    `last_turn` is when the group got its last slot, and 0 before. `turns` took `seconds` while requests waited; older
    ones count less. `moved_at` is when the line began or moved.
    """

    waiting: deque[threading.Lock] = field(default_factory=deque)
    held: int = 0
    last_turn: float = 0.0
    turns: float = ASSUMED_TURNS
    seconds: float = 0.0
    moved_at: float = 0.0

    @property
    def expected_seconds(self) -> float:
        return self.seconds / self.turns * len(self.waiting)

    def begin(self, now: float) -> None:
        """Begin to wait, after no request did."""
        self.moved_at, self.turns, self.seconds = now, ASSUMED_TURNS, 0.0

    def serve(self, now: float) -> None:
        interval = now - self.moved_at
        kept = math.exp(-interval / PACE_SECONDS)
        self.turns = self.turns * kept + 1.0
        self.seconds = self.seconds * kept + interval
        self.last_turn = self.moved_at = now
        self.waiting.popleft().release()


class FairSlots:
    """`count` slots for all groups, and `reserve` further ones for reserved groups. Safe to use from many threads.

    A group leaves an eighth of the `count` slots to others, and three quarters while another group is active: threads
    compete for the interpreter, so the requests of that group would take long among many others. A reserved group may
    hold the reserve in addition to its share.

    At most `most_waiting` requests wait, and at most half of them are of one group. A group whose requests would wait
    longer than `most_seconds` may not add another one. A group without a waiting request always may.
    """

    def __init__(self, count: int, *, reserve: int = 0, most_waiting: int = 2**16, most_seconds: float = 60.0) -> None:
        self._free = count + reserve
        self._open = count
        self._reserve = reserve
        self._share = count - count // 8
        self._share_of_two = max(count // 4, 1)
        self._newest = self._second = (NO_GROUP, 0.0)
        self._most_waiting = most_waiting
        self._most_of_one = max(most_waiting // 2, 1)
        self._most_seconds = most_seconds
        self._waiting = 0
        self._lines: dict[Group, _Line] = {}
        self._lock = threading.Lock()

    def require_room(self, group: Group) -> None:
        """Raise `TooManyRequests` if the group may not add a request to its line now."""
        with self._lock:
            self._require_room(self._lines.get(group))

    def take(self, group: Group, *, bounded: bool = False) -> None:
        """Wait for the turn of the group and hold a slot. If `bounded`, raise `TooManyRequests` as `require_room`."""
        with self._lock:
            line = self._lines.get(group)
            if bounded:
                self._require_room(line)
            self._note(group)
            if line is None:
                line = self._lines[group] = _Line()
            if not line.waiting:
                if self._may_hold(group, line):
                    self._hold(group, line)
                    line.last_turn = time.monotonic()
                    return
                line.begin(time.monotonic())
            turn = threading.Lock()
            turn.acquire()
            line.waiting.append(turn)
            self._waiting += 1
        # The share of the group grows once no other group is active, which is no event that would serve it.
        while not turn.acquire(timeout=RECENT_SECONDS):
            with self._lock:
                self._serve_waiting()

    def leave(self, group: Group) -> None:
        """Return the slot. The next group in turn gets it."""
        with self._lock:
            line = self._lines[group]
            line.held -= 1
            self._free += 1
            self._open += not group.reserved
            self._serve_waiting()
            if not line.held and not line.waiting:
                del self._lines[group]

    def _serve_waiting(self) -> None:
        # A group that is alone again gets several slots at once.
        while self._waiting and self._serve_next():
            pass

    def _serve_next(self) -> bool:
        """Serve the group in turn. Return False if no waiting group may hold a slot."""
        due = [(line.held, line.last_turn, group) for group, line in self._lines.items() if line.waiting]
        for _, _, group in sorted(due):
            line = self._lines[group]
            if self._may_hold(group, line):
                self._hold(group, line)
                self._waiting -= 1
                line.serve(time.monotonic())
                return True
        return False

    def _hold(self, group: Group, line: _Line) -> None:
        line.held += 1
        self._free -= 1
        self._open -= not group.reserved

    def _may_hold(self, group: Group, line: _Line) -> bool:
        reserved, free = (self._reserve, self._free) if group.reserved else (0, min(self._open, self._free))
        return free > 0 and line.held < self._share_of(group) + reserved

    def _note(self, group: Group) -> None:
        if self._newest[0] != group:
            self._second = self._newest
        self._newest = group, time.monotonic()

    def _share_of(self, group: Group) -> int:
        _, at = self._second if self._newest[0] == group else self._newest
        return self._share_of_two if time.monotonic() - at < RECENT_SECONDS else self._share

    def _require_room(self, line: _Line | None) -> None:
        if line is None or not line.waiting:
            return
        seconds = line.expected_seconds
        full = self._waiting >= self._most_waiting or len(line.waiting) >= self._most_of_one
        if full or seconds > self._most_seconds:
            raise TooManyRequests(
                "Too many requests of this tenant or client are waiting. Try again later.",
                retryAfter=max(math.ceil(seconds), 1),
            )
