"""Exit statuses, and the error that ends a command with one of them."""

from enum import IntEnum

from coordinator_client.errors import ClientError, Refused, Unreachable


class Exit(IntEnum):
    """The exit statuses of all commands. Scripts may depend on them. `docs/command-line.md` describes them."""

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
    """Return the exit status for an error."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, Refused):
        other = Exit.REFUSED if 400 <= error.status < 500 else Exit.UNREACHABLE
        return _BY_HTTP_STATUS.get(error.status, other)
    return Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.USAGE
