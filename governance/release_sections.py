"""What the pages of a release and of its activation say about executions and workers."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from executions.admin import workers as worker_pages
from executions.console.filters import STATE_VARIANTS
from executions.inspection.counts import MOST_READ, counts_of
from executions.models import WorkerEligibility
from executions.models.states import State
from executions.search import HELD
from governance.activation.gates import Gate, Switch, Verdict
from governance.comparison.pages import context_of
from governance.preflight.preflight import preflight_of
from governance.retirement.retirement import FAILURES, REQUESTS, STATUSES, Blocker, Kind, blockers
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


def needed(release: Release) -> dict[str, Any]:
    """Return what still needs the release, if it is registered."""
    found = blockers(release) if release.status == "REGISTERED" else []
    only_failures = bool(found) and all(each.kind in FAILURES for each in found)
    return {"lines": lines_of(release, found), "only_failures": only_failures}


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
        "status": _searched(STATUSES[blocker.kind]),
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": tenant,
        **({"smoke": "no"} if blocker.kind in FAILURES else {}),
    }
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode(query)}"


def _searched(status: str) -> str:
    """Return the filter of the list of executions that finds those with a status."""
    return HELD if status == State.RUNNING else status


def executions(release: Release) -> dict[str, Any]:
    """Return how many executions of the release are in which state."""
    found = counts_of(release)
    shared = {
        "pipeline": release.pipeline.pipeline_id,
        "release": release.release_version,
        "tenant": release.pipeline.tenant.slug,
    }

    def link(model: str, **filters: str) -> str:
        return f"{reverse(f'admin:executions_{model}_changelist')}?{urlencode({**filters, **shared})}"

    return {
        "counts": [
            (each, STATE_VARIANTS[each.status], link("execution", status=_searched(each.status)))
            for each in found.counts
        ],
        "errors": [(code, count, link("deadletter", error=code)) for code, count in found.errors],
        "errors_complete": found.errors_complete,
        "is_complete": all(each.is_complete for each in found.counts),
        "most": MOST_READ,
    }


WORKERS_SHOWN = 50
DIFFERENCES_SHOWN = 5


def workers(release: Release) -> dict[str, Any]:
    """Return the workers of the release that have not stopped, the newest heartbeats first."""
    rows = WorkerEligibility.objects.filter(release=release, worker__stopped_at=None)
    hosts = list(rows.select_related("worker").order_by("-worker__last_heartbeat_at", "pk")[: WORKERS_SHOWN + 1])
    images = worker_pages.images_of(release)
    lines = [_line(host, images) for host in hosts[:WORKERS_SHOWN]]
    return {"lines": lines, "more": len(hosts) > WORKERS_SHOWN, "images": images}


def _line(host: WorkerEligibility, images: list[tuple[str, str]]) -> dict[str, object]:
    worker = host.worker
    code, environment = worker_pages.code_of(worker), worker_pages.environment_of(worker)
    differences = worker.environment["differences"][:DIFFERENCES_SHOWN] if worker.environment else []
    return {
        "worker": worker,
        "host": host,
        "of_image": worker_pages.declares_image(worker, images),
        "variant": worker_pages.WORKER_VARIANTS[host.state],
        "code": code,
        "code_variant": worker_pages.CODE_VARIANTS[code],
        "environment": environment,
        "environment_variant": worker_pages.ENVIRONMENT_VARIANTS[environment],
        "differences": differences,
        "more_differences": worker.difference_count - len(differences),
    }


GATE_VARIANTS = {Verdict.MET: "success", Verdict.WARNING: "warning", Verdict.UNMET: "danger"}
ENDED = {*FAILURES, Kind.CAMPAIGN}


def preview(switch: Switch, judged: list[Gate]) -> dict[str, Any]:
    """Return what would happen if the planned activation happened now."""
    found = preflight_of(switch, judged)
    active = found.active
    return {
        "preflight": found,
        "gates": [(gate, GATE_VARIANTS[gate.verdict]) for gate in found.gates],
        "staying": sum(each.count for each in found.remaining if each.kind not in ENDED),
        "remaining": lines_of(active, found.remaining) if active else [],
        **context_of(found.differences),
    }


def open_holds(*rows: Any) -> list[Any]:
    """Return the open holds of these rows. Each row has a relation `holds`."""
    return [hold for row in rows for hold in row.holds.filter(ended_at=None).select_related("release")]
