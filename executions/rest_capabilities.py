"""Asks REST workers at submission whether they host what a release pins (wire protocol D.8).

Each answer is kept on the worker's row, where every process finds it, and counts for ANSWER_SECONDS.
"""

from collections.abc import Iterable
from datetime import timedelta
from threading import Lock

from django.db.models.functions import Now

from coordinator.documents import shown
from coordinator.exchange import Broken, NotConnected, TimedOut
from coordinator.outbound import TargetRefused, Unreachable
from executions.errors import WorkerUnavailable
from executions.models import Worker
from executions.rest_calls import call
from executions.rest_protocol import CAPABILITIES_PATH, PROTOCOL_VERSION, Capabilities, Malformed, parse
from releases.models import Release

CHECK_FAILED = "REST transition worker capability check failed"
ANSWER_SECONDS = 5
# While one thread asks a worker, the others of the process wait for its answer. Workers that share a lock only wait.
_asking = [Lock() for _ in range(64)]


def require_capable(release: Release, workers: Iterable[Worker]) -> None:
    """Raise `WorkerUnavailable`, with what the last of them lacks, unless one of `workers` can run `release`.

    It calls each worker that has no recent answer, so do not use it inside a transaction.
    """
    candidates = {worker.pk: worker for worker in workers}
    if "" in _recent(candidates).values():
        return
    why = "No worker lifecycle record for active release"
    for worker in candidates.values():
        why = _error(release, worker)
        if not why:
            return
    raise WorkerUnavailable(why)


def _error(release: Release, worker: Worker) -> str:
    """Return what the worker lacks, from its recent answer or a new one; empty if it can run `release`."""
    with _asking[worker.pk % len(_asking)]:
        recent = _recent([worker.pk])
        if recent:
            return recent[worker.pk]
        error = _why_not(release, worker) or ""
        # If the worker was registered again meanwhile, the answer does not apply to it.
        same = Worker.objects.filter(pk=worker.pk, registered_at=worker.registered_at)
        same.update(capability_checked_at=Now(), capability_error=error)
        return error


def _recent(pks: Iterable[int]) -> dict[int, str]:
    """Return the answers that still count, by worker."""
    since = Now() - timedelta(seconds=ANSWER_SECONDS)
    rows = Worker.objects.filter(pk__in=list(pks), capability_checked_at__gt=since)
    return dict(rows.values_list("pk", "capability_error"))


def artifact_conflict(release: Release, artifact_id: str, artifact_digest: str) -> str | None:
    """Return why a worker whose answer names this artifact cannot host `release`; None if it can.

    The view `WorkerEligibility` applies the same rule to registered artifacts. A test compares the two.
    """
    artifacts = list(release.artifacts.all())
    named = [each for each in artifacts if artifact_digest in ("", each.digest)]
    if not named:
        pinned = ", ".join(sorted({each.digest for each in artifacts}))
        return f"Worker artifact digest {shown(artifact_digest)} does not match active release artifact digest {pinned}"
    ids = {each.artifact_id for each in named}
    if artifact_id and artifact_id not in ids:
        pinned = ", ".join(sorted(ids))
        return f"Worker artifact id {shown(artifact_id)} does not match active release artifact id {pinned}"
    return None


def _why_not(release: Release, worker: Worker) -> str | None:
    try:
        answer = call(worker.endpoint, release.pipeline.tenant.slug, "GET", CAPABILITIES_PATH)
        if not (200 <= answer.status < 300 and answer.complete):
            raise Malformed(f"HTTP {answer.status}")
        told = parse(Capabilities, answer.body)
    except (TargetRefused, Unreachable, NotConnected, TimedOut, Broken, Malformed) as error:
        return f"{CHECK_FAILED}: {error}"
    if told.protocol_version != PROTOCOL_VERSION:
        return "Worker capability protocol version is unsupported"
    hosts = (told.pipeline_id, told.contract_version, told.release_version)
    active = (release.pipeline.pipeline_id, release.contract_version, release.release_version)
    if hosts != active:
        return f"Worker hosts {_identity(*hosts)} but active release is {_identity(*active)}"
    return artifact_conflict(release, (told.artifact_id or "").strip(), (told.artifact_digest or "").strip())


def _identity(pipeline_id: str, contract_version: str, release_version: str) -> str:
    return (
        f"pipelineId={shown(pipeline_id)}, contractVersion={shown(contract_version)}, "
        f"releaseVersion={shown(release_version)}"
    )
