"""Compares the executions of a candidate with those of its baseline, and says what the evidence lacks.

Both samples are read without locks.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from django.db import connection
from django.utils import timezone

from governance.gradual.operations import plan_of
from governance.gradual.plan import SAMPLES, Bounds, Plan
from releases.models import GradualActivation, Pipeline, Release

# --- statistics: both tests are one-sided, and assume no distribution of the values ---


def fisher_exact(failed: int, ended: int, baseline_failed: int, baseline_ended: int) -> float:
    """Return the probability of at least `failed` failures among `ended` executions, if both failure rates are equal.

    The totals of the 2 x 2 table are fixed, so the number of failures is hypergeometric (Fisher 1922; NIST/SEMATECH
    e-Handbook, 7.3.3). The sum is exact.
    """
    failures, total = failed + baseline_failed, ended + baseline_ended
    worse = range(failed, min(failures, ended) + 1)
    ways = sum(math.comb(failures, share) * math.comb(total - failures, ended - share) for share in worse)
    return ways / math.comb(total, ended)


def mann_whitney(sample: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the probability of a rank sum of `sample` that is at least as large, if both distributions are equal.

    U counts the pairs in which the value of `sample` is the greater one; ties count one half. It is compared with the
    normal distribution, with the corrections for ties and for continuity (Mann and Whitney 1947; NIST/SEMATECH
    e-Handbook, 7.3.5). This is accurate if both have 20 values or more.
    """
    first, second = len(sample), len(baseline)
    total = first + second
    u, ties = greater_pairs(sample, baseline)
    variance = first * second / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return 1.0  # all values are equal
    z = (u - first * second / 2 - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2)) / 2


def greater_pairs(sample: Sequence[float], baseline: Sequence[float]) -> tuple[float, int]:
    """Return U of `sample`, and the sum of t³ - t over all groups of t equal values."""
    counts, others = Counter(sample), Counter(baseline)
    u, below, ties = 0.0, 0, 0
    for value in sorted(counts.keys() | others.keys()):
        here, there = counts[value], others[value]
        u += here * (below + there / 2)
        below += there
        ties += (here + there) ** 3 - (here + there)
    return u, ties


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest executions of one release. `timed` are those that succeeded and whose duration is comparable."""

    ended: int
    failed: int
    timed: int
    median_seconds: float | None

    @property
    def failure_rate(self) -> float:
        """The failures in percent; 0 if none has ended."""
        return 100 * self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both samples, and the probabilities of such differences by chance if the candidate is not worse.

    `crossed` is the bound that the candidate crosses, or None. A probability is None if the samples are too small.
    `missing` has a sentence for each thing that the plan asks for before the promotion and that is not there.
    """

    candidate: Sample
    baseline: Sample
    failure_probability: float | None
    duration_probability: float | None
    crossed: GradualActivation.Cause | None = None
    missing: tuple[str, ...] = ()


# Returns, for each of the newest executions of each release that were created since its time and have ended: the
# release, whether it failed, and its duration in seconds. The duration is null if it failed, waited for an answer, or
# existed during a pause. Executions that resubmit others are left out, because people chose them by their first result,
# and so are smoke tests. No row: none has ended.
# The times are constants, not columns: PostgreSQL then sees that only recent executions match, and uses their index.
_ENDED = """
(SELECT e.release_id, e.status <> 'SUCCEEDED', CASE WHEN e.status = 'SUCCEEDED'
    AND NOT EXISTS (SELECT FROM executions_awaitunit u WHERE u.execution_id = e.id)
    AND NOT EXISTS (SELECT FROM executions_hold h
        WHERE (h.execution_id = e.id OR h.release_id = e.release_id OR h.pipeline_id = %(pipeline)s)
            AND h.started_at < e.finished_at AND (h.ended_at IS NULL OR h.ended_at > e.created_at))
    THEN extract(epoch FROM e.finished_at - e.created_at)::float8 END
FROM executions_execution e
WHERE e.tenant_id = %(tenant)s AND e.release_id = %({role})s AND e.created_at >= %({role}_since)s
    AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s) AND e.status IN ('SUCCEEDED', 'FAILED', 'DLQ')
    AND NOT e.smoke AND NOT EXISTS (SELECT FROM executions_resubmission s WHERE s.new_execution_id = e.id)
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s)
"""
_BOTH = " UNION ALL ".join(_ENDED.format(role=role) for role in ("candidate", "baseline"))


