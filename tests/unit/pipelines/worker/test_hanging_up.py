"""If a caller over HTTP hangs up, its step can detect it, and its turn is free for the next call."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pipelines.worker.host import Host
from pipelines.worker.rest_host import HEALTH_PATH, RestHost
from pipelines.worker.rest_worker import Server
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_rest_host import EXECUTE, SECRET, command, payload, signed
from wire.messages.rest_messages import CAPABILITIES_PATH


@pytest.fixture
def host(hosted: Hosted) -> Host:
    return hosted.host()


@pytest.fixture
def server(hosted: Hosted, host: Host) -> Iterator[Server]:
    """One transition at a time."""
    made = Server("127.0.0.1:0", RestHost(host.release, secret=SECRET, prefixes=("hosted_",)), capacity=1)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    (hosted.folder / "go").touch()
    made.shutdown()
    made.server_close()
    thread.join(10)


def body_of(host: Host, hosted: Hosted, number: int) -> bytes:
    identity = host.release.identity
    pin: dict[str, Any] = {
        "pipelineId": identity.pipeline_id,
        "contractVersion": identity.contract_version,
        "releaseVersion": identity.release_version,
    }
    return json.dumps(command(payload(f"{hosted.module}.Order", {"number": number}), **pin)).encode()


def test_a_step_learns_that_the_caller_has_hung_up(hosted: Hosted, host: Host, server: Server) -> None:
    address = ("127.0.0.1", int(server.server_address[1]))
    body = body_of(host, hosted, 98)
    headers = {**signed("POST", EXECUTE, body), "Content-Length": str(len(body))}
    lines = [f"POST {EXECUTE} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with socket.create_connection(address) as caller:
        caller.sendall("\r\n".join(lines).encode() + body)
        assert eventually(hosted.marks, what="the step's start") == [98]
    body = body_of(host, hosted, 1)
    url = f"http://127.0.0.1:{address[1]}{EXECUTE}"
    answer = requests.post(url, data=body, headers=signed("POST", EXECUTE, body), timeout=10)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "COMPLETED")
    assert hosted.marks() == [98, 1]


def test_a_worker_is_down_while_each_turn_runs_a_step_whose_caller_has_hung_up(
    hosted: Hosted, host: Host, server: Server
) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"

    def call(number: int, seconds: float) -> int:
        body = body_of(host, hosted, number)
        headers = signed("POST", EXECUTE, body)
        return requests.post(url + EXECUTE, data=body, headers=headers, timeout=seconds).status_code

    def alive() -> int:
        return requests.get(url + HEALTH_PATH, timeout=10).status_code

    def capable() -> int:
        headers = signed("GET", CAPABILITIES_PATH, b"")
        return requests.get(url + CAPABILITIES_PATH, headers=headers, timeout=10).status_code

    def hang_up() -> None:
        with pytest.raises(requests.Timeout):
            call(99, 2)

    caller = threading.Thread(target=hang_up)
    caller.start()
    try:
        eventually(hosted.marks, what="the step's start")
        assert (alive(), capable()) == (200, 200)  # the worker is busy, and its caller waits
        caller.join(10)
        eventually(lambda: alive() == 503, what="the worker to be down")
        assert (capable(), call(1, 10)) == (503, 503)
    finally:
        (hosted.folder / "go").touch()
        caller.join(10)
    eventually(lambda: alive() == 200, what="the worker to be up again")
    assert (capable(), call(2, 10)) == (200, 200)
    assert hosted.marks() == [99, 2]


@pytest.mark.usefixtures("spoiled_log")
def test_a_log_handler_that_raises_does_not_prevent_responses(server: Server) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    assert requests.get(url + HEALTH_PATH, timeout=10).status_code == 200
    assert requests.get(url + CAPABILITIES_PATH, timeout=10).status_code == 401
