"""Clients wait for the end of an execution with one request. The web process needs no thread and no slot for it."""

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any
from uuid import UUID

import pytest
import requests

from embedded.children import Child
from embedded.guard import descendants
from embedded.product import Product
from executions.lifecycle import interventions
from tenancy.roles import Scope
from tests.e2e.orders import Orders
from tests.running import RunningProduct, TenantInUse, another_product, eventually

WAITS, AT_ONCE = 1_000, 100
TOKEN = "token-of-the-metrics"
SHOWN = """
import json
import coordinator.wsgi

def application(environ, start):
    start("200 OK", [])
    return [json.dumps(environ, default=str).encode()]
"""
METRICS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def orders(tenant: TenantInUse, tmp_path: Path) -> Orders:
    return Orders(tenant, tmp_path)


@pytest.fixture
def own_web(running: RunningProduct, tmp_path: Path) -> Iterator[tuple[Product, Child]]:
    """A web process for the waits alone."""
    settings = {**running.product.settings, "WEB_PROCESSES": "1", "METRICS_TOKEN": TOKEN}
    with another_product(tmp_path, running.product.servers, settings) as product:
        web = product.start_web()
        product.wait_until_ready()
        yield product, web


@pytest.fixture
def waiting() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def url_of(tenant: TenantInUse, execution_id: str, product: Product) -> str:
    return tenant.url(f"executions/{execution_id}").replace(tenant.product.url, product.url)


def waited(tenant: TenantInUse, execution_id: str, seconds: object, product: Product, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}" if token else tenant.http.headers["Authorization"]}
    began = time.monotonic()
    response = requests.get(f"{url_of(tenant, execution_id, product)}?wait={seconds}", headers=headers, timeout=40)
    return response.status_code, response.json(), time.monotonic() - began


def threads(web: Child) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in descendants(web.pid))


