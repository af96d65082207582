"""What every operation on a gradual activation needs: its row, the lock, and the receipts of operation keys."""

from typing import Any

from django.db.models import QuerySet

from governance.gradual.plan import Plan
from releases import pointer
from releases.errors import GradualActivationEnded, GradualActivationUnknown, OperationKeyReused
from releases.models import Activation, GradualActivation, Kind, Pipeline, Release
from tenancy import audit
from tenancy.audit.acts import Act

Status = GradualActivation.Status


def all_of(pipeline: Pipeline) -> QuerySet[GradualActivation]:
    """Return the gradual activations of a pipeline, newest first."""
    return (
        GradualActivation.objects.filter(pipeline=pipeline)
        .select_related("baseline__contract", "candidate__contract", "pipeline__tenant")
        .order_by("-started_at", "-id")
    )


def gradual_activation(pipeline: Pipeline, gradual_id: Any) -> GradualActivation:
    """Return a gradual activation of a pipeline. Raises `GradualActivationUnknown`."""
    gradual = all_of(pipeline).filter(pk=gradual_id).first()
    if gradual is None:
        raise GradualActivationUnknown(f"Pipeline {pipeline.pipeline_id!r} has no gradual activation {gradual_id}.")
    return gradual


def running(pipeline: Pipeline) -> GradualActivation | None:
    return all_of(pipeline).filter(status=Status.RUNNING).first()


def plan_of(gradual: GradualActivation) -> Plan:
    return Plan.from_json(gradual.steps, gradual.groups, gradual.bounds)


def lock(gradual: GradualActivation) -> Pipeline:
    """Lock the pipeline of a gradual activation, and read both again. The caller's transaction holds the lock."""
    pipeline = pointer.locked(gradual.pipeline_id)
    gradual.refresh_from_db(fields=("status", "step", "step_started_at", "cause", "ended_by", "end_reason", "ended_at"))
    return pipeline


def approved_with_start(pipeline: Pipeline, candidate: Release) -> bool:
    """Return whether the running gradual activation of `candidate` has the approvals that the policy requires now.

    They are those of the request that started it, if its policy required as many.
    """
    return (
        not pipeline.approvals
        or pipeline.activations.filter(
            gradual__status=Status.RUNNING,
            gradual__candidate=candidate,
            request__policy__approvals__gte=pipeline.approvals,
        ).exists()
    )


def require_running(gradual: GradualActivation) -> None:
    if gradual.status != Status.RUNNING:
        raise GradualActivationEnded(
            f"The gradual activation of release {gradual.candidate.release_version!r} is {gradual.status}.",
            gradualActivationStatus=gradual.status,
        )


def repeated(
    pipeline: Pipeline, operation_key: str | None, kind: Kind, of: GradualActivation | None = None
) -> GradualActivation | None:
    """Return the gradual activation whose operation had this key; None if the key is new.

    `of` is None for a start. Raises `OperationKeyReused` if the key belongs to another operation.
    """
    if operation_key is None:
        return None
    activation = pipeline.activations.filter(operation_key=operation_key).select_related("release").first()
    if activation is None:
        return None
    gradual = activation.gradual
    starts = gradual is not None and not gradual.activations.filter(sequence__lt=activation.sequence).exists()
    if gradual is None or activation.kind != kind or starts != (of is None) or (of is not None and gradual.pk != of.pk):
        raise key_reused(activation)
    return gradual_activation(pipeline, gradual.pk)


def key_reused(activation: Activation) -> OperationKeyReused:
    version = activation.release.release_version
    detail = f"The operation key belongs to the {activation.kind} of release {version!r}."
    return OperationKeyReused(detail, activeReleaseVersion=version)


def audited(gradual: GradualActivation, *, actor: str, **_: Any) -> dict[str, Any]:
    """Return what an entry of the audit log says about an act on a gradual activation."""
    return {
        "tenant": gradual.pipeline.tenant,
        "actor": actor,
        "object_type": "release",
        "object": gradual.candidate.audit_name,
    }


def record(act: Act, gradual: GradualActivation, *, actor: str, reason: str, **details: Any) -> None:
    """Record an act in the audit log. Call this last in the transaction."""
    audit.record(act, **audited(gradual, actor=actor), reason=reason, gradualActivation=str(gradual.pk), **details)
