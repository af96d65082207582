"""Calls URLs that users or other systems chose: vets their addresses, and sends one request, bounded in time and size.

A name is resolved once, and all of its addresses must be allowed. The connection goes to one of them, even if the name
resolves to another one by then. TLS verifies the certificate against the name. `coordinator_client.http` sends the
request and guards the response (ADR 41). Pure.
"""

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import inet_aton, socket

from coordinator_client import http
from coordinator_client.errors import ClientError, NotConnected
from coordinator_client.http import Address, Target, resolve
from wire.addresses import DEFAULT_PORTS, LONGEST_URL, split_url

# IANA IPv4 Special-Purpose Address Registry, and multicast.
_IPV4 = (
    "0.0.0.0/8",  # "This network"
    "10.0.0.0/8",  # Private-Use
    "100.64.0.0/10",  # Shared Address Space
    "127.0.0.0/8",  # Loopback
    "169.254.0.0/16",  # Link Local
    "172.16.0.0/12",  # Private-Use
    "192.0.0.0/24",  # IETF Protocol Assignments
    "192.0.2.0/24",  # Documentation (TEST-NET-1)
    "192.31.196.0/24",  # AS112-v4
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # Deprecated (6to4 Relay Anycast)
    "192.168.0.0/16",  # Private-Use
    "192.175.48.0/24",  # Direct Delegation AS112 Service
    "198.18.0.0/15",  # Benchmarking
    "198.51.100.0/24",  # Documentation (TEST-NET-2)
    "203.0.113.0/24",  # Documentation (TEST-NET-3)
    "224.0.0.0/4",  # Multicast
    "240.0.0.0/4",  # Reserved, and Limited Broadcast
)
# IANA IPv6 Special-Purpose Address Registry, and all blocks outside of Global Unicast (2000::/3). These contain the
# unspecified and the loopback address, IPv4-compatible and IPv4-mapped addresses, NAT64 (64:ff9b::/96,
# 64:ff9b:1::/48), Discard-Only (100::/64), the Dummy Prefix (100:0:0:1::/64), SRv6 SIDs (5f00::/16), Unique-Local
# (fc00::/7), Link-Local (fe80::/10), Site-Local (fec0::/10) and Multicast (ff00::/8).
_IPV6 = (
    "::/3",
    "2001::/23",  # IETF Protocol Assignments: Teredo, Benchmarking, AMT, AS112-v6, ORCHID, Drone Remote ID
    "2001:db8::/32",  # Documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # Direct Delegation AS112 Service
    "3fff::/20",  # Documentation
    "4000::/2",
    "8000::/1",
)
_BLOCKS_4 = tuple(IPv4Network(block) for block in _IPV4)
_BLOCKS_6 = tuple(IPv6Network(block) for block in _IPV6)


def is_special(address: IPv4Address | IPv6Address) -> bool:
    """Return True unless the address is a unicast address of the public Internet."""
    if isinstance(address, IPv4Address):
        return any(address in block for block in _BLOCKS_4)
    return any(address in block for block in _BLOCKS_6)


Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

MOST_ADDRESSES = 3
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class TargetRefused(Exception):
    """A URL that may not be called. A retry does not help: the URL or the allowed networks must change."""


class Unreachable(Exception):
    """A host whose name does not resolve. A retry may help."""


def vet(url: str, *, allowed: Iterable[Network] = (), resolve: Resolve = resolve, longest: int = LONGEST_URL) -> Target:
    """Return the target of a call to `url`. Public addresses and those of the `allowed` networks are accepted.

    The URL has at most `longest` characters. Raises `TargetRefused`, and `Unreachable` if the name does not resolve.
    """
    scheme, host, port = _parts(url, longest)
    literal = _literal(host)
    addresses = [literal] if literal is not None else _resolved(host, port, resolve)
    networks = list(allowed)
    for address in addresses:
        if not _may_reach(address, networks):
            raise TargetRefused(f"the address of {host} may not be called")
    return Target(url, scheme, str(literal or host), port, tuple(dict.fromkeys(addresses)))


def _parts(url: str, longest: int) -> tuple[str, str, int]:
    try:
        address = split_url(url, longest)
    except ValueError as error:
        raise TargetRefused(str(error)) from None
    host = (address.hostname or "").rstrip(".")
    return address.scheme, host, address.port or DEFAULT_PORTS[address.scheme]


