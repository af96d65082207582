"""Clients of a broker whose URL names Sentinels (`wire.broker_url`)."""

from typing import Any

from redis import Redis
from redis.sentinel import Sentinel

from wire.broker_url import is_sentinel, parse_sentinel


def transport_options(url: str, tls: dict[str, Any], **timeouts: float) -> dict[str, Any]:
    """Return kombu's transport options for a URL that names Sentinels; none for others.

    `tls` are redis-py's options for TLS. `timeouts` are `socket_timeout` and `socket_connect_timeout`, in seconds.
    """
    if not is_sentinel(url):
        return {}
    return {"master_name": parse_sentinel(url).name, "sentinel_kwargs": _to_sentinels(tls, timeouts)}


def client(url: str, tls: dict[str, Any], **timeouts: float) -> Redis:
    """Return a client of the primary, which it looks up again for each new connection. Other URLs name a server."""
    if not is_sentinel(url):
        return Redis.from_url(url, **timeouts, **tls)
    found = parse_sentinel(url)
    untyped: Any = Sentinel
    sentinel = untyped(found.hosts, sentinel_kwargs=_to_sentinels(tls, timeouts))
    made: Redis = sentinel.master_for(
        found.name,
        db=found.database,
        username=found.user,
        password=found.password,
        **timeouts,
        **_encryption(tls if found.with_tls else None),
    )
    return made


def _to_sentinels(tls: dict[str, Any], timeouts: dict[str, float]) -> dict[str, Any]:
    return {**timeouts, **_encryption(tls or None)}


def _encryption(tls: dict[str, Any] | None) -> dict[str, Any]:
    return {} if tls is None else {"ssl": True, **tls}
