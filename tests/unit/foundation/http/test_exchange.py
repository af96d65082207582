"""One request over a real connection: only to the vetted address, and limited in time and size."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from foundation.http.address_guard import Target, vet
from foundation.http.exchange import Broken, NotConnected, NotSent, Response, TimedOut, exchange
from tests.cases import cases
from tests.receiving import dripping, raw_server, receiving

CERTIFICATE = Path(__file__).parents[1] / "tls" / "receiver.pem"
LOCAL = [ip_network("127.0.0.0/8")]


def target(url: str, *addresses: str) -> Target:
    return vet(url, allowed=LOCAL, resolve=lambda host, port: addresses or ["127.0.0.1"])


def send(to: Target, body: bytes = b"", **options: Any) -> Response:
    defaults = {"headers": {"X-One": "1"}, "connect_seconds": 2, "seconds": 2, "limit": 1000, **options}
    return exchange(to, "POST", body, **defaults)


def send_to(url: str, body: bytes = b"", **options: Any) -> Response:
    return send(target(url), body, **options)


@contextmanager
def responding(text: bytes, *, then_silent: bool = False) -> Iterator[str]:
    """A server that sends `text` to one client, and closes the connection or falls silent. Yields its URL."""
    with raw_server(text, lambda _, over: over.wait(60) if then_silent else None) as place:
        yield f"http://{place}/a/path?q=1"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


OK = b"HTTP/1.1 200 OK\r\n"


def declared(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    chunks = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + framed


def test_a_request_is_sent_unchanged() -> None:
    with receiving() as receiver:
        receiver.statuses = [201]
        response = send_to(receiver.url("worker.example", "/a/b?c=d"), b"body")
    assert (response.status, response.body, response.complete) == (201, b"", True)
    [received] = receiver.requests
    assert (received.method, received.path, received.body) == ("POST", "/a/b?c=d", b"body")
    assert received.headers["Host"] == f"worker.example:{receiver.port}"
    assert received.headers["X-One"] == "1"


def test_a_response_is_read_up_to_the_limit() -> None:
    for framed in (declared, chunked):
        for length, complete in ((3, True), (1000, True), (1001, False)):
            with responding(framed(b"x" * length)) as url:
                response = send_to(url)
            assert (len(response.body), response.complete) == (min(length, 1000), complete)


@cases(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX-One: 1\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_an_incomplete_or_malformed_response_is_broken(text: bytes) -> None:
    with responding(text) as url, pytest.raises(Broken) as caught:
        send_to(url)
    assert caught.type is Broken, "the server has received the request"
    with responding(text) as url, pytest.raises(Broken):
        send_to(url, receive=lambda piece: None)


def test_a_request_whose_connection_ends_while_it_is_sent_was_not_sent() -> None:
    with responding(b"") as url, pytest.raises(NotSent):
        send_to(url, bytes(50_000_000))


def test_no_more_than_the_limit_is_received() -> None:
    pieces: list[bytes] = []
    for framed in (declared, chunked):
        with responding(framed(bytes(100_001))) as url:
            assert not send_to(url, limit=100_000, receive=pieces.append).complete
    assert sum(map(len, pieces)) <= 100_000


def test_at_most_three_addresses_are_tried() -> None:
    refusing = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    with receiving("127.0.0.2") as receiver:
        assert send(target(receiver.url("receiver.test"), *refusing[1:], "127.0.0.2")).status == 204
        with pytest.raises(NotConnected):
            send(target(receiver.url("receiver.test"), *refusing, "127.0.0.2"))


def test_the_time_limit_applies_to_the_whole_exchange() -> None:
    """Each byte arrives in time, but the complete response does not.

    A response without a length is cut off too, although closing its connection would complete it.
    """
    for beginning in (OK + b"X-Slow: ", OK + b"Content-Length: 500\r\n\r\n", OK + b"\r\n"):
        with within(2), dripping(beginning) as place, pytest.raises(TimedOut):
            send_to(f"http://{place}/", seconds=0.3)


def test_redirects_and_the_proxies_and_credentials_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    with receiving() as receiver, receiving("127.0.0.2") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.2:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        receiver.statuses = [307]
        receiver.answer_headers = {"Location": proxy.url("127.0.0.2")}
        assert send_to(receiver.url()).status == 307
        assert not proxy.requests
    assert "Authorization" not in receiver.requests[0].headers


def test_a_name_that_changes_after_it_was_vetted_has_no_effect() -> None:
    """DNS rebinding: a second lookup would return another server, so there must be none."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    with receiving("127.0.0.1") as vetted, receiving("127.0.0.2") as other:
        to = vet(vetted.url("receiver.test"), allowed=LOCAL, resolve=lambda host, port: answers.pop(0))
        assert [send(to).status, send(to).status] == [204, 204]
        assert (len(vetted.requests), len(other.requests), len(answers)) == (2, 0, 1)


def test_tls_verifies_the_name_and_uses_the_named_authorities() -> None:
    with receiving(certificate=CERTIFICATE) as receiver:
        response = send_to(receiver.url("receiver.test", "/x", "https"), b"b", ca_file=str(CERTIFICATE))
        assert response.status == 204
        with pytest.raises(NotConnected, match="certificate"):
            send_to(receiver.url("another.test", "/x", "https"), ca_file=str(CERTIFICATE))
        with pytest.raises(NotConnected, match="certificate"):
            send_to(receiver.url("receiver.test", "/x", "https"))
    assert len(receiver.requests) == 1
