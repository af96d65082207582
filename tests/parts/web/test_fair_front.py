"""A tenant that sends too many requests is refused early, and delays neither other tenants nor the admin nor health."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from embedded.product import Product
from tests.parts.web.conftest import start_web
from tests.parts.web.talking import everything, opened
from tests.parts.web.test_processes import locked_tenants
from tests.parts.web.test_slow_bodies import head
from tests.running import PASSWORD, RunningProduct, TenantInUse

SECONDS = 20


@pytest.fixture
def web(own: Product) -> Product:
    own.settings |= {"WEB_SLOTS": "4"}
    own.environment |= {"WEB_SLOTS": "4", "WEB_WAIT_SECONDS": "1"}
    own.web_processes = 1
    start_web(own)
    return own


def listed(web: Product, tenant: TenantInUse) -> requests.Response:
    url = f"{web.url}/api/v1/tenants/{tenant.tenant.slug}/executions"
    return requests.get(url, headers={"Authorization": str(tenant.http.headers["Authorization"])}, timeout=60)


@contextmanager
def flooded(request: Callable[[], requests.Response], count: int) -> Iterator[Counter[int]]:
    """Send requests from `count` threads within the block. Yield the statuses of the responses."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            statuses[request().status_code] += 1

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_request_of_a_tenant_with_a_long_line_is_refused_before_its_body_is_read(
    web: Product, tenant: TenantInUse
) -> None:
    assert listed(web, tenant).ok
    with locked_tenants(web) as connection, ExitStack() as held:
        # The lock stops the requests that hold the slots, and the others wait in line.
        for _ in range(280):
            held.enter_context(opened(web.port, head(tenant, 2, "Connection: close\r\n") + b"{}"))
        time.sleep(2)
        with opened(web.port, head(tenant, 500, "Connection: close\r\n") + b"{") as incomplete:
            answer = everything(incomplete)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"TOO_MANY_REQUESTS" in answer
        assert b"retry-after: 1" in answer.lower()
        assert requests.get(f"{web.url}/health/ready", timeout=SECONDS).ok
        connection.rollback()


def test_another_tenant_and_the_admin_are_served_beside_a_flood(
    web: Product, running: RunningProduct, tenant: TenantInUse
) -> None:
    quiet = running.tenant(f"{tenant.tenant.slug}-quiet")
    console = logged_in(web, quiet)
    calls: dict[str, Callable[[], requests.Response]] = {
        "tenant": lambda: listed(web, quiet),
        "admin": lambda: console.get(f"{web.url}/admin/executions/worker/", timeout=60),
        "health": lambda: requests.get(f"{web.url}/health/ready", timeout=60),
    }
    with flooded(lambda: listed(web, tenant), 40) as statuses:
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(5):
            for name, call in calls.items():
                began = time.monotonic()
                assert call().ok
                times[name].append(time.monotonic() - began)
    assert statuses[200] > 0
    assert set(statuses) <= {200, 429}
    # A request of the flood waits for some ten others.
    assert all(sorted(taken)[2] < 2.0 for taken in times.values()), times


def logged_in(web: Product, tenant: TenantInUse) -> requests.Session:
    console = requests.Session()
    console.get(f"{web.url}/admin/login/", timeout=60)
    fields = {
        "username": tenant.admin.username,
        "password": PASSWORD,
        "csrfmiddlewaretoken": console.cookies["csrftoken"],
    }
    response = console.post(f"{web.url}/admin/login/", fields, headers={"Referer": web.url}, timeout=60)
    assert response.ok, response.text
    assert "sessionid" in console.cookies
    return console