def test_a_thousand_clients_wait_in_one_process(orders: Orders, own_web: tuple[Product, Child]) -> None:
    product, web = own_web
    tenant, execution_id = orders.tenant, orders.begun()
    url = url_of(tenant, execution_id, product).removeprefix(product.url)
    text = (
        f"GET {url}?wait=30 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {tenant.token([Scope.READ])}\r\n\r\n"
    )
    with ExitStack() as stack:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))  # each client is a file
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", product.port), timeout=60)) for _ in range(WAITS)
        ]
        sent: list[float] = []
        for first in range(0, WAITS, AT_ONCE):  # more would have to wait for slots
            sent += [time.monotonic()] * AT_ONCE
            for client in clients[first : first + AT_ONCE]:
                client.sendall(text.encode())
            eventually(partial(are_parked, product, first + AT_ONCE), what="the waits", seconds=20)
        assert threads(web) < WAITS // 4  # granian starts some for each burst
        for gone in clients[: WAITS // 10]:
            gone.close()
        assert waited(tenant, execution_id, 0, product)[1]["status"] == "RUNNING"
        in_time = [moment > time.monotonic() - 20 for moment in sent]  # others may end first on a busy machine
        orders.open(execution_id)
        assert in_time[-1]
        for client, is_in_time in list(zip(clients, in_time, strict=True))[WAITS // 10 :]:
            received = b""
            while part := client.recv(65536):
                received += part
            head, _, body = received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), received
            assert json.loads(body)["status"] == "SUCCEEDED" or not is_in_time


def test_each_wait_is_answered_as_a_plain_get(
    orders: Orders, own_web: tuple[Product, Child], waiting: ThreadPoolExecutor, running: RunningProduct
) -> None:
    product, web = own_web
    tenant, execution_id = orders.tenant, orders.begun()

    def parked(seconds: float, token: str = "") -> "Future[Any]":
        before = waits(product)
        wait = waiting.submit(waited, tenant, execution_id, seconds, product, token)
        eventually(lambda: waits(product) > before, what="the wait")
        return wait

    other = running.tenant(f"{tenant.tenant.slug}-other")
    stranger = other.token([Scope.READ])
    assert waited(tenant, execution_id, 20, product, stranger)[0] == 404
    assert waited(tenant, execution_id, 20, product, "unknown")[0] == 401
    status, shown, seconds = waited(tenant, execution_id, 1, product)
    assert (status, shown["status"], 1 <= seconds < 5) == (200, "RUNNING", True)

    revoked = tenant.token([Scope.READ], "revoked")
    wait, refused = parked(30), parked(30, revoked)
    running.kill("control-worker")  # the worker's outcome waits in the broker
    orders.open(execution_id)
    shorter = parked(1)
    assert shorter.result(10)[1]["status"] == "RUNNING"
    tenant.tenant.tokens.get(name="revoked").delete()
    assert not wait.done()
    running.restore()
    status, shown, _ = wait.result(30)
    assert (status, shown["status"]) == (200, "SUCCEEDED")
    assert refused.result(10)[0] == 401
    _, shown, seconds = waited(tenant, execution_id, 30, product)
    assert (shown["status"], seconds < 5) == ("SUCCEEDED", True)

    execution_id = orders.begun()
    last = parked(30)
    web.send(SIGTERM)
    assert last.result(10)[1]["status"] == "RUNNING"
    assert web.wait(10) == 0


def test_an_answer_follows_the_commit_and_an_ending_without_an_announcement_is_found(
    orders: Orders, own_web: tuple[Product, Child], waiting: ThreadPoolExecutor
) -> None:
    """The rows are read only every five seconds."""
    product, _ = own_web
    delays = []
    for count in range(1, 7):
        execution_id = orders.begun()
        wait = waiting.submit(waited, orders.tenant, execution_id, 30, product)
        eventually(partial(are_parked, product, count), what="the wait")
        if count == 6:
            interventions.cancel(orders.tenant.tenant, UUID(execution_id), actor="test", reason="test")  # silently
            break
        orders.open(execution_id)
        _, shown, _ = wait.result(30)
        delays.append(time.time() - datetime.fromisoformat(shown["finishedAt"]).timestamp())
    assert sorted(delays)[2] < 1
    status, shown, seconds = wait.result(20)
    assert (status, shown["status"], seconds < 10) == (200, "CANCELLED", True)


def test_a_stream_has_each_event_once(
    orders: Orders, own_web: tuple[Product, Child], waiting: ThreadPoolExecutor
) -> None:
    """As the standard demands it of clients, it connects again with the newest id after each response, until a 204."""
    product, _ = own_web
    tenant, execution_id = orders.tenant, orders.begun()
    url = url_of(tenant, execution_id, product)
    reader = {"Authorization": f"Bearer {tenant.token([Scope.READ])}", "Accept": "text/event-stream"}
    received: list[tuple[int, Any, float]] = []

    def connected(last: str, query: str = "") -> requests.Response:
        return requests.get(f"{url}/events{query}", headers={**reader, "Last-Event-ID": last}, timeout=40)

    def follow() -> None:
        while (response := connected(str(received[-1][0] if received else 0))).status_code == 200:
            assert response.headers["Content-Type"] == "text/event-stream"
            assert response.text.startswith("retry: 100\n")
            for name, data in re.findall(r"^id: (\d+)\ndata: (.*)\n\n", response.text, re.MULTILINE):
                received.append((int(name), json.loads(data), time.time()))
        assert response.status_code == 204

    result = waiting.submit(requests.get, f"{url}/result?wait=30", headers=tenant.http.headers, timeout=40)
    following = waiting.submit(follow)
    eventually(partial(are_parked, product, 2), what="the stream and the wait")
    assert received[-1][1]["status"] == "RUNNING"
    assert connected(str(received[-1][0]), "?wait=1").text == "retry: 100\n: no new events\n\n"
    paused = requests.post(f"{url}/pause", json={"reason": "why"}, headers=tenant.http.headers, timeout=40).json()
    eventually(lambda: received[-1][1]["kind"] == "PAUSED", what=f"the event of a pause: {paused}")
    assert received[-1][2] - datetime.fromisoformat(received[-1][1]["at"]).timestamp() < 5
    requests.post(f"{url}/resume", json={"reason": "why"}, headers=tenant.http.headers, timeout=40)
    assert connected("x").json()["code"] == connected(str(2**31)).json()["code"] == "INVALID_REQUEST"
    early = requests.get(f"{url}/result?wait=1", headers=tenant.http.headers, timeout=40)
    assert (early.status_code, early.json()["executionStatus"]) == (409, "RUNNING")
    orders.open(execution_id)
    following.result(30)
    ended = result.result(30).json()
    assert (ended["status"], ended["error"]) == ("SUCCEEDED", None)
    assert [(sequence, event) for sequence, event, _ in received] == [
        (event["sequence"], event) for event in tenant.get(f"executions/{execution_id}/events")["items"]
    ]
    *_, (_, event, at) = received
    assert at - datetime.fromisoformat(event["at"]).timestamp() < 5


def test_requests_do_not_carry_the_environment_of_their_process(running: RunningProduct, tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOWN)
    with another_product(tmp_path, running.product.servers, running.product.settings) as product:
        command = (product.programs / "granian", "--interface=wsgi", f"--port={product.port}", "shown:application")
        more = {"PYTHONPATH": f"{product.project}:{tmp_path}", "HTTP_X_OF_PROCESS": "anything"}
        environment = {**product.environment, **more}
        product.children.start("web", command, environment=environment, directory=product.project)
        product.wait_until_ready()
        request = requests.get(f"{product.url}/?q=1", timeout=10).json()
    assert request["QUERY_STRING"] == "q=1"
    assert request.keys().isdisjoint(environment)
    secrets = {environment[name] for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "WORKER_SECRET")}
    assert not [secret for secret in secrets if secret in str(request)]


def are_parked(product: Product, count: int) -> bool:
    return waits(product) >= count


def waits(product: Product) -> float:
    lines = requests.get(f"{product.url}/metrics", timeout=10, headers=METRICS).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("coordinator_waits_total"))
