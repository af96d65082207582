"""The errors of executions, each with its code and HTTP status."""

from foundation.errors import Conflict, CoordinatorError, NotFound, Unprocessable


class ExecutionUnknown(NotFound):
    code = "EXECUTION_UNKNOWN"
    title = "The tenant has no such execution"


class InputInvalid(Unprocessable):
    code = "INPUT_INVALID"
    title = "The input does not fit the first step of the active release's contract"


class IdempotencyKeyReused(Conflict):
    code = "IDEMPOTENCY_KEY_REUSED"
    title = "The idempotency key belongs to an execution with another input or release"


class SmokeTestUnknown(NotFound):
    code = "SMOKE_TEST_UNKNOWN"
    title = "The release has no such smoke test"


class ResubmitRefused(Conflict):
    code = "RESUBMIT_REFUSED"
    title = "Only an execution that has ended can be resubmitted"


class ResubmitKeyReused(Conflict):
    code = "RESUBMIT_KEY_REUSED"
    title = "The operation key was used for another resubmission of the execution"


class ResubmissionRemoved(CoordinatorError):
    code = "RESUBMISSION_REMOVED"
    status = 410
    title = "The operation key created an execution that was removed after its retention period"


class ReleaseNotAdmitted(Conflict):
    code = "RELEASE_NOT_ADMITTED"
    title = "The release accepts no executions"


class WorkerUnknown(NotFound):
    code = "WORKER_UNKNOWN"
    title = "The pipeline has no such worker"


class WorkerEndpointRefused(Unprocessable):
    code = "WORKER_ENDPOINT_REFUSED"
    title = "The installation does not allow calls to this endpoint"


class WorkerEndpointInvalid(Unprocessable):
    code = "WORKER_ENDPOINT_INVALID"
    title = "The endpoint is not an origin, such as https://worker.example:8443"


class WorkerBeatsItself(Conflict):
    code = "WORKER_BEATS_ITSELF"
    title = "The worker sends its own heartbeats over the broker"


class WorkerLimitReached(Conflict):
    code = "WORKER_LIMIT_REACHED"
    title = "The tenant has reached its limit of workers"


class WorkerKeyChangeRefused(Conflict):
    code = "WORKER_KEY_CHANGE_REFUSED"
    title = "The tenant's worker keys do not allow this change"


class WorkerUnavailable(CoordinatorError):
    code = "WORKER_UNAVAILABLE"
    status = 503
    title = "No healthy worker hosts the active release"


class WorkerNotChecked(WorkerUnavailable):
    code = "WORKER_NOT_CHECKED"
    title = "No REST worker that hosts the active release was checked recently"


class RedriveRefused(Conflict):
    code = "REDRIVE_REFUSED"
    title = "The execution's status does not allow a re-drive"


class ReleaseRevokedConfirmation(Conflict):
    code = "RELEASE_REVOKED_CONFIRMATION"
    title = "The release is revoked, so running it again needs a confirmation"


class CancelRefused(Conflict):
    code = "CANCEL_REFUSED"
    title = "The execution is terminal and cannot be cancelled"


class PauseRefused(Conflict):
    code = "PAUSE_REFUSED"
    title = "The execution is terminal and cannot be paused"


class NotPaused(Conflict):
    code = "NOT_PAUSED"
    title = "It is not paused"


class PipelinePaused(Conflict):
    code = "PIPELINE_PAUSED"
    title = "The pipeline or its active release is paused and refuses submissions"


class VersionMismatch(Conflict):
    code = "VERSION_MISMATCH"
    title = "The execution has another version than the caller expected"


class ExecutionChanged(Conflict):
    code = "EXECUTION_CHANGED"
    title = "The execution changed while the request was processed"


class CheckpointMissing(Conflict):
    code = "CHECKPOINT_MISSING"
    title = "The execution has no checkpoint"


class CheckpointIncompatible(Conflict):
    code = "CHECKPOINT_INCOMPATIBLE"
    title = "The release is not proven to continue from the checkpoint"


class CampaignUnknown(NotFound):
    code = "CAMPAIGN_UNKNOWN"
    title = "The tenant has no such campaign"


class CampaignRefused(Conflict):
    code = "CAMPAIGN_REFUSED"
    title = "The campaign's status does not allow this"


class CampaignTargetInvalid(Unprocessable):
    code = "CAMPAIGN_TARGET_INVALID"
    title = "The campaign's kind does not take this"


class CampaignEmpty(Conflict):
    code = "CAMPAIGN_EMPTY"
    title = "The campaign would contain no execution"


class FilterRequired(Unprocessable):
    code = "FILTER_REQUIRED"
    title = "A campaign needs at least one filter"


class TenantNotAllowed(CoordinatorError):
    code = "TENANT_NOT_ALLOWED"
    status = 403
    title = "This coordinator does not serve the tenant"


class InteractionUnknown(NotFound):
    code = "INTERACTION_UNKNOWN"
    title = "The tenant has no such interaction"


class CorrelationAmbiguous(Conflict):
    code = "CORRELATION_AMBIGUOUS"
    title = "Several interactions have this correlation id"


class InteractionClosed(Conflict):
    code = "INTERACTION_CLOSED"
    title = "The interaction cannot be answered"


class AwaitTimedOut(Conflict):
    code = "AWAIT_TIMEOUT"
    title = "The answer came after the await's deadline"


class ResumeTokenInvalid(CoordinatorError):
    code = "RESUME_TOKEN_INVALID"
    status = 400
    title = "The resume token is not valid for the interaction"


class AnswerInvalid(Unprocessable):
    code = "ANSWER_INVALID"
    title = "The answer does not fit the type that the contract names for the await"


class FailureGroupUnknown(NotFound):
    code = "FAILURE_GROUP_UNKNOWN"
    title = "The tenant has no such failure group"


class AssigneeInvalid(Unprocessable):
    code = "ASSIGNEE_INVALID"
    title = "The assignee may not operate in the tenant"


class InteractionClaimed(Conflict):
    code = "INTERACTION_CLAIMED"
    title = "Another caller has claimed the interaction"


class InteractionNotClaimed(Conflict):
    code = "INTERACTION_NOT_CLAIMED"
    title = "The caller has not claimed the interaction"


class DelegateUnknown(Unprocessable):
    code = "DELEGATE_UNKNOWN"
    title = "No member of the tenant with this name may answer"
