"""Moves a gradual activation to its next step, which has a greater share."""

from typing import Any

from django.db import transaction
from django.db.models import F

from governance.gradual import operations
from releases import pointer
from releases.errors import ApprovalRequired, NoNextStep, StepChanged
from releases.models import GradualActivation, Kind
from releases.pointer import approval_required, require_expected
from tenancy import audit
from tenancy.audit.acts import Act


def audited(gradual: GradualActivation, *, actor: str, **_: Any) -> dict[str, Any]:
    """Return the arguments of the entry for a denied operation on a gradual activation."""
    tenant, name = gradual.pipeline.tenant, gradual.candidate.audit_name
    return {"tenant": tenant, "actor": actor, "object_type": "release", "object": name}


@audit.denials(Act.GRADUAL_ACTIVATION_STEP, ApprovalRequired, of=audited)
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
            raise NoNextStep(f"Step {gradual.step} is the last one. Promote or withdraw the candidate.")
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
    return operations.one(pipeline, gradual.pk)


def require_step(gradual: GradualActivation, expected: int | None) -> None:
    """Raise `StepChanged` unless `expected` is None or the current step of a locked gradual activation."""
    if expected is not None and expected != gradual.step:
        raise StepChanged(
            f"The expected step is {expected}, but the current step is {gradual.step}.", step=gradual.step
        )
