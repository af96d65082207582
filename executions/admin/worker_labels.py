"""What admin pages say about the state, the code and the environment of a worker."""

from executions.models import CodeOrigin, Worker, WorkerEligibility

DRAINED = "DRAINED"
WORKER_VARIANTS = {
    "HEALTHY": "success",
    "DRAINING": "warning",
    DRAINED: "info",
    "STALE": "danger",
    "UNAVAILABLE": "default",
}
NOT_REPORTED = "not reported"
CODE_VARIANTS = {
    CodeOrigin.ARTIFACT.label: "success",
    CodeOrigin.SOURCE.label: "danger",
    CodeOrigin.IMAGE.label: "info",
    NOT_REPORTED: "default",
}
ENVIRONMENT_VARIANTS = {
    "as required": "success",
    "differs": "warning",
    "not compared": "default",
    NOT_REPORTED: "default",
}


def code_of(worker: Worker) -> str:
    """Return where the worker's code comes from: a key of CODE_VARIANTS."""
    return str(CodeOrigin(worker.code).label) if worker.code else NOT_REPORTED


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
