"""Says which failed executions of a release can continue on another release, and why the others cannot.

It asks the rule of a resubmission (`governance.resubmission.starts`) about each execution. Whether the other release
accepts executions now is a separate answer, which may change before a campaign starts.
"""

import re
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Final, Self

from django.db.models import Q, QuerySet

from executions.errors import InputInvalid
from executions.lifecycle import replacements
from executions.models import AwaitUnit, Execution
from executions.models.states import State
from executions.submission.admission import Admission
from foundation.errors import CoordinatorError
from governance.reports.comparison import checkpoint_differences
from governance.resubmission import resubmission
from governance.resubmission.starts import Known, Place, Start
from releases.models import Release

MOST_CHECKED: Final = 300
GROUP: Final = 50
"""How many inputs and checkpoints are in memory at the same time."""
REASONS_SHOWN: Final = 20
NO_CHECKPOINT: Final = "No checkpoint is stored, so there is no step after which it can continue."


class Verdict(StrEnum):
    """Where a failed execution can start on the other release: after its checkpoint, with its input, or nowhere."""

    CHECKPOINT = "checkpoint"
    INPUT = "input"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why executions cannot continue from their checkpoints, or not at all. `example` is one of them."""

    text: str
    count: int
    example: uuid.UUID


@dataclass(frozen=True, slots=True)
class Group:
    """The executions with one verdict, and the most frequent reasons."""

    verdict: Verdict
    executions: tuple[uuid.UUID, ...]
    reasons: tuple[Reason, ...]

    @property
    def count(self) -> int:
        return len(self.executions)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
POSITION: Final = "^([0-9]{1,17})-([0-9a-f]{32})$"
"""The pattern of the text of a position."""
LONGEST_POSITION: Final = 50


@dataclass(frozen=True, slots=True)
class Position:
    """The last failed execution that a check read, by the time when it failed. The next check continues after it.

    It stays valid if the execution is run again or removed.
    """

    failed_at: datetime
    execution: uuid.UUID

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the position that `str` wrote; None if `text` is no position."""
        match = re.fullmatch(POSITION, text)
        return cls(_EPOCH + int(match[1]) * _MICROSECOND, uuid.UUID(match[2])) if match else None

    def __str__(self) -> str:
        return f"{(self.failed_at - _EPOCH) // _MICROSECOND}-{self.execution.hex}"

    @property
    def later(self) -> Q:
        return Q(finished_at__gt=self.failed_at) | Q(finished_at=self.failed_at, pk__gt=self.execution)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The verdicts on failed executions of a release whose work no other execution carries on.

    `checked` is how many were checked. If there are more, `next` is where the next check continues. `waits` says why
    the target accepts no executions now, so that a campaign would wait; "" if it accepts them.
    """

    target: Release
    checked: int
    next: Position | None
    waits: str
    groups: tuple[Group, ...]

    @property
    def is_complete(self) -> bool:
        return self.next is None

    def of(self, verdict: Verdict) -> Group:
        return next(group for group in self.groups if group.verdict is verdict)


def continuation(
    release: Release, target: Release, after: Position | None = None, *, most: int = MOST_CHECKED
) -> Continuation:
    """Return which failed executions of `release` can continue on `target`.

    Checks at most `most` executions: those that failed first after the position. Makes a bounded number of queries,
    which read inputs and checkpoints. The contracts are compared once for each step.
    """
    left = unresolved(release, after).order_by("finished_at", "pk").values_list("finished_at", "pk")
    failed = [Position(failed_at, key) for failed_at, key in left[: most + 1] if failed_at]
    checked = [failure.execution for failure in failed[:most]]
    admitted = Admission(target, target.pipeline.activation_id, is_named=True)
    compared = cache(checkpoint_differences)
    by_verdict: defaultdict[Verdict, list[uuid.UUID]] = defaultdict(list)
    reasons: dict[Verdict, dict[str, list[uuid.UUID]]] = {verdict: defaultdict(list) for verdict in Verdict}
    units = AwaitUnit.objects.filter(execution__in=checked).values_list("execution_id", "step_index")
    known = Known(set(units.distinct()), compared)
    for start in range(0, len(checked), GROUP):
        for key, verdict, reason in _judged(checked[start : start + GROUP], release, admitted, known):
            by_verdict[verdict].append(key)
            if reason:
                reasons[verdict][reason].append(key)
    groups = tuple(Group(verdict, tuple(by_verdict[verdict]), _most_frequent(reasons[verdict])) for verdict in Verdict)
    following = failed[most - 1] if len(failed) > most else None
    return Continuation(target, len(checked), following, _why_it_waits(target), groups)


def unresolved(release: Release, after: Position | None = None) -> QuerySet[Execution]:
    """Return the failed executions of the release whose work no other one carries on, without smoke tests."""
    failed = Execution.objects.filter(release=release, status__in=(State.FAILED, State.DLQ))
    failed = failed.filter(after.later if after else Q(), tenant=release.pipeline.tenant, smoke=False)
    return replacements.not_replaced(failed)


def _why_it_waits(target: Release) -> str:
    """Return why a resubmission to the release would be refused now; "" if it would not."""
    pipeline = target.pipeline
    try:
        resubmission.target(pipeline.tenant, pipeline.pipeline_id, target.release_version).require_runnable()
    except CoordinatorError as refusal:
        return refusal.detail
    return ""


def _judged(
    keys: list[uuid.UUID], release: Release, target: Admission, known: Known
) -> list[tuple[uuid.UUID, Verdict, str]]:
    rows = Execution.objects.filter(pk__in=keys).select_related("wire_form").defer("result").in_bulk()
    judged = []
    for key in keys:
        old = rows.get(key)
        if old is not None:
            old.release = release  # with its contract
            judged.append((key, *_judge(old, target, known)))
    return judged


def _judge(old: Execution, target: Admission, known: Known) -> tuple[Verdict, str]:
    why_not = NO_CHECKPOINT
    place = Place.of(old, Start.CHECKPOINT) if old.progress_shape is not None else None
    if place is not None:
        refusals = place.refusals(old, target, known)
        if not refusals:
            return Verdict.CHECKPOINT, ""
        why_not = f"{refusals[0]['field']}: {refusals[0]['message']}"
    try:
        target.input_shape(old.input, resubmission.chosen_shape(old))
    except InputInvalid as refusal:
        return Verdict.NEITHER, f"{refusal.errors[0]['field']}: {refusal.errors[0]['message']}"
    return Verdict.INPUT, why_not


def _most_frequent(reasons: dict[str, list[uuid.UUID]]) -> tuple[Reason, ...]:
    counted = [Reason(text, len(keys), keys[0]) for text, keys in reasons.items()]
    return tuple(sorted(counted, key=lambda reason: (-reason.count, reason.text))[:REASONS_SHOWN])
