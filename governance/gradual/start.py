"""Starts a gradual activation: its first step gives the candidate a share of the new executions."""

from collections.abc import Callable

from django.db import transaction

from governance.activation import gates
from governance.activation.gate import Switch
from governance.gradual import operations
from governance.gradual.plan import Plan
from releases import pointer, queries
from releases.artifacts.soundness import require_verified
from releases.errors import (
    ApprovalRequired,
    CandidateActive,
    GradualActivationRunning,
    OperationKeyReused,
    ReasonRequired,
    SignatureRequired,
    SmokeTestRequired,
    WorkerRequired,
)
from releases.models import Activation, ActivationRequest, GradualActivation, Kind, Pipeline, Release
from releases.pointer import require_expected, require_reason, require_registered
from tenancy import audit
from tenancy.audit.acts import Act


@audit.denials(
    Act.GRADUAL_ACTIVATION_START,
    *(ApprovalRequired, ReasonRequired, SignatureRequired, SmokeTestRequired, WorkerRequired),
    of=Release.audited,
)
def start(
    candidate: Release,
    plan: Plan,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
    rule: Callable[[Pipeline, Kind], None] | None = None,
    request: ActivationRequest | None = None,
    complete: Callable[[Activation], None] | None = None,
) -> GradualActivation:
    """Give `candidate` the share of the first step, and return the gradual activation.

    The active release stays active. The keyword arguments are those of `activation.activate`.

    Raises `ReleaseNotRegistered`, `ReasonRequired`, `NoActiveRelease`, `ActiveReleaseRevoked`, `CandidateActive`,
    `GradualActivationRunning`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactStoreUnavailable`,
    `ActiveReleaseChanged`, `OperationKeyReused`, the refusal of a gate, and what `rule` raises.
    """
    earlier = _earlier(candidate, plan, operation_key, request)
    if earlier is not None:
        return earlier
    require_registered(candidate)
    pipeline = queries.pipeline(candidate.pipeline.tenant, candidate.pipeline.pipeline_id)
    require_reason(pipeline, reason)
    gates.require_met(Switch(candidate, pipeline, Kind.GRADUAL, request=request))
    require_verified(candidate)
    with transaction.atomic():
        pipeline = pointer.locked(candidate.pipeline_id)
        earlier = _earlier(candidate, plan, operation_key, request)
        if earlier is not None:
            return earlier
        candidate.refresh_from_db(fields=("status",))
        require_registered(candidate)
        active = require_startable(pipeline, candidate, expected_release_version)
        require_reason(pipeline, reason)
        if rule is not None:
            rule(pipeline, Kind.GRADUAL)
        gates.require_met(Switch(candidate, pipeline, Kind.GRADUAL, binding=True, request=request))
        gradual = GradualActivation.objects.create(
            pipeline=pipeline,
            baseline=active,
            candidate=candidate,
            actor=actor,
            reason=reason.strip(),
            **plan.columns,
        )
        activation = pointer.append(
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
        if complete is not None:
            complete(activation)
        operations.record(
            Act.GRADUAL_ACTIVATION_START,
            gradual,
            actor=actor,
            reason=gradual.reason,
            baseline=active.release_version,
            request=str(request.pk) if request else None,
            **plan.columns,
        )
    return operations.one(pipeline, gradual.pk)


def _earlier(
    candidate: Release, plan: Plan, operation_key: str | None, request: ActivationRequest | None
) -> GradualActivation | None:
    """Return the gradual activation that carried out the request, or that has the operation key.

    Raises `OperationKeyReused` if the key started another release or plan.
    """
    if request is not None:
        return operations.all_of(candidate.pipeline).filter(activations__request=request).first()
    found = operations.repeated(candidate.pipeline, operation_key, Kind.GRADUAL)
    if found is not None and (found.candidate_id, operations.plan_of(found).columns) != (candidate.pk, plan.columns):
        raise OperationKeyReused(
            f"The operation key started the gradual activation of release {found.candidate.release_version!r}. Its "
            "release and its plan must be the same.",
            activeReleaseVersion=found.baseline.release_version,
        )
    return found


def require_startable(pipeline: Pipeline, candidate: Release, expected: str | None) -> Release:
    """Return the active release of a locked pipeline if `candidate` may start."""
    require_expected(pipeline.activation, expected)
    active = queries.active_release(pipeline)
    if active.pk == candidate.pk:
        raise CandidateActive(f"Release {candidate.release_version!r} is active already.")
    found = operations.running(pipeline)
    if found is not None:
        raise GradualActivationRunning(
            f"The gradual activation of release {found.candidate.release_version!r} is running. Promote or withdraw it "
            "first.",
            gradualActivationId=str(found.pk),
        )
    return active
