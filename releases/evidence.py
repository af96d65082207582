"""Tells who activated a release, requested and approved it, and which activation an execution was accepted under."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet, prefetch_related_objects

from foundation.database.compiled import Compiled
from releases.models import Activation, ActivationRequest, Release, Vote
from releases.models.activation import SWITCHES
from tenancy.audit.people import Acted, people_behind
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
    newest = _NEWEST.first(pipeline=release.pipeline_id, release=release.pk, at=accepted_at)
    if newest is None and not smoke:
        newest = _of_release(release.pipeline_id, release.pk).order_by("sequence").first()
    return None if newest is None else described([newest], tenant)[newest.pk]


def _of_release(pipeline: int, release: int) -> QuerySet[Activation]:
    is_available = Q(release=release, kind__in=SWITCHES) | Q(candidate=release)
    return Activation.objects.filter(is_available, pipeline=pipeline).select_related("request")


def _newest(pipeline: int, release: int, at: datetime) -> QuerySet[Activation]:
    return _of_release(pipeline, release).filter(activated_at__lte=at).order_by("-sequence")[:1]


_NEWEST = Compiled(_newest, pipeline=-1, release=-2, at=datetime(1970, 1, 1, tzinfo=UTC))


def described(activations: Collection[Activation], tenant: Tenant) -> dict[int, statements.Activation]:
    """Return what statements say about activations of the tenant, by their keys, in a bounded number of statements.

    The activations have their requests. Steps and promotions of a gradual activation name the request of its start.
    """
    carried_out = _requests(activations)
    prefetch_related_objects(list({request.pk: request for request in carried_out.values()}.values()), "votes")
    acted = [(activation.actor, activation.activated_at) for activation in activations]
    for request in carried_out.values():
        acted += [(request.actor, request.created_at), *((vote.actor, vote.voted_at) for vote in request.counted_votes)]
    people = people_behind(tenant, acted)
    return {activation.pk: _described(activation, carried_out.get(activation.pk), people) for activation in activations}


def _requests(activations: Collection[Activation]) -> dict[int, ActivationRequest]:
    """Return the requests that the activations carried out, by the keys of the activations."""
    gradual = [
        activation for activation in activations if activation.request is None and activation.gradual_id is not None
    ]
    started: dict[Any, ActivationRequest] = {}
    if gradual:
        rows = Activation.objects.filter(
            pipeline__in={start.pipeline_id for start in gradual}, gradual__in={start.gradual_id for start in gradual}
        )
        starts = rows.filter(request__isnull=False).select_related("request").order_by("pk")
        started = {start.gradual_id: start.request for start in starts if start.request is not None}
    requests = {activation.pk: activation.request or started.get(activation.gradual_id) for activation in activations}
    return {key: request for key, request in requests.items() if request is not None}


def _described(
    activation: Activation, request: ActivationRequest | None, people: Mapping[Acted, str | None]
) -> statements.Activation:
    return statements.Activation(
        sequence=activation.sequence,
        kind=activation.kind,
        actor=activation.actor,
        person=people[activation.actor, activation.activated_at],
        reason=activation.reason,
        activated_at=instant(activation.activated_at),
        override=activation.override,
        request=None if request is None else _requested(request, people),
    )


def _requested(request: ActivationRequest, people: Mapping[Acted, str | None]) -> statements.Request:
    approvals = (vote for vote in request.counted_votes if vote.decision == Vote.Decision.APPROVE)
    return statements.Request(
        request_id=str(request.pk),
        actor=request.actor,
        person=people[request.actor, request.created_at],
        reason=request.reason,
        requested_at=instant(request.created_at),
        approvals=tuple(
            statements.Approval(
                actor=vote.actor,
                person=people[vote.actor, vote.voted_at],
                comment=vote.comment,
                approved_at=instant(vote.voted_at),
            )
            for vote in approvals
        ),
    )
