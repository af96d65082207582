"""Restate with a service in its TypeScript SDK, both with default settings."""

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from benchmarks import load
from benchmarks.load import with_client
from benchmarks.load_client import Task
from benchmarks.peer_environment import PeerMissing, PeerRound, node_peers
from benchmarks.processes import CpuMeter
from embedded.children import Children, free_port

STARTUP_SECONDS = 60.0
CONNECTIONS = 128  # faster than with half as many
WARM_UP = 500


class RestatePeer:
    """A context manager that runs server and service. Raises `PeerMissing` if they cannot be installed or started."""

    def __init__(self, folder: Path) -> None:
        self._programs = node_peers()
        self._folder = folder / "restate"
        self._ingress, self._admin, self._fabric, self._service = (free_port() for _ in range(4))
        self._children = Children(folder / "logs")

    def __enter__(self) -> Self:
        inherited = {"PATH": os.environ["PATH"]}
        server = {
            **inherited,
            "DO_NOT_TRACK": "1",
            "RESTATE_BASE_DIR": str(self._folder),
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(self._fabric),
            "RESTATE_INGRESS__BIND_PORT": str(self._ingress),
            "RESTATE_ADMIN__BIND_PORT": str(self._admin),
            "RESTATE_LOG_FILTER": "warn",
        }
        try:
            self._start("restate-server", [self._programs / "node_modules" / ".bin" / "restate-server"], server)
            service = {**inherited, "PORT": str(self._service), "NODE_ENV": "production", "RESTATE_LOGGING": "WARN"}
            self._start("restate-service", ["node", self._programs / "restate_app.js"], service)
            self._register()
        except BaseException:
            self._children.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._children.stop()

    def round(self, seconds: float) -> PeerRound:
        """Run invocations of three steps. Each responds with its result."""
        self._invoked(WARM_UP)
        rate = self._invoked(WARM_UP).rate
        return self._invoked(max(WARM_UP, int(rate * seconds)))

    def _invoked(self, count: int) -> PeerRound:
        task = Task(self._ingress, "/ThreeSteps/run", {}, "1", count, CONNECTIONS, accepted="4")
        meter = CpuMeter({child.name: child for child in self._children.started})
        account = load.submit(task)
        return PeerRound(count, account.ended - account.started, with_client(meter.read(), account))

    def _start(self, name: str, command: list[str | Path], environment: dict[str, str]) -> None:
        self._children.start(name, command, environment=environment, directory=self._programs)

    def _register(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        uri = f"http://127.0.0.1:{self._service}"
        while time.monotonic() < deadline:
            self._children.require_running()
            try:
                response = requests.post(f"http://127.0.0.1:{self._admin}/deployments", json={"uri": uri}, timeout=10)
                if response.ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        raise PeerMissing(f"Restate does not accept the service:\n{self._children.started[0].log_tail()}")
