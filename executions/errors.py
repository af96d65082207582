"""The errors of executions, each with its code and HTTP status."""

from typing import Any

from foundation.errors import BadRequest, Conflict, CoordinatorError, Forbidden, NotFound, Unavailable, Unprocessable


class ExecutionUnknown(NotFound, title="The tenant has no such execution"):
    """Check the id. Executions are removed after their retention period."""


class ExecutionUnfinished(Conflict, title="The execution has not ended"):
    """Wait for `Retry-After`, or read the result with `wait`.

    `data` has the members `executionStatus`, and `retryAfter` in seconds.
    """


class InputInvalid(Unprocessable, title="The input does not fit the first step of the active release's contract"):
    """Correct the input as `errors` says."""


class NotifyChannelUnknown(Unprocessable, title="The tenant has no enabled channel with this name"):
    """Name an enabled channel of the tenant in `notify`."""


class ConcurrencyLimitReached(
    Conflict, title="As many executions with this concurrency key are in progress as the release allows"
):
    """Submit again when an execution with this key has ended."""


class StartRateReached(
    CoordinatorError,
    status=429,
    title="As many executions with this concurrency key have started as the rate allows",
):
    """Submit again after `Retry-After`.

    `data` has the member `retryAfter`: when to try again, in seconds.
    """


class IdempotencyKeyReused(Conflict, title="The idempotency key belongs to an execution with another input or release"):
    """Use a new idempotency key for another input or release."""


class SmokeTestUnknown(NotFound, title="The release has no such smoke test"):
    """Check the id in the list of smoke tests."""


class ResubmitRefused(Conflict, title="Only an execution that has ended can be resubmitted"):
    """Wait for the end of the execution, or cancel it."""


class ResubmitKeyReused(Conflict, title="The operation key was used for another resubmission of the execution"):
    """Use a new operation key for another resubmission."""


class ResubmissionRemoved(
    CoordinatorError,
    status=410,
    title="The operation key created an execution that was removed after its retention period",
):
    """Use a new operation key to resubmit again."""


class ReleaseNotAdmitted(Conflict, title="The release accepts no executions"):
    """Choose a registered release."""


class WorkerUnknown(NotFound, title="The pipeline has no such worker"):
    """Check the id in the list of workers."""


class WorkerEndpointRefused(Unprocessable, title="The installation does not allow calls to this endpoint"):
    """Ask an administrator to allow the endpoint, or register another one."""


class WorkerEndpointInvalid(Unprocessable, title="The endpoint is not an origin, such as https://worker.example:8443"):
    """Send the scheme, the host and the port only."""


class WorkerBeatsItself(Conflict, title="The worker sends its own heartbeats over the broker"):
    """Register the REST worker under another id."""


class WorkerLimitReached(Conflict, title="The tenant has reached its limit of workers"):
    """Stop other workers, or ask an administrator to raise `MAX_TENANT_WORKERS`."""


class WorkerKeyChangeRefused(Conflict, title="The tenant's worker keys do not allow this change"):
    """Finish or begin the rotation of keys, as `detail` says."""


class WorkerUnavailable(Unavailable, title="No healthy worker hosts the active release"):
    """Start a worker of the active release.

    `wire_detail` is the reason in the words that existing clients of `/tpf` know.
    """

    def __init__(self, detail: str, *, wire_detail: str, **data: Any) -> None:
        super().__init__(detail, **data)
        self.wire_detail = wire_detail


class WorkerNotChecked(WorkerUnavailable, title="No REST worker that hosts the active release was checked recently"):
    """Repeat the request after `Retry-After`. A check has been requested."""


class RedriveRefused(Conflict, title="The execution's status does not allow a re-drive"):
    """Re-drive failed executions only. Those with the status `FAILED` need `allowFailed`."""


class ExecutionReplaced(Conflict, title="Another execution carries on the work, so a repetition needs a confirmation"):
    """Read the other execution, or confirm with `allowReplaced` that the work runs twice.

    `data` has the members `executionId`, and `executionStatus` and `releaseVersion`, which are null if it was removed.
    """


class ReleaseRevokedConfirmation(Conflict, title="The release is revoked, so running it again needs a confirmation"):
    """Resubmit the execution on another release, or confirm the revoked one."""


