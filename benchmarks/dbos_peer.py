"""DBOS with a separate database on the same PostgreSQL server."""

import os
from pathlib import Path

from benchmarks.peer_environment import PEERS, PeerRound, python_peers, run_program
from benchmarks.product_under_test import ProductUnderTest

DATABASE = "dbos"


class DbosPeer:
    def __init__(self, product: ProductUnderTest) -> None:
        self._python = python_peers()
        self._product = product
        url = product.make_database(DATABASE)
        self._environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}

    def round(self, seconds: float) -> PeerRound:
        """Run workflows of three steps, from the first `start_workflow` to the last result."""
        command: list[str | Path] = [self._python, PEERS / "dbos_app.py", str(seconds)]
        log = self._product.folder / "logs" / "dbos.log"
        trees = {"postgres": self._product.trees()["postgres"]}
        done, cpu = run_program(command, self._environment, log, trees)
        return PeerRound(int(done["items"]), float(done["seconds"]), cpu)
