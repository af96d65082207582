"""DBOS over the same PostgreSQL server, in a database of its own."""

import os

from benchmarks.peer_environment import PEERS, python_peers, told
from benchmarks.product_under_test import ProductUnderTest

DATABASE = "dbos"


class DbosPeer:
    def __init__(self, product: ProductUnderTest) -> None:
        self._python = python_peers()
        url = product.make_database(DATABASE)
        self._environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}

    def rate(self, seconds: float) -> float:
        """Workflows of three steps per second, from `start_workflow` to the last result."""
        return float(told([self._python, PEERS / "dbos_app.py", str(seconds)], self._environment)["rate"])
