"""One exchange over a real connection: to the vetted address alone, within its time and its bytes."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from foundation.http import exchange as exchanges
from foundation.http.address_guard import Target, vet
from foundation.http.exchange import Broken, NotConnected, Response, TimedOut, exchange
from tests.receiving import dripping, receiving

CERTIFICATE = Path(__file__).parent / "tls" / "receiver.pem"
LOCAL = [ip_network("127.0.0.0/8")]


def target(url: str, *addresses: str) -> Target:
    return vet(url, allowed=LOCAL, resolve=lambda host, port: addresses or ["127.0.0.1"])


def sent(to: Target, body: bytes = b"", **options: Any) -> Response:
    given = {"headers": {"X-One": "1"}, "connect_seconds": 2, "seconds": 2, "limit": 1000, **options}
    return exchange(to, "POST", body, **given)


def asked(url: str, body: bytes = b"", **options: Any) -> Response:
    return sent(target(url), body, **options)


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


def test_of_an_endless_answer_no_more_is_read_than_what_is_wanted() -> None:
    began = time.monotonic()
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20) as place:
        answer = asked(f"http://{place}/", limit=10)
    assert (answer.body, answer.complete) == (b"x" * 10, False)
    assert time.monotonic() - began < 1


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


HEAD = b"HTTP/1.1 200 OK\r\nX-One: 1\r\n\r\n"


@pytest.mark.parametrize("limit", [1000, None])
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_that_breaks_off_anywhere_is_broken(before: bytes, limit: int | None) -> None:
    for length in range(len(HEAD)):
        with saying(before + HEAD[:length]) as url, pytest.raises(Broken):
            asked(url, limit=limit)
    with saying(before + HEAD) as url:
        assert asked(url, limit=limit).headers == {"x-one": "1"}


def test_a_server_that_never_answers_is_cut_off() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(TimedOut):
        asked(f"http://127.0.0.1:{listener.getsockname()[1]}/", seconds=0.2)


def test_the_time_is_that_of_the_whole_exchange() -> None:
    """Single bytes arrive in time, but the whole answer does not.

    An answer without a length is cut off too, although closing its connection would complete it.
    """
    for beginning in (
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ):
        began = time.monotonic()
        with dripping(beginning) as place, pytest.raises(TimedOut):
            asked(f"http://{place}/", seconds=0.3)
        assert time.monotonic() - began < 2


def test_a_handshake_that_drips_in_is_cut_off() -> None:
    """It is the beginning of one: a record of TLS and its length."""
    began = time.monotonic()
    with dripping(b"\x16\x03\x03\x40\x00") as place, pytest.raises(NotConnected, match="too slow"):
        asked(f"https://{place}/", connect_seconds=0.3)
    assert time.monotonic() - began < 2


def test_a_slow_connection_leaves_less_time_for_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection takes all of the time, so a server that is a little slow at the handshake is too slow."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    connect = socket.create_connection

    def slowly(*arguments: Any, **options: Any) -> socket.socket:
        time.sleep(0.5)
        return connect(*arguments, **options)

    def serve() -> None:
        plain, _ = listener.accept()
        time.sleep(0.1)
        with suppress(OSError), context.wrap_socket(plain, server_side=True):
            pass

    monkeypatch.setattr(socket, "create_connection", slowly)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        to = target(f"https://receiver.test:{listener.getsockname()[1]}/")
        with pytest.raises(NotConnected, match="too slow"):
            sent(to, connect_seconds=0.5, ca_file=str(CERTIFICATE))
        server.join(10)


def test_of_an_answer_whose_head_is_enough_no_body_is_waited_for() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nX-One: 1\r\nContent-Length: 500\r\n\r\n"
    began = time.monotonic()
    with dripping(head) as place:
        answer = asked(f"http://{place}/", limit=None)
    assert (answer.status, answer.body, answer.complete, answer.headers["x-one"]) == (202, b"", False, "1")
    assert time.monotonic() - began < 1
    with dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ") as place, pytest.raises(TimedOut):
        asked(f"http://{place}/", seconds=0.3, limit=None)


def test_redirects_are_not_followed() -> None:
    with receiving() as receiver, receiving("127.0.0.2") as other:
        receiver.statuses = [307]
        receiver.answer_headers = {"Location": other.url("127.0.0.2")}
        assert asked(receiver.url()).status == 307
        assert not other.requests


def test_no_proxy_and_no_credentials_are_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    with receiving() as receiver, receiving("127.0.0.2") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.2:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        assert asked(receiver.url()).status == 204
        assert not proxy.requests
    assert "Authorization" not in receiver.requests[0].headers


def test_a_name_that_is_pointed_elsewhere_after_it_was_vetted_makes_no_difference() -> None:
    """DNS rebinding: the second look-up would lead to another server, so there must be none."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    with receiving("127.0.0.1") as vetted, receiving("127.0.0.2") as other:
        to = vet(vetted.url("receiver.test"), allowed=LOCAL, resolve=lambda host, port: answers.pop(0))
        assert [sent(to).status, sent(to).status] == [204, 204]
        assert (len(vetted.requests), len(other.requests), len(answers)) == (2, 0, 1)


def test_the_next_address_is_tried_where_one_refuses() -> None:
    with receiving("127.0.0.2") as receiver:
        assert sent(target(receiver.url("receiver.test"), "127.0.0.9", "127.0.0.2")).status == 204


def test_of_many_addresses_only_three_are_tried() -> None:
    refusing = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    with receiving("127.0.0.2") as receiver:
        assert sent(target(receiver.url("receiver.test"), *refusing[1:], "127.0.0.2")).status == 204
        with pytest.raises(NotConnected):
            sent(target(receiver.url("receiver.test"), *refusing, "127.0.0.2"))
    assert len(receiver.requests) == 1


def test_a_call_that_nobody_wants_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "CHECK_SECONDS", 0.05)
    wanted = [True, True, False]
    began = time.monotonic()
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n") as place, pytest.raises(Broken):
        asked(f"http://{place}/", seconds=5, is_wanted=lambda: wanted.pop(0))
    assert wanted == []
    assert time.monotonic() - began < 2


def test_nobody_looks_any_more_whether_an_answer_is_wanted_that_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "CHECK_SECONDS", 0.05)
    with receiving() as receiver:
        before = set(threading.enumerate())
        assert asked(receiver.url(), is_wanted=lambda: True).status == 204
        for thread in set(threading.enumerate()) - before:
            thread.join(5)
            assert not thread.is_alive()


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
        with pytest.raises(NotConnected, match="authorities"):
            asked(receiver.url("receiver.test", "/x", "https"), ca_file="/nowhere.pem")
    assert len(receiver.requests) == 1
