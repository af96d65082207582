"""Clients that stop in the middle of a body delay no other client, even without a proxy."""

import time
from contextlib import ExitStack

import pytest
import requests

from embedded.product import Product
from tests.parts.web.conftest import start_web
from tests.parts.web.talking import opened
from tests.running import TenantInUse

PROMPT = 2.0
"""The longest time for a response, on a busy machine with two cores, in seconds."""
SOURCES = [f"127.0.0.{number}" for number in range(2, 9)]
"""Addresses of slow clients. Together they can take all waiting places."""


@pytest.fixture
def web(own: Product) -> Product:
    start_web(own)
    return own


def head(tenant: TenantInUse, length: int) -> bytes:
    return (
        f"POST /api/v1/tenants/{tenant.tenant.slug}/executions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: {tenant.http.headers['Authorization']!s}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def submitted(web: Product, tenant: TenantInUse) -> requests.Response:
    """The response to a submission to a pipeline that does not exist."""
    url = f"{web.url}/api/v1/tenants/{tenant.tenant.slug}/executions"
    authorization = {"Authorization": str(tenant.http.headers["Authorization"])}
    body = {"pipelineId": "none", "input": {"text": "x" * 100_000}, "idempotencyKey": "k"}
    return requests.post(url, json=body, headers=authorization, timeout=30)


def test_incomplete_bodies_and_headers_delay_no_other_request(web: Product, tenant: TenantInUse) -> None:
    with ExitStack() as held:
        for number in range(500):
            held.enter_context(opened(web.port, head(tenant, 500) + b"{", SOURCES[number % len(SOURCES)]))
        for _ in range(100):
            held.enter_context(opened(web.port, b"GET /health/ready HTTP/1.1\r\nHos"))
        for _ in range(20):
            began = time.monotonic()
            assert submitted(web, tenant).status_code == 404
            assert requests.get(f"{web.url}/health/ready", timeout=30).ok
            assert time.monotonic() - began < PROMPT
