"""`pipelines.client`: the same rules for callers that block and for event loops, also while a web process is killed."""

import asyncio
import importlib
import inspect
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from embedded.product import PROJECT, Product
from pipelines import client as clients
from pipelines.client import AsyncClient, Client
from tenancy.roles import Scope
from tests.e2e.orders import PIPELINE, PIPELINES, Orders
from tests.running import RunningProduct, TenantInUse, another_product, build

WAITS = 1_000


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PIPELINES / "orders")
        yield importlib.import_module("orders")


@contextmanager
def event_loop() -> Iterator[Callable[[Any], Any]]:
    """Carries out coroutines in a thread, because browser tests leave a running loop in that of the tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=[Client, AsyncClient])
def made(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients of either kind. With an event loop, each call is carried out in it at once."""
    with event_loop() as run, ExitStack() as stack:

        def make(tenant: TenantInUse, **more: Any) -> Any:
            members: dict[str, Any] = {"url": tenant.product.url, "token": tenant.token(Scope), **more}
            client = request.param(tenant=tenant.tenant.slug, **members)
            stack.callback(lambda: Carried(run, client).close())
            return Carried(run, client)

        yield make


class Carried:
    """An object whose coroutines are carried out at once."""

    def __init__(self, run: Callable[[Any], Any], inner: Any) -> None:
        self._run = run
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not callable(member):
            return member

        def call(*arguments: Any, **options: Any) -> Any:
            value = member(*arguments, **options)
            if inspect.iscoroutine(value):
                value = self._run(value)
            if isinstance(value, list):
                return [self._carried(item) for item in value]
            return self._carried(value)

        return call

    def _carried(self, value: Any) -> Any:
        return Carried(self._run, value) if isinstance(value, clients.Execution | clients.AsyncExecution) else value


