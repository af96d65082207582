"""Which workers may run a release, why the others may not, and what waits because none may.

The view `WorkerEligibility` decides; this module explains.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from shlex import quote

from django.db import connection
from django.db.models import BooleanField, Count, ExpressionWrapper, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.models import DUE_VALUES, CodeOrigin, Execution, Worker, WorkerEligibility
from executions.models.states import State
from executions.workers.registry import REST
from foundation import wakeup
from foundation.database.compiled import Compiled
from releases.models import Release

Health, Reason = WorkerEligibility.State, WorkerEligibility.Reason
CHECK_TASK = "executions.check_capability"
CHECK_FAILED = "REST worker capability check failed"
MOST_NAMED = 20
"""How many workers an explanation names at most: those that have not stopped, then the newest."""
NOT_ALLOWED = "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"
NAMES_SHOWN = 5
IMPACTS = {
    Reason.OTHER_ARTIFACT: ("Workers with another artifact", "They get no work"),
    Reason.UNVERIFIED_CODE: (
        "Workers with unverified code",
        "They host code from a folder, which the pipeline's policy refuses",
    ),
    Reason.ENDPOINT_NOT_ALLOWED: (
        "Workers that may not be called",
        "REST_WORKER_ORIGINS does not name the origin of their endpoint",
    ),
    Reason.NO_FREE_THREAD: (
        "Workers without a free thread",
        "All their threads still run executions that were cancelled, taken over or timed out",
    ),
}
"""What the page says about workers that are there and get no work."""


def start_command(pipeline_id: str, release_version: str) -> str:
    """Return the command that starts a worker of a release, quoted for a shell."""
    return f"pipelines worker {quote(f'{pipeline_id}@{release_version}')}"


def require_healthy(release: Release) -> None:
    """Raise `WorkerUnavailable`, with the reason, unless a healthy worker hosts exactly this release.

    This makes one query unless it raises. If only REST workers are healthy, the last check of one of them must have
    confirmed that it hosts the release. Raises `WorkerNotChecked` if none of them has a valid verdict.
    """
    if _RUNNABLE.rows(release=release.pk):
        return
    refusal = why_unhealthy([release])[release.pk]
    if refusal is not None:
        raise refusal


def why_unhealthy(releases: Collection[Release]) -> dict[int, WorkerUnavailable | None]:
    """Return what `require_healthy` would raise for each release, by its key; None if it would not raise.

    Makes one query. Requests a check of the REST workers without a verdict on which the answer depends.
    """
    keys = [release.pk for release in releases]
    rows = WorkerEligibility.objects.filter(release__in=keys).exclude(reason=Reason.PROTOCOL_NOT_SUPPORTED)
    listed = rows.alias(place=_PLACE).filter(WorkerEligibility.ADMITTING | Q(place__lte=MOST_NAMED))
    by_release: dict[int, list[WorkerEligibility]] = {key: [] for key in keys}
    for host in listed.select_related("worker").defer("worker__environment").order_by("worker__worker_id"):
        assert host.release_id is not None  # noqa: S101 - the filter says so
        by_release[host.release_id].append(host)
    return {release.pk: _refusal(release, by_release[release.pk]) for release in releases}


_PLACE = Window(
    RowNumber(),
    partition_by="release",
    order_by=[ExpressionWrapper(Q(worker__stopped_at=None), BooleanField()).desc(), "-worker"],
)
"""The place of a worker among those that name its release: those that have not stopped, then the newest."""


def _refusal(release: Release, hosts: Sequence[WorkerEligibility]) -> WorkerUnavailable | None:
    admitting = [host for host in hosts if host.present and host.admits]
    if not admitting:
        return _unavailable(release, _why_none(hosts), wire_detail=_why_none_on_wire(hosts))
    return _unconfirmed(release, admitting) if all(host.worker.protocol == REST for host in admitting) else None


def _unavailable(release: Release, why: str, *, wire_detail: str) -> WorkerUnavailable:
    command = start_command(release.pipeline.pipeline_id, release.release_version)
    detail = f"{_none_runs(release)}: {why.rstrip('.')}. Start one, for example with `{command}`."
    return WorkerUnavailable(detail, wire_detail=wire_detail)


def _none_runs(release: Release) -> str:
    return f"No worker may run release {release.release_version!r}"


_RUNS = WorkerEligibility.ADMITTING & (~Q(worker__protocol=REST) | Q(verdict=True))
"""The condition for workers that certainly host their release. A REST worker without a verdict may host another."""
_RUNNABLE = Compiled(lambda release: WorkerEligibility.objects.filter(_RUNS, release=release)[:1], release=-1)


def _unconfirmed(release: Release, hosts: Sequence[WorkerEligibility]) -> WorkerUnavailable | None:
    """Return None if one of these REST workers has a positive verdict. Otherwise request a check of those without one.

    Returns the error of the last worker that has a negative verdict, or `WorkerNotChecked` if no worker has a valid
    verdict.
    """
    if any(host.verdict for host in hosts):
        return None
    if any(host.verdict is None for host in hosts):
        wakeup.send_once(CHECK_TASK)
    errors = [host.worker.capability_error for host in hosts if host.verdict is False]
    if errors:
        return _unavailable(release, errors[-1], wire_detail=errors[-1])
    why = "the worker has not been checked recently; a check has been requested"
    detail = f"{_none_runs(release)}: {why}. Try again in a few seconds."
    return WorkerNotChecked(detail, wire_detail=f"{CHECK_FAILED}: {why}")


def _why_none(hosts: Sequence[WorkerEligibility]) -> str:
    """Return the reason in words: what is wrong with each worker."""
    # A worker that admits nothing and has no reason sends no heartbeats.
    reasons = [(host.worker.worker_id, Reason(host.reason or Reason.SILENT)) for host in hosts]
    wrong = [reason.label.replace("the worker", worker_id) for worker_id, reason in reasons]
    more = f"; and {len(wrong) - NAMES_SHOWN} more" if len(wrong) > NAMES_SHOWN else ""
    return "; ".join(wrong[:NAMES_SHOWN]) + more or explained(())


def _why_none_on_wire(hosts: Sequence[WorkerEligibility]) -> str:
    """Return the reason in the words that existing clients of `/tpf` know."""
    fitting = [host for host in hosts if host.artifact_fits is not False]
    if not hosts:
        return "No worker lifecycle record for active release"
    if not fitting:
        return "Registered worker artifact identity does not match active release"
    if any(host.state == Health.HEALTHY and host.reason == Reason.ENDPOINT_NOT_ALLOWED for host in fitting):
        return f"{CHECK_FAILED}: {NOT_ALLOWED}"
    provider = "/".join(sorted({host.worker.protocol for host in fitting}))
    states = ", ".join(f"{host.worker.worker_id}={_state(host)}" for host in fitting)
    return f"No healthy {provider} worker lifecycle record for active release; current states: {states}"


def _state(host: WorkerEligibility) -> str:
    """Return the worker's state, or the reason why a worker that is HEALTHY may not run new executions."""
    return host.reason if host.reason in {Reason.NO_FREE_THREAD, Reason.UNVERIFIED_CODE} else host.state


