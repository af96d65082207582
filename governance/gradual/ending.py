"""Ends a gradual activation: the candidate becomes active, or gets no further executions. Nothing ends it twice.

All functions that end it hold the lock of the pipeline. The executions that the candidate got keep their pin.
"""

from django.db import transaction

from governance.activation import gates
from governance.activation.gate import Switch
from governance.gradual import operations
from governance.gradual.steps import audited, require_step
from releases import pointer, queries
from releases.artifacts.soundness import require_verified
from releases.errors import ApprovalRequired, ReasonRequired, SignatureRequired, SmokeTestRequired, WorkerRequired
from releases.models import GradualActivation, Kind, Pipeline, Release
from releases.pointer import require_expected, require_reason, require_registered
from tenancy import audit
from tenancy.audit.acts import Act

Cause, Status = GradualActivation.Cause, GradualActivation.Status
_KINDS = {Status.PROMOTED: Kind.PROMOTION, Status.WITHDRAWN: Kind.WITHDRAWAL}
LONGEST_REASON = 1000


@audit.denials(
    Act.GRADUAL_ACTIVATION_PROMOTE,
    *(ApprovalRequired, ReasonRequired, SignatureRequired, SmokeTestRequired, WorkerRequired),
    of=audited,
)
def promote(
    gradual: GradualActivation,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> GradualActivation:
    """Make the candidate the active release, at any step, and return the gradual activation.

    The gates are judged as for an activation. Raises `GradualActivationEnded`, `ReasonRequired`, `ArtifactMissing`,
    `ArtifactAltered`, `ArtifactStoreUnavailable`, `ActiveReleaseChanged`, `OperationKeyReused`, and the refusal of a
    gate.
    """
    candidate = gradual.candidate
    earlier = operations.repeated(gradual.pipeline, operation_key, Kind.PROMOTION, gradual)
    if earlier is not None:
        return earlier
    operations.require_running(gradual)
    pipeline = queries.pipeline(gradual.pipeline.tenant, gradual.pipeline.pipeline_id)
    require_reason(pipeline, reason, Kind.PROMOTION)
    gates.require_met(Switch(candidate, pipeline, Kind.PROMOTION))
    require_verified(candidate)
    with transaction.atomic():
        pipeline = operations.lock(gradual)
        earlier = operations.repeated(pipeline, operation_key, Kind.PROMOTION, gradual)
        if earlier is not None:
            return earlier
        operations.require_running(gradual)
        require_expected(pipeline.activation, expected_release_version)
        candidate.refresh_from_db(fields=("status",))
        require_registered(candidate)
        require_reason(pipeline, reason, Kind.PROMOTION)
        gates.require_met(Switch(candidate, pipeline, Kind.PROMOTION, binding=True))
        _end(pipeline, gradual, Status.PROMOTED, Cause.PERSON, actor, reason, operation_key)
        operations.record(Act.GRADUAL_ACTIVATION_PROMOTE, gradual, actor=actor, reason=reason)
    return operations.one(pipeline, gradual.pk)


def withdraw(
    gradual: GradualActivation,
    *,
    actor: str,
    reason: str,
    cause: GradualActivation.Cause = Cause.PERSON,
    expected_step: int | None = None,
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> GradualActivation:
    """Give the candidate no further executions, and return the gradual activation.

    Each submission that begins after this call gets the active release, on every web process. Raises `ReasonRequired`,
    `GradualActivationEnded`, `StepChanged`, `ActiveReleaseChanged` and `OperationKeyReused`.
    """
    require_reason(gradual.pipeline, reason, Kind.WITHDRAWAL)
    with transaction.atomic():
        pipeline = operations.lock(gradual)
        earlier = operations.repeated(pipeline, operation_key, Kind.WITHDRAWAL, gradual)
        if earlier is not None:
            return earlier
        operations.require_running(gradual)
        require_expected(pipeline.activation, expected_release_version)
        require_step(gradual, expected_step)
        _end(pipeline, gradual, Status.WITHDRAWN, cause, actor, reason, operation_key)
        operations.record(Act.GRADUAL_ACTIVATION_WITHDRAW, gradual, actor=actor, reason=reason, cause=cause.value)
    return operations.one(pipeline, gradual.pk)


def replace(pipeline: Pipeline, *, actor: str, by: Release) -> GradualActivation | None:
    """End the running gradual activation of a locked pipeline in which the caller activates `by`.

    It is PROMOTED if `by` is its candidate, and REPLACED otherwise. Return what ended, or None.
    """
    gradual = operations.running(pipeline)
    if gradual is not None:
        promotes = gradual.candidate_id == by.pk
        status, cause = (Status.PROMOTED, Cause.PERSON) if promotes else (Status.REPLACED, Cause.ACTIVATION)
        _close(gradual, status, cause, actor, f"Release {by.release_version} was activated.")
        gradual.refresh_from_db(fields=("status",))
    return gradual


def withdraw_revoked(pipeline: Pipeline, release: Release, *, actor: str, reason: str) -> GradualActivation | None:
    """Withdraw the candidate of a locked pipeline if the caller revokes it or the baseline. Return what ended, or None.

    The pointer moves, so the INSERT of each later submission finds that its cached admission is void.
    """
    gradual = operations.running(pipeline)
    if gradual is None or release.pk not in {gradual.baseline_id, gradual.candidate_id}:
        return None
    why = f"Release {release.release_version} was revoked: {reason}"[:LONGEST_REASON]
    _end(pipeline, gradual, Status.WITHDRAWN, Cause.REVOCATION, actor, why, None)
    return gradual


def _end(
    pipeline: Pipeline,
    gradual: GradualActivation,
    status: GradualActivation.Status,
    cause: GradualActivation.Cause,
    actor: str,
    reason: str,
    operation_key: str | None,
) -> None:
    _close(gradual, status, cause, actor, reason)
    release = gradual.candidate if status == Status.PROMOTED else gradual.baseline
    pointer.append(
        pipeline, release, _KINDS[status], actor=actor, reason=reason, operation_key=operation_key, gradual=gradual
    )


def _close(
    gradual: GradualActivation,
    status: GradualActivation.Status,
    cause: GradualActivation.Cause,
    actor: str,
    reason: str,
) -> None:
    """End a gradual activation that is RUNNING. The caller holds the lock of the pipeline, so nothing else ends it."""
    rows = GradualActivation.objects.filter(pk=gradual.pk, status=Status.RUNNING)
    moved = rows.update(status=status, cause=cause, ended_by=actor, end_reason=reason.strip())
    assert moved == 1  # noqa: S101 - see above
