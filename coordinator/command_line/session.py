"""What a command works with: the options that all commands share, the client, the output, and the exit statuses."""

import sys
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cached_property
from typing import Any, Final

from coordinator.command_line.documents import label
from coordinator.command_line.output import Form, Output
from coordinator.command_line.texts import clean, shown
from coordinator_client import profiles
from coordinator_client.api import Client, Request
from coordinator_client.errors import ClientError, Refused, Unreachable
from coordinator_client.standard_output import READER_ENDED


class Exit(IntEnum):
    """The exit statuses of all commands. Scripts may depend on them."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    REFUSED = 3
    DENIED = 4
    NOT_FOUND = 5
    UNREACHABLE = 6
    LIMITED = 7
    OVERDUE = 8
    INTERRUPTED = 130


MEANINGS: Final[Mapping[int, str]] = {
    Exit.OK: "The command did what it says.",
    Exit.NEGATIVE: "The answer is negative. An execution failed, a release was rejected, or a check found something.",
    Exit.USAGE: "An argument, the configuration or a file is not valid, or a confirmation is missing. Nothing changed.",
    Exit.REFUSED: "The coordinator refused the request because of the present state.",
    Exit.DENIED: "The token is not valid, or does not allow the request.",
    Exit.NOT_FOUND: "There is no such object in the tenant.",
    Exit.UNREACHABLE: "The coordinator cannot be reached, failed, or sent no valid response.",
    Exit.LIMITED: "There were too many requests. Try again later.",
    Exit.OVERDUE: "The time of `--timeout` is over. What the command waits for continues.",
    Exit.INTERRUPTED: "Ctrl-C ended the command.",
    READER_ENDED: "The reader of the output ended, such as `head -1`.",
}
"""What each exit status means."""

_BY_HTTP_STATUS = {
    400: Exit.USAGE,
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    410: Exit.NOT_FOUND,
    429: Exit.LIMITED,
}


class CommandError(ClientError):
    """Ends a command with the exit status `status`. The message may contain untrusted text."""

    def __init__(self, message: str, status: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.status = status


def exit_of(error: ClientError) -> Exit:
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, Refused):
        other = Exit.REFUSED if 400 <= error.status < 500 else Exit.UNREACHABLE
        return _BY_HTTP_STATUS.get(error.status, other)
    return Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.USAGE


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
        sent = {"method": request.method, "url": self.client.connection.address(request), "body": request.body}
        if self.output.form is Form.JSON:
            self.output.value({"dryRun": sent})
        else:
            self.output.text(f"would send {sent['method']} {sent['url']}")
            if request.body:
                self.output.document(request.body)

    def confirm(self, question: str, details: Mapping[str, Any]) -> None:
        """Ask for a confirmation. Raises `CommandError` without one."""
        if self.is_confirmed:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError("this needs a confirmation, and there is no terminal to ask on; add --yes or --dry-run")
        for name, value in details.items():
            self.output.note(f"  {label(name)}: {shown(value)}")
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
                if (seen := look()) is not None:
                    return seen
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
