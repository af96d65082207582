"""Decides whether the product may call a URL that a user or another system chose. Pure.

A name is resolved once. All of its addresses must be allowed. The request then goes to these addresses, even if the
name resolves to others by then (see `foundation.http.exchange`).
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from foundation.http.special_addresses import is_special
from wire import web_address
from wire.web_address import DEFAULT_PORTS, LONGEST_URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

MOST_ADDRESSES = 3
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class TargetRefused(Exception):
    """A URL that may not be called. A retry does not help: the URL or the allowed networks must change."""


class Unreachable(Exception):
    """A host whose name does not resolve. A retry may help."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, and the vetted addresses of its host."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[Address, ...]

    @property
    def host_header(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses that the system's resolver finds. Raises `OSError`."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


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
    """Return the scheme, the host and the port."""
    try:
        parts = web_address.split(url, longest)
    except ValueError as error:
        raise TargetRefused(str(error)) from None
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme]


def _literal(host: str) -> Address | None:
    """Return the address if the host is one, in any form that resolvers accept: decimal, octal or shortened."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _resolved(host: str, port: int, resolve: Resolve) -> list[Address]:
    try:
        found = [ipaddress.ip_address(text) for text in resolve(host, port)]
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise Unreachable(f"the name {host} does not resolve")
    return found


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
