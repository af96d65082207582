"""A tenant that sends too many requests delays neither other tenants nor health."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from embedded.product import Product
from tests.parts.web.conftest import start_web
from tests.running import RunningProduct, TenantInUse


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


def test_another_tenant_is_served_beside_a_flood(web: Product, running: RunningProduct, tenant: TenantInUse) -> None:
    quiet = running.tenant(f"{tenant.tenant.slug}-quiet")
    calls: dict[str, Callable[[], requests.Response]] = {
        "tenant": lambda: listed(web, quiet),
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
