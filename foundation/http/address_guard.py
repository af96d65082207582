"""Where a request to an address that others chose may go: only to what may be reached, and what was looked at.

A name is resolved once. Every address that it has must be allowed, and those very addresses are the target, whatever
the name would resolve to by then. `foundation.http.exchange` makes the request. Pure.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

from foundation.http.special_addresses import is_special

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

LONGEST_URL = 2000
MOST_ADDRESSES = 3
PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class TargetRefused(Exception):
    """A URL that may not be called. No repeat helps: somebody has to change it, or what is allowed."""


class Unreachable(Exception):
    """A host that cannot be called just now, since its name does not resolve."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL with the addresses that were found and vetted for its host."""

    url: str
    scheme: str
    host: str
    port: int
    addresses: tuple[Address, ...]

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises `OSError`."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def vet(url: str, *, allowed: Iterable[Network] = (), resolve: Resolve = resolve) -> Target:
    """Where a call to `url` may go. Public addresses may be reached, and those of the `allowed` networks.

    Raises `TargetRefused`, and `Unreachable` where the name does not resolve just now.
    """
    scheme, host, port = _parts(url)
    literal = _literal(host)
    addresses = [literal] if literal is not None else _resolved(host, port, resolve)
    networks = list(allowed)
    for address in addresses:
        if not _may_reach(address, networks):
            raise TargetRefused(f"{host} is at an address that may not be called")
    return Target(url, scheme, str(literal or host), port, tuple(dict.fromkeys(addresses)))


def _parts(url: str) -> tuple[str, str, int]:
    if (
        len(url) > LONGEST_URL
        or not url.isascii()
        or any(character in "\\ " or not character.isprintable() for character in url)
    ):
        raise TargetRefused("the URL is too long, or holds a character that belongs in no URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise TargetRefused("the URL is malformed") from None
    if parts.scheme not in PORTS:
        raise TargetRefused("the URL is neither http nor https")
    if "@" in parts.netloc:
        raise TargetRefused("the URL holds credentials")
    if "#" in url:
        raise TargetRefused("the URL has a fragment")
    host = (parts.hostname or "").rstrip(".")
    if not host or port == 0:
        raise TargetRefused("the URL names no host")
    return parts.scheme, host, port or PORTS[parts.scheme]


def _literal(host: str) -> Address | None:
    """The address that a host is in itself, in any of the forms that resolvers take: decimal, octal, shortened."""
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
