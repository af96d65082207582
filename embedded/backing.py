"""The servers that the product needs: local ones from wheels, or those that the environment names."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from embedded.postgres import Postgres
from embedded.valkey import Valkey


class Backing:
    """A context manager that runs PostgreSQL and Valkey, unless `outside` names other servers.

    `outside` (default: the environment) may hold DATABASE_URL (with DATABASE_OWNER_URL, the role that
    migrates) and REDIS_URL (with REDIS_OWNER_URL, a user that may create users). For each of the two URLs, no local
    server is started. Data and logs are kept in `folder`, by default a temporary folder that is removed when the
    servers stop.
    """

    def __init__(
        self, folder: Path | None = None, *, durable: bool = True, outside: Mapping[str, str] | None = None
    ) -> None:
        outside = os.environ if outside is None else outside
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="durable-coordinator-")) if folder is None else folder.absolute()
        self._named = {
            name: outside[name]
            for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "REDIS_OWNER_URL")
            if outside.get(name)
        }
        self.postgres = None if "DATABASE_URL" in self._named else Postgres(self.folder, durable=durable)
        self.valkey = None if "REDIS_URL" in self._named else Valkey(self.folder, durable=durable)

    def environment(self) -> dict[str, str]:
        """Return DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL of the local or outside servers.

        Includes REDIS_OWNER_URL, unless `outside` names a Redis server without it.
        """
        found = dict(self._named)
        if self.postgres is not None:
            found |= {"DATABASE_URL": self.postgres.url, "DATABASE_OWNER_URL": self.postgres.owner_url}
        if self.valkey is not None:
            found |= {"REDIS_URL": self.valkey.url, "REDIS_OWNER_URL": self.valkey.owner_url}
        found.setdefault("DATABASE_OWNER_URL", found["DATABASE_URL"])
        return found

    def start(self) -> None:
        """Start the local servers and return when they accept connections. Raises `ChildError`, and then none runs."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            if self.valkey is not None:
                self.valkey.start()
            if self.postgres is not None:
                self.postgres.start()
            undo.pop_all()

    def stop(self) -> None:
        """Stop the local servers, and remove a temporary folder."""
        if not self._temporary:
            for server in (self.valkey, self.postgres):
                if server is not None:
                    server.stop()
            return
        for server in (self.valkey, self.postgres):
            if server is not None:
                server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def for_tests() -> None:
    """Start servers for one run of pytest, and put their URLs into `os.environ`, before Django's settings are read.

    Call it at the top of the outermost `conftest.py`. Only the first process of a run starts servers (not
    durable, stopped at its exit); the workers of pytest-xdist inherit the environment. If the
    environment names a server, that one is used.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    backing = Backing(durable=False)
    backing.start()
    atexit.register(backing.stop)
    os.environ.update(backing.environment())
