"""Requests to the REST API of a coordinator."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests

from pipelines.errors import DefinitionError
from wire.web_address import is_web_address

TIMEOUT: Final = (10, 120)
"""How long to wait for a connection, and for the next bytes of a response, in seconds."""


@dataclass(frozen=True, slots=True)
class Target:
    """A tenant of a coordinator, and an API token of it. ``repr`` omits the token."""

    url: str
    tenant: str
    token: str

    def __repr__(self) -> str:
        return f"Target({self.url!r}, {self.tenant!r})"

    @property
    def base(self) -> str:
        """The address of the tenant, without a slash at its end. Raises ``DefinitionError`` INVALID_URL."""
        if not is_web_address(self.url):
            raise DefinitionError("INVALID_URL", "--url must be the http or https address of the coordinator")
        return f"{self.url.rstrip('/')}/api/v1/tenants/{quote(self.tenant, safe='')}"

    def session(self) -> requests.Session:
        """Return a session that sends the token."""
        http = requests.Session()
        http.headers.update({"Authorization": f"Bearer {self.token}", "Accept": "application/json"})
        # Otherwise an entry of ~/.netrc for the host would replace the token.
        http.trust_env = False
        return http


class CoordinatorRefused(DefinitionError):
    """The coordinator refused a request: ``status`` is that of its response, and ``problem`` its problem document."""

    def __init__(self, message: str, status: int, problem: dict[str, Any]) -> None:
        super().__init__("COORDINATOR_REFUSED", message)
        self.status = status
        self.problem = problem


def target_of(arguments: argparse.Namespace) -> Target:
    """Return the target that the options of a command name, or the environment.

    Raises ``DefinitionError`` MISSING_OPTION.
    """
    return Target(_required(arguments, "url"), _required(arguments, "tenant"), _token(arguments))


def call(http: requests.Session, method: str, url: str, expected: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """Return the JSON object of a response whose status is ``expected``.

    Raises ``DefinitionError``: COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED.
    """
    try:
        response = http.request(method, url, timeout=TIMEOUT, allow_redirects=False, **more)
    except requests.RequestException as error:
        raise unreachable(type(error).__name__) from error
    if response.status_code in expected and (document := _object(response)) is not None:
        return document
    raise refused(response)


def unreachable(reason: str) -> DefinitionError:
    return DefinitionError("COORDINATOR_UNREACHABLE", f"the coordinator cannot be reached: {reason}")


def refused(response: requests.Response) -> CoordinatorRefused:
    """Return the error for a response with an unexpected status, with its problem document."""
    problem = _object(response) or {}
    lines = [f"{response.status_code} {problem.get('code', '')} {problem.get('detail', '')}".strip()]
    lines += [f"  {error.get('field', '')}: {error.get('message', '')}" for error in problem.get("errors", ())]
    return CoordinatorRefused("\n".join(lines), response.status_code, problem)


def _object(response: requests.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _required(arguments: argparse.Namespace, name: str) -> str:
    value: str | None = getattr(arguments, name)
    if not value:
        raise DefinitionError("MISSING_OPTION", f"set --{name} or PIPELINES_{name.upper()}")
    return value


def _token(arguments: argparse.Namespace) -> str:
    try:
        file = arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("MISSING_OPTION", f"--token-file cannot be read: {type(error).__name__}") from error
    token: str = file or getattr(arguments, "token", None) or os.environ.get("PIPELINES_TOKEN", "")
    if not token or not token.isascii() or not token.isprintable():
        raise DefinitionError("MISSING_OPTION", "set --token-file FILE or PIPELINES_TOKEN")
    return token
