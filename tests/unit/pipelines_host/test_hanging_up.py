"""A caller over HTTP that hangs up: its step learns of it, and the place is free for the next."""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pipelines.host import Host
from pipelines.rest_host import RestHost
from pipelines.rest_worker import Server
from tests.running import eventually
from tests.unit.pipelines_host.conftest import Hosted
from tests.unit.pipelines_host.test_rest_host import EXECUTE, SECRET, command, payload, signed


@pytest.fixture
def host(hosted: Hosted) -> Host:
    return hosted.host()


@pytest.fixture
def server(host: Host) -> Iterator[Server]:
    """One transition at a time."""
    made = Server("127.0.0.1:0", RestHost(host.release, secret=SECRET, prefixes=("hosted_",)), capacity=1)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
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
    answer = requests.post(url, data=body, headers=signed("POST", EXECUTE, body), timeout=30)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "COMPLETED")
    assert hosted.marks() == [98, 1]
