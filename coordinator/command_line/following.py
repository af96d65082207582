"""Follows executions to their end."""

from typing import Any, Final

from coordinator.command_line.client import cursor_of, items_of, path
from coordinator.command_line.errors import Exit
from coordinator.command_line.session import Session
from coordinator.command_line.spinner import spinner

EVENTS: Final = [
    ("AT", "at"),
    ("#", "sequence"),
    ("KIND", "kind"),
    ("STATUS", "status"),
    ("BY", "actor"),
    ("DATA", "data"),
]
ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "DLQ", "CANCELLED"})


def status_of(execution: dict[str, Any]) -> int:
    """Return the exit status for an execution that has ended."""
    return Exit.OK if execution.get("status") == "SUCCEEDED" else Exit.NEGATIVE


def wait(session: Session, execution_id: str, timeout: float | None) -> dict[str, Any]:
    """Return the execution when it has ended. Raises `CommandError`, OVERDUE after `timeout` seconds."""
    with spinner("waiting for the execution") as say:

        def ended() -> dict[str, Any] | None:
            found = session.client.get(path("executions", execution_id))
            say(f"{found.get('status')}, step {found.get('currentStepIndex')}, attempt {found.get('attempt')}")
            return found if found.get("status") in ENDED else None

        return session.until(ended, timeout, pause=0.5)


def wait_and_print(session: Session, execution_id: str, timeout: float | None) -> int:
    """Wait for the end of an execution. Print its result if it succeeds, and otherwise the execution."""
    ended = wait(session, execution_id, timeout)
    if ended.get("status") == "SUCCEEDED":
        session.output.value(session.client.get(path("executions", execution_id, "result")).get("result"))
    else:
        session.output.document(ended)
    return status_of(ended)


def tail(session: Session, execution_id: str, timeout: float | None) -> int:
    """Print each event once, as it happens, until the execution has ended."""
    events = _Events(session, path("executions", execution_id, "events"))

    def ended() -> dict[str, Any] | None:
        # The execution is read first: what it did before its end is then among the events.
        found = session.client.get(path("executions", execution_id))
        for event in events.new():
            session.output.line(event, EVENTS)
        return found if found.get("status") in ENDED else None

    return status_of(session.until(ended, timeout))


class _Events:
    """Reads the events of an execution, each once."""

    def __init__(self, session: Session, target: str) -> None:
        self._client = session.client
        self._target = target
        self._cursor: str | None = None
        self._last = -1

    def new(self) -> list[dict[str, Any]]:
        """Return the events that have been added since the last call."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._client.get(self._target, cursor=self._cursor, pageSize=500)
            found += [event for event in items_of(page) if self._is_new(event)]
            following = cursor_of(page)
            if following is None or following == self._cursor:
                return found
            self._cursor = following

    def _is_new(self, event: dict[str, Any]) -> bool:
        sequence = event.get("sequence")
        if not isinstance(sequence, int) or sequence <= self._last:
            return False
        self._last = sequence
        return True
