"""One HTTP exchange, without redirects and without TLS."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

_MAX_BYTES = 64 * 1024 * 1024
# What Java's HTTP client adds to a request without TLS: it offers to continue with HTTP/2.
_UPGRADE = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
}


class ExchangeFailed(Exception):
    """There is no complete response in time."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    media_type: str
    body: bytes


def exchange(method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, seconds: float) -> Response:
    """Send the request and return the response, with any status. Raises `ExchangeFailed`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    deadline = time.monotonic() + seconds
    try:
        connection = HTTPConnection(host, timeout=seconds)
        try:
            target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            connection.request(method, target, body=body or None, headers={**headers, **_UPGRADE})
            response = connection.getresponse()
            media_type = response.headers.get_content_type()
            content = response.read(_MAX_BYTES)
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError) as error:
        raise ExchangeFailed(f"{type(error).__name__} from {host}") from None
    if time.monotonic() > deadline:
        raise ExchangeFailed(f"{host} takes longer than {seconds:g} s")
    return Response(response.status, media_type, content)
