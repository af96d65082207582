"""The network address of a client."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the client's address; for IPv6 its /64 network, which usually belongs to one customer; "" if unknown.

    With BEHIND_PROXY it is the last entry of X-Forwarded-For that is not in TRUSTED_PROXIES. Each proxy appends the
    address of its peer, so a client can forge only earlier entries.
    """
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    if settings.BEHIND_PROXY:
        for entry in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
            address = _parsed(entry.strip())
            if address is None or not any(address in network for network in settings.TRUSTED_PROXIES):
                break
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address or "")


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
