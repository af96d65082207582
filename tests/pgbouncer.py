import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from embedded.children import Children, free_port
from embedded.product import PROJECT
from tests.building import at_port, eventually

UNPACKED = PROJECT / ".local" / "pgbouncer" / "usr"
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:{UNPACKED}/sbin")


@contextmanager
def pgbouncer(url: str, *, pool: int, more: str = "") -> Iterator[str]:
    """Run PgBouncer for the database and the role of `url`. Yield the URL of the database there.

    The role has at most `pool` connections to each database. `more` is added to the configuration.
    """
    assert PGBOUNCER, "there is no PgBouncer; on Debian: apt-get install pgbouncer"
    port = free_port()
    # PgBouncer does not run as root. It must be able to read its files as `nobody`.
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        libraries = ":".join(map(str, UNPACKED.glob("lib/*")))
        with Children(folder) as children:
            command: list[str | Path] = [PGBOUNCER, _configured(folder, port, url, pool, more)]
            child = children.start("pgbouncer", command, environment={"LD_LIBRARY_PATH": libraries})
            made = at_port(url, port)
            eventually(lambda: not child.running or _answers(made), what="PgBouncer")
            child_log = child.log_tail()
            assert child.running, child_log
            yield made


def _configured(folder: Path, port: int, url: str, pool: int, more: str) -> Path:
    """Write the shipped configuration with the addresses of this test."""
    text = (PROJECT / "deploy" / "pgbouncer.ini").read_text()
    server = urlsplit(url)
    users = folder / "userlist.txt"
    for shipped, ours in {
        "coordinator = host=10.0.0.5 port=5432 dbname=coordinator": f"* = host={server.hostname} port={server.port}",
        "listen_port = 6432": f"listen_port = {port}",
        "/etc/pgbouncer/userlist.txt": str(users),
        # The servers of the tests have no certificates.
        "server_tls_sslmode = verify-full\nserver_tls_ca_file = /etc/pgbouncer/ca.pem": "",
        "default_pool_size = 20": f"default_pool_size = {pool}",
    }.items():
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    if os.geteuid() == 0:
        text += "user = nobody\n"
    text += more
    made = folder / "pgbouncer.ini"
    made.write_text(text)
    users.write_text(f'"{server.username}" "{server.password}"\n')
    return made


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
