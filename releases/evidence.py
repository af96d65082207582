"""Tells which activation made a release available to an execution, and who requested and approved it."""

from datetime import UTC, datetime

from django.db.models import Q, QuerySet

from foundation.database.compiled import Compiled
from releases.models import Activation, ActivationRequest, Release, Vote
from releases.models.activation import SWITCHES
from tenancy.audit.people import person_behind
from tenancy.models import Tenant
from wire.documents import execution_statement as statements
from wire.documents.execution_runs import instant


def activation_for(
    release: Release, tenant: Tenant, accepted_at: datetime, *, smoke: bool
) -> statements.Activation | None:
    """Return the newest activation that made `release` active, or a candidate, before an execution was accepted.

    A smoke test needs none, so there may be none. Another execution that was accepted in a transaction that had begun
    before the first activation has that one.
    """
    found = _NEWEST.first(pipeline=release.pipeline_id, release=release.pk, at=accepted_at)
    if found is None and not smoke:
        found = _of_release(release.pipeline_id, release.pk).order_by("sequence").first()
    return None if found is None else _described(found, tenant)


def _of_release(pipeline: int, release: int) -> QuerySet[Activation]:
    is_available = Q(release=release, kind__in=SWITCHES) | Q(candidate=release)
    return Activation.objects.filter(is_available, pipeline=pipeline).select_related("request")


def _newest(pipeline: int, release: int, at: datetime) -> QuerySet[Activation]:
    return _of_release(pipeline, release).filter(activated_at__lte=at).order_by("-sequence")[:1]


_NEWEST = Compiled(_newest, pipeline=-1, release=-2, at=datetime(1970, 1, 1, tzinfo=UTC))


def _described(activation: Activation, tenant: Tenant) -> statements.Activation:
    request = activation.request
    if request is None and activation.gradual_id is not None:
        # The approved start stands for the steps and the promotion.
        request = ActivationRequest.objects.filter(activation__gradual=activation.gradual_id).first()
    return statements.Activation(
        sequence=activation.sequence,
        kind=activation.kind,
        actor=activation.actor,
        person=person_behind(tenant, activation.actor, activation.activated_at),
        reason=activation.reason,
        activated_at=instant(activation.activated_at),
        override=activation.override,
        request=None if request is None else _requested(request, tenant),
    )


def _requested(request: ActivationRequest, tenant: Tenant) -> statements.Request:
    approvals = (each for each in request.counted_votes if each.decision == Vote.Decision.APPROVE)
    return statements.Request(
        request_id=str(request.pk),
        actor=request.actor,
        person=person_behind(tenant, request.actor, request.created_at),
        reason=request.reason,
        requested_at=instant(request.created_at),
        approvals=tuple(
            statements.Approval(
                actor=each.actor,
                person=person_behind(tenant, each.actor, each.voted_at),
                comment=each.comment,
                approved_at=instant(each.voted_at),
            )
            for each in approvals
        ),
    )
