"""A clock that tests can move."""

import time

import pytest


class Clock:
    """Replaces `time.monotonic` by a clock that is `ahead` seconds fast."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        self._read = time.monotonic
        monkeypatch.setattr(time, "monotonic", self.monotonic)

    def monotonic(self) -> float:
        return self._read() + self.ahead