class CancelRefused(Conflict, title="The execution is terminal and cannot be cancelled"):
    """Nothing is left to cancel."""


class PauseRefused(Conflict, title="The execution is terminal and cannot be paused"):
    """Nothing is left to pause."""


class NotPaused(Conflict, title="It is not paused"):
    """Nothing is left to resume."""


class PipelinePaused(Conflict, title="The pipeline or its active release is paused and refuses submissions"):
    """Submit again after the end of the pause."""


class VersionMismatch(Conflict, title="The execution has another version than the caller expected"):
    """Read the execution, and decide again."""


class ExecutionChanged(Conflict, title="The execution changed while the request was processed"):
    """Read the execution, and repeat the request."""


class CheckpointMissing(Conflict, title="The execution has no checkpoint"):
    """Resubmit the execution from its input."""


class FailedItemsMissing(Conflict, title="The execution has no failed items that can run again"):
    """Resubmit the execution from its input."""


class CheckpointIncompatible(Conflict, title="The release is not proven to continue from the checkpoint"):
    """Resubmit the execution from its input, or choose another release."""


class CampaignUnknown(NotFound, title="The tenant has no such campaign"):
    """Check the id in the list of campaigns."""


class CampaignRefused(Conflict, title="The campaign's status does not allow this"):
    """Read the status of the campaign, and choose an act that it allows."""


class CampaignTargetInvalid(Unprocessable, title="The campaign's kind does not take this"):
    """Correct the request as `detail` says."""


class CampaignEmpty(Conflict, title="The campaign would contain no execution"):
    """Change the filters."""


class FilterRequired(Unprocessable, title="A campaign needs at least one filter"):
    """Add a filter."""


class TenantNotAllowed(Forbidden, title="This coordinator does not serve the tenant"):
    """Send the request to the coordinator that serves the tenant."""


class QuestionUnknown(NotFound, title="The tenant has no such question", code="INTERACTION_UNKNOWN"):
    """Check the id of the question."""


class CorrelationAmbiguous(Conflict, title="Several questions have this correlation id"):
    """Name the question by `questionId`."""


class QuestionClosed(Conflict, title="The question cannot be answered", code="INTERACTION_CLOSED"):
    """Nothing is left to answer. Read the question to see why."""


class AwaitTimedOut(Conflict, title="The answer came after the question's deadline", code="AWAIT_TIMEOUT"):
    """Nothing is left to answer. The execution has continued or failed."""


class ResumeTokenInvalid(BadRequest, title="The resume token is not valid for the question"):
    """Use the token that belongs to the question."""


class AnswerInvalid(Unprocessable, title="The answer does not fit the type that the contract names for the question"):
    """Correct the answer as `errors` says."""


class FailureGroupUnknown(NotFound, title="The tenant has no such failure group"):
    """Check the id in the list of failure groups."""


class AssigneeInvalid(Unprocessable, title="The assignee may not operate in the tenant"):
    """Name a member who may operate."""


class QuestionClaimed(Conflict, title="Another caller has claimed the question", code="INTERACTION_CLAIMED"):
    """Ask the person who has claimed the question to release it."""


class QuestionNotClaimed(Conflict, title="The caller has not claimed the question", code="INTERACTION_NOT_CLAIMED"):
    """Claim the question first."""


class RecipientRequired(Forbidden, title="Only the recipients of the question may answer it"):
    """Ask a recipient to answer, or reassign the question.

    `data` has the members `assignee` and `group`. At most one is null.
    """


class RecipientUnknown(Unprocessable, title="No member of the tenant with this name or group may answer"):
    """Name a member who may answer, or a group with such a member."""


class DelegateUnknown(Unprocessable, title="No member of the tenant with this name may answer"):
    """Name a member who may answer."""


class ScheduleUnknown(NotFound, title="The tenant has no such schedule"):
    """Check the id in the list of schedules."""


class ScheduleInvalid(BadRequest, title="The schedule is not valid"):
    """Correct the members that `errors` names."""


class ScheduleNameTaken(Conflict, title="The tenant already has a schedule with this name"):
    """Choose another name."""


class TooManySchedules(Conflict, title="The tenant has too many schedules"):
    """Remove a schedule."""


class BackfillInvalid(BadRequest, title="The schedule cannot fire for this range"):
    """Choose a range in the past with fewer times, as `detail` says."""
