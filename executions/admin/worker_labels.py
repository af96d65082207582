"""What admin pages say about the state, the code and the environment of a worker."""

from executions.models import CodeOrigin, Worker, WorkerEligibility
from releases.models import Release
from wire.documents.descriptor import ArtifactKind

DRAINED = "DRAINED"
WORKER_VARIANTS = {
    "HEALTHY": "success",
    "DRAINING": "warning",
    DRAINED: "info",
    "STALE": "danger",
    "UNAVAILABLE": "default",
}
NOT_REPORTED = "not reported"
OF_IMAGE = "unverified: an image"
"""The worker's code cannot be compared with the image that its release pins."""
CODE_VARIANTS = {
    CodeOrigin.ARTIFACT.label: "success",
    CodeOrigin.SOURCE.label: "danger",
    OF_IMAGE: "info",
    NOT_REPORTED: "default",
}
ENVIRONMENT_VARIANTS = {
    "as required": "success",
    "differs": "warning",
    "not compared": "default",
    NOT_REPORTED: "default",
}
_IMAGE_KINDS = frozenset(kind.value for kind in ArtifactKind if kind.is_image)


def code_of(worker: Worker) -> str:
    """Return where the worker's code comes from: a key of CODE_VARIANTS."""
    if worker.code == CodeOrigin.IMAGE:
        return OF_IMAGE
    return str(CodeOrigin(worker.code).label) if worker.code else NOT_REPORTED


def images_of(release: Release) -> list[tuple[str, str]]:
    """Return the id and the digest of each image that the release pins."""
    return [
        (each["artifactId"], each["digest"]) for each in release.descriptor["artifacts"] if each["kind"] in _IMAGE_KINDS
    ]


def declares_image(worker: Worker, images: list[tuple[str, str]]) -> bool:
    """Return True if the worker says that it runs one of `images`. Nothing proves it."""
    return any(
        worker.artifact_digest == digest or (not worker.artifact_digest and worker.artifact_id == artifact_id)
        for artifact_id, digest in images
    )


def environment_of(worker: Worker) -> str:
    """Return how the worker's environment compares with the required one: a key of ENVIRONMENT_VARIANTS.

    Only a worker that hosts an artifact compares its environment.
    """
    if worker.environment is None:
        return NOT_REPORTED
    if worker.difference_count:
        return "differs"
    return "as required" if worker.code == CodeOrigin.ARTIFACT else "not compared"


def remaining(worker: Worker, in_hand: int) -> int:
    """Return how many executions the worker still has: those whose leases it holds, or more if it reported more."""
    return max(in_hand, worker.holding or 0)


def state_of(worker: Worker, in_hand: int) -> str:
    """Return the state to display: a worker that drains is DRAINED once it has nothing in hand."""
    state = worker.eligibility.state
    return DRAINED if state == WorkerEligibility.State.DRAINING and not remaining(worker, in_hand) else state
