"""Raw Celery: one node with its default pool, over the same Valkey server in a database of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peer_environment import PEERS, python_peers, told
from benchmarks.processes import CpuMeter
from benchmarks.product_under_test import ProductUnderTest
from coordinator.local.children import Child

# As many pool processes as cores, which is Celery's own default, and the options of the product's control worker.
WORKER = ["--concurrency=2", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]


class CeleryPeer:
    def __init__(self, product: ProductUnderTest) -> None:
        self._python = python_peers()
        self._product = product
        broker = product.servers["REDIS_URL"].rpartition("/")[0] + "/1"
        self._environment = {"PATH": os.environ["PATH"], "BROKER_URL": broker, "PYTHONUNBUFFERED": "1"}
        self.cpu: list[dict[str, float]] = []

    def rate(self, seconds: float) -> float:
        """No-op tasks per second, enqueued and drained at once."""
        with self._worker() as worker:
            meter = CpuMeter({**self._product.trees(), "celery": worker})
            flooded = told([self._python, PEERS / "celery_app.py", "flood", str(seconds)], self._environment)
        self.cpu.append(meter.read())
        return float(flooded["rate"])

    def round_trips(self, count: int) -> list[float]:
        """Seconds from `delay` to the result that `get` returns, one task at a time."""
        with self._worker():
            done = told([self._python, PEERS / "celery_app.py", "round-trips", str(count)], self._environment)
        return [float(seconds) for seconds in done["seconds"]]

    @contextmanager
    def _worker(self) -> Iterator[Child]:
        command = [self._python, "-m", "celery", "-A", "celery_app", "worker", *WORKER]
        log = self._product.folder / "logs" / "celery.log"
        worker = Child(command, name="celery", log=log, environment=self._environment, directory=PEERS)
        try:
            yield worker
        finally:
            worker.stop()
