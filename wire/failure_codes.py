"""What each code of a failed execution means. `docs/reference/errors.md` is generated from it."""

from collections.abc import Mapping
from typing import Final

RETRIED: Final = "yes"
NOT_RETRIED: Final = "no"
BY_POLICY: Final = "by policy"

FAILURES: Final[Mapping[str, tuple[str, str]]] = {
    "UNDECODABLE_PAYLOAD": (NOT_RETRIED, "The input does not have the type that the step requires."),
    "INVALID_STEP_OUTPUT": (NOT_RETRIED, "The result of a step does not match its type hint."),
    "OUTPUT_TOO_LARGE": (NOT_RETRIED, "The outcome exceeds a limit of values. The message names the step."),
    "COMMAND_TOO_LARGE": (
        NOT_RETRIED,
        "The command is too large for a message. It is sealed once with each active worker key: finish the rotation of "
        "keys, then re-drive the execution.",
    ),
    "STEP_TIMEOUT": (RETRIED, "A call of a step exceeded its time limit. The message names both."),
    "EVENT_LOOP_BLOCKED": (RETRIED, "Another async step blocked the event loop for 60 seconds."),
    "UNNAMED_EXCEPTION": (RETRIED, "A step raised an exception whose class has no readable name."),
    "IDENTITY_MISMATCH": (NOT_RETRIED, "A command reached a worker of another release."),
    "UNDECODABLE_OUTPUT": (NOT_RETRIED, "The worker's result is not JSON that can be stored."),
    "UNRECORDABLE_OUTCOME": (
        NOT_RETRIED,
        "The database rejected the values of the outcome. The log of the control worker says why.",
    ),
    "RESULT_SHAPE_MISMATCH": (RETRIED, "More than one result, although the contract allows only one."),
    "LEASES_LOST": (
        NOT_RETRIED,
        "The lease was lost more than ten times in a row, without a checkpoint in between. A step may be killing its "
        "workers. If the message says that workers lived, its outcomes are refused or lost.",
    ),
    "OUTCOME_UNKNOWN": (
        BY_POLICY,
        "A REST worker may have carried out its call, but no result was recorded.",
    ),
    "RELEASE_REVOKED": (NOT_RETRIED, "The release was revoked with the order to fail its open executions."),
    "MALFORMED_OUTCOME": (
        RETRIED,
        "The worker reported a failure without an error, or stopped before the last step without a request to do so.",
    ),
    "UNANSWERABLE_SUSPENSION": (
        NOT_RETRIED,
        "The pipeline asked a question that can never be answered, such as one with an unknown transport.",
    ),
    "COMMAND_UNSETTLED": (
        RETRIED,
        "A REST worker suspended at an await before it knew whether the command of the await was accepted.",
    ),
    "PAGED_SOURCE_UNSUPPORTED": (
        NOT_RETRIED,
        "A REST worker reported one page of a paged source, or a Python worker received a command for one.",
    ),
    "COMMAND_REDRIVE_UNSUPPORTED": (
        NOT_RETRIED,
        "A Python worker received a command that retries or reissues an effect. It has no such effects.",
    ),
    "AWAIT_TIMEOUT": (NOT_RETRIED, "A question's deadline passed without an answer."),
    "WEBHOOK_UNDELIVERABLE": (
        NOT_RETRIED,
        "The webhook of a question was not received within the permitted number of attempts.",
    ),
    "CHILD_FAILED": (
        NOT_RETRIED,
        "A child, or one that it called, failed, was cancelled, or has a result of another type than its call.",
    ),
    "CHILD_REFUSED": (
        NOT_RETRIED,
        "The pipeline that a step calls refuses the child, and no later attempt can succeed.",
    ),
    "CHILD_TOO_DEEP": (NOT_RETRIED, "The child would have more than 16 executions above it."),
}
"""Whether an attempt that failed with this code is retried, and what the code means."""
