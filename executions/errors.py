"""The errors of executions, each with its code and HTTP status."""

from foundation.errors import BadRequest, Conflict, CoordinatorError, Forbidden, NotFound, Unavailable, Unprocessable


class ExecutionUnknown(NotFound, title="The tenant has no such execution"): ...


class ExecutionUnfinished(Conflict, title="The execution has not ended"):
    """`data` has the members `executionStatus`, and `retryAfter` in seconds."""


class InputInvalid(Unprocessable, title="The input does not fit the first step of the active release's contract"): ...


class NotifyChannelUnknown(Unprocessable, title="The tenant has no enabled channel with this name"): ...


class ConcurrencyLimitReached(
    Conflict, title="As many executions with this concurrency key are in progress as the release allows"
): ...


class StartRateReached(
    CoordinatorError,
    status=429,
    title="As many executions with this concurrency key have started as the rate allows",
):
    """`data` has the member `retryAfter`: when to try again, in seconds."""


class IdempotencyKeyReused(
    Conflict, title="The idempotency key belongs to an execution with another input or release"
): ...


class SmokeTestUnknown(NotFound, title="The release has no such smoke test"): ...


class ResubmitRefused(Conflict, title="Only an execution that has ended can be resubmitted"): ...


class ResubmitKeyReused(Conflict, title="The operation key was used for another resubmission of the execution"): ...


class ResubmissionRemoved(
    CoordinatorError,
    status=410,
    title="The operation key created an execution that was removed after its retention period",
): ...


class ReleaseNotAdmitted(Conflict, title="The release accepts no executions"): ...


class WorkerUnknown(NotFound, title="The pipeline has no such worker"): ...


class WorkerEndpointRefused(Unprocessable, title="The installation does not allow calls to this endpoint"): ...


class WorkerEndpointInvalid(
    Unprocessable, title="The endpoint is not an origin, such as https://worker.example:8443"
): ...


class WorkerBeatsItself(Conflict, title="The worker sends its own heartbeats over the broker"): ...


class WorkerLimitReached(Conflict, title="The tenant has reached its limit of workers"): ...


class WorkerKeyChangeRefused(Conflict, title="The tenant's worker keys do not allow this change"): ...


class WorkerUnavailable(Unavailable, title="No healthy worker hosts the active release"): ...


class WorkerNotChecked(
    WorkerUnavailable, title="No REST worker that hosts the active release was checked recently"
): ...


class RedriveRefused(Conflict, title="The execution's status does not allow a re-drive"): ...


class ReleaseRevokedConfirmation(
    Conflict, title="The release is revoked, so running it again needs a confirmation"
): ...


class CancelRefused(Conflict, title="The execution is terminal and cannot be cancelled"): ...


class PauseRefused(Conflict, title="The execution is terminal and cannot be paused"): ...


class NotPaused(Conflict, title="It is not paused"): ...


class PipelinePaused(Conflict, title="The pipeline or its active release is paused and refuses submissions"): ...


class VersionMismatch(Conflict, title="The execution has another version than the caller expected"): ...


class ExecutionChanged(Conflict, title="The execution changed while the request was processed"): ...


class CheckpointMissing(Conflict, title="The execution has no checkpoint"): ...


class FailedItemsMissing(Conflict, title="The execution has no failed items that can run again"): ...


class CheckpointIncompatible(Conflict, title="The release is not proven to continue from the checkpoint"): ...


class CampaignUnknown(NotFound, title="The tenant has no such campaign"): ...


class CampaignRefused(Conflict, title="The campaign's status does not allow this"): ...


class CampaignTargetInvalid(Unprocessable, title="The campaign's kind does not take this"): ...


class CampaignEmpty(Conflict, title="The campaign would contain no execution"): ...


class FilterRequired(Unprocessable, title="A campaign needs at least one filter"): ...


class TenantNotAllowed(Forbidden, title="This coordinator does not serve the tenant"): ...


class InteractionUnknown(NotFound, title="The tenant has no such interaction"): ...


class CorrelationAmbiguous(Conflict, title="Several interactions have this correlation id"): ...


class InteractionClosed(Conflict, title="The interaction cannot be answered"): ...


class AwaitTimedOut(Conflict, title="The answer came after the await's deadline", code="AWAIT_TIMEOUT"): ...


class ResumeTokenInvalid(BadRequest, title="The resume token is not valid for the interaction"): ...


class AnswerInvalid(Unprocessable, title="The answer does not fit the type that the contract names for the await"): ...


class FailureGroupUnknown(NotFound, title="The tenant has no such failure group"): ...


class AssigneeInvalid(Unprocessable, title="The assignee may not operate in the tenant"): ...


class InteractionClaimed(Conflict, title="Another caller has claimed the interaction"): ...


class InteractionNotClaimed(Conflict, title="The caller has not claimed the interaction"): ...


class RecipientRequired(Forbidden, title="Only the recipients of the interaction may answer it"):
    """`data` has the members `assignee` and `group`. At most one is null."""


class RecipientUnknown(Unprocessable, title="No member of the tenant with this name or group may answer"): ...


class DelegateUnknown(Unprocessable, title="No member of the tenant with this name may answer"): ...


class ScheduleUnknown(NotFound, title="The tenant has no such schedule"): ...


class ScheduleInvalid(BadRequest, title="The schedule is not valid"): ...


class ScheduleNameTaken(Conflict, title="The tenant already has a schedule with this name"): ...


class TooManySchedules(Conflict, title="The tenant has too many schedules"): ...


class BackfillInvalid(BadRequest, title="The schedule cannot fire for this range"): ...
