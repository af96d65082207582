"""Sends to the broker unless it refuses messages: a circuit breaker for the whole process.

A broker that is down or full refuses every message. After the first refusal nothing is sent until a probe succeeds, so
an outage costs a process one failed message instead of one for each caller. A refused message is never an error to the
caller, because a committed row contains the same information.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from celery import current_app
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

from foundation.telemetry.metrics import Counter, Histogram

send_time: Final = Histogram("coordinator_broker_send_seconds", "Time until the broker accepted a message.")
refusals: Final = Counter(
    "coordinator_broker_refusals_total", "Messages and probes that the broker did not accept. Work is then delayed."
)


log = logging.getLogger(__name__)
REFUSALS = (OperationalError, ChannelError, OSError, RedisError)
FIRST_WAIT = 0.5
LONGEST_WAIT = 5.0
FIRST_BATCH = 10


class BrokerGate:
    """Open while the broker accepts messages. A refusal closes it. `probe` is then called after growing waits."""

    def __init__(self, probe: Callable[[], object]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._wait = 0.0  # seconds between probes; 0 while the gate is open
        self._probe_at = 0.0
        self._batch = sys.maxsize  # no limit before the first refusal

    @property
    def refused(self) -> bool:
        """True if the broker refused the last message or probe. Makes no network call."""
        return self._wait > 0

    def is_open(self) -> bool:
        """Return True if the broker accepts messages. After a refusal, one thread at a time probes the broker."""
        with self._lock:
            if not self._wait:
                return True
            if time.monotonic() < self._probe_at:
                return False
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._probe_at = time.monotonic() + self._wait
        return self.probe()

    def probe(self) -> bool:
        """Probe the broker now, and open or close the gate. Return True if the broker accepts messages."""
        try:
            self._probe()
        except REFUSALS as error:
            self._close(error)
            return False
        self._open()
        return True

    def send(self, send: Callable[[], object]) -> bool:
        """Call `send`, which writes to the broker. Return False, and raise nothing, if the broker refuses."""
        return self.is_open() and self.settle(send)

    def settle(self, send: Callable[[], object]) -> bool:
        """As `send`, also while the broker is known to refuse: a message that is written needs its answer."""
        begun = time.perf_counter()
        try:
            send()
        except REFUSALS as error:
            self._close(error)
            return False
        send_time.observe(amount=time.perf_counter() - begun)
        return True

    def batch(self, most: int) -> int:
        """Return how many items, at most `most`, a caller may prepare for sending.

        A broker that accepts a probe may still refuse most messages. So after a refusal the answer is FIRST_BATCH, and
        then twice as many as the largest batch that was sent whole.
        """
        return min(self._batch, most)

    def batch_sent(self, count: int) -> None:
        """Record that the broker accepted a whole batch of `count` items."""
        with self._lock:
            self._batch = max(self._batch, 2 * count)

    def reset(self) -> None:
        with self._lock:
            self._wait, self._batch = 0.0, sys.maxsize

    def _open(self) -> None:
        with self._lock:
            was_closed, self._wait = self._wait > 0, 0.0
        if was_closed:
            log.info("The broker accepts messages again")

    def _close(self, error: Exception) -> None:
        refusals.add()
        with self._lock:
            self._batch = FIRST_BATCH
            if self._wait:
                return
            self._wait = FIRST_WAIT
            self._probe_at = time.monotonic() + FIRST_WAIT
        log.warning("The broker refuses messages: %s", type(error).__name__)


def _write() -> None:
    """Write a small value: a full broker answers a ping but refuses every write."""
    connection: Any
    with current_app.pool.acquire(block=True) as connection:
        connection.default_channel.client.set("coordinator:probe", 1, px=1000)


gate = BrokerGate(_write)
