"""The product on dedicated servers. Each process has a name and can be killed and restarted. Needs no Django."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import psycopg
import requests

from embedded.children import Child
from embedded.client import Client
from embedded.postgres import Postgres
from embedded.product import Product
from embedded.valkey import Valkey
from tests.building import BuiltRelease, eventually, first_tenant
from tests.words import words
from wire.worker_keys import worker_key

TENANT = "recovery"
USER = "operator"
TPF_TOKEN = "tpf-control-token"
SCOPES = words(
    """
    read payloads:read executions:submit executions:operate interactions:complete releases:register releases:activate
    """
)
LEASE_SECONDS = 4.0
RETRY_LIMIT = 3
SETTINGS = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "SWEEP_SECONDS": "0.5",
    # Longer than any process takes to start, so that executions are also claimed for dead workers.
    "WORKER_STALE_SECONDS": "30",
    "RETRY_LIMIT": str(RETRY_LIMIT),
    "RETRY_DELAY_SECONDS": "0.3",
    "TPF_CONTROL_PLANE_ENABLED": "true",
    "TPF_CONTROL_PLANE_TOKEN": TPF_TOKEN,
}
LIVE = "SELECT count(*) FROM executions_execution WHERE finished_at IS NULL"
# What each process logs once it is ready.
READY = {"web": "Started worker-", "clock": "is starting", "": " ready."}


class Cluster:
    """PostgreSQL, Valkey and the processes of the product, with one tenant and a token that has every scope.

    The members are `web`, `clock`, `control-1`, further control workers, and workers that `host` adds.
    `environment` replaces settings and addresses of the servers for all processes.
    """

    def __init__(
        self, folder: Path, *, postgres: Postgres | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.postgres = postgres or Postgres(folder / "postgres")
        self.valkey = Valkey(folder / "valkey")
        servers = {
            "DATABASE_URL": self.postgres.url,
            "DATABASE_OWNER_URL": self.postgres.owner_url,
            "REDIS_URL": self.valkey.url,
            "REDIS_OWNER_URL": self.valkey.owner_url,
        }
        settings = SETTINGS | dict(environment or {})
        addresses = {name: settings.pop(name) for name in servers if name in settings}
        self.product = Product(folder / "product", servers | addresses, settings)
        self.token = ""
        self._running: dict[str, tuple[Child, int]] = {}
        self._starters: dict[str, Callable[[], Child]] = {
            "control-1": partial(self.product.start_control_worker, "control-1"),
            "clock": self.product.start_clock,
            "web": self.product.start_web,
        }

    def set_up(self) -> None:
        """Start everything and create the tenant. Raises `ChildError`."""
        self.start_servers()
        self.product.manage("migrate", "--verbosity=0", DATABASE_URL=self.postgres.owner_url)
        self.restore()
        self.token = first_tenant(self.product, TENANT, USER, "correct-horse-battery-staple", SCOPES)

    def start_servers(self) -> None:
        self.valkey.start()
        self.postgres.start()

    def remove_servers(self) -> None:
        self.valkey.remove()
        self.postgres.remove()

    def tear_down(self) -> None:
        for name in list(self._running):
            self.kill(name)
        self.remove_servers()

    @property
    def members(self) -> list[str]:
        return list(self._starters)

    def add_control_worker(self, name: str, *queues: str) -> None:
        self.serve(name, *queues)
        self.start(name)

    def serve(self, name: str, *queues: str) -> None:
        """Let a control worker serve these queues from its next start on, by default all."""
        self._starters[name] = partial(self.product.start_control_worker, name, queues=queues)

    def host(self, name: str, release: BuiltRelease, *, concurrency: int = 2) -> None:
        """Add and start the worker `name`, which hosts `release`."""
        self._starters[name] = partial(
            self.product.start_worker,
            name,
            release=release.descriptor,
            tenant=TENANT,
            key=worker_key(self.product.environment["WORKER_SECRET"], TENANT).text,
            concurrency=concurrency,
        )
        self.start(name)

    def remove(self, name: str) -> None:
        if name in self._running:
            self.kill(name)
        del self._starters[name]

    def start(self, name: str) -> None:
        log = self.product.folder / "logs" / f"{name}.log"
        written = log.stat().st_size if log.exists() else 0
        self._running[name] = (self._starters[name](), written)

    def kill(self, name: str) -> None:
        """Kill a member and its child processes with SIGKILL. Returns once it has ended."""
        child, _ = self._running.pop(name)
        child.kill()
        self.product.children.started.remove(child)

    def restart(self, name: str) -> None:
        self.kill(name)
        self.start(name)

    def process(self, name: str) -> Child:
        return self._running[name][0]

    @contextlib.contextmanager
    def stopped(self, child: Child) -> Iterator[None]:
        """Freeze the process (SIGSTOP) for the block. Afterwards it continues, unless it was killed meanwhile."""
        child.send(SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, SIGCONT)

    def is_ready(self, name: str) -> bool:
        """Return True if a member has logged that it is ready."""
        return self._has_logged(name, READY.get(name, READY[""]))

    def accepts_commands(self, name: str) -> bool:
        """Return True if a worker has logged that it reads its queue, which a control worker allows."""
        return self._has_logged(name, "Started consuming from")

    def _has_logged(self, name: str, text: str) -> bool:
        """Return True if a member has logged `text` since its last start."""
        if name not in self._running:
            return False
        child, written = self._running[name]
        with child.log.open("rb") as log:
            log.seek(written)
            return text.encode() in log.read()

    def ended_members(self) -> dict[str, str]:
        """Return the members that ended without `kill`, with the end of their logs."""
        return {name: child.log_tail(40) for name, (child, _) in self._running.items() if not child.running}

    def restore(self) -> None:
        """Start all killed members and return once every member is ready."""
        for name in self._starters:
            if name not in self._running:
                self.start(name)
        for name in self._starters:
            eventually(partial(self.is_ready, name), seconds=60, what=f"{name} ready")
        self.product.wait_until_ready()

    def client(self) -> Client:
        return Client(self.product.url, TENANT, self.token)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        url = f"{self.product.url}/api/v1/tenants/{TENANT}/{path}"
        return requests.post(url, json=body, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.postgres.superuser_url(), autocommit=True)

    def live_executions(self) -> int:
        with self.connect() as connection:
            [count] = connection.execute(LIVE).fetchone() or [0]
        return int(count)

    def activate(self, name: str, release: BuiltRelease, *, concurrency: int = 2) -> None:
        """Publish and activate a release that the new worker `name` hosts."""
        self.publish(release)
        self.host(name, release, concurrency=concurrency)
        self.client().wait_for_worker(name)
        self.client().activate(release.pipeline_id, release.version, "")

    def publish(self, release: BuiltRelease) -> None:
        client = self.client()
        client.upload(release.pipeline_id, release.descriptor, release.artifact)
        verified = client.verified(release.pipeline_id, release.version)
        assert verified["status"] == "REGISTERED", verified["findings"]
