"""Collects what the overview shows. Smoke tests count only as stranded, because they wait for workers as others do."""

from collections.abc import Sequence
from typing import Any, Final

from django.http import HttpRequest

from coordinator.overview import attention, charts
from coordinator.overview.pipelines import PIPELINES_SHOWN, Facts, lines
from coordinator.overview.questions import MAX_COUNTED, waiting_count
from executions.models.states import State
from executions.statistics import finished
from executions.workers.eligibility import stranded
from releases.models import Activation, Release
from tenancy.access import tenants_of
from tenancy.admin.base import holds_anywhere
from tenancy.roles import Scope

ACTIVATIONS_SHOWN: Final = 8
ACTIVATIONS_READ: Final = 50


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the overview of the user's tenants to the context of the index page. Unfold calls this."""
    tenant_ids = list(tenants_of(request.user).values_list("pk", flat=True))
    context = {**context, "title": "Overview", "has_tenants": bool(tenant_ids), "many_tenants": len(tenant_ids) > 1}
    if not tenant_ids:
        return context
    facts = Facts.of(tenant_ids)
    failed = finished.recent(tenant_ids)
    releases = _releases({*facts.day.releases, *facts.hour.releases, *failed, *facts.live})
    found = lines(tenant_ids, facts, releases)
    waiting = stranded(tenant_ids)
    activations = _activations(tenant_ids)
    failing = attention.failing(failed, facts.hour, releases)
    shown = {
        "attention": attention.items(tenant_ids, waiting, differing=facts.differing.total()),
        "failing": failing[: attention.FAILING_SHOWN],
        "more_failing": len(failing) - attention.FAILING_SHOWN,
        "stranded": waiting,
        "stranded_count": sum(each.count for each in waiting),
        "lines": found,
        "may_upload": holds_anywhere(request, Scope.REGISTER),
        "more_pipelines": len(found) == PIPELINES_SHOWN,
        "live_count": sum(each.total for each in facts.live.values()),
        "most_live": finished.MOST_COUNTED,
        "more_live": any(each.more for each in facts.live.values()),
        "retry_count": sum(each.statuses[State.WAIT_RETRY.value] for each in facts.live.values()),
        "failed_count": sum(each.last_day for each in failed.values()),
        "most_failed": finished.MOST_READ,
        "worker_count": facts.workers.total(),
        "waiting_count": waiting_count(tenant_ids),
        "max_counted": MAX_COUNTED,
        "panels": charts.panels(facts.hour, facts.day, releases, activations),
        "activations": activations[:ACTIVATIONS_SHOWN],
    }
    return {**context, **shown}


def _activations(tenant_ids: Sequence[int]) -> list[Activation]:
    """Return the newest activations."""
    rows = Activation.objects.filter(pipeline__tenant__in=tenant_ids).order_by("-pk")
    return list(rows.select_related("pipeline__tenant", "release", "previous", "candidate")[:ACTIVATIONS_READ])


def _releases(ids: set[int]) -> dict[int, Release]:
    rows = Release.objects.select_related("pipeline__tenant").defer("descriptor", "descriptor_document")
    return rows.in_bulk(ids)
