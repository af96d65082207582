"""Web addresses, which are http and https URLs, and URLs of brokers: `redis://user:password@host:port/0`. Pure.

With Sentinels, the latter are `sentinel://user:password@host:port,host:port/name/0`, or `sentinels://` with TLS.
Sentinels watch a Redis or Valkey server with its replicas, and know which is the primary. `name` is their name for it,
and the last number is the database. User and password are those of the broker. They are not sent to the Sentinels.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

SCHEMES = frozenset({"sentinel", "sentinels"})
FORM = "must be a sentinel://user:password@host:port,host:port/name/number or sentinels:// URL, without a query"
# Not `urlsplit`: newer versions of Python reject lists of hosts that contain an IPv6 address.
_URL = re.compile(r"sentinels?://(?:([^/?#]*)@)?([^/?#@]*)/([A-Za-z0-9._-]{1,100})/([0-9]{1,3})")
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/?#]*@)?")
_HOST = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?")
_PORT = 26379


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The parts of such a URL. `hosts` are the addresses of the Sentinels. User and password are decoded."""

    hosts: tuple[tuple[str, int], ...]
    name: str
    database: int
    user: str | None
    password: str | None


def is_sentinel(url: str) -> bool:
    """Return True if the URL names Sentinels."""
    return url.partition("://")[0] in SCHEMES


def uses_tls(url: str) -> bool:
    return url.startswith(("rediss://", "sentinels://"))


def parse_sentinel(url: str) -> SentinelUrl:
    """Return the parts of the URL. Raises `ValueError`; its message contains no part of the URL."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(FORM)
    credentials, addresses, name, database = match.groups(default="")
    user, _, password = credentials.partition(":")
    hosts = [_HOST.fullmatch(address) for address in addresses.split(",")]
    servers = [(host[1] or host[2], int(host[3] or _PORT)) for host in hosts if host]
    if len(servers) < len(hosts) or not all(0 < port < 65536 for _, port in servers):
        raise ValueError(FORM)
    decoded = (unquote(user) or None, unquote(password) or None)
    return SentinelUrl(tuple(servers), name, int(database), *decoded)


def with_credentials(url: str, credentials: str) -> str:
    """Return the broker's URL with `user:password` instead of the credentials that it has, if any."""
    return _CREDENTIALS.sub(lambda _: f"{credentials}@", url, count=1)


def kombu_url(url: str) -> str:
    """Return the broker's URL as kombu reads it. Other URLs are unchanged."""
    if not is_sentinel(url):
        return url
    parsed = parse_sentinel(url)
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in parsed.hosts)
    return ";".join(f"sentinel://{credentials}{at}{host}/{parsed.database}" for host in hosts)


def tls_options(url: str, ca_file: str = "") -> dict[str, Any]:
    """Return redis-py's options for a TLS connection to `url`; none for `redis://` and `sentinel://` URLs.

    The server's certificate must match its host name. It must be signed by an authority that the system trusts, or by
    one in `ca_file`. Pass these options to every connection: by default, kombu accepts any certificate.
    """
    if not uses_tls(url):
        return {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": ca_file or None}


def transport_options(url: str, tls: dict[str, Any], **timeouts: float) -> dict[str, Any]:
    """Return kombu's transport options for a URL that names Sentinels; none for others.

    `tls` are the options of `tls_options`. `timeouts` are `socket_timeout` and `socket_connect_timeout`, in seconds.
    """
    if not is_sentinel(url):
        return {}
    return {"master_name": parse_sentinel(url).name, "sentinel_kwargs": sentinel_options(tls, timeouts)}


def sentinel_options(tls: Mapping[str, Any], timeouts: Mapping[str, float]) -> dict[str, Any]:
    """Return redis-py's options for the connections to Sentinels."""
    return {**timeouts, **({"ssl": True, **tls} if tls else {})}


# --- web addresses --------------------------------------------------------------------------------

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
LONGEST_URL: Final = 2000


def split_url(url: str, longest: int = LONGEST_URL) -> SplitResult:
    """Return the parts of an http or https URL with a host, and without credentials and fragment.

    Raises ValueError, whose text names the broken rule and never contains the URL.
    """
    if (
        len(url) > longest
        or not url.isascii()
        or any(character in "\\ " or not character.isprintable() for character in url)
    ):
        raise ValueError("the URL is too long, or contains a character that is not allowed in a URL")
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError:
        raise ValueError("the URL is malformed") from None
    if address.scheme not in DEFAULT_PORTS:
        raise ValueError("the URL is neither http nor https")
    if "@" in address.netloc:
        raise ValueError("the URL contains credentials")
    if "#" in url:
        raise ValueError("the URL has a fragment")
    if not (address.hostname or "").rstrip(".") or port == 0:
        raise ValueError("the URL names no host")
    return address


def is_web_address(url: object) -> bool:
    """Return True if `url` is a text that `split_url` accepts."""
    if not isinstance(url, str):
        return False
    try:
        split_url(url)
    except ValueError:
        return False
    return True
