"""An installation on one machine whose data stays in one folder, for `coordinator dev` and the demo."""

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from embedded.children import free_port
from embedded.product import Backing, Product
from pipelines.release import signing_key

ENVIRONMENT: Final = "coordinator.env"
"""The file that an author's shell reads: what `coordinator` and `pipelines` need to connect."""
LOCAL_NETWORKS: Final = "127.0.0.0/8,::1/128"


class InstallationError(Exception):
    """The installation cannot start."""


@dataclass
class Kept:
    """What stays the same at each start. `token` and `worker_key` are empty until they have been created."""

    tenant: str
    user: str
    password: str
    secret_key: str
    worker_secret: str
    metrics_token: str
    port: int
    postgres_port: int
    valkey_port: int
    token: str = ""
    worker_key: str = ""
    broker_url: str = ""

    @classmethod
    def new(cls, tenant: str, user: str) -> Self:
        secret = secrets.token_urlsafe
        ports = (free_port(), free_port(), free_port())
        return cls(tenant, user, secret(12), secret(48), secret(48), secret(24), *ports)


class Installation:
    """PostgreSQL, Valkey and the product with their data, keys, ports and logs in `folder`.

    As a context manager, it stops everything at the end. One process at a time can use a folder. The process may be
    killed at any time: the next one continues with the data. `backing` replaces the servers of the folder.
    """

    def __init__(self, folder: Path, *, tenant: str = "dev", user: str = "dev", backing: Backing | None = None) -> None:
        """Create the folder. Raises `InstallationError` if another process uses it."""
        self.folder = folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._running = ExitStack()
        self._state = folder / "state.json"
        self._lock()
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        self.kept = self._read() or Kept.new(tenant, user)
        self._write()
        kept = self.kept
        self.backing = backing or Backing(
            folder, outside={}, postgres_port=kept.postgres_port, valkey_port=kept.valkey_port
        )
        key = folder / "provenance.pem"
        if not key.exists():
            signing_key.make(key)
        settings = {
            "SECRET_KEY": kept.secret_key,
            "WORKER_SECRET": kept.worker_secret,
            "PROVENANCE_KEY_FILE": str(key),
            "METRICS_TOKEN": kept.metrics_token,
            "WEBHOOK_ALLOWED_NETWORKS": LOCAL_NETWORKS,
        }
        self.product = Product(folder, self.backing.environment(), settings, web_processes=1, port=kept.port)

    @contextmanager
    def starting(
        self, progress: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext()
    ) -> Iterator[None]:
        """Start everything. The block runs when the tables exist, while the user, the tenant and the token are created.

        `progress` shows what is being done. Raises `ChildError`.
        """
        kept, new = self.kept, not self.kept.token
        options = [f"--tenant={kept.tenant}", f"--user={kept.user}"] if new else []
        with self.product.preparing(*options, runs=True, DJANGO_SUPERUSER_PASSWORD=kept.password) as preparation:
            with progress("Starting PostgreSQL and Valkey"):
                self._running.enter_context(self.backing)
            self._running.enter_context(self.product.children)
            with progress("Creating the tables"):
                preparation.migrate(self.backing.environment()["DATABASE_OWNER_URL"])
            yield
            if new:
                with progress("Creating a user, a tenant, a token and a worker key"):
                    created = preparation.created()
                kept.worker_key, kept.token = created["workerKey"], created["token"]
        kept.broker_url = kept.broker_url or self.product.broker_url(kept.tenant)
        self._write()

    def environment(self) -> dict[str, str]:
        """Return the variables with which `coordinator` and `pipelines` use this installation."""
        return {
            "COORDINATOR_URL": self.product.url,
            "COORDINATOR_TENANT": self.kept.tenant,
            "COORDINATOR_TOKEN": self.kept.token,
            "PIPELINES_TENANT": self.kept.tenant,
            "PIPELINES_BROKER_URL": self.kept.broker_url,
            "PIPELINES_WORKER_KEY": self.kept.worker_key,
        }

    def write_environment(self, file: Path | None = None) -> Path:
        """Write `environment` for a shell's `source`, by default to ENVIRONMENT in the folder, and return the file.

        Only the current user can read it. Readers see the whole file or none.
        """
        file = file or self.folder / ENVIRONMENT
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.environment().items()]
        _replace(file, "".join(lines))
        return file

    def require_running(self) -> None:
        """Raise `ChildError` with the end of its log if a process has ended."""
        self.product.children.require_running()
        for server in (self.backing.postgres, self.backing.valkey):
            if server is not None and server.child is not None:
                server.child.require_running()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _lock(self) -> None:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode()
            os.close(descriptor)
            raise InstallationError(f"a coordinator uses {self.folder} already: process {pid}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._running.callback(os.close, descriptor)

    def _read(self) -> Kept | None:
        if not self._state.exists():
            return None
        return Kept(**json.loads(self._state.read_text(encoding="utf-8")))

    def _write(self) -> None:
        _replace(self._state, json.dumps(asdict(self.kept), indent=1))


def _replace(file: Path, text: str) -> None:
    """Write a file that only the current user can read. It is complete before it gets its name."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
