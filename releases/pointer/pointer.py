"""Appends to the activations of a pipeline, moves its pointer to the new one, and says what each of them requires.

The pointer decides which release a new execution gets. The INSERT of an execution compares it with the activation that
its admission was read from. So each new activation applies to all executions that are submitted afterwards.
"""

from decimal import Decimal
from functools import partial
from typing import Any

from django.db import transaction

from releases import metrics
from releases.errors import ActiveReleaseChanged, ApprovalRequired, ReasonRequired, ReleaseNotRegistered
from releases.models import Activation, ActivationRequest, GradualActivation, Kind, Pipeline, Release
from releases.states import Status


def locked(pipeline_id: int) -> Pipeline:
    """Lock a pipeline and return it.

    The query has no join: after a wait for the lock, PostgreSQL re-reads the locked row, but not the joined rows.
    """
    return Pipeline.objects.select_for_update().get(pk=pipeline_id)


def append(
    pipeline: Pipeline,
    release: Release,
    kind: Kind,
    *,
    actor: str,
    reason: str,
    operation_key: str | None,
    gradual: GradualActivation | None = None,
    share: Decimal | None = None,
    override: bool = False,
    request: ActivationRequest | None = None,
) -> Activation:
    """Append an activation to a locked pipeline and return it. With `share`, the candidate of `gradual` gets it."""
    newest = pipeline.activation
    activation = Activation.objects.create(
        pipeline=pipeline,
        sequence=newest.sequence + 1 if newest else 1,
        release=release,
        previous=newest.release if newest else None,
        kind=kind,
        gradual=gradual,
        candidate=gradual.candidate if gradual and share is not None else None,
        share=share,
        actor=actor,
        reason=reason.strip(),
        operation_key=operation_key,
        override=override,
        request=request,
    )
    pipeline.activation = activation
    pipeline.save(update_fields=("activation",))
    transaction.on_commit(partial(_count, release.pipeline, kind))
    return activation


def _count(pipeline: Pipeline, kind: Kind) -> None:
    metrics.activations.add(pipeline.tenant.slug, pipeline.pipeline_id, kind.value)


def audited(release: Release, *_: Any, actor: str, **__: Any) -> dict[str, Any]:
    """Return what an entry of the audit log says about an act on `release`. Takes the arguments of a use case."""
    return {
        "tenant": release.pipeline.tenant,
        "actor": actor,
        "object_type": "release",
        "object": release.audit_name,
    }


def require_registered(release: Release) -> None:
    if release.status != Status.REGISTERED:
        raise not_registered(release)


def not_registered(release: Release) -> ReleaseNotRegistered:
    detail = f"Release {release.release_version!r} is {release.status}."
    return ReleaseNotRegistered(detail, releaseStatus=release.status)


def require_reason(pipeline: Pipeline, reason: str, kind: Kind = Kind.ACTIVATION, *, override: bool = False) -> None:
    """Raise `ReasonRequired` if the reason is blank although the kind of activation or the policy requires one.

    An override requires one, too.
    """
    if reason.strip():
        return
    if override:
        raise ReasonRequired("An emergency override requires a reason.")
    if kind in {Kind.ROLLBACK, Kind.WITHDRAWAL}:
        raise ReasonRequired(f"A {kind.value} requires a reason.")
    if pipeline.reason_required:
        raise ReasonRequired(f"The policy of pipeline {pipeline.pipeline_id!r} requires a reason.")


def require_expected(newest: Activation | None, expected: str | None) -> None:
    """Raise `ActiveReleaseChanged` unless `expected` is None or the active release, or "" if none is active."""
    active = newest.release.release_version if newest else ""
    if expected is not None and expected != active:
        raise ActiveReleaseChanged(
            f"The expected active release is {expected or 'none'!r}, but the active release is {active or 'none'!r}.",
            activeReleaseVersion=active or None,
        )


def approval_required(pipeline: Pipeline, release: Release) -> ApprovalRequired:
    """Return the refusal of an activation of `release` that lacks the approvals of the policy."""
    people = f"{pipeline.approvals} other {'person' if pipeline.approvals == 1 else 'people'}"
    return ApprovalRequired(
        f"{people} must approve the activation of release {release.release_version!r}. Request it.",
        approvals=pipeline.approvals,
    )
