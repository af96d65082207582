"""An installation on one machine that keeps its data in one folder, for `coordinator dev` and the demo."""

import fcntl
import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coordinator_client import api
from coordinator_client.errors import Refused
from coordinator_client.profiles import write_private
from embedded.children import free_port
from embedded.product import Backing, Preparation, Product
from wire.resume_token import webhook_key

ENVIRONMENT: Final = "coordinator.env"
"""The file for an author's shell: what `coordinator` and `pipelines` need to connect."""
KEPT: Final = "installation.json"
LOCK: Final = "lock"
THIS_MACHINE: Final = "127.0.0.0/8,::1/128"
PORT_SECONDS: Final = 10.0
"""How long the servers of a killed process may still hold their ports."""


class InstallationError(Exception):
    """The installation cannot start. The message says what to do."""


@dataclass
class Kept:
    """What stays the same at each start. The last three are empty until they have been created."""

    tenant: str
    user: str
    password: str
    secret_key: str
    worker_secret: str
    metrics_token: str
    provenance_key: str
    port: int
    postgres_port: int
    valkey_port: int
    token: str = ""
    worker_key: str = ""
    broker_url: str = ""

    @classmethod
    def new(cls, tenant: str, user: str) -> Self:
        secret = secrets.token_urlsafe
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        ports = (free_port(), free_port(), free_port())
        return cls(tenant, user, secret(12), secret(48), secret(48), secret(24), key, *ports)

    def leave_taken_ports(self) -> bool:
        """Replace the ports that another program uses. Return True if there are any."""
        deadline = time.monotonic() + PORT_SECONDS
        ports = ("port", "postgres_port", "valkey_port")
        taken = [name for name in ports if not _becomes_free(getattr(self, name), deadline)]
        for name in taken:
            setattr(self, name, free_port())
        if "valkey_port" in taken:
            self.broker_url = ""
        return bool(taken)


