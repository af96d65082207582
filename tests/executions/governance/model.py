"""A model of the governance of one pipeline in plain Python: its policy, its history and its releases.

It is written from docs/policies.md and docs/runbooks, and shares no code with the product. Times are hours, and pass
only by `time_passes` of the machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

VERSIONS = ("1.0", "2.0", "3.0", "4.0")
POLICY: dict[str, Any] = {
    "reasonRequired": False,
    "workerGate": "off",
    "approvals": 0,
    "emergencyOverride": False,
    "smokeTestHours": None,
    "skewGraceMinutes": 0,
}
ROLLBACK_HOURS = 30 * 24
SWITCHES = {"activation", "rollback", "promotion"}


class Refused(Exception):
    """The documents refuse an operation for each of these reasons. They do not say which one is reported."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = set(codes)


@dataclass
class Row:
    """A row of the history of activations. Requests and gradual activations are named by their number."""

    kind: str
    release: str
    previous: str | None
    at: float
    candidate: str | None = None
    share: float | None = None
    gradual: int | None = None
    override: bool = False
    request: int | None = None
    key: str | None = None


@dataclass
class Gradual:
    """A gradual activation. `tags` name the executions that all get the candidate."""

    baseline: str
    candidate: str
    shares: tuple[float, ...]
    tags: tuple[str, ...]
    step: int = 0
    status: str = "RUNNING"
    cause: str | None = None

    def end(self, status: str, cause: str) -> None:
        self.status, self.cause = status, cause


@dataclass
class Base:
    """The state that all parts of the model share. `holds` says of each paused target if it refuses submissions."""

    now: float = 0
    policy: dict[str, Any] = field(default_factory=lambda: dict(POLICY))
    rows: list[Row] = field(default_factory=list)
    graduals: list[Gradual] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=lambda: dict.fromkeys(VERSIONS, "REGISTERED"))
    workers: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(VERSIONS, True))
    holds: dict[str, bool] = field(default_factory=dict)
    passed: dict[str, float] = field(default_factory=dict)
    """When each release passed its newest smoke test."""

    @property
    def active(self) -> str | None:
        return self.rows[-1].release if self.rows else None

    @property
    def running(self) -> Gradual | None:
        return next((each for each in self.graduals if each.status == "RUNNING"), None)

    def was_active_lately(self, version: str) -> bool:
        """True if another release replaced `version` in the last 30 days."""
        since = self.now - ROLLBACK_HOURS
        return any(row.previous == version != row.release and row.at >= since for row in self.rows)

    def is_open(self, version: str) -> bool:
        """True if callers that name the release get it."""
        candidate = self.running.candidate if self.running else None
        if version in {self.active, candidate}:
            return True
        replaced = [row.at for row in self.rows if row.previous == version != row.release]
        return bool(replaced) and replaced[-1] + self.policy["skewGraceMinutes"] / 60 > self.now

    def is_in_grace(self, version: str) -> bool:
        candidate = self.running.candidate if self.running else None
        return self.is_open(version) and version not in {self.active, candidate}

    def kind_of(self, version: str) -> str:
        """Return what an activation of `version` is."""
        was_active = any(row.release == version for row in self.rows)
        return "rollback" if was_active and version != self.active else "activation"

    def gates(self, version: str, kind: str, *, override: bool = False, approved: bool = False) -> Iterator[str]:
        """Yield the refusal of each gate that is unmet. `approved` says that a request has the approvals."""
        is_recent_rollback = kind == "rollback" and self.was_active_lately(version)
        if self.policy["workerGate"] == "require" and not self.workers[version]:
            yield "WORKER_REQUIRED"
        hours = self.policy["smokeTestHours"]
        if hours is not None and not is_recent_rollback and self.passed.get(version, -1e9) < self.now - hours:
            yield "SMOKE_TEST_REQUIRED"
        if override and not self.policy["emergencyOverride"]:
            yield "OVERRIDE_NOT_ALLOWED"
        if self.policy["approvals"] and not (approved or override or is_recent_rollback):
            yield "APPROVAL_REQUIRED"

    def require_registered(self, version: str) -> Iterator[str]:
        if self.statuses[version] != "REGISTERED":
            yield "RELEASE_NOT_REGISTERED"

    def require_reason(self, reason: str, *, always: bool = False) -> Iterator[str]:
        if not reason and (always or self.policy["reasonRequired"]):
            yield "REASON_REQUIRED"

    def require_expected(self, expected: str | None) -> Iterator[str]:
        if expected is not None and expected != (self.active or ""):
            yield "ACTIVE_RELEASE_CHANGED"

    def row_of(self, key: str | None) -> Row | None:
        """Return the activation with this operation key."""
        return next((row for row in self.rows if key is not None and row.key == key), None)


@contextmanager
def refusals() -> Iterator[set[str]]:
    """Collect refusals in the block. Raise `Refused` at its end if there is one."""
    found: set[str] = set()
    yield found
    if found:
        raise Refused(*found)
