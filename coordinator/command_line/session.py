"""What a command works with: the options that all commands share, the client and the output."""

import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

from coordinator.command_line.errors import CommandError, Exit, exit_of
from coordinator.command_line.output import Form, Output, clean, flat, shown
from coordinator_client import profiles
from coordinator_client.api import Client, Request
from coordinator_client.errors import ClientError, Refused

TOLERATED_SECONDS: Final = 60.0
"""How long commands that wait tolerate a coordinator that cannot be reached."""
_POLL_SECONDS: Final = 1.0
OWN: Final = ("output", "watch", "dry_run", "yes")
"""Shared options that do not name the connection."""


class Session:
    """Calls the API for one command, and prints what it finds. `options` are those that commands share, if it has them.

    They are those of `profiles.connection`, and OWN.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._connection = {name: value for name, value in options.items() if name not in OWN}
        self.output = Output(options.get("output", Form.TABLE))
        self.watch: float = options.get("watch", 0.0)
        self.dry_run: bool = options.get("dry_run", False)
        self.is_confirmed: bool = options.get("yes", False)

    @cached_property
    def client(self) -> Client:
        return Client(profiles.connection(**self._connection))

    def list(self, columns: str, request: Request, limit: int) -> None:
        """Print the first `limit` items of a list of the API."""
        self.output.items(columns, self.client.pages(request.path, request.query, limit))

    def show(self, request: Request) -> dict[str, Any]:
        """Print one object of the API, and return it."""
        document = self.client.call(request)
        self.output.document(document)
        return document

    def act(
        self, request: Request, question: str = "", *, show: bool = True, details: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Send a request that changes something, and return the response.

        With --dry-run, say which request would be sent, and return None. If there is a `question`, ask it first, with
        the `details`, unless --yes is given. Raises `CommandError` if the answer is no, or if there is no terminal.
        """
        if self.dry_run:
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
        if self.is_confirmed:
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
            except ClientError as error:
                is_passing = exit_of(error) in {Exit.UNREACHABLE, Exit.LIMITED}
                if not is_passing or time.monotonic() > reached + TOLERATED_SECONDS:
                    raise
                if isinstance(error, Refused) and error.retry_after:
                    wait = max(pause, min(error.retry_after, 30))
            if timeout is not None and time.monotonic() + wait > start + timeout:
                raise CommandError(f"it is not over after {timeout:g} seconds", Exit.OVERDUE)
            time.sleep(wait)
