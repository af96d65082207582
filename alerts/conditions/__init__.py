"""What the rules look for: one function for each kind. Each statement has a time limit."""

from collections.abc import Callable, Mapping
from typing import Final

from alerts.conditions import activations, artifacts, failures, questions, work
from alerts.conditions.finding import MOST_FOUND, Finding, Look
from alerts.kinds import Kind

__all__ = ["CONDITIONS", "MOST_FOUND", "Finding", "Look"]

CONDITIONS: Final[Mapping[Kind, Callable[[Look], list[Finding]]]] = {
    Kind.NEW_FAILURE_GROUP: failures.new_groups,
    Kind.FAILURE_RATE: failures.rates,
    Kind.STRANDED: work.stranded,
    Kind.AWAIT_DEADLINE: questions.near_deadlines,
    Kind.BLOB_DAMAGED: artifacts.damaged,
    Kind.WORKER_LOST: work.lost_workers,
    Kind.APPROVAL_WANTED: activations.wanted,
    Kind.GRADUAL_WITHDRAWN: activations.withdrawn,
    Kind.SCHEDULE_MISSED: work.late,
}
