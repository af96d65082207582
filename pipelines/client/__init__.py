"""Submits executions to a coordinator, and waits for their results: ``Client``, and ``AsyncClient`` for event loops.

Both read COORDINATOR_URL, COORDINATOR_TENANT and COORDINATOR_TOKEN, or a profile of ``coordinator login``. Every error
is a ``ClientError``.
"""

from coordinator_client.calls import ExecutionCancelled, ExecutionFailed, NotFinished
from coordinator_client.errors import (
    ActiveReleaseChanged,
    AnswerInvalid,
    CancelRefused,
    ClientError,
    Conflict,
    ExecutionUnfinished,
    ExecutionUnknown,
    IdempotencyKeyReused,
    InputInvalid,
    InvalidRequest,
    NoActiveRelease,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    PipelinePaused,
    PipelineUnknown,
    QuestionClosed,
    QuestionUnknown,
    QuotaExceeded,
    Refused,
    ReleaseNotOpen,
    TooManyRequests,
    Unavailable,
    Unreachable,
)
from pipelines.client.clients import AsyncClient, AsyncExecution, Client, Execution
from pipelines.client.flows import Question, SomeRefused, State

InteractionClosed, InteractionUnknown = QuestionClosed, QuestionUnknown  # their names until the next version

__all__ = [
    "ActiveReleaseChanged",
    "AnswerInvalid",
    "AsyncClient",
    "AsyncExecution",
    "CancelRefused",
    "Client",
    "ClientError",
    "Conflict",
    "Execution",
    "ExecutionCancelled",
    "ExecutionFailed",
    "ExecutionUnfinished",
    "ExecutionUnknown",
    "IdempotencyKeyReused",
    "InputInvalid",
    "InvalidRequest",
    "NoActiveRelease",
    "NotAuthenticated",
    "NotFinished",
    "NotFound",
    "PermissionDenied",
    "PipelinePaused",
    "PipelineUnknown",
    "Question",
    "QuestionClosed",
    "QuestionUnknown",
    "QuotaExceeded",
    "Refused",
    "ReleaseNotOpen",
    "SomeRefused",
    "State",
    "TooManyRequests",
    "Unavailable",
    "Unreachable",
]
