"""The errors of executions, each with its code and HTTP status."""

from foundation.errors import CoordinatorError, NotFound


class ExecutionUnknown(NotFound):
    title = "The tenant has no such execution"


class InputInvalid(CoordinatorError, status=422):
    title = "The input does not fit the first step of the active release's contract"


class IdempotencyKeyReused(CoordinatorError, status=409):
    title = "The idempotency key belongs to an execution with another input or release"


class SmokeTestUnknown(NotFound):
    title = "The release has no such smoke test"


class ResubmitRefused(CoordinatorError, status=409):
    title = "Only an execution that has ended can be resubmitted"


class ResubmitKeyReused(CoordinatorError, status=409):
    title = "The operation key was used for another resubmission of the execution"


class ResubmissionRemoved(CoordinatorError, status=410):
    title = "The operation key created an execution that was removed after its retention period"


class ReleaseNotAdmitted(CoordinatorError, status=409):
    title = "The release accepts no executions"


class WorkerUnknown(NotFound):
    title = "The pipeline has no such worker"


class WorkerEndpointRefused(CoordinatorError, status=422):
    title = "The installation does not allow calls to this endpoint"


class WorkerEndpointInvalid(CoordinatorError, status=422):
    title = "The endpoint is not an origin, such as https://worker.example:8443"


class WorkerBeatsItself(CoordinatorError, status=409):
    title = "The worker sends its own heartbeats over the broker"


class WorkerLimitReached(CoordinatorError, status=409):
    title = "The tenant has reached its limit of workers"


class WorkerKeyChangeRefused(CoordinatorError, status=409):
    title = "The tenant's worker keys do not allow this change"


class WorkerUnavailable(CoordinatorError, status=503):
    title = "No healthy worker hosts the active release"


class WorkerNotChecked(WorkerUnavailable):
    title = "No REST worker that hosts the active release was checked recently"


class RedriveRefused(CoordinatorError, status=409):
    title = "The execution's status does not allow a re-drive"


class ReleaseRevokedConfirmation(CoordinatorError, status=409):
    title = "The release is revoked, so running it again needs a confirmation"


class CancelRefused(CoordinatorError, status=409):
    title = "The execution is terminal and cannot be cancelled"


class PauseRefused(CoordinatorError, status=409):
    title = "The execution is terminal and cannot be paused"


class NotPaused(CoordinatorError, status=409):
    title = "It is not paused"


class PipelinePaused(CoordinatorError, status=409):
    title = "The pipeline or its active release is paused and refuses submissions"


class VersionMismatch(CoordinatorError, status=409):
    title = "The execution has another version than the caller expected"


class ExecutionChanged(CoordinatorError, status=409):
    title = "The execution changed while the request was processed"


class CheckpointMissing(CoordinatorError, status=409):
    title = "The execution has no checkpoint"


class CheckpointIncompatible(CoordinatorError, status=409):
    title = "The release is not proven to continue from the checkpoint"


class CampaignUnknown(NotFound):
    title = "The tenant has no such campaign"


class CampaignRefused(CoordinatorError, status=409):
    title = "The campaign's status does not allow this"


class CampaignTargetInvalid(CoordinatorError, status=422):
    title = "The campaign's kind does not take this"


class CampaignEmpty(CoordinatorError, status=409):
    title = "The campaign would contain no execution"


class FilterRequired(CoordinatorError, status=422):
    title = "A campaign needs at least one filter"


class TenantNotAllowed(CoordinatorError, status=403):
    title = "This coordinator does not serve the tenant"


class InteractionUnknown(NotFound):
    title = "The tenant has no such interaction"


class CorrelationAmbiguous(CoordinatorError, status=409):
    title = "Several interactions have this correlation id"


class InteractionClosed(CoordinatorError, status=409):
    title = "The interaction cannot be answered"


class AwaitTimedOut(CoordinatorError, status=409):
    code = "AWAIT_TIMEOUT"
    title = "The answer came after the await's deadline"


class ResumeTokenInvalid(CoordinatorError, status=400):
    title = "The resume token is not valid for the interaction"


class AnswerInvalid(CoordinatorError, status=422):
    title = "The answer does not fit the type that the contract names for the await"


class FailureGroupUnknown(NotFound):
    title = "The tenant has no such failure group"


class AssigneeInvalid(CoordinatorError, status=422):
    title = "The assignee may not operate in the tenant"


class InteractionClaimed(CoordinatorError, status=409):
    title = "Another caller has claimed the interaction"


class InteractionNotClaimed(CoordinatorError, status=409):
    title = "The caller has not claimed the interaction"


class DelegateUnknown(CoordinatorError, status=422):
    title = "No member of the tenant with this name may answer"