class Installation:
    """PostgreSQL, Valkey and the product, with their data, keys, ports and logs in `folder`.

    As a context manager, it stops everything at the end. One process at a time uses a folder. The process may be killed
    at any time: the next one continues with the data. `backing` replaces the servers of the folder. `settings` are
    those of the product until it stops. `moved` is True if ports have changed because other programs use them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tenant: str = "dev",
        user: str = "dev",
        backing: Backing | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Create the folder.

        Raises `InstallationError`, also if another process uses the folder, if it decides one of the `settings`, or if
        there is no such setting.
        """
        self.folder = folder = folder.absolute()
        self._running = ExitStack()
        try:
            kept = self._opened(Kept.new(tenant, user))
        except OSError as error:
            raise InstallationError(f"{folder} cannot keep the data: {error.strerror}") from None
        self.kept = kept
        self.moved = kept.leave_taken_ports()
        self._keep()
        self.backing = backing or Backing(folder, outside={}, ports=(kept.postgres_port, kept.valkey_port))
        generated = {
            "SECRET_KEY": kept.secret_key,
            "WORKER_SECRET": kept.worker_secret,
            "PROVENANCE_KEY": kept.provenance_key,
            "METRICS_TOKEN": kept.metrics_token,
        }
        servers, more = self.backing.environment(), settings or {}
        if decided := sorted(more.keys() & {*generated, *servers}):
            raise InstallationError(f"the folder decides {', '.join(decided)}, so it cannot be set")
        members = {"WEBHOOK_ALLOWED_NETWORKS": THIS_MACHINE, **more, **generated}
        self.product = Product(folder, servers, members, web_processes=1, port=kept.port)
        if more:
            self._require_known(more)

    def _require_known(self, names: Collection[str]) -> None:
        """Raise `InstallationError` with the nearest name for what is no setting. Each may name a file by `_FILE`."""
        known = self.product.manage("list_settings", **dict.fromkeys(names, "")).split()
        for name in names:
            if name.removesuffix("_FILE") not in known:
                near = get_close_matches(name, known, n=1)
                raise InstallationError(f"there is no setting {name}{f'; did you mean {near[0]}?' if near else ''}")

    @contextmanager
    def starting(
        self, progress: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext()
    ) -> Iterator[None]:
        """Start everything. The block runs when the tables exist, while the user, the tenant and the token are created.

        `progress` shows what is being done. Raises `ChildError`.
        """
        kept, new = self.kept, not self.kept.token
        with self._preparing(runs=True, creates=new) as preparation:
            with progress("Starting PostgreSQL and Valkey"):
                self._running.enter_context(self.backing)
            self._running.enter_context(self.product.children)
            with progress("Creating the tables" if new else "Looking for new tables"):
                preparation.migrate(self.backing.environment()["DATABASE_OWNER_URL"])
            yield
            if new:
                with progress("Creating a user, a tenant, a token and a worker key"):
                    self._take(preparation)
        if not kept.broker_url:
            kept.broker_url = self.product.broker_url(kept.tenant)
            self._keep()

    def wait_until_ready(self) -> None:
        """Return when the web process is ready, and accepts the token: if that has expired, there is a new one."""
        self.product.wait_until_ready()
        kept = self.kept
        try:
            api.Client(api.Connection(self.product.url, kept.tenant, kept.token)).get("pipelines", pageSize=1)
        except Refused as refusal:
            if refusal.status not in {401, 403, 404}:
                raise
            with self._preparing(runs=False, creates=True) as preparation:
                preparation.migrate(self.backing.environment()["DATABASE_OWNER_URL"])
                self._take(preparation)

    def environment(self) -> dict[str, str]:
        """Return the variables with which commands, clients and receivers of webhooks use this installation."""
        return {
            "COORDINATOR_URL": self.product.url,
            "COORDINATOR_TENANT": self.kept.tenant,
            "COORDINATOR_TOKEN": self.kept.token,
            "COORDINATOR_WEBHOOK_KEY": webhook_key(self.kept.worker_secret, self.kept.tenant),
            "PIPELINES_TENANT": self.kept.tenant,
            "PIPELINES_BROKER_URL": self.kept.broker_url,
            "PIPELINES_WORKER_KEY": self.kept.worker_key,
        }

    def write_environment(self, file: Path) -> None:
        """Write `environment` for a shell's `source`. Only the current user can read the file."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.environment().items()]
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, "".join(lines))

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

    def _opened(self, new: Kept) -> Kept:
        """Lock the folder. Return what it keeps, with members of `new` for those that it does not have."""
        file, ignored = self.folder / KEPT, self.folder / ".gitignore"
        # PostgreSQL, which root starts as another user, must enter the folder.
        self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        if not file.exists() and any(not entry.name.startswith((".", LOCK)) for entry in self.folder.iterdir()):
            raise InstallationError(f"{self.folder} contains other files: name a new or an empty folder")
        self._lock()
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
        (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        if not file.exists():
            return new
        try:
            return replace(new, **json.loads(file.read_text(encoding="utf-8")))
        except (TypeError, ValueError):
            raise InstallationError(
                f"{file} is damaged, or of another version: restore it, or name a new folder"
            ) from None

    def _lock(self) -> None:
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(descriptor, 20).decode()
            os.close(descriptor)
            raise InstallationError(
                f"a coordinator runs with {self.folder} already, as process {process}:"
                f" source {self.folder / ENVIRONMENT}, or name another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._running.callback(os.close, descriptor)

    def _keep(self) -> None:
        write_private(self.folder / KEPT, json.dumps(asdict(self.kept), indent=1))

    def _preparing(self, *, runs: bool, creates: bool) -> AbstractContextManager[Preparation]:
        kept = self.kept
        options = [f"--tenant={kept.tenant}", f"--user={kept.user}"] if creates else []
        return self.product.preparing(*options, runs=runs, DJANGO_SUPERUSER_PASSWORD=kept.password)

    def _take(self, preparation: Preparation) -> None:
        created = preparation.created()
        self.kept.token, self.kept.worker_key = created["token"], created["workerKey"]
        self._keep()


def _becomes_free(port: int, deadline: float) -> bool:
    """True if a server can listen at the port, now or before the deadline."""
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
        time.sleep(0.1)
