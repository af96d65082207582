"""What the execution side refuses, each with its code and status."""

from coordinator.errors import CoordinatorError, NotFound


class ExecutionUnknown(NotFound):
    code = "EXECUTION_UNKNOWN"
    title = "The tenant has no such execution"


class InputInvalid(CoordinatorError):
    code = "INPUT_INVALID"
    status = 422
    title = "The input does not fit the first step of the active release's contract"


class IdempotencyKeyReused(CoordinatorError):
    code = "IDEMPOTENCY_KEY_REUSED"
    status = 409
    title = "The idempotency key belongs to an execution with another input"


class WorkerUnavailable(CoordinatorError):
    code = "WORKER_UNAVAILABLE"
    status = 503
    title = "No worker that hosts the active release is alive"
