"""A clock that tests can move and stop."""

import time

import pytest


class Clock:
    """Replaces `time.monotonic` by a clock that is `ahead` seconds fast."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        self._read = time.monotonic
        self._stopped_at: float | None = None
        monkeypatch.setattr(time, "monotonic", self.monotonic)

    def monotonic(self) -> float:
        return (self._read() if self._stopped_at is None else self._stopped_at) + self.ahead

    def stop(self) -> None:
        """Let time pass only by `ahead`. Not for tests that wait for something."""
        self._stopped_at = self._read()
