import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from signal import SIGKILL, SIGTERM

import psycopg
import requests
from psycopg.conninfo import conninfo_to_dict

from embedded.guard import descendants
from embedded.product import BIN, PROJECT, Product
from tests.parts.web.conftest import everything, opened, start_web
from tests.running import TenantInUse, eventually

KEEP_ALIVE = b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@contextmanager
def locked_tenants(product: Product) -> Iterator[psycopg.Connection]:
    database = conninfo_to_dict(product.servers["DATABASE_URL"])["dbname"]
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], dbname=str(database)) as connection:
        connection.execute("LOCK TABLE tenancy_tenant IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


def test_a_stopping_process_completes_requests_and_closes_idle_connections(
    product: Product, tenant: TenantInUse
) -> None:
    web = start_web(product)
    url = tenant.url("executions").replace(tenant.product.url, product.url)
    with opened(product.port, KEEP_ALIVE) as idle, ThreadPoolExecutor(1) as pool:
        response = HTTPResponse(idle)
        response.begin()
        assert response.read()
        with locked_tenants(product) as connection:
            answer = pool.submit(tenant.http.get, url, timeout=30)
            eventually(lambda: is_waited_for(connection), what="the request to wait")
            web.send(SIGTERM)
            assert everything(idle) == b""
            # Each worker process separately stops listening.
            eventually(lambda: not listens(product), what="all processes to stop listening")
            assert not answer.done()
        assert answer.result().json()["items"] == []
        assert web.wait(5) == 0


def listens(product: Product) -> bool:
    try:
        requests.get(f"{product.url}/health/live", timeout=5)
    except requests.ConnectionError:
        return False
    return True


def is_waited_for(connection: psycopg.Connection) -> bool:
    query = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'tenancy_tenant'::regclass AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return connection.execute(query).fetchone() != (0,)


def test_processes_share_memory_with_their_parent_and_end_with_it(product: Product) -> None:
    """Granian is started without the guard that would end its processes."""
    web = subprocess.Popen(
        [BIN / product.web_command[0], *product.web_command[1:]], cwd=PROJECT, env=product.environment
    )
    try:
        product.wait_until_ready()
        processes = eventually(lambda: descendants(web.pid), what="its processes")
        assert len(processes) == 2
        for process in processes:
            memory = dict(re.findall(r"(\w+): +(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text()))
            assert 2 * int(memory["Private_Dirty"]) < int(memory["Anonymous"]), "the application is loaded once"
    finally:
        web.kill()
        web.wait()
    try:
        eventually(lambda: not any(map(is_running, processes)), seconds=10, what="the end of all")
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, SIGKILL)


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False
