"""What the pages of a release and of its activation say about executions and workers."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from executions.console.filters import STATE_VARIANTS
from executions.inspection.counts import MOST_READ, counts_of
from executions.models import WorkerEligibility
from executions.models.states import State
from executions.search.conditions import HELD
from executions.workers.pages import (
    CODE_VARIANTS,
    ENVIRONMENT_VARIANTS,
    WORKER_VARIANTS,
    code_of,
    declares_image,
    environment_of,
    images_of,
)
from governance.activation.gate import Gate, Switch, Verdict
from governance.comparison.pages import context_of
from governance.preflight.preflight import preflight_of
from governance.retirement.retirement import FAILURES, Blocker, Kind, blockers
from governance.sections import Section
from releases.models import Release

LABELS = {
    Kind.ACTIVE: "Active release of its pipeline",
    Kind.APPROVAL: "Requests to activate it that collect votes",
    Kind.SCHEDULE: "Approved requests to activate it",
    Kind.GRADUAL: "Running gradual activation of its pipeline",
    Kind.SKEW_GRACE: "Open to callers that name it: the grace of the policy has not ended",
    Kind.QUEUED: "Queued executions",
    Kind.RUNNING: "Running executions",
    Kind.RETRYING: "Executions that wait for a retry",
    Kind.WAITING: "Executions that wait for an answer",
    Kind.FAILED: "Failures that could be re-driven (FAILED)",
    Kind.DEAD_LETTERED: "Failures that could be re-driven (DLQ)",
    Kind.CAMPAIGN: "Unfinished campaigns that would re-drive its executions",
}
REQUESTS = {Kind.APPROVAL: "OPEN", Kind.SCHEDULE: "APPROVED"}
STATUSES = {
    Kind.QUEUED: "QUEUED",
    Kind.RUNNING: HELD,
    Kind.RETRYING: "WAIT_RETRY",
    Kind.WAITING: "WAITING_EXTERNAL",
    Kind.FAILED: "FAILED",
    Kind.DEAD_LETTERED: "DLQ",
}


def retirement(release: Release) -> Section:
    """Return what still needs the release, if it is registered."""
    found = blockers(release) if release.status == "REGISTERED" else []
    only_failures = bool(found) and all(each.kind in FAILURES for each in found)
    section = {"lines": lines_of(release, found), "only_failures": only_failures}
    return Section("executions/release_retirement.html", section)


def lines_of(release: Release, found: Iterable[Blocker]) -> list[dict[str, Any]]:
    """Return a line for each blocker of a release, with a link to exactly its rows."""
    return [{"label": LABELS[each.kind], "count": each.count, "href": _link(release, each)} for each in found]


def _link(release: Release, blocker: Blocker) -> str:
    if blocker.kind in {Kind.ACTIVE, Kind.GRADUAL, Kind.SKEW_GRACE}:
        return reverse("admin:releases_pipeline_change", args=[release.pipeline_id])
    tenant = release.pipeline.tenant.slug
    if blocker.kind in REQUESTS:
        query = {"release": str(release.pk), "status": REQUESTS[blocker.kind]}
        return f"{reverse('admin:releases_activationrequest_changelist')}?{urlencode(query)}"
    if blocker.kind is Kind.CAMPAIGN:
        query = {"release": str(release.pk)}
        return f"{reverse('admin:executions_campaign_changelist')}?{urlencode(query)}"
    query = {
        "status": STATUSES[blocker.kind],
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": tenant,
        **({"smoke": "no"} if blocker.kind in FAILURES else {}),
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(query)}"


_FILTERS = {State.RUNNING.value: STATUSES[Kind.RUNNING]}


def executions(release: Release) -> Section:
    """Return how many executions of the release are in which state."""
    found = counts_of(release)
    shared = {
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }

    def link(model: str, **filters: str) -> str:
        return f"{reverse(f'admin:executions_{model}_changelist')}?{urlencode({**filters, **shared})}"

    section = {
        "counts": [
            (each, STATE_VARIANTS[each.status], link("execution", status=_FILTERS.get(each.status, each.status)))
            for each in found.counts
        ],
        "errors": [(code, count, link("deadletter", error=code)) for code, count in found.errors],
        "errors_complete": found.errors_complete,
        "is_complete": all(each.is_complete for each in found.counts),
        "most": MOST_READ,
    }
    return Section("executions/release_executions.html", section)


WORKERS_SHOWN = 50
DIFFERENCES_SHOWN = 5


def workers(release: Release) -> Section:
    """Return the workers of the release that have not stopped, the newest heartbeats first."""
    rows = WorkerEligibility.objects.filter(release=release, worker__stopped_at=None)
    hosts = list(rows.select_related("worker").order_by("-worker__last_heartbeat_at", "pk")[: WORKERS_SHOWN + 1])
    images = images_of(release)
    lines = [_line(host, images) for host in hosts[:WORKERS_SHOWN]]
    section = {"lines": lines, "more": len(hosts) > WORKERS_SHOWN, "images": images}
    return Section("executions/release_workers.html", section)


def _line(host: WorkerEligibility, images: list[tuple[str, str]]) -> dict[str, object]:
    worker = host.worker
    code, environment = code_of(worker), environment_of(worker)
    differences = worker.environment["differences"][:DIFFERENCES_SHOWN] if worker.environment else []
    return {
        "worker": worker,
        "host": host,
        "of_image": declares_image(worker, images),
        "variant": WORKER_VARIANTS[host.state],
        "code": code,
        "code_variant": CODE_VARIANTS[code],
        "environment": environment,
        "environment_variant": ENVIRONMENT_VARIANTS[environment],
        "differences": differences,
        "more_differences": worker.difference_count - len(differences),
    }


GATE_VARIANTS = {Verdict.MET: "success", Verdict.WARNING: "warning", Verdict.UNMET: "danger"}
ENDED = {*FAILURES, Kind.CAMPAIGN}


def preview(switch: Switch, judged: list[Gate]) -> Section:
    """Return what would happen if the planned activation happened now."""
    found = preflight_of(switch, judged)
    active = found.active
    section = {
        "preflight": found,
        "gates": [(gate, GATE_VARIANTS[gate.verdict]) for gate in found.gates],
        "staying": sum(each.count for each in found.remaining if each.kind not in ENDED),
        "remaining": lines_of(active, found.remaining) if active else [],
        **context_of(found.differences),
    }
    return Section("executions/preflight.html", section)
