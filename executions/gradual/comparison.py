"""Compares the executions of a candidate with those of its baseline."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from django.db import connection

from executions.gradual import statements
from executions.gradual.statistics import fisher_exact, mann_whitney
from releases.activation.gradual.evidence import Evidence, Sample
from releases.activation.gradual.operations import plan_of
from releases.activation.gradual.plan import SAMPLES, Bounds
from releases.models import GradualActivation

Cause = GradualActivation.Cause
Ended = tuple[bool, float | None]
"""An execution that has ended: whether it failed, and its duration in seconds if that is comparable."""


def evidence(gradual: GradualActivation) -> Evidence:
    """Compare the candidate's executions of the current step with the baseline's since the start.

    Only the newest 1,000 of each count, so the baseline's are as recent as possible.
    """
    plan = plan_of(gradual)
    since = {gradual.candidate_id: gradual.step_started_at, gradual.baseline_id: gradual.started_at}
    ended = _ended(gradual, since)
    candidate, baseline = ended[gradual.candidate_id], ended[gradual.baseline_id]
    return compare(candidate, baseline, minimum=plan.steps[gradual.step].minimum_sample, bounds=plan.bounds)


def compare(candidate: Sequence[Ended], baseline: Sequence[Ended], *, minimum: int, bounds: Bounds) -> Evidence:
    """Compare two samples. A bound is crossed if the difference exceeds it and is significant.

    Failure rates are compared if the candidate has the minimum sample, durations if both have it.
    """
    ours, theirs = _sample(candidate), _sample(baseline)
    failures = durations = crossed = None
    if ours.timed >= minimum and theirs.timed >= minimum:
        durations = mann_whitney(_durations(candidate), _durations(baseline))
        if _is_slower(ours, theirs, bounds) and durations < bounds.significance:
            crossed = Cause.DURATION
    if ours.ended >= minimum:
        failures = fisher_exact(ours.failed, ours.ended, theirs.failed, theirs.ended)
        excess = ours.failure_rate - theirs.failure_rate
        if excess > bounds.failure_percentage_points and failures < bounds.significance:
            crossed = Cause.FAILURES
    return Evidence(ours, theirs, failures, durations, crossed)


def _is_slower(ours: Sample, theirs: Sample, bounds: Bounds) -> bool:
    assert ours.median_seconds is not None and theirs.median_seconds is not None  # noqa: S101, PT018 - both have values
    return ours.median_seconds > bounds.duration_factor * theirs.median_seconds


def _sample(ended: Sequence[Ended]) -> Sample:
    durations = _durations(ended)
    failed = sum(has_failed for has_failed, _ in ended)
    return Sample(len(ended), failed, len(durations), median(durations) if durations else None)


def _durations(ended: Sequence[Ended]) -> list[float]:
    return [seconds for _, seconds in ended if seconds is not None]


def _ended(gradual: GradualActivation, since: Mapping[int, datetime]) -> dict[int, list[Ended]]:
    """Return the newest executions of each release since its time."""
    parameters: dict[str, Any] = {
        "tenant": gradual.pipeline.tenant_id,
        "pipeline": gradual.pipeline_id,
        "releases": list(since),
        "since": list(since.values()),
        "until": gradual.ended_at,
        "limit": SAMPLES[1],
    }
    found: dict[int, list[Ended]] = {release: [] for release in since}
    with connection.cursor() as cursor:
        cursor.execute(statements.SAMPLES, parameters)
        for release, failed, seconds in cursor.fetchall():
            found[release].append((failed, seconds))
    return found
