"""Work that waits, and workers that are lost."""

from datetime import timedelta
from typing import Final

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from alerts.conditions import statements
from alerts.conditions.activations import request_page
from alerts.conditions.finding import MOST_FOUND, Finding, Look
from executions.models import WorkerEligibility
from executions.workers import eligibility as strandings
from executions.workers import message_path
from releases.models import ActivationRequest
from releases.states import RequestStatus

RECENT: Final = timedelta(days=1)


def stranded(look: Look) -> list[Finding]:
    """Find the releases whose due work has been stranded for the rule's minutes, those with most work first."""
    before = timezone.now() - timedelta(minutes=look.rule.threshold("minutes"))
    found = [
        each
        for each in strandings.stranded([look.rule.tenant_id])
        if each.since <= before and look.names(each.pipeline_id)
    ]
    return [
        Finding(
            f"release:{each.release_id}",
            f"{each.count} executions of {each.pipeline_id} {each.release_version} are stranded",
            f"/admin/releases/release/{each.release_id}/change/",
            f"Since {each.since:%Y-%m-%d %H:%M:%S} UTC: {each.explanation}.",
        )
        for each in found[:MOST_FOUND]
    ]


def lost_workers(look: Look) -> list[Finding]:
    """Find the workers that have been silent for the rule's minutes, and for at most a day, and did not stop."""
    minutes = timedelta(minutes=look.rule.threshold("minutes"))
    rows = WorkerEligibility.objects.filter(
        worker__tenant=look.rule.tenant_id,
        worker__stopped_at=None,
        worker__alive_until__lte=Now() - minutes,
        worker__alive_until__gte=Now() - minutes - RECENT,
        state=WorkerEligibility.State.STALE,
    )
    if look.rule.pipeline is not None:
        rows = rows.filter(worker__pipeline_id=look.rule.pipeline.pipeline_id)
    found = rows.select_related("worker").order_by("-worker__alive_until", "worker")[:MOST_FOUND]
    return [
        Finding(
            f"worker:{each.worker.pk}",
            f"Worker {each.worker.worker_id} of {each.worker.pipeline_id} is silent",
            f"/admin/executions/worker/{each.worker.pk}/change/",
            f"Its last heartbeat was at {each.worker.last_heartbeat_at:%Y-%m-%d %H:%M:%S} UTC.",
        )
        for each in found
    ]


def late(look: Look) -> list[Finding]:
    """Find planned activations that did not happen, and due work that waits although a worker may run it."""
    return [*_late_activations(look), *_late_work(look)][:MOST_FOUND]


def _late_activations(look: Look) -> list[Finding]:
    minutes = timedelta(minutes=look.rule.threshold("minutes"))
    waits = Q(status=RequestStatus.APPROVED.value, activate_at__lte=Now() - minutes)
    failed = Q(status=RequestStatus.FAILED.value, activate_at__lte=F("status_changed_at"))
    rows = ActivationRequest.objects.filter(
        waits | failed & Q(status_changed_at__gte=Now() - RECENT),
        look.of_pipeline("pipeline"),
        pipeline__tenant=look.rule.tenant_id,
    )
    found = rows.select_related("release__pipeline").order_by("activate_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"request:{request.pk}",
            f"The planned activation of {request.release.pipeline.pipeline_id} {request.release.release_version} "
            + ("failed" if request.status == RequestStatus.FAILED else "is late"),
            request_page(request),
            f"It was planned for {request.activate_at:%Y-%m-%d %H:%M:%S} UTC. {request.detail}".strip(),
        )
        for request in found
    ]


def _late_work(look: Look) -> list[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(statements.LATE, look.parameters(minutes=look.rule.threshold("minutes")))
        rows = cursor.fetchall()
    delay = message_path.outcome_delay() if rows else 0
    why = f" Outcomes are read {delay:.0f} seconds late, so nothing is sent to workers." if delay else ""
    return [
        Finding(
            f"due:{pk}",
            f"Due executions of {name} {version} do not start",
            f"/admin/releases/release/{pk}/change/",
            f"The oldest has been due since {due:%Y-%m-%d %H:%M:%S} UTC, and a worker is alive.{why}",
        )
        for pk, name, version, due in rows
    ]
