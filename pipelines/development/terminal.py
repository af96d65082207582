"""What ``pipelines dev`` prints."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coordinator_client.errors import ClientError
from pipelines.errors import DefinitionError
from pipelines.release.publish import of_client


class Terminal:
    """Prints whole lines from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, what: str, text: str) -> None:
        """Print what happened, and the first line of a text behind it. Further lines are indented."""
        self.line(f"{what:<10} " + text.replace("\n", "\n  "))

    def line(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def error(self, error: DefinitionError | ClientError) -> None:
        shown = error if isinstance(error, DefinitionError) else of_client(error)
        for problem in shown.errors:
            self.line(f"error: {problem}")

    @contextmanager
    def timed(self, what: str) -> Iterator[Callable[[str], None]]:
        """Yield a function that prints what happened in the block, and how long it took."""
        began = time.monotonic()
        yield lambda text: self.say(what, f"{text} ({time.monotonic() - began:.2f} s)")


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
