"""The workers on the page of a release: their states, their code, and how their environments differ."""

from executions.admin.worker_labels import (
    CODE_VARIANTS,
    ENVIRONMENT_VARIANTS,
    WORKER_VARIANTS,
    code_of,
    declares_image,
    environment_of,
    images_of,
)
from executions.models import WorkerEligibility
from releases.admin.releases import section_sources
from releases.admin.sections import Section
from releases.models import Release

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


section_sources.append(workers)
