"""Requests to addresses that others chose: only to what may be reached, and only to what was looked at.

A name is resolved once. Every address that it has must be allowed, and the connection goes to one of those very
addresses, whatever the name would resolve to by then. TLS still checks the certificate against the name. Nothing is
taken from the environment: no proxy, no credentials. Redirects are not followed and bodies of answers not read. Pure.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

LONGEST_URL = 2000
MOST_ADDRESSES = 3
PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")


class TargetRefused(Exception):
    """A URL that may not be called. No repeat helps: somebody has to change it, or what is allowed."""


class Unreachable(Exception):
    """A call that failed on its way, such as a name that does not resolve or a connection that breaks."""


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


def post(target: Target, body: bytes, *, headers: dict[str, str], timeout: float, verify: bool | str = True) -> int:
    """Send `body` to one of the vetted addresses and return the status of the answer, whose body is not read.

    `timeout`, in seconds, bounds the connecting, and each wait for a part of the answer's head. `verify` may be a file
    of certificates. Raises `Unreachable`.
    """
    failure = "there is no address"
    for address in target.addresses[:MOST_ADDRESSES]:
        try:
            return _post(target, address, body, headers, timeout, verify)
        except requests.exceptions.ConnectTimeout:
            failure = "connecting took too long"
        except requests.exceptions.Timeout:
            raise Unreachable("the receiver took too long to answer") from None
        except requests.exceptions.SSLError:
            failure = "the receiver's certificate or its TLS is not acceptable"
        except requests.exceptions.ConnectionError:
            failure = "the connection was refused, or broke"
        except requests.exceptions.RequestException as error:
            raise Unreachable(f"the call failed ({type(error).__name__})") from None
    raise Unreachable(failure)


def _post(
    target: Target, address: Address, body: bytes, headers: dict[str, str], timeout: float, verify: bool | str
) -> int:
    with requests.Session() as session:
        session.trust_env = False
        session.mount(f"{target.scheme}://", _Pinned(target, address))
        answer = session.post(
            target.url,
            data=body,
            headers={**headers, "Host": target.host_header, "Connection": "close"},
            timeout=(timeout, timeout),
            allow_redirects=False,
            stream=True,
            verify=verify,
        )
        answer.close()
        return int(answer.status_code)


class _Pinned(HTTPAdapter):
    """Connects to one address, and to nothing else, for whatever it is asked; TLS is with the host that was named."""

    def __init__(self, target: Target, address: Address) -> None:
        self._target = target
        self._address = address
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        if self._target.scheme == "https":
            options |= {"server_hostname": self._target.host, "assert_hostname": self._target.host}
        super().init_poolmanager(*arguments, **options)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: Any = None
    ) -> Any:
        place, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return {**place, "scheme": self._target.scheme, "host": str(self._address), "port": self._target.port}, pool


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
    inner = _embedded(address)
    if inner is not None:
        return _may_reach(inner, allowed)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to in the end: mapped, translated, or tunnelled."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
