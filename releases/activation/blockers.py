"""What still needs a release, so that it cannot be retired."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from django.db.models import Exists, OuterRef, Q

from releases.activation import skew
from releases.models import GradualActivation, Pipeline, Release


class Kind(StrEnum):
    """Why a release is needed.

    It is active or open to callers, a request to activate it collects approvals or waits for its time, a gradual
    activation of it is running, its executions have not ended, or they may still be re-driven.
    """

    ACTIVE = "ACTIVE"
    SKEW_GRACE = "SKEW_GRACE"
    APPROVAL = "APPROVAL"
    SCHEDULE = "SCHEDULE"
    GRADUAL = "GRADUAL"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    WAITING = "WAITING"
    FAILED = "FAILED"
    DEAD_LETTERED = "DEAD_LETTERED"
    CAMPAIGN = "CAMPAIGN"


FAILURES = frozenset({Kind.FAILED, Kind.DEAD_LETTERED})
"""The kinds that a retirement may give up."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A kind of rows that need the release, and their number, which is at least 1."""

    kind: Kind
    count: int


# The requests of this app, and apps above it, add functions that return blockers, for example about the executions of
# the release. A function reads all its counts from one snapshot, so that a row that changes its state is never missed.
blocker_sources: list[Callable[[Release], list[Blocker]]] = []


def blockers(release: Release) -> list[Blocker]:
    """Return everything that needs the release now."""
    running = GradualActivation.objects.filter(pipeline=OuterRef("pk"), status=GradualActivation.Status.RUNNING)
    takes_part = Exists(running.filter(Q(baseline=release) | Q(candidate=release)))
    pipelines = Pipeline.objects.annotate(is_active=Q(activation__release=release), is_gradual=takes_part)
    is_active, is_gradual = pipelines.values_list("is_active", "is_gradual").get(pk=release.pipeline_id)
    own = [Blocker(Kind.ACTIVE, 1)] if is_active else []
    if is_gradual:
        own.append(Blocker(Kind.GRADUAL, 1))
    if skew.opening(release).is_in_grace:
        own.append(Blocker(Kind.SKEW_GRACE, 1))
    return [*own, *(blocker for source in blocker_sources for blocker in source(release))]
