"""Exit statuses, and the error that ends a command with one of them."""

from enum import IntEnum


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


MEANING: dict[Exit, str] = {
    Exit.OK: "The command did what it says.",
    Exit.NEGATIVE: "The answer is negative: the execution failed, the release was rejected or may not be activated, "
    "a check found changes or a part that is down.",
    Exit.USAGE: "The arguments, the configuration or a file is not valid (400), or the confirmation is missing. "
    "Nothing changed.",
    Exit.REFUSED: "The coordinator refused the request because of the present state (409, 412, 413, 422).",
    Exit.DENIED: "The token is not valid, or does not allow the request (401, 403).",
    Exit.NOT_FOUND: "There is no such object in the tenant (404, 410).",
    Exit.UNREACHABLE: "The coordinator cannot be reached, failed (5xx), or sent no valid response.",
    Exit.LIMITED: "There were too many requests (429). Try again later.",
    Exit.OVERDUE: "The time of `--timeout` is over. What the command waits for continues.",
    Exit.INTERRUPTED: "Ctrl-C.",
}

_BY_STATUS = {400: Exit.USAGE, 401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND, 410: Exit.NOT_FOUND}


class CommandError(Exception):
    """Ends a command with the exit status `status`. The message may contain untrusted text."""

    def __init__(self, message: str, status: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.status = status


class Refused(CommandError):
    """The coordinator refused a request, with the HTTP status `http_status` and the code of its problem document."""

    def __init__(self, message: str, http_status: int, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, exit_for(http_status))
        self.http_status = http_status
        self.code = code
        self.retry_after = retry_after


def exit_for(http_status: int) -> Exit:
    """Return the exit status for an unexpected HTTP status."""
    if http_status == 429:
        return Exit.LIMITED
    if 400 <= http_status < 500:
        return _BY_STATUS.get(http_status, Exit.REFUSED)
    return Exit.UNREACHABLE
