"""Starts, moves on and ends gradual activations. Nothing ends one twice.

The first step gives the candidate a share of the new executions, and each further step a greater one. At the end the
candidate becomes active, or gets no further executions. Every change holds the lock of the pipeline. The executions
that the candidate got keep their pin.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F

from governance.activation import gates
from governance.activation.gates import Switch
from governance.gradual import operations
from governance.gradual.evidence import evidence
from governance.gradual.plan import Plan
from governance.requests import states
from releases import errors, pointer, queries
from releases.artifacts.soundness import require_verified
from releases.models import ActivationRequest, GradualActivation, Kind, Pipeline, Release
from releases.pointer import approval_required, require_expected, require_reason, require_registered
from releases.states import RequestStatus
from tenancy import audit
from tenancy.audit.acts import Act


@audit.denials(Act.GRADUAL_ACTIVATION_STEP, errors.ApprovalRequired, of=operations.audited)
def move_on(
    gradual: GradualActivation,
    *,
    actor: str,
    reason: str = "",
    expected_step: int | None = None,
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> GradualActivation:
    """Move to the next step, with any sample, and return the gradual activation.

    With `expected_step`, the call fails unless that step is the current one. A repeated call with the same
    `operation_key` moves once. Raises `GradualActivationEnded`, `StepChanged`, `NoNextStep`, `ActiveReleaseChanged`,
    `OperationKeyReused`, and `ApprovalRequired` if the policy requires more approvals than the start had.
    """
    with transaction.atomic():
        pipeline = operations.lock(gradual)
        earlier = operations.repeated(pipeline, operation_key, Kind.GRADUAL, gradual)
        if earlier is not None:
            return earlier
        operations.require_running(gradual)
        require_expected(pipeline.activation, expected_release_version)
        require_step(gradual, expected_step)
        steps = operations.plan_of(gradual).steps
        if gradual.step + 1 >= len(steps):
            raise errors.NoNextStep(f"Step {gradual.step + 1} is the last one. Promote or withdraw the candidate.")
        if not operations.approved_with_start(pipeline, gradual.candidate):
            raise approval_required(pipeline, gradual.candidate)
        GradualActivation.objects.filter(pk=gradual.pk).update(step=F("step") + 1)
        share = steps[gradual.step + 1].decimal
        pointer.append(
            pipeline,
            gradual.baseline,
            Kind.GRADUAL,
            actor=actor,
            reason=reason,
            operation_key=operation_key,
            gradual=gradual,
            share=share,
        )
        operations.record(
            Act.GRADUAL_ACTIVATION_STEP, gradual, actor=actor, reason=reason, step=gradual.step + 1, share=float(share)
        )
    return operations.gradual_activation(pipeline, gradual.pk)


def require_step(gradual: GradualActivation, expected: int | None) -> None:
    """Raise `StepChanged` unless `expected` is None or the current step of a locked gradual activation."""
    if expected is not None and expected != gradual.step:
        raise errors.StepChanged(
            f"The expected step is {expected + 1}, but the current step is {gradual.step + 1}.", step=gradual.step
        )


@audit.denials(Act.GRADUAL_ACTIVATION_START, *gates.REFUSALS, of=Release.audited)
def start(
    candidate: Release,
    plan: Plan,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
    request: ActivationRequest | None = None,
) -> GradualActivation:
    """Give `candidate` the share of the first step, and return the gradual activation.

    The active release stays active. The keyword arguments are those of `activation.activate`.

    Raises `ReleaseNotRegistered`, `ReasonRequired`, `NoActiveRelease`, `ActiveReleaseRevoked`, `CandidateActive`,
    `GradualActivationRunning`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactStoreUnavailable`,
    `ActiveReleaseChanged`, `OperationKeyReused`, and the refusal of a gate.
    """
    earlier = _started(candidate, plan, operation_key, request)
    if earlier is not None:
        return earlier
    require_registered(candidate)
    pipeline = queries.pipeline(candidate.pipeline.tenant, candidate.pipeline.pipeline_id)
    require_reason(pipeline, reason)
    gates.require_met(Switch(candidate, pipeline, Kind.GRADUAL, request=request))
    require_verified(candidate)
    with transaction.atomic():
        pipeline = pointer.locked(candidate.pipeline_id)
        earlier = _started(candidate, plan, operation_key, request)
        if earlier is not None:
            return earlier
        candidate.refresh_from_db(fields=("status",))
        require_registered(candidate)
        active = require_startable(pipeline, candidate, expected_release_version)
        require_reason(pipeline, reason)
        if request is not None:
            states.require_approved(request)
        gates.require_met(Switch(candidate, pipeline, Kind.GRADUAL, binding=True, request=request))
        gradual = GradualActivation.objects.create(
            pipeline=pipeline, baseline=active, candidate=candidate, actor=actor, reason=reason.strip(), **plan.columns
        )
        pointer.append(
            pipeline,
            active,
            Kind.GRADUAL,
            actor=actor,
            reason=reason,
            operation_key=operation_key,
            gradual=gradual,
            share=plan.steps[0].decimal,
            request=request,
        )
        if request is not None:
            states.move(request, RequestStatus.ACTIVATED)
        operations.record(
            Act.GRADUAL_ACTIVATION_START,
            gradual,
            actor=actor,
            reason=gradual.reason,
            baseline=active.release_version,
            request=str(request.pk) if request else None,
            **plan.columns,
        )
    return operations.gradual_activation(pipeline, gradual.pk)


def _started(
    candidate: Release, plan: Plan, operation_key: str | None, request: ActivationRequest | None
) -> GradualActivation | None:
    """Return the gradual activation that carried out the request, or that has the operation key.

    Raises `OperationKeyReused` if the key started another release or plan.
    """
    if request is not None:
        return operations.all_of(candidate.pipeline).filter(activations__request=request).first()
    earlier = operations.repeated(candidate.pipeline, operation_key, Kind.GRADUAL)
    if earlier is not None and (earlier.candidate_id, operations.plan_of(earlier).columns) != (
        candidate.pk,
        plan.columns,
    ):
        raise errors.OperationKeyReused(
            f"The operation key started the gradual activation of release {earlier.candidate.release_version!r}. Its "
            "release and its plan must be the same.",
            activeReleaseVersion=earlier.baseline.release_version,
        )
    return earlier


def require_startable(pipeline: Pipeline, candidate: Release, expected: str | None) -> Release:
    """Return the active release of a locked pipeline if `candidate` may start."""
    require_expected(pipeline.activation, expected)
    active = queries.active_release(pipeline)
    if active.pk == candidate.pk:
        raise errors.CandidateActive(f"Release {candidate.release_version!r} is active already.")
    gradual = operations.running(pipeline)
    if gradual is not None:
        raise errors.GradualActivationRunning(
            f"The gradual activation of release {gradual.candidate.release_version!r} is running. "
            "Promote or withdraw it first.",
            gradualActivationId=str(gradual.pk),
        )
    return active


Cause, Status = GradualActivation.Cause, GradualActivation.Status
_KINDS = {Status.PROMOTED: Kind.PROMOTION, Status.WITHDRAWN: Kind.WITHDRAWAL}
LONGEST_REASON = 1000


@audit.denials(Act.GRADUAL_ACTIVATION_PROMOTE, *gates.REFUSALS, of=operations.audited)
def promote(
    gradual: GradualActivation,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> GradualActivation:
    """Make the candidate the active release, at any step, and return the gradual activation.

    The gates are judged as for an activation. If the evidence misses something that the plan asks for, a reason is
    required, and the history names what is missing.

    Raises `GradualActivationEnded`, `ReasonRequired`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactStoreUnavailable`,
    `ActiveReleaseChanged`, `OperationKeyReused`, and the refusal of a gate.
    """
    candidate = gradual.candidate
    earlier = operations.repeated(gradual.pipeline, operation_key, Kind.PROMOTION, gradual)
    if earlier is not None:
        return earlier
    operations.require_running(gradual)
    pipeline = queries.pipeline(gradual.pipeline.tenant, gradual.pipeline.pipeline_id)
    require_reason(pipeline, reason, Kind.PROMOTION)
    gates.require_met(Switch(candidate, pipeline, Kind.PROMOTION))
    missing = evidence(gradual).missing
    noted = reason_with_missing(reason, missing)
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
        _end(pipeline, gradual, Status.PROMOTED, Cause.PERSON, actor, noted, operation_key)
        details = {"missingEvidence": missing} if missing else {}
        operations.record(Act.GRADUAL_ACTIVATION_PROMOTE, gradual, actor=actor, reason=reason, **details)
    return operations.gradual_activation(pipeline, gradual.pk)


def reason_with_missing(reason: str, missing: Sequence[str]) -> str:
    """Return the reason of a promotion with what the evidence misses, for the history.

    Raises `ReasonRequired` if the evidence misses something and the reason is blank.
    """
    if not missing:
        return reason
    if not reason.strip():
        raise errors.ReasonRequired(f"A promotion without full evidence requires a reason. {' '.join(missing)}")
    return f"{reason.strip()} (promoted without full evidence: {' '.join(missing)})"[:LONGEST_REASON]


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
    return operations.gradual_activation(pipeline, gradual.pk)


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
