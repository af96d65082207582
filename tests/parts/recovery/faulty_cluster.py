"""A cluster whose servers and networks fail as they do in production. Needs no Django."""

import contextlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

from embedded.children import ChildError
from embedded.postgres import Postgres
from embedded.s3 import S3Server
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.replicated import Replicated
from tests.s3 import FaultyProxy, S3Place, short, wrong
from tests.tcp_proxy import TcpProxy

STEPPED_CLOCK = Path(__file__).parent / "stepped_clock"


class FaultyCluster(Cluster):
    """PostgreSQL has a synchronous standby, and artifacts are in S3. Processes reach all servers through proxies."""

    def __init__(self, folder: Path) -> None:
        self.replicated = Replicated(folder / "postgres")
        self.s3 = S3Server(folder / "s3")
        self.store = FaultyProxy(S3Place(self.s3.bucket, endpoint_url=self.s3.endpoint_url))
        self.networks = {"PostgreSQL": [TcpProxy(server.port) for server in self.replicated.servers]}
        primary = urlsplit(self.replicated.primary.url)
        hosts = ",".join(f"127.0.0.1:{network.port}" for network in self.networks["PostgreSQL"])
        environment = {
            **self.s3.environment(),
            "S3_ENDPOINT_URL": self.store.origin,
            "DATABASE_URL": urlunsplit(primary._replace(netloc=f"{primary.username}:{primary.password}@{hosts}")),
        }
        self._proxies = contextlib.ExitStack()
        super().__init__(folder, postgres=self.replicated.primary, environment=environment)
        self.networks["broker"] = [TcpProxy(self.valkey.port)]
        self.product.servers["REDIS_URL"] = self.networks["broker"][0].in_front_of(self.valkey.url)
        self._step = folder / "step"
        self.product.environment |= {
            "REDIS_URL": self.product.servers["REDIS_URL"],
            "STEPPED_CLOCK": str(self._step),
            "PYTHONPATH": f"{STEPPED_CLOCK}:{self.product.environment['PYTHONPATH']}",
        }

    def start_servers(self) -> None:
        self.valkey.start()
        self.replicated.start()
        self.s3.start()
        self._proxies.enter_context(self.store.running())
        for network in chain(*self.networks.values()):
            network.start()
            self._proxies.callback(network.stop)

    def remove_servers(self) -> None:
        self._proxies.close()
        self.s3.stop()
        self.valkey.remove()
        self.replicated.remove()

    @contextlib.contextmanager
    def silent(self, server: str) -> Iterator[None]:
        with contextlib.ExitStack() as silent:
            for network in self.networks[server]:
                silent.enter_context(network.silent())
            yield

    def forget_connections(self, server: str) -> None:
        """Let all present connections to a server hang permanently."""
        for network in self.networks[server]:
            network.forget()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Let the database refuse writes during the block, as one whose disk is full or that has become a standby."""
        self._set_read_only("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._set_read_only("ALTER SYSTEM RESET default_transaction_read_only")

    @contextlib.contextmanager
    def clock_set_back(self, seconds: float) -> Iterator[None]:
        """Set the time of the clock's host back for the block."""
        self._step.write_text(f"{-seconds}")
        try:
            yield
        finally:
            self._step.write_text("0")

    def spoil_reads(self, count: int) -> int:
        """Read all artifacts while the store spoils the next reads. Return how many it has spoiled."""
        self.store.faults = [short, wrong] * (count // 2)
        with contextlib.suppress(ChildError):  # the scrub tells that it could not read everything
            self.product.manage("scrub_artifacts", "--all")
        spoiled = count - len(self.store.faults)
        self.store.faults = []
        return spoiled

    def fail_over(self) -> Postgres:
        former = self.replicated.fail_over()
        self.postgres = self.replicated.primary
        return former

    def _set_read_only(self, statement: LiteralString) -> None:
        with self.connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")