Cause = GradualActivation.Cause
Ended = tuple[bool, float | None]
"""An execution that has ended: whether it failed, and its duration in seconds if that is comparable."""


def evidence(gradual: GradualActivation) -> Evidence:
    """Compare the candidate's executions of the current step with the baseline's since the start.

    Only the newest 1,000 of each count, so the baseline's are as recent as possible.
    """
    plan = plan_of(gradual)
    ended = _ended(gradual)
    candidate, baseline = ended[gradual.candidate_id], ended[gradual.baseline_id]
    comparison = compare(candidate, baseline, minimum=plan.steps[gradual.step].minimum_sample, bounds=plan.bounds)
    return replace(comparison, missing=tuple(_missing(gradual, plan, comparison)))


def missing_before_activation(pipeline: Pipeline, release: Release) -> tuple[str, ...]:
    """Return what the evidence misses if `release` is the candidate that gets a share now; otherwise nothing.

    An activation of the candidate ends its gradual activation as a promotion does.
    """
    newest = pipeline.activation
    if newest is None or newest.gradual is None or newest.candidate_id != release.pk:
        return ()
    newest.gradual.pipeline = pipeline  # the same row, which is not read again
    return evidence(newest.gradual).missing


def _missing(gradual: GradualActivation, plan: Plan, evidence: Evidence) -> Iterator[str]:
    """Yield what the plan asks for and does not have.

    The host's clock is good enough: it only decides whether a person must give a reason.
    """
    step, left = plan.steps[gradual.step], len(plan.steps) - gradual.step - 1
    minutes = ((gradual.ended_at or timezone.now()) - gradual.step_started_at).total_seconds() / 60
    if evidence.candidate.ended < step.minimum_sample:
        ended = evidence.candidate.ended
        yield f"Executions of the candidate that ended in this step: {ended} of {step.minimum_sample}."
    if minutes < step.minimum_minutes:
        yield f"Minutes since this step began: {max(int(minutes), 0)} of {step.minimum_minutes}."
    if left:
        yield f"Steps of the plan that have not begun: {left} of {len(plan.steps)}."
    if evidence.crossed is not None:
        yield f"The candidate exceeds the bound for {evidence.crossed}."


def compare(candidate: Sequence[Ended], baseline: Sequence[Ended], *, minimum: int, bounds: Bounds) -> Evidence:
    """Compare two samples. A bound is crossed if the difference exceeds it and is significant.

    Failure rates are compared if the candidate has the minimum sample, durations if both have it.
    """
    ours, theirs = _sample(candidate), _sample(baseline)
    failures = durations = crossed = None
    if ours.timed >= minimum and theirs.timed >= minimum:
        durations = mann_whitney(_durations(candidate), _durations(baseline))
        assert ours.median_seconds is not None and theirs.median_seconds is not None  # noqa: S101, PT018 - both have values
        is_slower = ours.median_seconds > bounds.duration_factor * theirs.median_seconds
        if is_slower and durations < bounds.significance:
            crossed = Cause.DURATION
    if ours.ended >= minimum:
        failures = fisher_exact(ours.failed, ours.ended, theirs.failed, theirs.ended)
        excess = ours.failure_rate - theirs.failure_rate
        if excess > bounds.failure_percentage_points and failures < bounds.significance:
            crossed = Cause.FAILURES
    return Evidence(ours, theirs, failures, durations, crossed)


def _sample(ended: Sequence[Ended]) -> Sample:
    durations = _durations(ended)
    failed = sum(has_failed for has_failed, _ in ended)
    return Sample(len(ended), failed, len(durations), median(durations) if durations else None)


def _durations(ended: Sequence[Ended]) -> list[float]:
    return [seconds for _, seconds in ended if seconds is not None]


def _ended(gradual: GradualActivation) -> dict[int, list[Ended]]:
    parameters: dict[str, Any] = {
        "tenant": gradual.pipeline.tenant_id,
        "pipeline": gradual.pipeline_id,
        "candidate": gradual.candidate_id,
        "candidate_since": gradual.step_started_at,
        "baseline": gradual.baseline_id,
        "baseline_since": gradual.started_at,
        "until": gradual.ended_at,
        "limit": SAMPLES[1],
    }
    ended: dict[int, list[Ended]] = {gradual.candidate_id: [], gradual.baseline_id: []}
    with connection.cursor() as cursor:
        cursor.execute(_BOTH, parameters)
        for release, failed, seconds in cursor.fetchall():
            ended[release].append((failed, seconds))
    return ended
