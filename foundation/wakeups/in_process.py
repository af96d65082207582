"""Handles wake-ups in the process that sends them, in a separate thread: without messages and other processes."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import close_old_connections

log = logging.getLogger(__name__)
# After each call, the thread pauses for this multiple of the call's duration. So a single wake-up is handled
# immediately, and of many that arrive during a pause, one call finds the work of all.
PAUSE_FACTOR = 3.0
LONGEST_PAUSE = 0.05
SHUTDOWN_TIMEOUT = 5.0


class WakeupThread(threading.Thread):
    """Calls `handler` after each `wake`, once for all that arrive during a call. Calls `failed` if it raises an error.

    When the process ends, it waits for a last call, for at most SHUTDOWN_TIMEOUT seconds.
    """

    def __init__(self, handler: Callable[[], object], failed: Callable[[], None]) -> None:
        super().__init__(name="wakeups", daemon=True)
        self._handler = handler
        self._failed = failed
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._starting = threading.Lock()

    def wake(self) -> None:
        """Request a call of the handler. Never waits.

        The thread starts with the first request, so that it runs in a process that serves and not in its parent.
        """
        self._woken.set()
        with self._starting:
            if self.ident is None:
                self.start()
                threading.Thread(name="wakeups-shutdown", target=self._shut_down, daemon=False).start()

    def close(self) -> None:
        """Call the handler for the last time, and end the thread. Waits for at most SHUTDOWN_TIMEOUT seconds."""
        self._closed.set()
        self._woken.set()
        if self.ident is not None:
            self.join(SHUTDOWN_TIMEOUT)

    def _shut_down(self) -> None:
        # A process waits for its threads when the main thread ends. `atexit` is not an alternative: children that
        # multiprocessing forks, such as web processes, do not call it.
        threading.main_thread().join()
        self.close()

    def run(self) -> None:
        last = False
        while not last:
            self._woken.wait()
            self._woken.clear()
            last = self._closed.is_set()
            began = time.monotonic()
            try:
                close_old_connections()
                self._handler()
            except Exception:
                log.exception("A wake-up could not be handled in this process")
                self._failed()
            self._closed.wait(min(PAUSE_FACTOR * (time.monotonic() - began), LONGEST_PAUSE))
