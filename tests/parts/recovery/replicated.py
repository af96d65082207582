"""A primary of PostgreSQL with a synchronous standby that can take its place. Needs no Django."""

import shutil
import subprocess
from pathlib import Path

import psycopg

from embedded.postgres import Postgres
from tests.building import eventually

_IS_STREAMING = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"


class Replicated:
    """`primary` is the server that accepts writes. `servers` are both, the first primary first."""

    def __init__(self, folder: Path) -> None:
        self.servers = [Postgres(folder / "first"), Postgres(folder / "second")]
        self.primary = self.servers[0]

    def start(self) -> None:
        """Start both. Each commit then waits for the standby."""
        standby = self.servers[1]
        self.primary.start()
        self.primary.stop()
        shutil.copy(self.primary.folder / "postgres-passwords.json", standby.folder)
        cluster = standby.folder / "postgres/cluster"
        subprocess.run(["cp", "-a", self.primary.folder / "postgres/cluster", cluster], check=True)
        with (cluster / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{self.primary.superuser_url('postgres')}'\n")
        (cluster / "standby.signal").touch()
        self.primary.start()
        self.servers[1] = Postgres(standby.folder, port=standby.port)
        self.servers[1].start()
        _rows(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        _rows(self.primary, "SELECT pg_reload_conf()")
        eventually(lambda: _rows(self.primary, _IS_STREAMING), what="a synchronous standby")

    def fail_over(self) -> Postgres:
        """Kill the primary and promote the standby. Return the former primary, which is stopped."""
        former, promoted = self.primary, self.servers[1]
        former.kill()
        _rows(promoted, "SELECT pg_promote()")
        eventually(lambda: _rows(promoted, "SELECT WHERE NOT pg_is_in_recovery()"), what="the promotion")
        self.primary = promoted
        return former

    def remove(self) -> None:
        for server in self.servers:
            server.remove()


def restart_as_primary(former: Postgres) -> None:
    """Start a former primary as if nothing had happened. It waits for no standby."""
    with (former.folder / "postgres/cluster/postgresql.auto.conf").open("a") as settings:
        settings.write("synchronous_standby_names = ''\n")
    former.start()


def _rows(server: Postgres, statement: str) -> int:
    with psycopg.connect(server.superuser_url(), autocommit=True) as connection:
        return connection.execute(statement.encode()).rowcount
