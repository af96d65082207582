"""Logs the messages that the coordinator refuses, and sends a notice to a worker whose heartbeat is refused.

Nothing in a refused message is verified, so its text is cleaned and truncated, and the rate of lines and notices is
limited.
"""

import logging
import threading
import time
from functools import partial
from typing import Any

from coordinator.broker_gate import gate
from executions import broker
from executions.notices import Refusal, refusable, sender_of
from executions.protocol import ORDER_TASK, TOLERANCE, ProtocolError, order_queue_of

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60.0
MOST_LINES, MOST_NOTICES = 60, 3000
LONGEST_TEXT = 300


class _Rate:
    """Allows `most` calls in each window, and counts the others. Safe to use from many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._window, self._allowed, self._held_back = float("-inf"), 0, 0

    def allows(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._window >= WINDOW_SECONDS:
                self._window, self._allowed = now, 0
            if self._allowed < self._most:
                self._allowed += 1
                return True
            self._held_back += 1
            return False

    def held_back(self) -> int:
        """Return how many calls were not allowed since the last call of this method."""
        with self._lock:
            count, self._held_back = self._held_back, 0
            return count


_lines, _notices = _Rate(MOST_LINES), _Rate(MOST_NOTICES)


def forget() -> None:
    """Reset the counts. For tests."""
    _lines.forget()
    _notices.forget()


def refuse_outcomes(message: Any, error: ProtocolError) -> None:
    """Log that a message with outcomes is refused."""
    _log("an outcome message", message, error)


def refuse_heartbeat(message: Any, error: ProtocolError) -> None:
    """Log that a heartbeat is refused, and send a notice to the worker that it names."""
    _log("a heartbeat", message, error)
    sender = sender_of(message)
    if sender is None or sender.worker_id is None or not refusable(error.code) or not _notices.allows():
        return
    notice = Refusal(nonce=sender.nonce, code=error.code).model_dump(by_alias=True)
    queue = order_queue_of(sender.identity, sender.worker_id)
    # If the broker refuses the notice, the next heartbeat causes another.
    gate.send(partial(broker.send_latest, ORDER_TASK, notice, queue=queue, seconds=TOLERANCE.total_seconds()))


def _log(what: str, message: Any, error: ProtocolError) -> None:
    if not _lines.allows():
        return
    sender = sender_of(message)
    held_back = _lines.held_back()
    named = ""
    if sender is not None:
        worker = "" if sender.worker_id is None else f"worker {_cleaned(sender.worker_id)} of "
        named = f" It names {worker}{_cleaned(str(sender.identity))}."
    more = f" {held_back} refusals before it were not logged." if held_back else ""
    log.warning(f"Refused {what}: %s: %s%s%s", error.code, _cleaned(str(error)), named, more)


def _cleaned(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:LONGEST_TEXT])
