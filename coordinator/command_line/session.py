"""What a command works with: the options that all commands share, the client and the output."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from coordinator.command_line import profiles
from coordinator.command_line.client import SECONDS, Client, Connection, Request
from coordinator.command_line.errors import CommandError, Exit, Refused
from coordinator.command_line.output import Columns, Form, Output
from coordinator.command_line.text import clean, flat, shown
from wire.web_address import is_web_address

TOLERATED_SECONDS: Final = 60.0
"""How long commands that wait tolerate a coordinator that cannot be reached."""
_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """The options that commands share. Commands that change nothing have no `dry_run` and `yes`."""

    profile: str = ""
    url: str = ""
    tenant: str = ""
    token: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    request_seconds: float = SECONDS
    output: Form = Form.TABLE
    watch: float = 0.0
    dry_run: bool = False
    yes: bool = False


class Session:
    """Calls the API for one command, and prints what it finds."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.output = Output(options.output)

    @cached_property
    def client(self) -> Client:
        return Client(connection(self.options))

    def list(self, columns: Columns, target: str, limit: int, **query: Any) -> None:
        """Print the first `limit` items of a list of the API."""
        self.output.items(columns, self.client.pages(target, query, limit))

    def show(self, target: str, **query: Any) -> dict[str, Any]:
        """Print one object of the API, and return it."""
        document = self.client.get(target, **query)
        self.output.document(document)
        return document

    def act(
        self, request: Request, question: str = "", *, show: bool = True, details: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Send a request that changes something, and return the response.

        With --dry-run, say which request would be sent, and return None. If there is a `question`, ask it first, with
        the `details`, unless --yes is given. Raises `CommandError` if the answer is no, or if there is no terminal.
        """
        if self.options.dry_run:
            self.announce(request)
            return None
        if question:
            self.confirm(question, details or {})
        document = self.client.call(request)
        if show:
            self.output.document(document)
        return document

    def announce(self, request: Request) -> None:
        """Print the request that would be sent."""
        told = {"method": request.method, "url": self.client.address(request), "body": request.body}
        if self.output.form is Form.JSON:
            self.output.value({"dryRun": told})
        else:
            self.output.text(f"would send {told['method']} {told['url']}")
            for name, value in flat(request.body) if request.body else ():
                self.output.text(f"  {clean(name)}  {shown(value)}")

    def confirm(self, question: str, details: Mapping[str, Any]) -> None:
        """Ask for a confirmation. Raises `CommandError` without one."""
        if self.options.yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError("this needs a confirmation, and there is no terminal to ask on; add --yes or --dry-run")
        for name, value in details.items():
            self.output.note(f"  {name}: {shown(value)}")
        sys.stderr.write(f"{clean(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandError("not confirmed; nothing was changed")

    def until(
        self, look: Callable[[], dict[str, Any] | None], timeout: float | None, pause: float = _POLL_SECONDS
    ) -> dict[str, Any]:
        """Call `look` until it returns something. Tolerate interruptions of TOLERATED_SECONDS, and limits of requests.

        Raises `CommandError` OVERDUE after `timeout` seconds.
        """
        start = reached = time.monotonic()
        while True:
            wait = pause
            try:
                if (found := look()) is not None:
                    return found
                reached = time.monotonic()
            except CommandError as error:
                if (
                    error.status not in {Exit.UNREACHABLE, Exit.LIMITED}
                    or time.monotonic() > reached + TOLERATED_SECONDS
                ):
                    raise
                wait = (
                    max(pause, min(getattr(error, "retry_after", None) or 0, 30))
                    if isinstance(error, Refused)
                    else pause
                )
            if timeout is not None and time.monotonic() + wait > start + timeout:
                raise CommandError(f"it is not over after {timeout:g} seconds", Exit.OVERDUE)
            time.sleep(wait)


def connection(options: Options) -> Connection:
    """Return the connection that options, environment and profile name, in this order.

    The token of a profile is sent to no other URL than that of the profile. Raises `CommandError`.
    """
    profile = profiles.read(profiles.location()).chosen(options.profile or os.environ.get("COORDINATOR_PROFILE", ""))
    url = (options.url or os.environ.get("COORDINATOR_URL", "") or profile.url).rstrip("/")
    tenant = options.tenant or os.environ.get("COORDINATOR_TENANT", "") or profile.tenant
    if not url or not tenant:
        raise CommandError("name the coordinator: --url and --tenant, or --profile, or run `coordinator login`")
    if not is_web_address(url) or "?" in url:
        raise CommandError("--url must be the http or https address of the coordinator")
    token = _own_token(options)
    if not token:
        if url != profile.url.rstrip("/"):
            raise CommandError("the token of a profile is for its own URL only; give --token-file or COORDINATOR_TOKEN")
        token = profile.token or (
            profiles.token_in(Path(profile.token_file).expanduser()) if profile.token_file else ""
        )
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CommandError(
            "there is no valid token: give --token-file or COORDINATOR_TOKEN, or run `coordinator login`"
        )
    return Connection(url, tenant, token, _authorities(options, profile), options.request_seconds)


def _own_token(options: Options) -> str:
    if options.token_file is not None:
        return profiles.token_in(options.token_file)
    return options.token or os.environ.get("COORDINATOR_TOKEN", "").strip()


def _authorities(options: Options, profile: profiles.Profile) -> str:
    file = options.ca_file or (Path(profile.ca_file) if profile.ca_file else None)
    return str(file.expanduser()) if file else ""


def operation_key() -> str:
    """Return a new operation key, which makes a request safe to repeat."""
    return secrets.token_hex(16)
