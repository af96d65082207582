import asyncio
import json
import pickle
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from coordinator_client.api import Connection, Request
from coordinator_client.async_http import Connections, Received
from coordinator_client.calls import AsyncCaller, Caller, repeated
from coordinator_client.errors import Broken, NotConnected, NotSent, Refused, TimedOut, Unreachable
from coordinator_client.http import Target, opened
from foundation.exchange import Response, TargetRefused, exchange, vet
from tests.cases import cases
from tests.http_server import HttpServer
from tests.receiving import dripping, one_client, receiving
from tests.words import words

T = TypeVar("T")
PUBLIC = "93.184.216.34"
# Packets to these prefixes go to the embedded IPv4 address.
TRANSLATED = ["::ffff:0:0/96", "64:ff9b::/96"]
LOCAL = [ip_network("127.0.0.0/8")]
OK = b"HTTP/1.1 200 OK\r\n"


def resolving(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda host, port: addresses


def no_lookup(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


@cases(
    "url",
    [
        *words("example.org ftp://example.org/ http:// http://[::1/"),
        "http://exämple.org/",
        "http://user:password@example.org/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org/\r\nHost: other",
        "http://example.org/#fragment",
        # Other forms of internal addresses.
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%eth0]/",
    ],
)
def test_an_invalid_url_is_rejected_before_any_lookup(url: str) -> None:
    with pytest.raises(TargetRefused):
        vet(url, resolve=no_lookup)


# Every block of the IANA special-purpose registries, including nested ones, and multicast and site-local addresses.
SPECIAL = words(
    """
    0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
    192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
    192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
    255.255.255.255/32 224.0.0.0/4 ::/128 ::1/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32
    2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28
    2001:30::/28 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
    ::/96
    """
)
# Everything outside of Global Unicast.
SPECIAL += ["::/3", "4000::/2", "8000::/1"]


def test_special_blocks_are_rejected_at_both_edges_and_their_public_neighbours_are_not() -> None:
    blocks = [ip_network(block) for block in SPECIAL]
    for network in blocks:
        for address in (network[0], network[-1]):
            for answer in (resolving(str(address)), resolving(PUBLIC, str(address))):
                with pytest.raises(TargetRefused):
                    vet("http://example.org/", resolve=answer)
            with pytest.raises(TargetRefused):
                vet(f"http://{f'[{address}]' if network.version == 6 else address}/", resolve=no_lookup)
        for number in (int(network[0]) - 1, int(network[-1]) + 1):
            if 0 <= number < 2**network.max_prefixlen:
                neighbour = type(network[0])(number)
                if not any(block.version == neighbour.version and neighbour in block for block in blocks):
                    assert vet("http://example.org/", resolve=resolving(str(neighbour))).addresses == (neighbour,)


def test_translated_addresses_are_checked_by_the_embedded_address() -> None:
    for form in TRANSLATED:
        outer = int(ip_network(form)[0])
        for inner in (ip_network(block) for block in SPECIAL if ":" not in block):
            for address in (inner[0], inner[-1]):
                with pytest.raises(TargetRefused):
                    vet("http://example.org/", resolve=resolving(str(IPv6Address(outer + int(address)))))
        public = str(IPv6Address(outer + int(IPv4Address(PUBLIC))))
        assert vet("http://example.org/", resolve=resolving(public)).addresses


ALLOWED = words("10.1.0.0/16 fd00::/8")
TUNNELS = words("2002:a01:203::1 2001:0:5db8:d822::f5fe:fdfc ::10.1.2.3")


@cases(
    ("allowed", "addresses", "accepted"),
    [
        (ALLOWED, "10.1.2.3 ::ffff:10.1.2.3 fd00::1", True),
        (ALLOWED, "10.2.0.1 127.0.0.1 fe80::1 ::1", False),
        (["::/0"], "fe80::1%eth0 2606:2800:220:1::1%1", False),
        *(([*outer, *inner], tunnel, bool(outer and inner))
            for tunnel in TUNNELS for outer in ([], [f"{tunnel}/128"]) for inner in ([], ["10.0.0.0/8"])),
    ],
)  # fmt: skip
def test_only_addresses_in_allowed_networks_are_accepted(allowed: list[str], addresses: str, accepted: bool) -> None:
    """An address with a zone never is. A tunnel address needs its embedded address allowed too."""
    for address in addresses.split():
        with nullcontext() if accepted else pytest.raises(TargetRefused):
            vet("http://inner.test/", allowed=[*map(ip_network, allowed)], resolve=resolving(address))


CERTIFICATE = Path(__file__).parent / "tls" / "receiver.pem"


def target(url: str, *addresses: str) -> Target:
    return vet(url, allowed=LOCAL, resolve=resolving(*(addresses or ["127.0.0.1"])))


def send(to: Target, body: bytes = b"", **options: Any) -> Response:
    defaults = {"headers": {"X-One": "1"}, "connect_seconds": 2, "seconds": 2, "limit": 1000, **options}
    return exchange(to, "POST", body, **defaults)


def send_to(url: str, body: bytes = b"", **options: Any) -> Response:
    return send(target(url), body, **options)


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread, because browser tests leave a running loop in that of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def send_in_loop(url: str, body: bytes = b"", seconds: float = 2, ca_file: str = "") -> Received:
    async def sent() -> Received:
        connections = Connections(ca_file, 1)
        try:
            return await connections.exchange(
                "POST", url, headers={"X-One": "1"}, body=body, place_seconds=seconds, seconds=seconds, most_bytes=1000
            )
        finally:
            await connections.close()

    return run_alone(sent())


@contextmanager
def responding(text: bytes) -> Iterator[str]:
    with one_client(lambda connection, _: connection.sendall(text)) as place:
        yield f"http://{place}/a/path?q=1"


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
        in_loop = send_in_loop(receiver.url("127.0.0.1", "/a/b?c=d"), b"body")
    assert (response.status, response.body, response.complete) == (201, b"", True)
    assert in_loop.content == b""
    for received, host in zip(receiver.requests, ("worker.example", "127.0.0.1"), strict=True):
        assert (received.method, received.path, received.body) == ("POST", "/a/b?c=d", b"body")
        assert received.headers["Host"] == f"{host}:{receiver.port}"
        assert (received.headers["X-One"], received.headers["Content-Length"]) == ("1", "4")


def test_a_response_is_read_up_to_the_limit() -> None:
    for framed in (declared, chunked):
        for length, complete in ((3, True), (1000, True), (1001, False)):
            with responding(framed(b"x" * length)) as url:
                response = send_to(url)
            assert (len(response.body), response.complete) == (min(length, 1000), complete)
        pieces: list[bytes] = []
        with responding(framed(bytes(100_001))) as url:
            assert not send_to(url, limit=100_000, receive=pieces.append).complete
        assert sum(map(len, pieces)) <= 100_000
    for framed in (declared, chunked, lambda body: OK + b"\r\n" + body):
        with responding(framed(b"x" * 1000)) as url:
            assert send_in_loop(url).content == b"x" * 1000
        with responding(framed(b"x" * 1001)) as url, pytest.raises(Unreachable, match="more than"):
            send_in_loop(url)


BROKEN = [
    *(b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"X-One: 1\r\n"),
    b"X-Many: 1\r\n" * 200 + b"\r\n",
]


@cases("text", [b"nonsense\r\n\r\n", *(OK + rest for rest in BROKEN)])
def test_an_incomplete_or_malformed_response_is_broken(text: bytes) -> None:
    with responding(text) as url, pytest.raises(Broken) as caught:
        send_to(url)
    assert caught.type is Broken, "the server has received the request"
    with responding(text) as url, pytest.raises(Broken):
        send_to(url, receive=lambda piece: None)
    with responding(text) as url, pytest.raises(Broken):
        send_in_loop(url)


def test_a_request_whose_connection_ends_while_it_is_sent_was_not_sent() -> None:
    with responding(b"") as url, pytest.raises(NotSent):
        send_to(url, bytes(50_000_000))


def test_at_most_three_addresses_are_tried() -> None:
    refusing = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    with receiving("127.0.0.2") as receiver:
        assert send(target(receiver.url("receiver.test"), *refusing[1:], "127.0.0.2")).status == 204
        with pytest.raises(NotConnected):
            send(target(receiver.url("receiver.test"), *refusing, "127.0.0.2"))


def test_the_time_limit_applies_to_the_complete_exchange() -> None:
    """Each byte arrives in time, but the complete response does not.

    A response without a length is cut off too, although closing its connection would complete it.
    """
    for beginning in (OK + b"X-Slow: ", OK + b"Content-Length: 500\r\n\r\n", OK + b"\r\n"):
        began = time.monotonic()
        with dripping(beginning) as place, pytest.raises(TimedOut):
            send_to(f"http://{place}/", seconds=0.3)
        with dripping(beginning) as place, pytest.raises(TimedOut):
            send_in_loop(f"http://{place}/", seconds=0.3)
        assert time.monotonic() - began < 2


def test_redirects_and_what_the_environment_says_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eva password secret\n")
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
        for authorities in ("", str(CERTIFICATE)):  # the certificate names another host
            with pytest.raises(NotConnected, match="certificate"):
                send_in_loop(f"https://127.0.0.1:{receiver.port}/", ca_file=authorities)
        address = f"https://127.0.0.1:{receiver.port}/"
        with pytest.raises(NotConnected, match="the certificate is not valid"), opened("GET", address, headers={}):
            pass
    assert len(receiver.requests) == 1


@cases(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "the name coordinator.test does not resolve"),
        (PermissionError(), "no connection (PermissionError)"),
    ],
)
def test_the_client_says_why_it_cannot_connect(error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NotConnected) as raised, opened("GET", "https://coordinator.test/x", headers={}):
        pass
    assert str(raised.value) == reason