@dataclass(frozen=True, slots=True)
class Hosts:
    """The workers that name one release. `capacity` is how many executions the `eligible` ones run at a time.

    `warnings` name what is wrong with the workers. The first one is that there is no eligible worker.
    """

    eligible: list[str]
    capacity: int
    warnings: list[str]

    @property
    def count(self) -> int:
        return len(self.eligible)


def hosts(release: Release) -> Hosts:
    """Return the workers of a release that have not stopped. Makes one query."""
    return hosts_by_release([release.pk])[release.pk]


def hosts_by_release(releases: Collection[int]) -> dict[int, Hosts]:
    """Return the workers of each release that have not stopped, by the key of the release. Makes one query."""
    rows = WorkerEligibility.objects.filter(release__in=releases, worker__stopped_at=None).select_related("worker")
    by_release: dict[int, list[WorkerEligibility]] = {release: [] for release in releases}
    for host in rows.defer("worker__environment").order_by("worker__worker_id"):
        assert host.release_id is not None  # noqa: S101 - the filter says so
        by_release[host.release_id].append(host)
    return {release: _hosts(workers) for release, workers in by_release.items()}


def _hosts(rows: list[WorkerEligibility]) -> Hosts:
    healthy = [host.worker for host in rows if host.admits]
    return Hosts(
        eligible=[worker.worker_id for worker in healthy],
        capacity=sum(max(worker.capacity - worker.abandoned, 0) for worker in healthy),
        warnings=_warnings(rows, has_healthy=bool(healthy)),
    )


def _warnings(rows: list[WorkerEligibility], *, has_healthy: bool) -> list[str]:
    texts = []
    if not has_healthy:
        impact = "New executions will be refused until a worker that hosts this release is started."
        texts.append(f"No healthy worker hosts it: {impact}")
    silent = [host.worker.worker_id for host in rows if host.state == "STALE"]
    if silent:
        texts.append(f"Silent workers: No recent heartbeat: {named(silent)}")
    for reason, (label, impact) in IMPACTS.items():
        affected = [host.worker.worker_id for host in rows if host.reason == reason]
        if affected:
            texts.append(f"{label}: {impact}: {named(affected)}")
    return texts


