"""A model of the states of an execution in plain Python. It shares no code with the product."""

import uuid
from dataclasses import dataclass, field
from typing import Any

RETRIES, TAKEOVERS = 2, 1
OVER = {"SUCCEEDED", "FAILED", "DLQ", "CANCELLED"}


@dataclass
class Unit:
    """An await unit. `answers` contains the first answer of each interaction, or None while it is open."""

    status: str
    answers: dict[uuid.UUID, Any]


@dataclass
class Model:
    """An execution that follows the diagram of states in docs/architecture.md."""

    pin: str
    state: str = "QUEUED"
    version: int = 0
    step: int = 0
    first_step: int = 0
    """The first step of the newest command."""
    attempt: int = 0
    retries: int = 0
    """Retries of the current budget."""
    takeovers: int = 0
    """Consecutive lost leases without progress in between."""
    due: bool = True
    lease: uuid.UUID | None = None
    unit: uuid.UUID | None = None
    history: list[str] = field(default_factory=lambda: ["QUEUED"])
    """The status after each event."""
    units: dict[uuid.UUID, Unit] = field(default_factory=dict)
    letters: list[tuple[int, str, str]] = field(default_factory=list)
    """Version, terminal state and reason of each terminal failure."""
    keys: list[tuple[int, int]] = field(default_factory=list)
    """Step and attempt of each recorded outcome."""

    def move(self, state: str) -> None:
        self.state, self.version, self.lease, self.due = state, self.version + 1, None, state == "QUEUED"
        if state != "WAITING_EXTERNAL":
            self.unit = None
        self.history.append(state)

    def claimed(self, lease: uuid.UUID) -> None:
        assert self.state in {"QUEUED", "WAIT_RETRY"}
        assert self.due
        self.move("RUNNING")
        self.lease = lease
        self.first_step = self.step

    def recorded(self, kind: str) -> None:
        """Apply an outcome of the holder of the lease."""
        assert self.state == "RUNNING"
        self.keys.append((self.first_step, self.attempt))
        self.takeovers = 0
        if kind == "completed":
            self.move("SUCCEEDED")
        elif kind.startswith("asks"):
            self.move("WAITING_EXTERNAL")
        elif kind == "not retryable" or self.retries == RETRIES:
            self.end("FAILED" if kind == "not retryable" else "DLQ")
        else:
            self.retries += 1
            self.attempt += 1
            self.move("WAIT_RETRY")

    def reached(self) -> None:
        """Apply a checkpoint. The next command starts after it; the current one continues."""
        self.step += 1
        self.takeovers = 0
        self.history.append(self.state)

    def end(self, state: str, reason: str | None = None) -> None:
        self.move(state)
        reason = reason or {"FAILED": "non_retryable", "DLQ": "retry_exhausted"}[state]
        self.letters.append((self.version, state, reason))

    def lost_lease(self) -> None:
        is_last = self.takeovers == TAKEOVERS
        self.takeovers += 1
        if is_last:
            self.end("DLQ", "leases_lost")
        else:
            self.move("QUEUED")

    def parked(self, unit: uuid.UUID, interactions: list[uuid.UUID]) -> None:
        self.unit = unit
        self.units[unit] = Unit("WAITING_EXTERNAL", dict.fromkeys(interactions))

    def answered(self, interaction: uuid.UUID, answer: Any) -> None:
        assert self.unit is not None
        unit = self.units[self.unit]
        unit.answers[interaction] = answer
        if None not in unit.answers.values():
            unit.status = "COMPLETED"
            self.step += 1
            self.takeovers = 0
            self.move("QUEUED")

    def timed_out(self) -> None:
        assert self.unit is not None
        self.units[self.unit].status = "TIMED_OUT"
        self.end("FAILED", "await_timeout")

    def cancelled(self) -> None:
        if self.unit is not None:
            self.units[self.unit].status = "CANCELLED"
        self.move("CANCELLED")

    def redriven(self) -> None:
        self.attempt += 1
        self.retries = self.takeovers = 0
        self.move("QUEUED")
