"""Why a call of the API failed. Messages may contain text of the server, which is untrusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

_LONGEST: Final = 4000


class ClientError(Exception):
    """A call of the API failed, or what it needs is missing or not valid."""

    retryable = False
    """True if the same call may succeed later."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors pass between processes, with any arguments of their classes."""
        return _copied, (type(self), self.args, vars(self))


class Unreachable(ClientError):
    """No valid response arrived. The server may have carried the request out."""

    retryable = True


class NotConnected(Unreachable):
    """No connection could be opened. Nothing was sent."""


class TimedOut(Unreachable):
    """No complete response arrived in time."""


class Broken(Unreachable):
    """The connection was lost, or the response is not HTTP."""


class NotSent(Broken):
    """The connection was lost before the request was sent. The server has not received all of it."""


class Refused(ClientError):
    """The server responded with an unexpected status.

    `status` is that of HTTP. `code` is stable, `detail` is for people, `field` is the first member of the request that
    is not valid, and `fields` has a line for each of them. `retry_after` is how many seconds to wait, None if the
    server does not say. A new object is of the class for its code, or else for its status.
    """

    def __new__(cls, status: int, headers: Mapping[str, str], problem: Mapping[str, Any]) -> Self:
        named = _BY_CODE.get(str(problem.get("code"))) or _BY_STATUS.get(status)
        if named is None:
            named = Unavailable if status >= 500 else InvalidRequest if status >= 400 else cls
        return super().__new__(named if issubclass(named, cls) else cls)

    def __init__(self, status: int, headers: Mapping[str, str], problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))[:100]
        self.detail = str(problem.get("detail") or problem.get("title") or "no detail")[:_LONGEST]
        self.retry_after = _seconds(headers.get("retry-after") or "")
        errors = problem.get("errors")
        members = [error for error in errors[:50] if isinstance(error, dict)] if isinstance(errors, list) else []
        self.field = str(members[0].get("field", ""))[:_LONGEST] if members else ""
        self.fields = [f"  {member.get('field', '')}: {member.get('message', '')}"[:_LONGEST] for member in members]
        if 300 <= status < 400:
            where = (headers.get("location") or "another address")[:200]
            super().__init__(f"the server redirects to {where} with status {status}; give its final address as the URL")
        else:
            lines = [field for field in self.fields if field.strip() not in self.detail]
            super().__init__("\n".join([f"{status} {self.code}".rstrip() + f": {self.detail}", *lines]))


class InvalidRequest(Refused):
    """Correct the members that `fields` names.

    400, 413, 422 or another 4xx: the request is not valid.
    """


class InputInvalid(InvalidRequest):
    """Correct the input as `fields` says.

    INPUT_INVALID: the input does not have the type of the first step.
    """


class AnswerInvalid(InvalidRequest):
    """Correct the answer as `fields` says.

    ANSWER_INVALID: the answer does not have the type that the question asks for.
    """


class NotAuthenticated(Refused):
    """401: the token is not valid."""


class PermissionDenied(Refused):
    """403: the token does not allow the request."""


class NotFound(Refused):
    """Check the path and the tenant.

    404 or 410: the tenant has no such object.
    """


class PipelineUnknown(NotFound):
    """Check the id. A pipeline exists once a release of it is uploaded.

    PIPELINE_UNKNOWN.
    """


class ExecutionUnknown(NotFound):
    """Check the id. Executions are removed after their retention period.

    EXECUTION_UNKNOWN.
    """


class QuestionUnknown(NotFound):
    """Check the id of the question.

    INTERACTION_UNKNOWN.
    """


InteractionUnknown = QuestionUnknown
"""The former name."""


class Conflict(Refused):
    """409 or 412: the present state does not allow the request."""


class NoActiveRelease(Conflict):
    """Activate a release of the pipeline.

    NO_ACTIVE_RELEASE: no release of the pipeline is active.
    """


class ActiveReleaseChanged(Conflict):
    """Read the active release, and decide again.

    ACTIVE_RELEASE_CHANGED: another release is active than the one that the request expects.
    """


class ReleaseNotOpen(Conflict):
    """Omit the release version, or wait for the activation if the release was never active.

    RELEASE_NOT_OPEN: the release that the request names is not open to submissions.
    """


class PipelinePaused(Conflict):
    """Submit again after the end of the pause.

    PIPELINE_PAUSED: the pipeline accepts no submissions at the moment.
    """


class IdempotencyKeyReused(Conflict):
    """Use a new idempotency key for another input or release.

    IDEMPOTENCY_KEY_REUSED: an execution with this key has another input or release.
    """


class ExecutionUnfinished(Conflict):
    """Wait for `Retry-After`, or read the result with `wait`.

    EXECUTION_UNFINISHED: the execution has not ended. `execution_status` is its status.
    """

    def __init__(self, status: int, headers: Mapping[str, str], problem: Mapping[str, Any]) -> None:
        super().__init__(status, headers, problem)
        self.execution_status = str(problem.get("executionStatus"))


class CancelRefused(Conflict):
    """Nothing is left to cancel.

    CANCEL_REFUSED: the execution has ended.
    """


class QuestionClosed(Conflict):
    """Nothing is left to answer. Read the question to see why.

    INTERACTION_CLOSED: the question cannot be answered any more.
    """


InteractionClosed = QuestionClosed
"""The former name."""


class TooManyRequests(Refused):
    """Repeat the request after `Retry-After`, and send fewer at a time.

    429, with `retry_after`.
    """

    retryable = True


class QuotaExceeded(TooManyRequests):
    """Wait for `Retry-After`, or ask an administrator to raise the quota that `detail` names.

    QUOTA_EXCEEDED: the tenant has used one of its quotas.
    """


class Unavailable(Refused):
    """The server failed with 5xx, or has no worker for the release at the moment."""

    retryable = True


_BY_CODE: Final[Mapping[str, type[Refused]]] = {
    "INPUT_INVALID": InputInvalid,
    "ANSWER_INVALID": AnswerInvalid,
    "PIPELINE_UNKNOWN": PipelineUnknown,
    "EXECUTION_UNKNOWN": ExecutionUnknown,
    "INTERACTION_UNKNOWN": QuestionUnknown,
    "NO_ACTIVE_RELEASE": NoActiveRelease,
    "ACTIVE_RELEASE_CHANGED": ActiveReleaseChanged,
    "RELEASE_NOT_OPEN": ReleaseNotOpen,
    "PIPELINE_PAUSED": PipelinePaused,
    "IDEMPOTENCY_KEY_REUSED": IdempotencyKeyReused,
    "EXECUTION_UNFINISHED": ExecutionUnfinished,
    "CANCEL_REFUSED": CancelRefused,
    "INTERACTION_CLOSED": QuestionClosed,
    "QUOTA_EXCEEDED": QuotaExceeded,
}
_BY_STATUS: Final[Mapping[int, type[Refused]]] = {
    401: NotAuthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    429: TooManyRequests,
}


def _copied(cls: type[ClientError], arguments: tuple[Any, ...], members: dict[str, Any]) -> ClientError:
    base: Any = OSError if issubclass(cls, OSError) else Exception
    error: ClientError = base.__new__(cls)
    error.args = arguments
    vars(error).update(members)
    return error


def _seconds(text: str) -> float | None:
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 10 else None