def named(names: list[str]) -> str:
    """Return the first NAMES_SHOWN names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


@dataclass(frozen=True, slots=True)
class Stranded:
    """The due executions of one release. `since` is when its last worker took work, or when the oldest became due.

    `reasons` are why the release's workers get no work, each once; empty if no worker of it is registered.
    """

    release_id: int
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    count: int
    since: datetime
    reasons: list[str]

    @property
    def explanation(self) -> str:
        return explained(self.reasons)


def explained(reasons: Collection[str]) -> str:
    """Say why the workers of a release get no work. Several reasons are those of different workers."""
    labels = [WorkerEligibility.Reason(reason).label for reason in reasons]
    if len(labels) > 1:
        labels = [label.replace("the worker", "a worker") for label in labels]
    return "; ".join(labels) or "no worker is registered"


def why_stranded(release_id: int) -> str | None:
    """Return why no worker may run the release, in words; None if one may."""
    rows = WorkerEligibility.objects.filter(release=release_id).order_by()
    present = set(rows.filter(worker__stopped_at=None).values_list("reason", flat=True))
    if None in present:
        return None
    reasons = present or set(rows.values_list("reason", flat=True)[:1])
    return explained(sorted(reason for reason in reasons if reason is not None))


def stranded(tenant_ids: Collection[int]) -> list[Stranded]:
    """Return what is stranded in these tenants now: one entry for each release, those with most executions first."""
    with connection.cursor() as cursor:
        cursor.execute(STRANDED, {"tenants": list(tenant_ids), "due": DUE_VALUES})
        return [Stranded(*row) for row in cursor.fetchall()]


def running_counts(hosts: Iterable[WorkerEligibility]) -> dict[int, int]:
    """Return how many leases each worker holds, by its key. Makes one query, on an index of running executions."""
    owners = {(host.release_id, host.lease_owner): host.pk for host in hosts if host.release_id is not None}
    rows = Execution.objects.filter(release__in={release for release, _ in owners}, status=State.RUNNING).order_by()
    counted = rows.values_list("release_id", "lease_owner").annotate(count=Count("pk"))
    counts = {(release, owner): count for release, owner, count in counted}
    return {worker: counts.get(owner, 0) for owner, worker in owners.items()}


def differing(rows: QuerySet[Worker]) -> QuerySet[Worker]:
    """Return the workers that differ from the release that they name, or name none that is registered."""
    return rows.filter(eligibility__present=True).filter(
        Q(eligibility__release=None)
        | Q(eligibility__artifact_fits=False)
        | Q(eligibility__verdict=False)
        | Q(code=CodeOrigin.SOURCE)
        | Q(environment__differenceCount__gt=0)
    )


# --- the SQL statements: what each does, and what it means if it affects or returns no row ---

# When a worker of release `r` last took work, and why its workers get none.
#
# A draining worker may send heartbeats long after it took its last work. Nothing says when a worker without a free
# thread, or one whose code the policy refuses, took its last work, so these do not count. STOPPED is a reason only if
# there is no other.
WITHOUT_WORK = """
    max(CASE WHEN v.artifact_fits IS NOT FALSE AND coalesce(v.reason, '') NOT IN ('NO_FREE_THREAD', 'UNVERIFIED_CODE')
        THEN least(w.last_heartbeat_at, w.draining_since, w.drained_by_operator_at, w.stopped_at) END) AS until,
    coalesce(array_agg(DISTINCT v.reason) FILTER (WHERE v.reason <> 'STOPPED'), array_agg(DISTINCT v.reason)) AS reasons
    FROM executions_workereligibility v JOIN executions_worker w ON w.id = v.worker_id WHERE v.release_id = r.id
"""

# Finds the releases with due executions that no worker may run, without paused ones. No row: nothing is stranded. The
# index of due executions has all that is read of them, but not their tenant, which their release implies. The workers,
# former ones too, are read for rows of `waiting`: with another reference, a plan may read those of every release.
STRANDED = f"""
WITH hosted AS MATERIALIZED (
    SELECT v.release_id FROM executions_workereligibility v
    WHERE v.tenant_id = ANY(%(tenants)s) AND v.present AND v.reason IS NULL
), waiting AS (
    SELECT e.release_id AS id, count(*) AS executions, min(e.next_due_at) AS oldest
    FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
    JOIN executions_execution e ON e.release_id = r.id
    WHERE p.tenant_id = ANY(%(tenants)s) AND e.status = ANY(%(due)s) AND e.next_due_at <= now()
        AND NOT e.held AND NOT EXISTS (SELECT FROM executions_heldrelease p WHERE p.release_id = e.release_id)
        AND NOT EXISTS (SELECT FROM hosted h WHERE h.release_id = e.release_id)
    GROUP BY e.release_id
)
SELECT r.id, t.slug, p.pipeline_id, s.contract_version, s.release_version, r.executions, greatest(r.oldest, h.until),
    coalesce(h.reasons, '{{}}')
FROM waiting r
JOIN releases_release s ON s.id = r.id
JOIN releases_pipeline p ON p.id = s.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
CROSS JOIN LATERAL (SELECT {WITHOUT_WORK}) h
ORDER BY r.executions DESC, r.id
"""  # noqa: S608  # nosec B608
