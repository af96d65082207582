"""Reads `DATABASE_URL`: a libpq connection URL with the parameters that operators need."""

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

TIMEOUTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""The defaults of parameters that find a host to which the network is interrupted, in seconds and milliseconds."""
_CHOICES = {
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
    "load_balance_hosts": {"disable", "random"},
    "channel_binding": {"disable", "prefer", "require"},
    "sslnegotiation": {"postgres", "direct"},
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TEXTS = ("host", "hostaddr", "port", "keepalives", "ssl_min_protocol_version", "require_auth", "application_name")
PARAMETERS = frozenset({*TIMEOUTS, *_CHOICES, *_FILES, *_TEXTS, "options"})
"""The supported query parameters. libpq's other parameters contradict the product's settings or are secrets."""
FORM = "must be a URL such as postgresql://user:password@host:port/name?sslmode=verify-full"


def connection_settings(url: str) -> dict[str, Any]:
    """Return Django's settings for the connection. Raises `ValueError`; its message contains no value of the URL.

    If a host is not the local machine, `sslmode` defaults to `verify-full`.
    """
    query = _query(url)
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:  # its text may contain a part of the URL
        raise ValueError(FORM) from None
    if not parameters.get("dbname") or not all(_is_port(port) for port in str(parameters.get("port", "")).split(",")):
        raise ValueError(FORM)
    options = {name: parameters[name] for name in query if name not in {"host", "port"}}
    _check(options)
    host = str(parameters.get("host", ""))
    if not all(_is_local(name) for name in host.split(",")):
        options.setdefault("sslmode", "verify-full")
    return {
        "ENGINE": "foundation.database.postgresql",
        "NAME": parameters["dbname"],
        "USER": parameters.get("user", ""),
        "PASSWORD": parameters.get("password", ""),
        "HOST": host,
        "PORT": str(parameters.get("port", "")),
        "OPTIONS": options,
    }


def _query(url: str) -> list[str]:
    """Return the names of the query parameters. Raises `ValueError` for unknown and repeated ones."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(FORM)
    try:
        names = [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)]
    except ValueError:
        raise ValueError(FORM) from None
    if unknown := sorted(set(names) - PARAMETERS):
        raise ValueError(f"has parameters that are not supported: {', '.join(unknown)}")
    if len(set(names)) < len(names):
        raise ValueError("has a parameter twice")
    return names


def _check(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"has a wrong {name}: it must be one of {', '.join(sorted(_CHOICES[name]))}")
        if name in TIMEOUTS and not (value.isascii() and value.isdecimal()):
            raise ValueError(f"has a wrong {name}: it must be a whole number")
        if name in _FILES and not (name == "sslrootcert" and value == "system") and not Path(value).is_file():
            raise ValueError(f"has a wrong {name}: there is no such file")


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 0 < int(text) < 65536)


def _is_local(host: str) -> bool:
    """Return True if the host is this machine: a folder of Unix sockets or a loopback address."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
