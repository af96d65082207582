"""The product as shipped, with durable servers of this run and with registered and hosted pipelines."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from benchmarks.ledger import Ledger
from benchmarks.running_product import TENANT, RunningProduct
from embedded.children import Child, Children
from embedded.client import Client
from embedded.product import PROJECT, Backing, Product

PIPELINES = Path(__file__).parent / "pipelines"
SCOPES = ("read", "payloads:read", "executions:submit", "releases:register", "releases:activate")


class ProductUnderTest(RunningProduct):
    """A context manager with servers, processes and a tenant. Everything is removed at its end."""

    def __init__(self, **settings: str) -> None:
        super().__init__()
        self._settings = {"LOG_LEVEL": "WARNING", **settings}
        self._up = ExitStack()
        self._hosted: dict[str, Path] = {}

    def __enter__(self) -> Self:
        with ExitStack() as up:
            self.folder = Path(up.enter_context(TemporaryDirectory(prefix="coordinator-benchmarks-")))
            self.backing = up.enter_context(Backing(self.folder / "servers", durable=True, outside={}))
            if self.backing.postgres is not None:
                up.callback(self.backing.postgres.remove)  # if root cannot use this folder, the data is in another one
            self.servers = self.backing.environment()
            self.product = Product(self.folder / "product", self.servers, self._settings)
            self.port = self.product.port
            up.enter_context(self.product.children)
            self.product.prepare()
            self.product.start()
            self._make_tenant()
            self.ledger = Ledger(self.servers["DATABASE_OWNER_URL"])
            up.callback(self.ledger.close)
            self._up = up.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._up.close()

    def _make_tenant(self) -> None:
        manage = self.product.manage
        # The user never logs in and needs no password.
        manage("createsuperuser", "--username=bench", "--email=bench@example.org", "--noinput")
        manage("create_tenant", TENANT, "--member=bench")
        self.token = manage("issue_token", TENANT, "bench", "--user=bench", *(f"--scope={scope}" for scope in SCOPES))
        self.tokens[TENANT] = self.token
        self.worker_key = manage("worker_key", TENANT)
        self.client = Client(self.product.url, TENANT, self.token)

    def host(self, module: str) -> Child:
        """Build and register a pipeline, start a worker for it, and activate it."""
        self._release(module)
        worker = self.start_worker(module)
        self.client.activate(self.pipeline_id(module), "1", "for the benchmark")
        return worker

    def host_for(self, tenant: str, module: str) -> str:
        """Create another tenant that hosts a pipeline which is hosted already. Return a token of it."""
        self.product.manage("create_tenant", tenant, "--member=bench")
        scopes = (f"--scope={scope}" for scope in SCOPES)
        token = self.product.manage("issue_token", tenant, "bench", "--user=bench", *scopes)
        self.tokens[tenant] = token
        client, descriptor = Client(self.product.url, tenant, token), self._hosted[module]
        [artifact] = descriptor.parent.glob("*.zip")
        client.upload(self.pipeline_id(module), descriptor, artifact)
        client.verified(self.pipeline_id(module), "1")
        key = self.product.manage("worker_key", tenant)
        self.product.start_worker(f"worker-{tenant}", release=descriptor, tenant=tenant, key=key)
        client.wait_for_worker(f"worker-{tenant}")
        client.activate(self.pipeline_id(module), "1", "for the benchmark")
        return token

    def start_worker(self, module: str) -> Child:
        """Start another worker for the release and wait until the coordinator lists it."""
        name = f"worker-{module}-{sum(child.name.startswith('worker-') for child in self.product.children.started)}"
        child = self.product.start_worker(
            name,
            release=self._hosted[module],
            tenant=TENANT,
            key=self.worker_key,
        )
        self.client.wait_for_worker(name)
        return child

    def start_control_worker(self) -> Child:
        """Start another control worker and wait until it is probably ready."""
        child = self.product.start_control_worker()
        time.sleep(5)
        return child

    def make_database(self, name: str) -> str:
        """Create a database for a peer on the same server. Return its URL for the owner."""
        url = self.servers["DATABASE_OWNER_URL"]
        self.ledger.connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{url.rpartition('/')[0]}/{name}"

    def stop_with_servers(self, children: Children) -> None:
        """Stop `children` before the servers stop."""
        self._up.enter_context(children)

    def stop_process(self, child: Child) -> None:
        child.stop()
        self.product.children.started.remove(child)

    def _release(self, module: str) -> None:
        out = self.folder / module
        command = ["release", f"{module}:pipeline", "--release-version=1", f"--out={out}"]
        subprocess.run(
            [sys.executable, "-m", "pipelines", *command],
            cwd=PIPELINES,
            env={"PYTHONPATH": str(PROJECT)},
            check=True,
            capture_output=True,
        )
        self._hosted[module] = out / "1" / "pipeline-release.json"
        [artifact] = (out / "1").glob("*.zip")
        self.client.upload(self.pipeline_id(module), self._hosted[module], artifact)
        self.client.verified(self.pipeline_id(module), "1")

    def trees(self) -> dict[str, Child]:
        """Return the processes whose CPU time is reported separately."""
        children: dict[str, Child] = {}
        for child in self.product.children.started:
            children[f"{child.name}-2" if child.name in children else child.name] = child
        for server in (self.backing.postgres, self.backing.valkey):
            if server is not None and server.child is not None:
                children[server.child.name] = server.child
        return children
