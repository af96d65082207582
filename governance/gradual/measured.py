"""Acts on what the executions of candidates show.

A candidate that is worse is withdrawn, and others move to their next steps. Several processes may watch at the same
time. The evidence is read without locks. Each change names the step that it was judged for and takes the lock of the
pipeline, so that the second one of two equal changes does nothing.
"""

import logging
from datetime import timedelta

from django.db import DatabaseError
from django.db.models.functions import Now

from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from foundation.plurals import counted
from governance.gradual import changes, operations
from governance.gradual.evidence import Evidence, evidence
from releases.errors import GradualActivationEnded, StepChanged
from releases.models import GradualActivation

log = logging.getLogger(__name__)
ACTOR = "coordinator"
WATCH_TASK = "executions.watch_gradual"


_DESCRIPTIONS = {
    GradualActivation.Cause.FAILURES: "{candidate.failed} of {candidate.ended} executions of the candidate failed, and "
    "{baseline.failed} of {baseline.ended} of the active release (p = {failure_probability:.2g}, Fisher's exact test).",
    GradualActivation.Cause.DURATION: "The median duration is {candidate.median_seconds:.3g} s for the candidate, and "
    "{baseline.median_seconds:.3g} s for the active release (p = {duration_probability:.2g}, Mann-Whitney U test).",
}


def watch() -> int:
    """Act on each gradual activation that is running. Return how many changed.

    If one fails, the error is logged, and the others are still watched. A database outage ends the watch.
    """
    changed = 0
    running = GradualActivation.objects.filter(status=GradualActivation.Status.RUNNING)
    if not running.exists():  # at most times
        return 0
    for gradual in list(running.select_related("pipeline__tenant", "candidate")):
        gradual.candidate.pipeline = gradual.pipeline
        try:
            changed += watch_one(gradual)
        except (CoordinatorError, DatabaseError) as error:
            if is_outage(error):
                raise
            log.exception("Gradual activation %s could not be watched", gradual.pk)
    return changed


def watch_one(gradual: GradualActivation) -> bool:
    """Withdraw the candidate if it crosses a bound, or move on if the step is over. Return True if it changed."""
    measured = evidence(gradual)
    try:
        if measured.crossed is not None:
            reason = describe(measured)
            changes.withdraw(gradual, actor=ACTOR, reason=reason, cause=measured.crossed, expected_step=gradual.step)
            log.warning("The candidate %s was withdrawn: %s", gradual.candidate, reason)
            return True
        if not _is_over(gradual, measured):
            return False
        reason = f"{counted(measured.candidate.ended, 'execution')} of the candidate ended within the bounds."
        changes.move_on(gradual, actor=ACTOR, reason=reason, expected_step=gradual.step)
    except (GradualActivationEnded, StepChanged):
        return False  # a person or another process was first
    return True


def describe(measured: Evidence) -> str:
    """Return what crosses the bound, for the history."""
    assert measured.crossed is not None  # noqa: S101 - the caller has checked it
    return _DESCRIPTIONS[measured.crossed].format(
        candidate=measured.candidate,
        baseline=measured.baseline,
        failure_probability=measured.failure_probability,
        duration_probability=measured.duration_probability,
    )


def _is_over(gradual: GradualActivation, measured: Evidence) -> bool:
    """True if the step has its minimum sample and time, is not the last one, and the next one needs no approvals."""
    plan = operations.plan_of(gradual).steps
    step = plan[gradual.step]
    if gradual.step + 1 == len(plan) or measured.candidate.ended < step.minimum_sample:
        return False
    if not operations.approved_with_start(gradual.pipeline, gradual.candidate):
        log.info("The candidate %s stays at its step: the policy requires approvals.", gradual.candidate)
        return False
    since = Now() - timedelta(minutes=step.minimum_minutes)
    return GradualActivation.objects.filter(pk=gradual.pk, step_started_at__lte=since).exists()
