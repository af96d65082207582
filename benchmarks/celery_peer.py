"""Plain Celery: one node with its default pool, with a separate database on the same Valkey server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import PEERS, PeerRound, python_peers, run_program
from benchmarks.product_under_test import ProductUnderTest
from embedded.children import Child

# One pool process per core, which is Celery's default, and the options of the product's control worker.
WORKER = ["--concurrency=2", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]


class CeleryPeer:
    def __init__(self, product: ProductUnderTest) -> None:
        self._python = python_peers()
        self._product = product
        broker = product.servers["REDIS_URL"].rpartition("/")[0] + "/1"
        self._environment = {"PATH": os.environ["PATH"], "BROKER_URL": broker, "PYTHONUNBUFFERED": "1"}

    def round(self, seconds: float) -> PeerRound:
        """Enqueue no-op tasks while the worker runs them."""
        with self._worker() as worker:
            flooded, cpu = self._run_program("flood", str(seconds), worker)
        return PeerRound(int(flooded["items"]), float(flooded["seconds"]), cpu)

    def round_trips(self, count: int) -> list[float]:
        """Return the seconds from `delay` to the result of `get` for each task, one task at a time."""
        with self._worker() as worker:
            done, _ = self._run_program("round-trips", str(count), worker)
        return [float(seconds) for seconds in done["seconds"]]

    def _run_program(self, mode: str, amount: str, worker: Child) -> tuple[dict[str, Any], dict[str, float]]:
        command: list[str | Path] = [self._python, PEERS / "celery_app.py", mode, amount]
        trees = {"worker": worker, "valkey": self._product.trees()["valkey"]}
        return run_program(command, self._environment, self._product.folder / "logs" / "celery-app.log", trees)

    @contextmanager
    def _worker(self) -> Iterator[Child]:
        command: list[str | Path] = [self._python, "-m", "celery", "-A", "celery_app", "worker", *WORKER]
        log = self._product.folder / "logs" / "celery.log"
        worker = Child(command, name="celery", log=log, environment=self._environment, directory=PEERS)
        try:
            yield worker
        finally:
            worker.stop()
