"""The kinds of alert rules: what each is for, and its thresholds. Pure.

The form, the API, the pages and docs/reference/alerts.md show them. `alerts.conditions` has what each kind finds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import models


@dataclass(frozen=True, slots=True)
class Threshold:
    """A whole number that a rule has: its default, its limits, and what it means."""

    name: str
    default: int
    least: int
    most: int
    meaning: str


class Kind(models.TextChoices):
    NEW_FAILURE_GROUP = "newFailureGroup", "New failure group"
    FAILURE_RATE = "failureRate", "Failure rate"
    STRANDED = "stranded", "Stranded work"
    AWAIT_DEADLINE = "awaitDeadline", "Deadline of a question"
    BLOB_DAMAGED = "blobDamaged", "Damaged artifact"
    WORKER_LOST = "workerLost", "Lost worker"
    APPROVAL_WANTED = "approvalWanted", "Approval wanted"
    GRADUAL_WITHDRAWN = "gradualWithdrawn", "Gradual activation withdrawn"
    SCHEDULE_MISSED = "scheduleMissed", "Missed schedule"
    SCHEDULE_FAILED = "scheduleFailed", "Failed schedule"

    @property
    def purpose(self) -> str:
        """What the kind is for, in one sentence."""
        return _PURPOSES[self]

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        return _THRESHOLDS.get(self, ())

    @property
    def runbook(self) -> str:
        """The path of the runbook below the documentation."""
        name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.value)
        return f"runbooks/alerts/tenant-{name}.md"


_DAY = 24 * 60
_PURPOSES: Final[Mapping[Kind, str]] = {
    Kind.NEW_FAILURE_GROUP: "Executions fail for a cause that is not acknowledged.",
    Kind.FAILURE_RATE: "Too many executions of a pipeline fail.",
    Kind.STRANDED: "Due work waits because no worker may run its release.",
    Kind.AWAIT_DEADLINE: "Questions reach their deadline soon and have no answer.",
    Kind.BLOB_DAMAGED: "Stored bytes that a release pins are damaged or missing.",
    Kind.WORKER_LOST: "A worker sends no heartbeats and did not stop.",
    Kind.APPROVAL_WANTED: "A request to activate a release waits for votes.",
    Kind.GRADUAL_WITHDRAWN: "The coordinator withdrew the candidate of a gradual activation.",
    Kind.SCHEDULE_MISSED: "A planned activation is late, or due work waits although a worker is alive.",
    Kind.SCHEDULE_FAILED: "Times of a schedule were refused or missed, so they have no executions.",
}
_THRESHOLDS: Final[Mapping[Kind, tuple[Threshold, ...]]] = {
    Kind.FAILURE_RATE: (
        Threshold("percent", 20, 1, 100, "the share of executions that fail"),
        Threshold("minutes", 15, 2, _DAY, "the time that is looked at"),
        Threshold("minimum", 20, 1, 1_000_000, "how many executions must have ended in that time"),
    ),
    Kind.STRANDED: (Threshold("minutes", 5, 0, _DAY, "for how long work must be stranded"),),
    Kind.AWAIT_DEADLINE: (Threshold("minutes", 60, 1, 30 * _DAY, "how long before the deadline"),),
    Kind.WORKER_LOST: (Threshold("minutes", 2, 0, _DAY, "for how long a worker must be silent"),),
    Kind.APPROVAL_WANTED: (Threshold("minutes", 0, 0, 30 * _DAY, "for how long a request must be open"),),
    Kind.SCHEDULE_MISSED: (Threshold("minutes", 10, 1, _DAY, "how late work must be"),),
    Kind.SCHEDULE_FAILED: (
        Threshold("minutes", _DAY, 1, 30 * _DAY, "the time that is looked at"),
        Threshold("minimum", 1, 1, 1000, "how many times must have been refused or missed in that time"),
    ),
}
NAMES: Final = tuple(dict.fromkeys(threshold.name for kind in Kind for threshold in kind.thresholds))
"""The names of all thresholds."""


def wrong_thresholds(kind: Kind, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with `given`: a rule by the name of each wrong threshold. Empty if it is valid."""
    known = {threshold.name: threshold for threshold in kind.thresholds}
    wrong = {name: f"is no threshold of {kind.value}" for name in given if name not in known}
    for name, threshold in known.items():
        value = given.get(name, threshold.default)
        if not isinstance(value, int) or isinstance(value, bool) or not threshold.least <= value <= threshold.most:
            wrong[name] = f"must be a whole number from {threshold.least} to {threshold.most}"
    return wrong


def complete(kind: Kind, given: Mapping[str, int]) -> dict[str, int]:
    """Return all thresholds of a rule, with the defaults of those that `given` does not name."""
    return {threshold.name: given.get(threshold.name, threshold.default) for threshold in kind.thresholds}
