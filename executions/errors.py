"""The errors of executions, each with its code and HTTP status."""

from foundation.errors import CoordinatorError, NotFound


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
    title = "The idempotency key belongs to an execution with another input or release"


class SmokeTestUnknown(NotFound):
    code = "SMOKE_TEST_UNKNOWN"
    title = "The release has no such smoke test"


class ResubmitRefused(CoordinatorError):
    code = "RESUBMIT_REFUSED"
    status = 409
    title = "Only an execution that has ended can be resubmitted"


class ResubmitKeyReused(CoordinatorError):
    code = "RESUBMIT_KEY_REUSED"
    status = 409
    title = "The operation key was used for another resubmission of the execution"


class ResubmissionRemoved(CoordinatorError):
    code = "RESUBMISSION_REMOVED"
    status = 410
    title = "The operation key created an execution that was removed after its retention period"


class ReleaseNotAdmitted(CoordinatorError):
    code = "RELEASE_NOT_ADMITTED"
    status = 409
    title = "The release accepts no executions"


class WorkerUnknown(NotFound):
    code = "WORKER_UNKNOWN"
    title = "The pipeline has no such worker"


class WorkerEndpointRefused(CoordinatorError):
    code = "WORKER_ENDPOINT_REFUSED"
    status = 422
    title = "The installation does not allow calls to this endpoint"


class WorkerEndpointInvalid(CoordinatorError):
    code = "WORKER_ENDPOINT_INVALID"
    status = 422
    title = "The endpoint is not an origin, such as https://worker.example:8443"


class WorkerBeatsItself(CoordinatorError):
    code = "WORKER_BEATS_ITSELF"
    status = 409
    title = "The worker sends its own heartbeats over the broker"


class WorkerLimitReached(CoordinatorError):
    code = "WORKER_LIMIT_REACHED"
    status = 409
    title = "The tenant has reached its limit of workers"


class WorkerKeyChangeRefused(CoordinatorError):
    code = "WORKER_KEY_CHANGE_REFUSED"
    status = 409
    title = "The tenant's worker keys do not allow this change"


class WorkerUnavailable(CoordinatorError):
    code = "WORKER_UNAVAILABLE"
    status = 503
    title = "No healthy worker hosts the active release"


class WorkerNotChecked(WorkerUnavailable):
    code = "WORKER_NOT_CHECKED"
    status = 503
    title = "No REST worker that hosts the active release was checked recently"


class RedriveRefused(CoordinatorError):
    code = "REDRIVE_REFUSED"
    status = 409
    title = "The execution's status does not allow a re-drive"


class ReleaseRevokedConfirmation(CoordinatorError):
    code = "RELEASE_REVOKED_CONFIRMATION"
    status = 409
    title = "The release is revoked, so running it again needs a confirmation"


class CancelRefused(CoordinatorError):
    code = "CANCEL_REFUSED"
    status = 409
    title = "The execution is terminal and cannot be cancelled"


class PauseRefused(CoordinatorError):
    code = "PAUSE_REFUSED"
    status = 409
    title = "The execution is terminal and cannot be paused"


class NotPaused(CoordinatorError):
    code = "NOT_PAUSED"
    status = 409
    title = "It is not paused"


class PipelinePaused(CoordinatorError):
    code = "PIPELINE_PAUSED"
    status = 409
    title = "The pipeline or its active release is paused and refuses submissions"


class VersionMismatch(CoordinatorError):
    code = "VERSION_MISMATCH"
    status = 409
    title = "The execution has another version than the caller expected"


class ExecutionChanged(CoordinatorError):
    code = "EXECUTION_CHANGED"
    status = 409
    title = "The execution changed while the request was processed"


class CheckpointMissing(CoordinatorError):
    code = "CHECKPOINT_MISSING"
    status = 409
    title = "The execution has no checkpoint"


class CheckpointIncompatible(CoordinatorError):
    code = "CHECKPOINT_INCOMPATIBLE"
    status = 409
    title = "The release is not proven to continue from the checkpoint"


class CampaignUnknown(NotFound):
    code = "CAMPAIGN_UNKNOWN"
    title = "The tenant has no such campaign"


class CampaignRefused(CoordinatorError):
    code = "CAMPAIGN_REFUSED"
    status = 409
    title = "The campaign's status does not allow this"


class CampaignTargetInvalid(CoordinatorError):
    code = "CAMPAIGN_TARGET_INVALID"
    status = 422
    title = "The campaign's kind does not take this"


class CampaignEmpty(CoordinatorError):
    code = "CAMPAIGN_EMPTY"
    status = 409
    title = "The campaign would contain no execution"


class FilterRequired(CoordinatorError):
    code = "FILTER_REQUIRED"
    status = 422
    title = "A campaign needs at least one filter"


class TenantNotAllowed(CoordinatorError):
    code = "TENANT_NOT_ALLOWED"
    status = 403
    title = "This coordinator does not serve the tenant"


class InteractionUnknown(NotFound):
    code = "INTERACTION_UNKNOWN"
    title = "The tenant has no such interaction"


class CorrelationAmbiguous(CoordinatorError):
    code = "CORRELATION_AMBIGUOUS"
    status = 409
    title = "Several interactions have this correlation id"


class InteractionClosed(CoordinatorError):
    code = "INTERACTION_CLOSED"
    status = 409
    title = "The interaction cannot be answered"


class AwaitTimedOut(CoordinatorError):
    code = "AWAIT_TIMEOUT"
    status = 409
    title = "The answer came after the await's deadline"


class ResumeTokenInvalid(CoordinatorError):
    code = "RESUME_TOKEN_INVALID"
    status = 400
    title = "The resume token is not valid for the interaction"


class AnswerInvalid(CoordinatorError):
    code = "ANSWER_INVALID"
    status = 422
    title = "The answer does not fit the type that the contract names for the await"


class FailureGroupUnknown(NotFound):
    code = "FAILURE_GROUP_UNKNOWN"
    title = "The tenant has no such failure group"


class AssigneeInvalid(CoordinatorError):
    code = "ASSIGNEE_INVALID"
    status = 422
    title = "The assignee may not operate in the tenant"


class InteractionClaimed(CoordinatorError):
    code = "INTERACTION_CLAIMED"
    status = 409
    title = "Another caller has claimed the interaction"


class InteractionNotClaimed(CoordinatorError):
    code = "INTERACTION_NOT_CLAIMED"
    status = 409
    title = "The caller has not claimed the interaction"


class DelegateUnknown(CoordinatorError):
    code = "DELEGATE_UNKNOWN"
    status = 422
    title = "No member of the tenant with this name may answer"
