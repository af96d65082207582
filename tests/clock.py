import time

import pytest


class Clock:
    """Replaces `time.monotonic` with a clock that is `ahead` seconds ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        self._read = time.monotonic
        self._stopped_at: float | None = None
        monkeypatch.setattr(time, "monotonic", self.monotonic)

    def monotonic(self) -> float:
        return (self._read() if self._stopped_at is None else self._stopped_at) + self.ahead

    def stop(self) -> None:
        """Stop the clock, so that only changes of `ahead` advance it. Do not use this in tests that wait."""
        self._stopped_at = self._read()