def test_from_a_typed_input_to_a_typed_result(
    made: Callable[..., Any], orders: Orders, module: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    client, key = made(orders.tenant), request.node.name
    order = module.Order(1, str(tmp_path))
    execution = client.submit(module.pipeline, order, key=key, tags=["new"])
    receipt = execution.result(timeout=30)
    assert receipt == module.Receipt(execution.id, [], "1.0", 0)
    assert (execution.release, execution.key, execution.duplicate) == ("1.0", key, False)
    again = client.submit(module.pipeline, {"number": 1, "folder": str(tmp_path)}, key=key)
    assert (again.id, again.duplicate) == (execution.id, True)
    handle = client.get(execution.id)
    assert handle.result()["made_by"] == "1.0"
    assert handle.result(module.Receipt) == receipt
    state = handle.wait()
    assert (state.status, state.ended, state.release, state.error_code) == ("SUCCEEDED", True, "1.0", None)
    assert state.created_at < (state.finished_at or datetime.min.replace(tzinfo=UTC))
    with pytest.raises(clients.ClientError, match="number"):
        handle.result(module.Question)
    with pytest.raises(clients.CancelRefused):
        handle.cancel()


def test_what_is_refused_has_a_class_a_code_and_a_field(
    made: Callable[..., Any], orders: Orders, module: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    client, key = made(orders.tenant), request.node.name
    submit, order = client.submit, {"number": 2, "folder": str(tmp_path)}
    submit(PIPELINE, {**order, "number": 1}, key=key)
    unknown, reader = "00000000-0000-4000-8000-000000000000", orders.tenant.token([Scope.READ])
    cases: list[tuple[type[clients.Refused], str, str, Callable[[], Any]]] = [
        (clients.InputInvalid, "INPUT_INVALID", "input.number", lambda: submit(module.pipeline, {"number": "x"})),
        (clients.InputInvalid, "INPUT_INVALID", "input.", lambda: submit(PIPELINE, {"number": "x"})),
        (clients.InputInvalid, "INPUT_INVALID", "", lambda: submit(PIPELINE, float("nan"))),
        (clients.IdempotencyKeyReused, "IDEMPOTENCY_KEY_REUSED", "", lambda: submit(PIPELINE, order, key=key)),
        (clients.InvalidRequest, "NOTIFY_CHANNEL_UNKNOWN", "notify", lambda: submit(PIPELINE, {}, notify="x")),
        (clients.ExecutionUnknown, "EXECUTION_UNKNOWN", "", lambda: client.get(unknown).state()),
        (clients.ExecutionUnknown, "EXECUTION_UNKNOWN", "", lambda: client.get("../order-1").result()),
        (clients.NotAuthenticated, "NOT_AUTHENTICATED", "", lambda: made(orders.tenant, token="x").submit("a", {})),
        (clients.PermissionDenied, "SCOPE_MISSING", "", lambda: made(orders.tenant, token=reader).submit("a", {})),
    ]
    for expected, code, field, call in cases:
        with pytest.raises(expected) as refused:
            call()
        assert (refused.value.code, refused.value.retryable) == (code, False)
        assert refused.value.field.startswith(field), refused.value
        assert refused.value.detail


def test_questions_failures_and_timeouts(made: Callable[..., Any], orders: Orders, module: Any, tmp_path: Path) -> None:
    client = made(orders.tenant)
    asked = client.submit(module.pipeline, module.Order(1, str(tmp_path), questions=1))
    with pytest.raises(clients.ClientError, match='not "Price"'):
        asked.answer("Price", {}, timeout=0)
    with pytest.raises(clients.AnswerInvalid) as invalid:
        asked.answer("Approve", {"notes": "x"})
    assert (invalid.value.field, invalid.value.fields[1][:16]) == ("response.note", "  response.notes")
    [question] = asked.questions()
    assert (question.step, question.request) == ("Approve", module.Question(1, str(tmp_path)))
    with pytest.raises(clients.AnswerInvalid) as invalid:  # the coordinator says so
        client.answer(question.id, {"notes": "x"})
    assert invalid.value.field.startswith("response.")
    assert asked.answer("Approve", module.Answer("yes"))
    assert not client.answer(question, module.Answer("no"))
    assert asked.result(timeout=30).notes == ["yes"]

    failing = client.submit(module.pipeline, module.Order(2, str(tmp_path), fail_times=9))
    with pytest.raises(clients.ExecutionFailed) as failed:
        failing.result(timeout=30)
    assert (failed.value.code, failed.value.status) == ("RuntimeError", "DLQ")
    assert "in settle" in failed.value.traceback

    waiting = client.submit(module.pipeline, module.Order(3, str(tmp_path), waits=True, checks_cancellation=True))
    began = time.monotonic()
    with pytest.raises(TimeoutError) as late:
        waiting.result(timeout=1.5)
    assert isinstance(late.value, clients.NotFinished)
    assert 1.5 <= time.monotonic() - began < 6
    assert client.cancel(waiting.id, "not needed").status == "CANCELLED"
    with pytest.raises(clients.ExecutionCancelled):
        waiting.result(timeout=5)


def test_many_submissions_have_their_own_verdicts(
    made: Callable[..., Any], orders: Orders, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    client = made(orders.tenant)

    def submitted(*numbers: Any) -> Any:
        inputs = ({"number": number, "folder": str(tmp_path)} for number in numbers)
        return client.submit_many(PIPELINE, inputs, key=lambda order: f"{request.node.name}-{order['number']}")

    executions = submitted(*range(1_005))
    assert len({execution.id for execution in executions}) == 1_005
    assert executions[1_004].key == f"{request.node.name}-1004"
    with pytest.raises(clients.SomeRefused) as refused:
        submitted(0, "x", 1, Decimal("1.5"), float("inf"))
    assert [execution and execution.id for execution in refused.value.executions] == [
        executions[0].id,
        None,
        executions[1].id,
        None,
        None,
    ]
    assert {at: refusal.code for at, refusal in refused.value.refused.items()} == dict.fromkeys(
        [1, 3, 4], "INPUT_INVALID"
    )
    with pytest.raises(clients.SomeRefused) as refused:  # together they have more values than one request may have
        client.submit_many(PIPELINE, [{"number": 1, "values": [0] * 60_000}] * 2)
    assert [refusal.code for refusal in refused.value.refused.values()] == ["INPUT_INVALID"] * 2
    executions[1_004].result(timeout=60)


@pytest.fixture
def product(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    settings = {**running.product.settings, "ARTIFACT_ROOT": running.product.environment["ARTIFACT_ROOT"]}
    with another_product(tmp_path, running.product.servers, settings) as product:
        product.start_web()
        product.wait_until_ready()
        yield product


def test_a_thousand_waits_survive_a_killed_web_process(orders: Orders, product: Product) -> None:
    """They take turns on 400 connections. What is submitted in the meantime is submitted once."""
    execution_id, token = orders.begun(), orders.tenant.token(Scope)

    async def results() -> list[Any]:
        async with AsyncClient(
            product.url, orders.tenant.tenant.slug, token, connections=400, retry_seconds=90
        ) as client:
            execution = client.get(execution_id)
            waits = [asyncio.create_task(execution.result(timeout=90)) for _ in range(WAITS)]
            await asyncio.sleep(2)
            for child in [child for child in product.children.started if child.name == "web"]:
                child.kill()
                product.children.started.remove(child)
            value = {"number": 1, "folder": str(orders.folder)}
            late = [asyncio.create_task(client.submit(PIPELINE, value, key="while-killed")) for _ in range(5)]
            await asyncio.sleep(1)
            assert not [wait for wait in waits + late if wait.done()]
            await asyncio.to_thread(product.start_web)
            await asyncio.to_thread(orders.open, execution_id)
            assert len({state.id for state in await asyncio.gather(*late)}) == 1
            return await asyncio.gather(*waits)

    before = threading.active_count()
    with event_loop() as run:
        states = run(results())
    assert threading.active_count() < before + 40  # those of name resolution and `to_thread`
    assert {state["execution_id"] for state in states} == {execution_id}


def test_a_client_says_what_is_wrong_with_its_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URL", "TENANT", "TOKEN", "PROFILE"):
        monkeypatch.delenv(f"COORDINATOR_{name}", raising=False)
    monkeypatch.setenv("COORDINATOR_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(clients.ClientError, match="COORDINATOR_URL"):
        Client()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Client(url, "acme", "token", retry_seconds=0.5) as client, pytest.raises(clients.Unreachable) as unreachable:
        client.submit("a", {})
    assert "cannot be reached" in str(unreachable.value)
    assert unreachable.value.retryable


def test_the_examples_of_the_page_run(tenant: TenantInUse, tmp_path: Path) -> None:
    *shown, source = re.findall(r"(?s)```python\n(.*?)```", (PROJECT / "docs/how-to/submit-from-python.md").read_text())
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(source)
    release = build("shop.orders:pipeline", tmp_path, tmp_path / "dist", "1.0")
    tenant.publish(release)
    tenant.start_worker(release, "shop")
    tenant.activate(release)
    members = {"url": tenant.product.url, "tenant": tenant.tenant.slug, "token": tenant.token(Scope)}
    code = "\n".join([*shown, "client.close()"])
    environment = {f"COORDINATOR_{name.upper()}": value for name, value in members.items()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": f"{tmp_path}:{PROJECT}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
