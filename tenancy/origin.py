"""Where the current act comes from: the id and the client's address of the web request that is being served."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Origin:
    """`environ` is that of the WSGI request. `request_id` and `address` are "" outside of web requests."""

    request_id: str = ""
    environ: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return client_address(self.environ)


serving: Final[ContextVar[Origin]] = ContextVar("origin", default=Origin())  # noqa: B039 - it is immutable
"""The origin of all acts. It is set while a request is served, and reset afterwards."""


def current() -> Origin:
    return serving.get()


def client_address(environ: Mapping[str, Any]) -> str:
    """Return the address of the client of a WSGI request, or "" if it is unknown.

    For IPv6 it is the /64 network, which usually belongs to one customer.
    With BEHIND_PROXY it is the last entry of X-Forwarded-For that is not in TRUSTED_PROXIES. Each proxy appends the
    address of its peer, so a client can forge only earlier entries.
    """
    peer = environ.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        for entry in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            peer = entry.strip()
            address = _parsed(peer)
            if address is None or not any(address in network for network in settings.TRUSTED_PROXIES):
                break
    return _client(peer)


@lru_cache(maxsize=1024)
def _client(text: str) -> str:
    address = _parsed(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address or "")


@lru_cache(maxsize=1024)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
