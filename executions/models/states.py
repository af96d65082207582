"""The states of an execution and its legal moves. Pure.

A trigger of the database enforces the same table, and a test compares the two.
"""

from enum import StrEnum


class State(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAIT_RETRY = "WAIT_RETRY"
    WAITING_EXTERNAL = "WAITING_EXTERNAL"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DLQ = "DLQ"
    CANCELLED = "CANCELLED"


MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.RUNNING: frozenset(
        {
            State.SUCCEEDED,
            State.WAITING_EXTERNAL,
            State.WAIT_RETRY,
            State.FAILED,
            State.DLQ,
            State.QUEUED,
            State.CANCELLED,
        }
    ),
    State.WAIT_RETRY: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
    State.WAITING_EXTERNAL: frozenset({State.QUEUED, State.FAILED, State.CANCELLED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.DLQ: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.CANCELLED: frozenset(),
}
DUE = frozenset({State.QUEUED, State.WAIT_RETRY})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.DLQ, State.CANCELLED})
NORMAL = "normal"
PRIORITIES: dict[str, int | None] = {"low": -1, NORMAL: None, "high": 1}
"""The value of `Execution.priority` for each name."""
PRIORITY_NAMES = {value: name for name, value in PRIORITIES.items()}
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""The error code of a transition that a worker may have carried out, although its outcome is unknown (ADR 74)."""
EXPIRED = "EXPIRED"
"""The error code of an execution that no worker got by the time that its submission named, and its event."""
