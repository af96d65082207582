"""Names a transition in spans and in log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wire.identity import ReleaseIdentity
from wire.traceparent import trace_id

if TYPE_CHECKING:
    from wire.messages.celery_messages import Command
    from wire.messages.rest_messages import TransitionCommand


def attributes_of(identity: ReleaseIdentity, command: Command | TransitionCommand) -> dict[str, str | int]:
    """Return the attributes of the span of a command's transition on a release."""
    return {
        "pipelines.tenant": identity.tenant_id,
        "pipelines.pipeline": identity.pipeline_id,
        "pipelines.release": identity.release_version,
        "pipelines.execution": str(command.execution_id),
        "pipelines.step.index": command.current_step_index,
        "pipelines.attempt": command.attempt,
    }


def log_fields_of(
    identity: ReleaseIdentity, command: Command | TransitionCommand, traceparent: str
) -> dict[str, str | int]:
    """Return the fields of the log lines of a command's transition on a release."""
    return {
        "tenant": identity.tenant_id,
        "pipeline": identity.pipeline_id,
        "release": identity.release_version,
        "execution": str(command.execution_id),
        "attempt": command.attempt,
        "traceId": trace_id(traceparent),
    }