class Keeping(HttpServer):
    """Keeps connections, and closes one without saying so after each response for which `closes` is true."""

    protocol = "HTTP/1.1"
    closes = False

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Any] = []
        self.refusals: list[tuple[int, int]] = []
        """The status and the Retry-After of the next responses."""

    def respond(self, request: Any) -> None:
        self.clients.append(request.client_address)
        content = json.dumps({"status": "SUCCEEDED"}).encode()
        status, seconds = self.refusals.pop(0) if self.refusals else (200, 0)
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Retry-After", str(seconds))
        request.end_headers()
        request.wfile.write(content)
        request.close_connection = self.closes


def three_calls(connection: Connection) -> None:
    caller = Caller(connection)
    for _ in range(3):
        caller.run(repeated(Request("GET", "executions"), 5))
    caller.close()


def three_calls_in_loop(connection: Connection) -> None:
    async def calls() -> None:
        caller = AsyncCaller(connection, 1)
        for _ in range(3):
            await caller.run(repeated(Request("GET", "executions"), 5))
        await caller.close()

    run_alone(calls())


@cases("call", [three_calls, three_calls_in_loop])
def test_connections_are_kept_and_a_closed_one_is_replaced(call: Callable[[Connection], None]) -> None:
    with Keeping().running() as server:
        for closes, connections in ((False, 1), (True, 3)):
            server.closes = closes
            server.clients.clear()
            call(Connection(server.origin, "acme", "token"))
            assert (len(server.clients), len(set(server.clients))) == (3, connections)


def test_a_request_is_repeated_no_sooner_than_the_server_asks() -> None:
    request = Request("GET", "executions")
    with Keeping().running() as server:
        caller = Caller(Connection(server.origin, "acme", "token"))
        server.refusals = [(503, 0), (429, 1)]
        began = time.monotonic()
        assert caller.run(repeated(request, 5))["status"] == "SUCCEEDED"
        assert (len(server.clients), time.monotonic() - began >= 1) == (3, True)
        for refusal in ((429, 6), (409, 0)):
            server.refusals = [refusal]
            with pytest.raises(Refused) as refused:
                caller.run(repeated(request, 5))
            copied, first = pickle.loads(pickle.dumps(refused.value)), refused.value
            assert (type(copied), str(copied), vars(copied)) == (type(first), str(first), vars(first))
        assert (len(server.clients), server.refusals) == (5, [])
        caller.close()
