"""Requests that wait for votes, and candidates that the coordinator withdrew."""

from datetime import timedelta
from typing import Final

from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from alerts.conditions.finding import MOST_FOUND, Finding, Look
from releases.models import ActivationRequest, GradualActivation
from releases.states import RequestStatus

RECENT: Final = timedelta(days=1)
_BY_COORDINATOR = (
    GradualActivation.Cause.FAILURES,
    GradualActivation.Cause.DURATION,
    GradualActivation.Cause.REVOCATION,
)


def request_page(request: ActivationRequest) -> str:
    return f"/admin/releases/activationrequest/{request.pk}/change/"


def wanted(look: Look) -> list[Finding]:
    """Find the requests that have been open for the rule's minutes."""
    rows = ActivationRequest.objects.filter(
        look.of_pipeline("pipeline"),
        pipeline__tenant=look.rule.tenant_id,
        status=RequestStatus.OPEN.value,
        created_at__lte=Now() - timedelta(minutes=look.rule.threshold("minutes")),
        expires_at__gt=Now(),
    )
    found = rows.select_related("release__pipeline").order_by("expires_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"request:{request.pk}",
            f"The activation of {request.release.pipeline.pipeline_id} {request.release.release_version} wants votes",
            request_page(request),
            f"{request.actor} asked for it. Votes are accepted until {request.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
        )
        for request in found
    ]


def withdrawn(look: Look) -> list[Finding]:
    """Find the candidates that were withdrawn within a day by no person, if no gradual activation followed."""
    later = GradualActivation.objects.filter(pipeline=OuterRef("pipeline"), started_at__gt=OuterRef("started_at"))
    rows = GradualActivation.objects.filter(
        look.of_pipeline("pipeline"),
        ~Exists(later),
        pipeline__tenant=look.rule.tenant_id,
        status=GradualActivation.Status.WITHDRAWN,
        cause__in=_BY_COORDINATOR,
        ended_at__gte=Now() - RECENT,
    )
    found = rows.select_related("candidate", "pipeline").order_by("-ended_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"gradual:{gradual.pk}",
            f"The candidate {gradual.candidate.release_version} of {gradual.pipeline.pipeline_id} was withdrawn",
            f"/admin/releases/pipeline/{gradual.pipeline_id}/change/",
            gradual.end_reason or "",
        )
        for gradual in found
    ]
