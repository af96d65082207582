"""Whether a REST worker hosts what a release pins: asked of the worker itself, at submission (wire protocol D.8)."""

from collections.abc import Iterable

from coordinator.documents import shown
from coordinator.exchange import Broken, NotConnected, TimedOut
from coordinator.outbound import TargetRefused, Unreachable
from executions.errors import WorkerUnavailable
from executions.models import Worker
from executions.rest_calls import call
from executions.rest_protocol import CAPABILITIES_PATH, PROTOCOL_VERSION, Capabilities, Malformed, parse
from releases.models import Release


def require_capable(release: Release, workers: Iterable[Worker]) -> None:
    """Raise `WorkerUnavailable`, with what the last of them lacks, unless one of `workers` can run `release`.

    A network call each, so not to be used inside a transaction.
    """
    why = "No worker lifecycle record for active release"
    for worker in workers:
        found = _why_not(release, worker)
        if found is None:
            return
        why = found
    raise WorkerUnavailable(why)


def artifact_conflict(release: Release, artifact_id: str, artifact_digest: str) -> str | None:
    """Why a worker that names this artifact cannot be of `release`; compared only where both sides tell."""
    artifacts = list(release.artifacts.all())
    digests, ids = {each.digest for each in artifacts}, {each.artifact_id for each in artifacts}
    if artifact_digest and artifact_digest not in digests:
        pinned = ", ".join(sorted(digests))
        return f"Worker artifact digest {shown(artifact_digest)} does not match active release artifact digest {pinned}"
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
        return f"REST transition worker capability check failed: {error}"
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
