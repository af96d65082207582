"""Says which failed executions of a release can continue on another release, and why the others cannot.

It asks the rule of a resubmission (ADR 55) about each execution. It does not ask whether the other release accepts
executions now: that may change before a campaign starts.
"""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from executions.errors import InputInvalid
from executions.models import AwaitUnit, Execution, Resubmission
from executions.models.states import State
from executions.submission.admission import Admission
from governance.resubmission.resubmission import chosen_shape
from governance.resubmission.starts import Place, Start
from releases.models import Release

MOST_CHECKED: Final = 500
"""How many executions are checked: those that failed first."""
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


@dataclass(frozen=True, slots=True)
class Continuation:
    """The verdicts on the failed executions of a release that were not resubmitted since they failed.

    `checked` is how many were checked. If it is not complete, there are more.
    """

    target: Release
    checked: int
    is_complete: bool
    groups: tuple[Group, ...]

    def of(self, verdict: Verdict) -> Group:
        return next(each for each in self.groups if each.verdict is verdict)


def continuation(release: Release, target: Release) -> Continuation:
    """Return which failed executions of `release` can continue on `target`. Checks at most MOST_CHECKED of them.

    Makes a bounded number of queries, which read inputs and checkpoints.
    """
    keys = list(_unresolved(release).order_by("finished_at", "pk").values_list("pk", flat=True)[: MOST_CHECKED + 1])
    checked = keys[:MOST_CHECKED]
    admitted = Admission(target, target.pipeline.activation_id, is_named=True)
    found: defaultdict[Verdict, list[uuid.UUID]] = defaultdict(list)
    reasons: dict[Verdict, dict[str, list[uuid.UUID]]] = {verdict: defaultdict(list) for verdict in Verdict}
    for start in range(0, len(checked), GROUP):
        for key, verdict, reason in _judged(checked[start : start + GROUP], release, admitted):
            found[verdict].append(key)
            if reason:
                reasons[verdict][reason].append(key)
    groups = tuple(Group(verdict, tuple(found[verdict]), _most_frequent(reasons[verdict])) for verdict in Verdict)
    return Continuation(target, len(checked), len(keys) == len(checked), groups)


def _unresolved(release: Release) -> QuerySet[Execution]:
    resubmitted = Resubmission.objects.filter(execution=OuterRef("pk"), execution_version=OuterRef("version"))
    failed = Execution.objects.filter(~Exists(resubmitted), release=release, status__in=(State.FAILED, State.DLQ))
    return failed.filter(tenant=release.pipeline.tenant, smoke=False)


def _judged(keys: list[uuid.UUID], release: Release, target: Admission) -> list[tuple[uuid.UUID, Verdict, str]]:
    rows = Execution.objects.filter(pk__in=keys).select_related("wire_form").defer("result").in_bulk()
    units = AwaitUnit.objects.filter(execution__in=keys).values_list("execution_id", "step_index")
    awaited = set(units.distinct())
    judged = []
    for key in keys:
        old = rows.get(key)
        if old is not None:
            old.release = release  # with its contract
            judged.append((key, *_judge(old, target, awaited)))
    return judged


def _judge(old: Execution, target: Admission, awaited: set[tuple[uuid.UUID, int]]) -> tuple[Verdict, str]:
    why_not = NO_CHECKPOINT
    place = Place.of(old, Start.CHECKPOINT) if old.progress_shape is not None else None
    if place is not None:
        refusals = place.refusals(old, target, awaited)
        if not refusals:
            return Verdict.CHECKPOINT, ""
        why_not = f"{refusals[0]['field']}: {refusals[0]['message']}"
    try:
        target.input_shape(old.input, chosen_shape(old))
    except InputInvalid as refusal:
        return Verdict.NEITHER, f"{refusal.errors[0]['field']}: {refusal.errors[0]['message']}"
    return Verdict.INPUT, why_not


def _most_frequent(reasons: dict[str, list[uuid.UUID]]) -> tuple[Reason, ...]:
    found = [Reason(text, len(keys), keys[0]) for text, keys in reasons.items()]
    return tuple(sorted(found, key=lambda each: (-each.count, each.text))[:REASONS_SHOWN])
