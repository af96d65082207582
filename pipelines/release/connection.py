"""The coordinator that the options of a command name, or the environment."""

from __future__ import annotations

import argparse
import os

from coordinator_client.api import Client, Connection
from coordinator_client.errors import ClientError, Refused, Unreachable
from coordinator_client.profiles import coordinator_url, is_token
from pipelines.errors import DefinitionError


def client_of(arguments: argparse.Namespace) -> Client:
    """Return a client of the tenant and with the token of the options, or of the environment.

    Raises ``DefinitionError`` MISSING_OPTION, and ``ClientError`` if the URL is not valid.
    """
    url, tenant = _required(arguments, "url"), _required(arguments, "tenant")
    return Client(Connection(coordinator_url(url), tenant, _token(arguments)))


def variable(name: str) -> str:
    """Return what ``PIPELINES_…`` contains, or else ``COORDINATOR_…``.

    If PIPELINES_URL is set, only the former, so that no token is sent to a coordinator for which it is not meant.
    """
    found = os.environ.get(f"PIPELINES_{name}", "")
    return found if found or os.environ.get("PIPELINES_URL") else os.environ.get(f"COORDINATOR_{name}", "")


def _required(arguments: argparse.Namespace, name: str) -> str:
    value: str = getattr(arguments, name) or variable(name.upper())
    if not value:
        raise DefinitionError("MISSING_OPTION", f"set --{name} or COORDINATOR_{name.upper()}")
    return value


def _token(arguments: argparse.Namespace) -> str:
    try:
        file = arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("MISSING_OPTION", f"--token-file cannot be read: {type(error).__name__}") from error
    token: str = file or getattr(arguments, "token", None) or variable("TOKEN")
    if not is_token(token):
        raise DefinitionError("MISSING_OPTION", "set --token-file FILE or COORDINATOR_TOKEN")
    return token


def of_client(error: ClientError) -> DefinitionError:
    """Return the error that says why a call of the coordinator failed.

    Its code is COORDINATOR_REFUSED, COORDINATOR_UNREACHABLE, or INVALID_URL if no request was made.
    """
    if isinstance(error, Refused):
        text = "\n".join([f"{error.status} {error.code} {error.detail}", *error.fields]) if error.code else str(error)
        return DefinitionError("COORDINATOR_REFUSED", text)
    return DefinitionError("COORDINATOR_UNREACHABLE" if isinstance(error, Unreachable) else "INVALID_URL", str(error))
