"""Raw Celery: one node with its default pool, over the same Valkey server in a database of its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import PEERS, PeerRound, converse, python_peers
from benchmarks.product_under_test import ProductUnderTest
from embedded.children import Child

# As many pool processes as cores, which is Celery's own default, and the options of the product's control worker.
WORKER = ["--concurrency=2", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]


class CeleryPeer:
    def __init__(self, product: ProductUnderTest) -> None:
        self._python = python_peers()
        self._product = product
        broker = product.servers["REDIS_URL"].rpartition("/")[0] + "/1"
        self._environment = {"PATH": os.environ["PATH"], "BROKER_URL": broker, "PYTHONUNBUFFERED": "1"}

    def round(self, seconds: float) -> PeerRound:
        """No-op tasks, enqueued and drained at once."""
        with self._worker() as worker:
            flooded, cpu = self._converse("flood", str(seconds), worker)
        return PeerRound(int(flooded["items"]), float(flooded["seconds"]), cpu)

    def round_trips(self, count: int) -> list[float]:
        """Seconds from `delay` to the result that `get` returns, one task at a time."""
        with self._worker() as worker:
            done, _ = self._converse("round-trips", str(count), worker)
        return [float(seconds) for seconds in done["seconds"]]

    def _converse(self, what: str, how_much: str, worker: Child) -> tuple[dict[str, Any], dict[str, float]]:
        command: list[str | Path] = [self._python, PEERS / "celery_app.py", what, how_much]
        trees = {"worker": worker, "valkey": self._product.trees()["valkey"]}
        return converse(command, self._environment, self._product.folder / "logs" / "celery-app.log", trees)

    @contextmanager
    def _worker(self) -> Iterator[Child]:
        command: list[str | Path] = [self._python, "-m", "celery", "-A", "celery_app", "worker", *WORKER]
        log = self._product.folder / "logs" / "celery.log"
        worker = Child(command, name="celery", log=log, environment=self._environment, directory=PEERS)
        try:
            yield worker
        finally:
            worker.stop()
