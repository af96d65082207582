"""Appends to the activations of a pipeline, and moves its pointer to the new one.

The pointer decides which release a new execution gets. The INSERT of an execution compares it with the activation that
its admission was read from. So each new activation applies to all executions that are submitted afterwards.
"""

from decimal import Decimal
from functools import partial

from django.db import transaction

from releases import metrics
from releases.models import Activation, ActivationRequest, GradualActivation, Kind, Pipeline, Release


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
