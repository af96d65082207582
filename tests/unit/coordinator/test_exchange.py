"""One exchange over a real connection: to the vetted address alone, within its time and its bytes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from coordinator.exchange import Broken, NotConnected, TimedOut, exchange
from coordinator.outbound import vet
from tests.receiving import receiving

CERTIFICATE = Path(__file__).parent / "tls" / "receiver.pem"
LOCAL = [ip_network("127.0.0.0/8")]


def target(url: str) -> Any:
    return vet(url, allowed=LOCAL, resolve=lambda host, port: ["127.0.0.1"])


def asked(url: str, body: bytes = b"", **options: Any) -> Any:
    given = {"headers": {"X-One": "1"}, "connect_seconds": 2, "seconds": 2, "limit": 1000, **options}
    return exchange(target(url), "POST", body, **given)


@contextmanager
def saying(text: bytes) -> Iterator[str]:
    """A server that says just this to whoever connects, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(text)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a/path?q=1"
    finally:
        thread.join(10)
        listener.close()


def test_a_request_goes_out_as_it_was_given() -> None:
    with receiving() as receiver:
        receiver.statuses = [201]
        answer = asked(receiver.url("worker.example", "/a/b?c=d"), b"body")
    assert (answer.status, answer.body, answer.complete) == (201, b"", True)
    [seen] = receiver.requests
    assert (seen.method, seen.path, seen.body) == ("POST", "/a/b?c=d", b"body")
    assert seen.headers["Host"] == f"worker.example:{receiver.port}"
    assert seen.headers["X-One"] == "1"


def test_an_answer_is_read_to_its_limit() -> None:
    for length, complete in ((1000, True), (1001, False)):
        with saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length) as url:
            answer = asked(url)
        assert (len(answer.body), answer.complete) == (min(length, 1000), complete)


def test_an_answer_in_chunks_is_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    with saying(chunked) as url:
        assert asked(url).body == b"abc"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_whole_answer_is_broken(text: bytes) -> None:
    with saying(text) as url, pytest.raises(Broken):
        asked(url)


def test_a_server_that_never_answers_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(TimedOut):
        asked(f"http://127.0.0.1:{listener.getsockname()[1]}/", seconds=0.2)


def test_where_nobody_listens_there_is_no_connection() -> None:
    with pytest.raises(NotConnected):
        asked("http://127.0.0.1:1/")


def test_tls_is_with_the_name_and_with_the_authorities_that_are_named() -> None:
    with receiving(certificate=CERTIFICATE) as receiver:
        answer = asked(receiver.url("receiver.test", "/x", "https"), b"b", ca_file=str(CERTIFICATE))
        assert answer.status == 204
        with pytest.raises(NotConnected, match="certificate"):
            asked(receiver.url("another.test", "/x", "https"), ca_file=str(CERTIFICATE))
        with pytest.raises(NotConnected, match="certificate"):
            asked(receiver.url("receiver.test", "/x", "https"))
    assert len(receiver.requests) == 1
