"""What becomes of one execution by which event, in plain Python: no word of it is the product's."""

import uuid
from dataclasses import dataclass, field
from typing import Any

RETRIES, TAKEOVERS = 2, 1
OVER = {"SUCCEEDED", "FAILED", "DLQ", "CANCELLED"}


@dataclass
class Unit:
    """What an execution waits for: interactions that are open, or answered with the first answer that came."""

    status: str
    answers: dict[uuid.UUID, Any]


@dataclass
class Model:
    """One execution, by the diagram of states in docs/architecture.md."""

    pin: str
    state: str = "QUEUED"
    version: int = 0
    step: int = 0
    begun: int = 0
    """The step that the newest command starts from."""
    attempt: int = 0
    retries: int = 0
    """Of the present budget."""
    takeovers: int = 0
    """Leases lost in a row, without progress in between."""
    due: bool = True
    lease: uuid.UUID | None = None
    unit: uuid.UUID | None = None
    history: list[str] = field(default_factory=lambda: ["QUEUED"])
    """The status that each event left behind."""
    units: dict[uuid.UUID, Unit] = field(default_factory=dict)
    letters: list[tuple[int, str, str]] = field(default_factory=list)
    """Version, terminal state and reason of each terminal failure."""
    keys: list[tuple[int, int]] = field(default_factory=list)
    """Step and attempt of each outcome that counted."""

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
        self.begun = self.step

    def recorded(self, kind: str) -> None:
        """An outcome of the lease's holder."""
        assert self.state == "RUNNING"
        self.keys.append((self.begun, self.attempt))
        self.takeovers = 0
        if kind == "completed":
            self.move("SUCCEEDED")
        elif kind.startswith("asks"):
            self.move("WAITING_EXTERNAL")
        elif kind == "hopeless" or self.retries == RETRIES:
            self.end("FAILED" if kind == "hopeless" else "DLQ")
        else:
            self.retries += 1
            self.attempt += 1
            self.move("WAIT_RETRY")

    def reached(self) -> None:
        """A checkpoint: the next command starts after it, and this one goes on."""
        self.step += 1
        self.takeovers = 0
        self.history.append(self.state)

    def end(self, state: str, reason: str | None = None) -> None:
        self.move(state)
        reason = reason or {"FAILED": "non_retryable", "DLQ": "retry_exhausted"}[state]
        self.letters.append((self.version, state, reason))

    def lost_lease(self) -> None:
        hopeless = self.takeovers == TAKEOVERS
        self.takeovers += 1
        if hopeless:
            self.end("DLQ", "leases_lost")
        else:
            self.move("QUEUED")

    def parked(self, unit: uuid.UUID, asked: list[uuid.UUID]) -> None:
        self.unit = unit
        self.units[unit] = Unit("WAITING_EXTERNAL", dict.fromkeys(asked))

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