def _literal(host: str) -> Address | None:
    """Return the address if the host is one, in any form that resolvers accept: decimal, octal or shortened."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(inet_aton(host))
    except OSError:
        return None


def _resolved(host: str, port: int, resolve: Resolve) -> list[Address]:
    try:
        addresses = [ipaddress.ip_address(text) for text in resolve(host, port)]
    except (OSError, UnicodeError):
        addresses = []
    if not addresses:
        raise Unreachable(f"the name {host} does not resolve")
    return addresses


def _may_reach(address: Address, allowed: Sequence[Network]) -> bool:
    """Return True if the address is public or in `allowed`.

    A translated address counts as its IPv4 address. A tunnelled one must be allowed together with its IPv4 address.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        translated = _translated(address)
        if translated is not None:
            return _may_reach(translated, allowed)
        tunnelled = _tunnelled(address)
        if tunnelled is not None and not _may_reach(tunnelled, allowed):
            return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return not is_special(address)


def _translated(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address to which packets for a mapped or NAT64 address go."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _tunnelled(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside an IPv4-compatible, 6to4 or Teredo address. These blocks are special, too."""
    if address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.sixtofour or (teredo[1] if teredo else None)


CHECK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `complete` is False if the body may be longer than `body`, or than what `receive` got.

    The names in `headers` are in lower case. Of a repeated header, `headers` contains the last one.
    """

    status: int
    body: bytes
    complete: bool
    headers: Mapping[str, str] = field(default_factory=dict)


def exchange(
    target: Target,
    method: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    connect_seconds: float,
    seconds: float,
    limit: int | None,
    ca_file: str = "",
    is_wanted: Callable[[], bool] | None = None,
    receive: Callable[[bytes], object] | None = None,
    silent_seconds: float | None = None,
) -> Response:
    """Send one request, and read at most `limit` bytes of the response's body; with None, only its headers.

    Connecting to each address may take `connect_seconds`, including TLS, and everything after it `seconds`. `ca_file`
    contains certificates in PEM form that replace the authorities of the system. A separate thread calls `is_wanted`
    every CHECK_SECONDS, and closes the connection once it returns False. Raises `NotConnected`, `TimedOut`, `Broken`.

    `receive` is for large bodies. It gets the body of a response with status 200 in pieces, as they arrive, and the
    response's `body` is empty. A body that declares a length beyond `limit`, or has another status, is not read. The
    pieces are a complete body only if the response is `complete`. What `receive` raises ends the exchange. With
    `silent_seconds`, a server that sends nothing for that time is `TimedOut`.
    """
    connection = _connected(target, connect_seconds, ca_file)
    with (
        _watched(connection, is_wanted),
        http.exchanged(
            connection, target, method, body, headers, seconds=seconds, silent_seconds=silent_seconds
        ) as response,
    ):
        if receive is None:
            text, complete = _body(response, limit)
        else:
            text, complete = b"", response.status == 200 and _pass_on(response, limit or 0, receive)
    return Response(response.status, text, complete, headers=response.headers)


def _connected(target: Target, seconds: float, ca_file: str) -> socket:
    vetted = replace(target, addresses=target.addresses[:MOST_ADDRESSES])
    try:
        return http.connected(vetted, seconds, http.tls_context(ca_file) if target.scheme == "https" else None)
    except ssl.SSLError:
        raise NotConnected("TLS failed, or the certificate is not valid") from None
    except OSError:
        raise NotConnected("refused, or too slow") from None
    except ClientError as error:
        raise NotConnected(str(error)) from None


@contextmanager
def _watched(connection: socket, is_wanted: Callable[[], bool] | None) -> Iterator[None]:
    """Shut the connection down in the middle of the block if the response is not wanted."""
    over = threading.Event()

    def check(is_wanted: Callable[[], bool]) -> None:
        while not over.wait(CHECK_SECONDS):
            if not is_wanted():
                http.shut_down(connection)
                return

    try:
        if is_wanted is not None:  # a separate thread, because `is_wanted` may block and must not delay the timer
            threading.Thread(target=check, args=(is_wanted,), daemon=True).start()
        yield
    finally:
        over.set()


def _body(response: http.Response, limit: int | None) -> tuple[bytes, bool]:
    text = bytearray()
    if limit is None:
        return b"", False
    for piece in response.pieces():
        text += piece
        if len(text) > limit:
            break
    return bytes(text[:limit]), len(text) <= limit


def _pass_on(response: http.Response, limit: int, receive: Callable[[bytes], object]) -> bool:
    """Pass the body to `receive`. Return False, and stop, if it has more than `limit` bytes."""
    if response.length is not None and response.length > limit:
        return False
    received = 0
    for piece in response.pieces():
        received += len(piece)
        if received > limit:
            return False
        receive(piece)
    return True
