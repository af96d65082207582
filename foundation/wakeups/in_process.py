"""Answers a bell in the process where it is rung, by a thread of its own: no message, no other process, no waiting."""

import logging
import threading
import time
from collections.abc import Callable

from django.db import close_old_connections

log = logging.getLogger(__name__)
# After each answer the thread rests for so many times what it took: a lone bell is answered at once, and of many that
# are rung meanwhile one answer finds the work of all.
REST = 3.0
LONGEST_REST = 0.05
LONGEST_FAREWELL = 5.0


class Answering(threading.Thread):
    """Calls `answer` after each `wake`, once for all that come while it is busy; what it raises goes to `failed`.

    The end of the process waits for a last answer, to whatever was rung until then, LONGEST_FAREWELL at most.
    """

    def __init__(self, answer: Callable[[], object], failed: Callable[[], None]) -> None:
        super().__init__(name="answering", daemon=True)
        self._answer = answer
        self._failed = failed
        self._rung = threading.Event()
        self._closed = threading.Event()
        self._starting = threading.Lock()

    def wake(self) -> None:
        """Never waits. The thread starts with the first bell: in the process that serves, not in one that forks it."""
        self._rung.set()
        with self._starting:
            if self.ident is None:
                self.start()
                threading.Thread(name="farewell", target=self._see_off, daemon=False).start()

    def close(self) -> None:
        self._closed.set()
        self._rung.set()
        if self.ident is not None:
            self.join(LONGEST_FAREWELL)

    def _see_off(self) -> None:
        # Every process waits for its threads when the main one ends, but `atexit` is called by no child that
        # multiprocessing forked, and such are the web's.
        threading.main_thread().join()
        self.close()

    def run(self) -> None:
        last = False
        while not last:
            self._rung.wait()
            self._rung.clear()
            last = self._closed.is_set()
            began = time.monotonic()
            try:
                close_old_connections()
                self._answer()
            except Exception:
                log.exception("A bell could not be answered here")
                self._failed()
            self._closed.wait(min(REST * (time.monotonic() - began), LONGEST_REST))
