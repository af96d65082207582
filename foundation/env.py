"""Typed readers of environment variables. The settings module declares each variable with one of them.

All invalid and missing variables are reported together when a process starts. No message contains a variable's value.
No library does all of this: environs stops at a file that it cannot read and takes an empty value for a value, and the
messages of pydantic-settings contain values.
"""

import json
import math
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured

from foundation.database.postgresql.url import connection_settings
from wire.addresses import is_sentinel, is_web_address, parse_sentinel
from wire.identity import is_identifier
from wire.worker_keys import REFERENCES

T = TypeVar("T")
MOST = 1e9
"""The largest value of a number; in seconds, thirty years."""
_HOST = re.compile(r"[^\s/@]+")
_TENANT = re.compile(r"[a-z0-9-]{1,63}")
_PREFIX = re.compile(r"[a-z0-9-]{0,62}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATABASE_NUMBER = re.compile(r"(/[0-9]{0,4})?")


@dataclass(frozen=True)
class Variable:
    """A declared variable. `coordinator.setting_meanings` says what it means. A kind ends with the accepted values."""

    name: str
    kind: str
    default: str | None
    secret: bool


class Environment:
    """Reads variables from a mapping. Call `raise_problems` after the last one.

    For each variable, `<NAME>_FILE` may name a file that contains the value. This is the best way to pass secrets. An
    empty value counts as absent. Each reader returns the default for an invalid value, so that the others still run.
    """

    def __init__(self, source: Mapping[str, str]) -> None:
        self._source = source
        self._problems: list[str] = []
        self.declared: dict[str, Variable] = {}

    def text(self, name: str, default: str) -> str:
        """Any text."""
        return self._read(name, "text", str, default)

    def secret(self, name: str, *, shortest: int = 1, required: bool = True) -> str:
        """A value of at least `shortest` characters that no page, log or error may contain; empty if not required."""
        kind, default = f"secret{_length(shortest)}", None if required else ""
        return self._read(name, kind, lambda value: value and _secret(value, shortest), default, secret=True)

    def secrets(self, name: str, *, shortest: int = 1, most: int = 10) -> list[str]:
        """Up to `most` secrets of at least `shortest` characters each, separated by commas or white space."""

        def parse(value: str) -> list[str]:
            entries = _entries(value)
            if len(entries) > most or any(len(secret) < shortest for secret in entries):
                raise ValueError(f"must be secrets, {limits}, separated by commas")
            return [_secret(secret, shortest) for secret in entries]

        limits = f"up to {most}{_length(shortest)} each"
        return self._read(name, f"secret, {limits}", parse, secret=True)

    def tenant_secrets(self, name: str, *, shortest: int = 1) -> dict[str, list[str]]:
        """Lists of secrets as in `secrets` by tenant: `tenant=secret`, separated by commas or white space."""

        def parse(entry: str) -> tuple[str, str]:
            tenant, _, secret = entry.partition("=")
            if not _TENANT.fullmatch(tenant) or not secret:
                raise ValueError("must be of the form tenant=token, separated by commas")
            return tenant, _secret(secret, shortest)

        return self._read(name, f"secret{_length(shortest)} each", _grouped(parse), secret=True)

    def integer(self, name: str, default: int, *, least: int = 1, most: int = 2**63 - 1) -> int:
        """A whole number from `least` to `most`."""

        def parse(value: str) -> int:
            number = int(value) if _INTEGER.fullmatch(value) else None
            if number is None or not least <= number <= most:
                raise ValueError(f"must be a whole number from {least} to {most}")
            return number

        return self._read(name, f"integer, {_bounds(least, most)}", parse, str(default))

    def number(self, name: str, default: float, *, least: float = 0, most: float = MOST) -> float:
        """A finite decimal number from `least` to `most`."""

        def parse(value: str) -> float:
            number = float(value) if _NUMBER.fullmatch(value) else math.nan
            if not least <= number <= most:
                raise ValueError(f"must be a number from {least:g} to {most:g}")
            return number

        return self._read(name, f"number, {_bounds(least, most)}", parse, f"{default:g}")

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        parse = _accepted({"true", "false"}.__contains__, "must be true or false")
        return self._read(name, "flag", parse, str(default).lower()) == "true"

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """One of `choices`."""
        parse = _accepted(choices.__contains__, f"must be one of {', '.join(choices)}")
        return self._read(name, f"choice, {' or '.join(choices)}", parse, default)

    def words(self, name: str, default: str = "") -> list[str]:
        """A comma-separated list of texts."""
        return self._list(name, str, "must be a list", default)

    def tenants(self, name: str) -> list[str]:
        """A comma-separated list of tenants' slugs."""
        return self._list(name, _accepted(_TENANT.fullmatch), "must be tenants by their slugs, such as acme")

    def grants(self, name: str, *, of: Collection[str]) -> dict[str, list[str]]:
        """Lists of some of `of` by name: `name=grant`, separated by commas or white space; empty by default."""

        def parse(entry: str) -> tuple[str, str]:
            key, _, grant = entry.rpartition("=")
            if not key or grant not in of:
                raise ValueError(f"must be of the form name=grant, separated by commas, with one of {', '.join(of)}")
            return key, grant

        return self._read(name, "list", _grouped(parse))

    def tenant_prefixes(self, name: str) -> dict[str, str]:
        """Prefixes of tenants' slugs, which may be empty, by name: `name=prefix`, separated by commas."""

        def parse(value: str) -> dict[str, str]:
            named: dict[str, str] = {}
            for entry in filter(None, map(str.strip, value.split(","))):
                key, separator, prefix = entry.partition("=")
                if not separator or not is_identifier(key) or key in named or not _PREFIX.fullmatch(prefix):
                    raise ValueError("must be of the form name=prefix, separated by commas, such as staging=staging-")
                named[key] = prefix
            return named

        return self._read(name, "list", parse)

    def hosts(self, name: str, default: str = "") -> list[str]:
        """A comma-separated list of host names, with or without a port."""
        rule = "must be host names, such as registry.example:5000, without a scheme or a path"
        return self._list(name, _accepted(_HOST.fullmatch), rule, default)

    def paths(self, name: str) -> list[Path]:
        """A comma-separated list of absolute paths, empty by default."""
        return [Path(path) for path in self._list(name, _accepted(os.path.isabs), "must be absolute paths")]

    def origins(self, name: str) -> list[str]:
        """A comma-separated list of origins such as https://worker.example:8443, empty by default."""
        rule = "must be origins, such as https://worker.example:8443, with nothing after the port"
        return self._list(name, _accepted(_is_origin), rule)

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        """A comma-separated list of networks such as 10.0.0.0/8, empty by default."""
        return self._list(name, ip_network, "must be networks in CIDR form, such as 10.0.0.0/8")

    def url(self, name: str, *, secure: bool = False) -> str:
        """An http or https URL without user info, query, fragment or trailing slash; empty by default.

        If `secure` is true, http is accepted only for a loopback address.
        """

        def parse(value: str) -> str:
            if value and (not is_web_address(value) or "?" in value):
                raise ValueError("must be a URL such as https://host.example, without user info, query or fragment")
            if value and secure and not _is_secure(urlsplit(value)):
                raise ValueError("must begin with https://, unless its host is a loopback address such as 127.0.0.1")
            return value.rstrip("/")

        return self._read(name, "URL", parse)

    def certificates(self, name: str) -> str:
        """The path of a file of certificates in PEM form; empty by default."""

        def parse(value: str) -> str:
            if value:
                try:
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
                except OSError:
                    raise ValueError("must name a readable file of certificates in PEM form") from None
            return value

        return self._read(name, "file", parse)

    def signing_key(self, name: str) -> str:
        """An unencrypted ed25519 private key in PEM form; empty by default. A secret."""

        def parse(value: str) -> str:
            if value:
                from wire.documents.signing import KeyUnusable, read_private_key  # few processes have a key

                try:
                    read_private_key(value)
                except KeyUnusable:
                    raise ValueError("must be an unencrypted ed25519 private key in PEM form") from None
            return value

        return self._read(name, "secret", parse, secret=True)

    def credentials(self, name: str) -> dict[str, str]:
        """Entries `host=user:password`, separated by commas or white space, by host. A secret."""

        def parse(value: str) -> dict[str, str]:
            named: dict[str, str] = {}
            for entry in _entries(value):
                host, _, pair = entry.partition("=")
                if not host or not all(pair.partition(":")) or not pair.isascii():
                    raise ValueError("must be of the form host=user:password")
                named[host] = _secret(pair)
            return named

        return self._read(name, "secret", parse, secret=True)

    def options(self, name: str, *, of: Collection[str]) -> dict[str, dict[str, Any]]:
        """A JSON object whose members are some of `of`, each an object of options by name. A secret."""

        def parse(value: str) -> dict[str, dict[str, Any]]:
            wrong = ValueError(f"must be a JSON object with an object of options for any of {', '.join(of)}")
            try:
                parsed = json.loads(value or "{}", object_pairs_hook=_members)
            except (ValueError, RecursionError):
                raise wrong from None
            if not isinstance(parsed, dict) or not parsed.keys() <= set(of):
                raise wrong
            if not all(isinstance(options, dict) for options in parsed.values()):
                raise wrong
            return parsed

        return self._read(name, "JSON", parse, secret=True)

    def parsed(self, name: str, kind: str, parse: Callable[[str], T]) -> T:
        """What `parse` returns for the text, which is empty by default.

        `parse` accepts the empty text. For an invalid one it raises `ValueError`, whose message contains no part of it.
        """
        return self._read(name, kind, parse)

    def path(self, name: str, default: str) -> Path:
        """A path, absolute or relative to the working directory."""
        return self._read(name, "path", lambda value: Path(value).absolute(), default)

    def redis_url(self, name: str) -> str:
        """A redis:// or rediss:// URL of a server and a database number, or a URL that names Sentinels. Required."""

        def parse(value: str) -> str:
            if is_sentinel(value):
                parse_sentinel(value)
            elif value and not _is_redis(value):
                raise ValueError("must be a redis://user:password@host:port/number or rediss:// URL, without a query")
            return value

        return self._read(name, "Redis URL", parse, None, secret=True)

    def database(self, name: str) -> dict[str, Any]:
        """A `postgresql://user:password@host:port/name` URL as Django's connection settings. Required."""
        without: dict[str, Any] = {"OPTIONS": {}}
        return self._read(
            name, "PostgreSQL URL", lambda value: connection_settings(value) if value else without, None, secret=True
        )

    def require(self, condition: bool, problem: str) -> None:
        """Report `problem` unless `condition` is true. For rules about several variables."""
        if not condition:
            self._problems.append(problem)

    def raise_problems(self, meanings: Callable[[], Mapping[str, str]] = dict) -> None:
        """Raise `ImproperlyConfigured` if there are any. `meanings` returns what variables mean, by their names."""
        if self._problems:
            known = meanings()
            lines = [f"  {text}. {known.get(text.split()[0], '')}".rstrip() for text in self._problems]
            raise ImproperlyConfigured("\n".join(["Invalid configuration:", *lines]))

    def _list(self, name: str, parse_word: Callable[[str], T], rule: str, default: str = "") -> list[T]:
        """Read a comma-separated list. `rule` is the problem if `parse_word` raises ValueError for a word."""

        def parse(value: str) -> list[T]:
            try:
                return [parse_word(word.strip()) for word in value.split(",") if word.strip()]
            except ValueError:
                raise ValueError(rule) from None

        return self._read(name, "list", parse, default)

    def _read(
        self, name: str, kind: str, parse: Callable[[str], T], default: str | None = "", *, secret: bool = False
    ) -> T:
        """Read a variable. If `default` is None it is required, and `parse` must also accept ""."""
        self.declared[name] = Variable(name, kind, default, secret)
        try:
            value = self._value(name)
            if value is None and default is None:
                raise ValueError("is required")
            return parse(value or default or "")
        except ValueError as error:
            self._problems.append(f"{name} {error}")
            return parse(default or "")

    def _value(self, name: str) -> str | None:
        file = self._source.get(f"{name}_FILE")
        if not file:
            return self._source.get(name) or None
        if self._source.get(name):
            raise ValueError(f"and {name}_FILE are both set; set one")
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from the file that {name}_FILE names ({type(error).__name__})") from error


def _bounds(least: float, most: float) -> str:
    return f"{least} to {most}" if most < MOST else f"at least {least}"


def _length(shortest: int) -> str:
    return f", at least {shortest} characters" if shortest > 1 else ""


def _entries(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _secret(value: str, shortest: int = 1) -> str:
    """Return a secret. Raises `ValueError` if it is too short, or a reference, which would be taken for the secret."""
    if value.startswith(REFERENCES):
        raise ValueError(
            "must contain the secret itself and not a reference; <NAME>_FILE names a file that contains it"
        )
    if len(value) < shortest:
        raise ValueError(f"must have at least {shortest} characters for each secret")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of a JSON object. Raises `ValueError` for equal names; `json` would keep the last."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _is_redis(value: str) -> bool:
    try:
        url = urlsplit(value)
        known = url.scheme in {"redis", "rediss"} and url.hostname and url.port != 0
    except ValueError:
        return False
    return bool(known and _DATABASE_NUMBER.fullmatch(url.path)) and "?" not in value and "#" not in value


def _is_secure(url: SplitResult) -> bool:
    """Return True if the network cannot read or change a call to `url`."""
    try:
        return url.scheme == "https" or ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def _is_origin(word: str) -> bool:
    return is_web_address(word) and word.count("/") == 2 and "?" not in word


def _accepted(accepts: Callable[[str], object], rule: str = "") -> Callable[[str], str]:
    """Return a reader of the texts that `accepts` is true for. For others, it raises `ValueError` with `rule`."""

    def parse(value: str) -> str:
        if not accepts(value):
            raise ValueError(rule)
        return value

    return parse


def _grouped(parse_entry: Callable[[str], tuple[str, str]]) -> Callable[[str], dict[str, list[str]]]:
    """Return a reader of entries with a key and a value. A key may have several values."""

    def parse(value: str) -> dict[str, list[str]]:
        entries: dict[str, list[str]] = {}
        for key, item in map(parse_entry, _entries(value)):
            entries.setdefault(key, []).append(item)
        return entries

    return parse
